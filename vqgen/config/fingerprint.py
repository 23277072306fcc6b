"""Fingerprints: the fields of a recipe that change a stage's result, and nothing else.

Paths, workers and logging are left out (see `runtime_field`), so that moving a folder redoes nothing.
"""

from typing import Any

from vqgen.config.base import Config, is_runtime_field, is_unchanged_added_field
from vqgen.config.baseline_recipe import AnyRecipe
from vqgen.config.recipe import PriorSection

_OF_IMAGES = ("vqvae", "autoencoder", "codes", "classifier")
"""Stages that read images, whose result therefore depends on [data]."""

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
    section = recipe.stage_section(stage)
    if section is None and stage != "codes":
        raise ValueError(f"stage should be one of {', '.join(recipe.stage_names)}, found {stage!r}")
    fields: dict[str, Any] = {"seed": recipe.seed}
    if stage in _OF_IMAGES:
        fields |= result_fields(recipe.data, "data")
    if section is not None:
        path, config = section
        fields |= result_fields(config, path)
    return fields


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What differs between two flat records, a line a field: `vqvae.train.steps: 800 -> 900`."""
    missing = "(absent)"
    return [
        f"{key}: {before.get(key, missing)} -> {now.get(key, missing)}"
        for key in sorted(before.keys() | now.keys())
        if before.get(key, missing) != now.get(key, missing)
    ]
