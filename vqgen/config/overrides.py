"""Command-line overrides of any field of a recipe: `--vqvae.codebook-size 256 --priors.0.layers 6`.

Every field becomes an option of an argparse parser; the recipe is validated once, as a whole, afterwards.
"""

import argparse
import difflib
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, Literal, NoReturn, Union, get_args, get_origin

from pydantic import TypeAdapter, ValidationError

from vqgen.config.base import Config
from vqgen.config.baseline_recipe import AnyRecipe
from vqgen.config.loading import section_of, validate_recipe
from vqgen.errors import ConfigError

_NOUNS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}

_PLACEHOLDERS = {int: "INT", float: "FLOAT", bool: "[true|false]", str: "TEXT"}


@dataclass(frozen=True)
class RecipeField:
    """A field of a recipe that an option can replace.

    Attributes:
        path: The names of its sections and its own; entries of a list by their number.
        annotation: Its type.
        value: Its value in the recipe; None for an old name.
        description: One or more sentences; empty for an old name.
        new_name: The name that has replaced this one; None for a present name.
    """

    path: tuple[str | int, ...]
    annotation: Any
    value: Any = None
    description: str = ""
    new_name: str | None = None

    @property
    def option(self) -> str:
        """The option's name, such as `--priors.0.train.batch-size`."""
        return "--" + ".".join(map(str, self.path)).replace("_", "-")

    @property
    def is_flag(self) -> bool:
        """True for a field that is true or false."""
        return self.annotation is bool

    @property
    def is_list(self) -> bool:
        """True for a field that takes several values."""
        return get_origin(self.annotation) is tuple

    @property
    def names(self) -> list[str]:
        """All spellings of the option: with hyphens, and with the underscores of the recipe."""
        return list(dict.fromkeys([self.option, "--" + ".".join(map(str, self.path))]))

    @property
    def negations(self) -> list[str]:
        """The spellings that turn a flag off: `--data.no-download`."""
        return [re.sub(r"(--(?:.*\.)?)([^.]+)$", r"\1no-\2", name) for name in self.names]

    def parse(self, text: str | list[str]) -> Any:
        """Turns the words of the command line into a value of the field's type; ranges are checked later.

        Raises:
            ConfigError: They are not of this type.
        """
        if text == "None" and NoneType in get_args(self.annotation):
            return None
        for choice in _choices(self.annotation):  # pydantic takes no "3" for a literal 3
            if get_origin(choice) is Literal:
                found = [value for value in get_args(choice) if str(value) == text]
                if found:
                    return found[0]
        try:
            return TypeAdapter(self.annotation).validate_python(text)
        except ValidationError as error:
            found = " ".join(text) if isinstance(text, list) else text
            raise ConfigError(f"{self.option}: should be {_requirement(self.annotation)}, found {found!r}") from error


def recipe_fields(recipe: AnyRecipe) -> list[RecipeField]:
    """Lists every field that an option can replace, in the order of the recipe, then the old names."""
    fields = list(_fields(recipe, ()))
    return [field for field in fields if field.new_name is None] + [
        field for field in fields if field.new_name is not None
    ]


def apply_overrides(recipe: AnyRecipe, options: list[str]) -> AnyRecipe:
    """Returns `recipe` with the fields replaced that `options` name.

    Raises:
        ConfigError: An option is unknown, its value does not parse, or the outcome is not a valid recipe.
    """
    if not options:
        return recipe
    if any(option.startswith("--classifier.") for option in options):
        recipe = with_classifier(recipe)
    fields = {str(index): field for index, field in enumerate(recipe_fields(recipe))}
    parsed, unknown = _parser(fields).parse_known_args(options)
    if unknown:
        raise ConfigError(_unknown(unknown, [field.option for field in fields.values()]))
    document = recipe.model_dump(mode="json")
    for index, text in vars(parsed).items():
        _set(document, fields[index], text)
    return validate_recipe(document, origin=f"{recipe.name!r} with the options given")


