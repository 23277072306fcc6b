"""Fingerprints: the fields of a recipe that change the result of a stage, and no other fields.

A complete stage is skipped as long as its fingerprint is the one in its record. Paths, workers and logging do not count
(see `runtime_field`), so a run stays complete when its folder moves.
"""

from typing import Any

from vqgen.config.base import Config, is_runtime_field, is_unchanged_added_field
from vqgen.config.baseline_recipe import AnyRecipe
from vqgen.config.recipe import PriorSection

_OF_IMAGES = ("vqvae", "autoencoder", "codes", "classifier")
"""Stages that read images. Their result depends on [data]; the priors depend on it by the hash of their codes."""

_OF_CODES_ALONE = ("data.augmented_copies", "data.mirrored_copies")
"""Fields of [data] that only the stage of the codes reads: they define the copies of the images that have codes."""


def result_fields(config: Config, prefix: str) -> dict[str, Any]:
    """Flattens the fields that change a result.

    Args:
        config: A section of a recipe.
        prefix: The path of the section.

    Returns:
        Path of each field -> its value, for example `{"vqvae.train.steps": 800}`.
    """
    fields: dict[str, Any] = {}
    for name in type(config).model_fields:
        value = getattr(config, name)
        # An added field at its default is left out: records of older runs do not have it, and mean the same.
        if is_runtime_field(type(config), name) or is_unchanged_added_field(config, name):
            continue
        if isinstance(value, Config):
            fields |= result_fields(value, f"{prefix}.{name}")
        else:
            # JSON has no tuples, and a fingerprint is compared with one that was read from JSON.
            fields[f"{prefix}.{name}"] = list(value) if isinstance(value, tuple) else value
    return fields


def stage_fields(recipe: AnyRecipe, stage: str) -> dict[str, Any]:
    """Returns the fingerprint of a stage: path of each field that changes its result -> value.

    Args:
        recipe: The recipe.
        stage: vqvae, autoencoder, codes, classifier, samples or prior-LEVEL.

    Raises:
        ValueError: The recipe has no such stage.
        ConfigError: The recipe is one of a baseline, and the stage is one of a VQ-VAE.
    """
    return own_fields(_section_fields(recipe, stage), stage)


def own_fields(fields: dict[str, Any], stage: str) -> dict[str, Any]:
    """Returns the fields that a stage depends on, under their present names.

    Records of earlier versions contain more fields, and some fields under old names.
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
    """Lists the differences between two fingerprints, one line per field: `vqvae.train.steps: 800 -> 900`."""
    missing = "(absent)"
    return [
        f"{key}: {before.get(key, missing)} -> {now.get(key, missing)}"
        for key in sorted(before.keys() | now.keys())
        if before.get(key, missing) != now.get(key, missing)
    ]
