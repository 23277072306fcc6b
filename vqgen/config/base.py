"""The base of all configurations: a frozen pydantic model that refuses unknown keys."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, model_validator


def _unchanged(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class Renamed:
    """The new name of a field that had another one.

    Attributes:
        name: The new name.
        to_new: Turns an old value into the new one; an unknown value stays as it is, for validation to refuse.
        to_old: Turns a new value into the old one.
    """

    name: str
    to_new: Callable[[Any], Any] = _unchanged
    to_old: Callable[[Any], Any] = _unchanged


class Config(BaseModel):
    """A frozen configuration. A docstring below a field is its description and its `--help` text.

    Attributes:
        old_names: Old name -> the field that has taken its place. Both are accepted.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    old_names: ClassVar[Mapping[str, Renamed]] = {}

    @model_validator(mode="before")
    @classmethod
    def _take_old_names(cls, values: Any) -> Any:
        if not isinstance(values, dict) or not cls.old_names.keys() & values.keys():
            return values
        translated = {}
        for name, value in values.items():
            renamed = cls.old_names.get(name)
            if renamed is None:
                translated[name] = value
            else:
                translated[renamed.name] = renamed.to_new(value)
        return translated

    def stored(self) -> dict[str, Any]:
        """Returns the values as JSON under the names that they had first.

        The hash of a model covers its stored configuration, and compressed files name the hash of the model that made
        them: with other names the same model would refuse its own files.
        """
        values = self.model_dump(mode="json")
        for old, renamed in type(self).old_names.items():
            values = {
                (old if name == renamed.name else name): (renamed.to_old(value) if name == renamed.name else value)
                for name, value in values.items()
            }
        return values


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
