"""Options of the command line that override fields of a recipe: `--vqvae.codebook-size 256 --priors.0.layers 6`.

The parser has an option for every field of the recipe at hand. The options change the document of the recipe, which is
then validated as a whole, as if it had been read from a file.
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

from vqgen.config.base import Config, section_of, short_option
from vqgen.config.baseline_recipe import AnyRecipe
from vqgen.config.loading import validate_recipe
from vqgen.errors import ConfigError

_REQUIREMENTS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}

_PLACEHOLDERS = {int: "INT", float: "FLOAT", bool: "[true|false]", str: "TEXT"}


@dataclass(frozen=True)
class RecipeField:
    """A field of a recipe that an option can override.

    Attributes:
        path: The names of the sections and of the field. An entry of a list has its number as its name.
        annotation: The type of the field.
        value: The value in the recipe; None for an old name.
        description: One or more sentences; empty for an old name.
        new_name: The present name of the field, if this is an old one; else None.
        short: Another option for the field, without its sections; empty for none.
    """

    path: tuple[str | int, ...]
    annotation: Any
    value: Any = None
    description: str = ""
    new_name: str | None = None
    short: str = ""

    @property
    def option(self) -> str:
        """The name of the option, such as `--priors.0.train.batch-size`."""
        return "--" + ".".join(map(str, self.path)).replace("_", "-")

    @property
    def is_flag(self) -> bool:
        """True for a field that is true or false."""
        return self.annotation is bool

    @property
    def is_list(self) -> bool:
        """True for a field that takes several values."""
        return any(get_origin(choice) is tuple for choice in _choices(self.annotation))

    @property
    def names(self) -> list[str]:
        """The spellings of the option: with hyphens, with the underscores of the recipe, and the short one."""
        spellings = [self.option, "--" + ".".join(map(str, self.path)), self.short]
        return [name for name in dict.fromkeys(spellings) if name]

    @property
    def negations(self) -> list[str]:
        """The spellings that turn a flag off: `--data.no-download`."""
        return [re.sub(r"(--(?:.*\.)?)([^.]+)$", r"\1no-\2", name) for name in self.names]

    def parse(self, text: str | list[str]) -> Any:
        """Turns words of the command line into a value of the type of the field. Ranges are checked later.

        Raises:
            ConfigError: The words are not a value of this type.
        """
        if text in ("None", ["None"]) and NoneType in get_args(self.annotation):
            return None
        for choice in _choices(self.annotation):
            # pydantic does not accept the text "3" for the literal 3.
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
    """Lists the fields that options can override, in the order of the recipe. Old names come last."""
    return sorted(_fields(recipe, ()), key=lambda field: field.new_name is not None)


def apply_overrides(recipe: AnyRecipe, options: list[str]) -> AnyRecipe:
    """Returns the recipe with some fields overridden.

    Args:
        recipe: The recipe.
        options: Words of the command line, such as `["--seed", "7", "--data.no-download"]`.

    Raises:
        ConfigError: An option is unknown, a value does not parse, or the new recipe is not valid.
    """
    if not options:
        return recipe
    # A recipe without [classifier] has no such fields. Any option for one of them adds the section.
    if any(option.startswith("--classifier.") for option in options):
        recipe = with_classifier(recipe)
    # The parser stores values by the number of their field, because a path has dots and several spellings.
    fields = {str(index): field for index, field in enumerate(recipe_fields(recipe))}
    parsed, unknown = _parser(fields).parse_known_args(options)
    if unknown:
        raise ConfigError(_unknown(unknown, [field.option for field in fields.values()]))
    document = recipe.model_dump(mode="json")
    for index, text in vars(parsed).items():
        _set(document, fields[index], text)
    return validate_recipe(document, origin=f"{recipe.name!r} with the options given")


def override_help(recipe: AnyRecipe) -> str:
    """Returns a text that lists every option with its value in the recipe and its description."""
    lines = ["options, each with its value in this recipe:"]
    for field in recipe_fields(with_classifier(recipe)):
        if field.new_name is not None:
            continue
        negation = f", {field.negations[0]}" if field.is_flag else f", {field.short}" if field.short else ""
        lines.append(f"  {field.option}{negation} {_placeholder(field.annotation)}  (now: {_shown(field.value)})")
        lines += textwrap.wrap(field.description, 100, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return "\n".join(lines)


def with_classifier(recipe: AnyRecipe) -> AnyRecipe:
    """Returns the recipe with a section [classifier]: its own, or the default one."""
    return recipe.model_copy(update={"classifier": recipe.classifier_or_default})


class _Parser(argparse.ArgumentParser):
    """A parser that raises an error of vqgen instead of ending the program."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(message.removeprefix("argument "))


