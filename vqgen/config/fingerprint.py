"""Fingerprints: the fields of a recipe that change a stage's result, and nothing else.

Paths, workers and logging are left out (see `runtime_field`), so that moving a folder redoes nothing.
"""

from typing import Any

from vqgen.config.base import Config, is_runtime_field, is_unchanged_added_field
from vqgen.config.baseline_recipe import AnyRecipe, BaselineRecipe, require_codes
from vqgen.config.recipe import PriorSection

_OF_CODES_ALONE = ("data.augmented_copies", "data.mirrored_copies")
"""Fields of [data] that say which copies of the images have codes; whatever trains on images never sees them."""


def result_fields(config: Config, prefix: str) -> dict[str, Any]:
    """Flattens the fields that change a result to `{"vqvae.train.steps": 800, ...}`."""
    fields: dict[str, Any] = {}
    for name in type(config).model_fields:
        value = getattr(config, name)
        if is_runtime_field(type(config), name) or is_unchanged_added_field(config, name):
            continue
        if isinstance(value, Config):
            fields |= result_fields(value, f"{prefix}.{name}")
        else:
            fields[f"{prefix}.{name}"] = list(value) if isinstance(value, tuple) else value
    return fields


def stage_fields(recipe: AnyRecipe, stage: str) -> dict[str, Any]:
    """The fields that change the result of `stage`: vqvae, autoencoder, codes, classifier, samples or prior-LEVEL."""
    return own_fields(_section_fields(recipe, stage), stage)


def own_fields(fields: dict[str, Any], stage: str) -> dict[str, Any]:
    """Returns the fields that `stage` depends on, under their present names.

    Records of earlier versions hold further fields, and some under other names.
    """
    own = {name: value for name, value in fields.items() if stage == "codes" or name not in _OF_CODES_ALONE}
    return dict(_present_name(name, value) for name, value in own.items())


def _present_name(path: str, value: Any) -> tuple[str, Any]:
    section, _, name = path.rpartition(".")
    renamed = PriorSection.old_names.get(name) if section.startswith("priors.") else None
    return (path, value) if renamed is None else (f"{section}.{renamed.name}", renamed.to_new(value))


def _section_fields(recipe: AnyRecipe, stage: str) -> dict[str, Any]:
    if stage in ("vqvae", "autoencoder"):
        section = recipe.autoencoder if isinstance(recipe, BaselineRecipe) else recipe.vqvae
        return {"seed": recipe.seed} | result_fields(recipe.data, "data") | result_fields(section, stage)
    if stage == "codes":
        return {"seed": recipe.seed} | result_fields(recipe.data, "data")
    if stage == "classifier":
        section = recipe.classifier_or_default
        return {"seed": recipe.seed} | result_fields(recipe.data, "data") | result_fields(section, "classifier")
    if stage == "samples":
        return {"seed": recipe.seed} | result_fields(recipe.generate, "generate")
    with_codes = require_codes(recipe)
    index = with_codes.levels.index(stage.removeprefix("prior-"))  # type: ignore[arg-type]
    return {"seed": recipe.seed} | result_fields(with_codes.priors[index], f"priors.{index}")


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What differs between two flat records, a line a field: `vqvae.train.steps: 800 -> 900`."""
    missing = "(absent)"
    return [
        f"{key}: {before.get(key, missing)} -> {now.get(key, missing)}"
        for key in sorted(before.keys() | now.keys())
        if before.get(key, missing) != now.get(key, missing)
    ]
