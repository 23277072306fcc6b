"""Recipes that travel with a model: without the fields that describe the machine of the training.

A pipeline folder is made to be shared. A folder of images in its recipe would publish the name of a home folder, and
would make the reader's machine read a folder, or download into one, that a stranger chose.
"""

from typing import Any

import tomli_w

from vqgen.config.base import Config, is_runtime_field, section_of
from vqgen.config.baseline_recipe import BaselineRecipe
from vqgen.config.recipe import Recipe
from vqgen.storage.documents import parse_toml


def portable_document(document: dict[str, Any]) -> dict[str, Any]:
    """Returns the document of a recipe without its runtime fields, such as `data.root`. All other fields stay."""
    return without_runtime_fields(document, BaselineRecipe if "autoencoder" in document else Recipe)


def portable_text(text: str, origin: str) -> str:
    """Returns the text of a recipe without its runtime fields; the same text if it has none of them.

    Args:
        text: The recipe, as TOML.
        origin: The file that contains it, for the error.

    Raises:
        CheckpointError: The text is not TOML, so nobody knows what it would publish.
    """
    document = parse_toml(text, origin)
    portable = portable_document(document)
    return text if portable == document else tomli_w.dumps(portable)


def without_runtime_fields(document: dict[str, Any], model: type[Config]) -> dict[str, Any]:
    """Returns a document without the runtime fields of a configuration and of its sections.

    Args:
        document: Name -> value or section, not validated.
        model: The configuration that the document describes.
    """
    kept: dict[str, Any] = {}
    for name, value in document.items():
        if name not in model.model_fields:  # an old name of a field, or no field at all
            kept[name] = value
        elif not is_runtime_field(model, name):
            section = section_of(model.model_fields[name].annotation)
            kept[name] = value if section is None else _without_in(value, section)
    return kept


def _without_in(value: Any, section: type[Config]) -> Any:
    if isinstance(value, list):  # a section that is repeated, such as the priors
        return [_without_in(each, section) for each in value]
    return without_runtime_fields(value, section) if isinstance(value, dict) else value