def _parser(fields: dict[str, RecipeField]) -> argparse.ArgumentParser:
    # SUPPRESS, so that only the options that were given are in the result: no default overrides the recipe.
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
            description = " ".join((info.description or "").split())
            short = short_option(model, name)
            yield RecipeField((*path, name), info.annotation, value, description, short=short)
    for name, renamed in model.old_names.items():
        yield RecipeField((*path, name), str, new_name=renamed.name)


def _set(document: dict[str, Any], field: RecipeField, text: str | list[str]) -> None:
    """Sets a field in the document of a recipe."""
    *sections, name = field.path
    target: Any = document
    for section in sections:
        target = target[section]
    target[name] = field.parse(text)
    if field.new_name is not None:
        # Validation warns of the old name and translates it. The present value must not compete with it.
        target.pop(field.new_name, None)


def _unknown(words: list[str], known: list[str]) -> str:
    """Returns the message for words that are not options, with the nearest options."""
    lines = [f"options: the recipe has no field for {', '.join(words)}"]
    for word in words:
        if word.startswith("--"):
            # Most often the section is missing, as in --codebook-size.
            last = word.partition("=")[0].lstrip("-").rpartition(".")[2]
            same = [option for option in known if option.rpartition(".")[2].lstrip("-") == last]
            nearest = same or difflib.get_close_matches(word.partition("=")[0], known, n=3, cutoff=0.6)
            if nearest:
                lines.append(f"  {word}: did you mean {' or '.join(nearest[:3])}?")
    lines.append("`vqgen run RECIPE --fields` lists them all")
    return "\n".join(lines)


def _choices(annotation: Any) -> list[Any]:
    """Returns the members of a union without None, or the annotation alone."""
    members = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    return [member for member in members if member is not NoneType]


def _requirement(annotation: Any) -> str:
    """Returns the values that a type accepts, in words for an error."""
    parts = []
    for choice in _choices(annotation):
        if get_origin(choice) is Literal:
            names = ", ".join(repr(value) for value in get_args(choice))
            parts.append(f"one of {names}" if len(get_args(choice)) > 1 else names)
        elif get_origin(choice) is tuple:
            parts.append(_tuple_requirement(get_args(choice)))
        else:
            parts.append(_REQUIREMENTS.get(choice, "a value"))
    return " or ".join(parts)


def _tuple_requirement(members: tuple[Any, ...]) -> str:
    if members == (float, float):
        return "two numbers"
    if get_origin(members[0]) is Literal:
        return f"one or more of {', '.join(repr(value) for value in get_args(members[0]))}"
    return "one or more whole numbers" if members[0] is int else "one or more values"


def _placeholder(annotation: Any) -> str:
    """Returns the values that a type accepts, as a usage line shows them."""
    parts = []
    for choice in _choices(annotation):
        if get_origin(choice) is Literal:
            parts.append("{" + ",".join(map(str, get_args(choice))) + "}")
        elif get_origin(choice) is tuple:
            members = [_placeholder(member) for member in get_args(choice) if member is not ...]
            parts.append(" ".join(members) if len(members) > 1 else f"{members[0]} ...")
        else:
            parts.append(_PLACEHOLDERS.get(choice, "VALUE"))
    return "|".join(parts)


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
