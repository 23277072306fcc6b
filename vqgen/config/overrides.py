"""Command-line overrides of any field of a recipe: `--vqvae.codebook-size 256 --priors.0.layers 6`.

tyro parses the options. It would validate section by section and stop at the first error, so it is given
plain twins of the sections; the recipe is validated once, as a whole, afterwards.
"""

import contextlib
import dataclasses
import io
import re
import textwrap
from functools import cache
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import tyro

from vqgen.config.base import Config
from vqgen.config.baseline_recipe import AnyRecipe
from vqgen.config.loading import validate_recipe
from vqgen.errors import ConfigError


def apply_overrides(recipe: AnyRecipe, options: list[str]) -> AnyRecipe:
    """Returns `recipe` with the fields that `options` name replaced.

    Raises:
        ConfigError: An option is unknown or its value does not parse, or the outcome is no valid recipe.
    """
    if not options:
        return recipe
    if any(option.startswith("--classifier.") for option in options):
        recipe = with_classifier(recipe)
    output = io.StringIO()
    try:
        with contextlib.redirect_stderr(output), contextlib.redirect_stdout(output):
            plain = tyro.cli(type(_to_plain(recipe)), prog="vqgen", args=options, default=_to_plain(recipe))
    except SystemExit as stop:
        raise ConfigError(_plain_message(output.getvalue())) from stop
    return validate_recipe(dataclasses.asdict(plain), origin=f"{recipe.name!r} with the options given")


def override_help(recipe: AnyRecipe) -> str:
    """The help text of all overrides, with the values of `recipe` as defaults."""
    output, recipe = io.StringIO(), with_classifier(recipe)
    with contextlib.redirect_stdout(output), contextlib.suppress(SystemExit):
        tyro.cli(type(_to_plain(recipe)), prog="vqgen run RECIPE", args=["--help"], default=_to_plain(recipe))
    return output.getvalue()


def with_classifier(recipe: AnyRecipe) -> AnyRecipe:
    """The recipe with a section [classifier], the default one where it has none."""
    return recipe.model_copy(update={"classifier": recipe.classifier_or_default})


@cache
def _plain_type(model: type[Config], absent: tuple[str, ...]) -> type:
    """A dataclass with the fields and descriptions of `model`, but for the absent ones, and none of its validation."""
    fields = []
    for name, info in model.model_fields.items():
        if name in absent:
            continue
        annotation: Any = info.annotation
        section = _section(annotation)
        if section is not None:
            annotation = _plain_type(section, ())
        elif name == "priors":
            annotation = tuple[_plain_type(annotation.__args__[0], ()), ...]
        if info.description:
            annotation = Annotated[annotation, tyro.conf.arg(help=info.description)]
        fields.append((name, annotation))
    return dataclasses.make_dataclass(model.__name__, fields, frozen=True)


def _section(annotation: Any) -> type[Config] | None:
    """The section's class, where a field is a section or one that may be absent."""
    choices = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    return next((choice for choice in choices if isinstance(choice, type) and issubclass(choice, Config)), None)


def _to_plain(config: Config) -> Any:
    def convert(value: Any) -> Any:
        if isinstance(value, Config):
            return _to_plain(value)
        if isinstance(value, tuple):
            return tuple(convert(item) for item in value)
        return value

    values = {name: convert(getattr(config, name)) for name in type(config).model_fields}
    fields = type(config).model_fields
    absent = tuple(name for name in values if values[name] is None and _section(fields[name].annotation))
    present = {name: value for name, value in values.items() if name not in absent}
    return _plain_type(type(config), absent)(**present)


def _plain_message(text: str) -> str:
    """Tyro's message without its box, its rules and its pointer to the help."""
    lines = [re.sub(r"^[│╭╰|]|[│╮╯|]$", "", line).rstrip() for line in text.splitlines()]
    kept = [line for line in lines if not set(line) <= set(" ─-") and "helptext" not in line.lower()]
    heading = re.compile(
        r"[\s─]*(Value error|Parsing error|Unrecognized options|Invalid choice|Missing argument)[\s─]*"
    )
    return textwrap.dedent("\n".join(line for line in kept if not heading.fullmatch(line)))
