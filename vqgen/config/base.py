"""The base of all configurations: a frozen pydantic model that refuses unknown keys."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator


def _unchanged(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class Renamed:
    """The new name of a field.

    Attributes:
        name: The new name.
        to_new: Turns an old value into a new one. An unknown value stays as it is, so that validation refuses it.
        to_old: Turns a new value into an old one.
    """

    name: str
    to_new: Callable[[Any], Any] = _unchanged
    to_old: Callable[[Any], Any] = _unchanged


class Config(BaseModel):
    """A frozen configuration. The docstring below a field is its description and its help text.

    Attributes:
        old_names: Old name -> the field of today. Both names are accepted.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    old_names: ClassVar[Mapping[str, Renamed]] = {}

    @model_validator(mode="before")
    @classmethod
    def _take_old_names(cls, values: Any) -> Any:
        # Models that were saved under old names have to open for ever. Recipes get a warning, too: see `loading`.
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
        """Returns the values as JSON. A renamed field has its first name here.

        The hash of a model covers its stored configuration, and a compressed file contains the hash of its model. With
        new names the same model would have another hash and would refuse its own files.
        """
        fields = type(self).model_fields
        silent = {
            name for name in fields if not leaves_trace(type(self), name) and is_unchanged_added_field(self, name)
        }
        values = self.model_dump(mode="json", exclude=silent)
        for old, renamed in type(self).old_names.items():
            # Rebuilt rather than popped: each key keeps its place, so an old model is written back byte by byte.
            values = {
                (old if name == renamed.name else name): (renamed.to_old(value) if name == renamed.name else value)
                for name, value in values.items()
            }
        return values


def runtime_field(default: Any, *, short: str = "", **constraints: Any) -> Any:
    """Declares a field that never changes a result: a path, a number of workers, an interval of saves.

    No fingerprint covers it, so a run goes on after its images have moved to another folder.

    Args:
        default: The value of a recipe that does not set the field.
        short: Another option of the command line for it, without its sections; empty for none.
        constraints: The constraints of pydantic.
    """
    return Field(default, json_schema_extra={"runtime": True, "short": short}, **constraints)


_SAME = object()


def added_field(default: Any, *, before: Any = _SAME, leaves_trace: bool = True, **constraints: Any) -> Any:
    """Declares a field that older runs do not have. Fingerprints leave it out if its value is the behaviour of before.

    An old run then keeps its fingerprint.

    Args:
        default: The value of a new recipe that does not set the field.
        before: The behaviour before the field was added, if that is not the default.
        leaves_trace: False leaves the behaviour of before out of stored models too, so that they keep their hash.
        constraints: The constraints of pydantic.
    """
    extra = {"added": True, "before": default if before is _SAME else before, "leaves_trace": leaves_trace}
    return Field(default, json_schema_extra=extra, **constraints)


def is_unchanged_added_field(config: Config, name: str) -> bool:
    """Returns True if `added_field` declared the field `name` and its value is the behaviour of before."""
    extra = type(config).model_fields[name].json_schema_extra
    return isinstance(extra, dict) and bool(extra.get("added")) and getattr(config, name) == extra["before"]


def leaves_trace(model: type[Config], name: str) -> bool:
    """Returns False if `added_field` declared that the field `name` of `model` leaves no trace of its old behaviour."""
    extra = model.model_fields[name].json_schema_extra
    return not isinstance(extra, dict) or bool(extra.get("leaves_trace", True))


def is_runtime_field(model: type[Config], name: str) -> bool:
    """Returns True if `runtime_field` declared the field `name` of `model`."""
    extra = model.model_fields[name].json_schema_extra
    return isinstance(extra, dict) and bool(extra.get("runtime"))


def short_option(model: type[Config], name: str) -> str:
    """Returns the option without sections that `runtime_field` declared for the field `name`; empty for none."""
    extra = model.model_fields[name].json_schema_extra
    return str(extra.get("short", "")) if isinstance(extra, dict) else ""


def is_new_behaviour(kind: type[Config], name: str) -> bool:
    """Returns True if `added_field` declared the field `name` with a default that is not the behaviour of before."""
    extra = kind.model_fields[name].json_schema_extra
    return isinstance(extra, dict) and bool(extra.get("added")) and kind.model_fields[name].default != extra["before"]


def section_of(annotation: Any) -> type[Config] | None:
    """Returns the class of the section that an annotation describes; None for a plain field.

    A section may be optional (`X | None`) or repeated (`tuple[X, ...]`): the class is then found inside.
    """
    if isinstance(annotation, type) and issubclass(annotation, Config):
        return annotation
    return next((found for part in get_args(annotation) if (found := section_of(part))), None)