def override_help(recipe: AnyRecipe) -> str:
    """Returns a text with every option, its value in `recipe`, and its description."""
    lines = ["options, each with its value in this recipe:"]
    for field in recipe_fields(with_classifier(recipe)):
        if field.new_name is not None:
            continue
        negation = f", {field.negations[0]}" if field.is_flag else ""
        lines.append(f"  {field.option}{negation} {_placeholder(field.annotation)}  (now: {_shown(field.value)})")
        lines += textwrap.wrap(field.description, 100, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return "\n".join(lines)


def with_classifier(recipe: AnyRecipe) -> AnyRecipe:
    """Returns the recipe with a section [classifier], the default one if it has none."""
    return recipe.model_copy(update={"classifier": recipe.classifier_or_default})


class _Parser(argparse.ArgumentParser):
    """Raises what is wrong with the options instead of ending the program."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(message.removeprefix("argument "))


def _parser(fields: dict[str, RecipeField]) -> argparse.ArgumentParser:
    parser = _Parser(add_help=False, allow_abbrev=False, argument_default=argparse.SUPPRESS)
    for index, field in fields.items():
        if field.is_flag:
            parser.add_argument(*field.names, dest=index, nargs="?", const="true")
            parser.add_argument(*field.negations, dest=index, action="store_const", const="false")
        else:
            parser.add_argument(*field.names, dest=index, nargs="+" if field.is_list else None)
    return parser


def _fields(config: Config, path: tuple[str | int, ...]) -> Iterator[RecipeField]:
    model = type(config)
    for name, info in model.model_fields.items():
        value = getattr(config, name)
        if isinstance(value, Config):
            yield from _fields(value, (*path, name))
        elif isinstance(value, tuple) and value and isinstance(value[0], Config):
            for index, entry in enumerate(value):
                yield from _fields(entry, (*path, name, index))
        elif section_of(info.annotation) is None:
            yield RecipeField((*path, name), info.annotation, value, " ".join((info.description or "").split()))
    for name, renamed in model.old_names.items():
        yield RecipeField((*path, name), str, new_name=renamed.name)


def _set(document: dict[str, Any], field: RecipeField, text: str | list[str]) -> None:
    """Puts a value into the recipe's document; an old name takes the place of the new one, and is warned of later."""
    *sections, name = field.path
    target: Any = document
    for section in sections:
        target = target[section]
    target[name] = field.parse(text)
    if field.new_name is not None:
        target.pop(field.new_name, None)


def _unknown(words: list[str], known: list[str]) -> str:
    """Returns the message for words that are not options, with the options that resemble them."""
    lines = [f"options: the recipe has no field for {', '.join(words)}"]
    for word in words:
        if word.startswith("--"):
            last = word.partition("=")[0].lstrip("-").rpartition(".")[2]
            same = [option for option in known if option.rpartition(".")[2].lstrip("-") == last]
            nearest = same or difflib.get_close_matches(word.partition("=")[0], known, n=3, cutoff=0.6)
            if nearest:
                lines.append(f"  {word}: did you mean {' or '.join(nearest[:3])}?")
    lines.append("`vqgen run RECIPE --fields` lists them all")
    return "\n".join(lines)


def _choices(annotation: Any) -> list[Any]:
    """Returns the members of a union, or the annotation alone; None, which takes a value back, is left out."""
    members = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    return [member for member in members if member is not NoneType]


def _requirement(annotation: Any) -> str:
    parts = []
    for choice in _choices(annotation):
        if get_origin(choice) is Literal:
            names = ", ".join(repr(value) for value in get_args(choice))
            parts.append(f"one of {names}" if len(get_args(choice)) > 1 else names)
        elif get_origin(choice) is tuple:
            parts.append("one or more whole numbers" if get_args(choice)[0] is int else "one or more values")
        else:
            parts.append(_NOUNS.get(choice, "a value"))
    return " or ".join(parts)


def _placeholder(annotation: Any) -> str:
    parts = []
    for choice in _choices(annotation):
        if get_origin(choice) is Literal:
            parts.append("{" + ",".join(map(str, get_args(choice))) + "}")
        elif get_origin(choice) is tuple:
            parts.append(f"{_PLACEHOLDERS.get(get_args(choice)[0], 'VALUE')} ...")
        else:
            parts.append(_PLACEHOLDERS.get(choice, "VALUE"))
    return "|".join(parts)


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
