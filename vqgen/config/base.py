"""What every configuration is: a frozen pydantic model that refuses unknown keys."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Config(BaseModel):
    """Base of all configurations. A docstring below a field is its description and its `--help` text."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def runtime_field(default: Any, **constraints: Any) -> Any:
    """A field that says where or how fast to work but never changes a result, so no fingerprint covers it."""
    return Field(default, json_schema_extra={"runtime": True}, **constraints)


def added_field(default: Any, **constraints: Any) -> Any:
    """A field that came after runs were made without it: fingerprints cover it only where it differs from `default`."""
    return Field(default, json_schema_extra={"added": True}, **constraints)


def is_unchanged_added_field(config: Config, name: str) -> bool:
    """Whether the field `name` was declared with `added_field` and has its default."""
    field = type(config).model_fields[name]
    extra = field.json_schema_extra
    return isinstance(extra, dict) and bool(extra.get("added")) and getattr(config, name) == field.default


def is_runtime_field(model: type[Config], name: str) -> bool:
    """Whether the field `name` of `model` was declared with `runtime_field`."""
    extra = model.model_fields[name].json_schema_extra
    return isinstance(extra, dict) and bool(extra.get("runtime"))
