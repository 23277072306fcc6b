"""Recipes from and to TOML: the ones that ship, or any file."""

import difflib
import tomllib
import warnings
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

import tomli_w
from pydantic import ValidationError

from vqgen.config.base import Config
from vqgen.config.baseline_recipe import AnyRecipe, BaselineRecipe
from vqgen.config.recipe import Recipe
from vqgen.errors import ConfigError, VQGenWarning
from vqgen.storage.files import write_text


def recipe_folder() -> Path:
    """The folder of the recipes that ship: in the wheel `vqgen/_pipelines`, in a checkout `pipelines`."""
    package = Path(str(files("vqgen")))
    shipped = package / "_pipelines"
    return shipped if shipped.is_dir() else package.parent / "pipelines"


def shipped_recipes() -> dict[str, Path]:
    """The recipes that ship, by name."""
    return {path.stem: path for path in sorted(recipe_folder().glob("*.toml"))}


def find_recipe(name_or_path: str) -> Path:
    """Finds a recipe file.

    Args:
        name_or_path: The name of a shipped recipe, or the path of a TOML file.

    Raises:
        ConfigError: There is none; the message names the nearest ones.
    """
    shipped = shipped_recipes()
    if name_or_path in shipped:
        return shipped[name_or_path]
    path = Path(name_or_path)
    if path.is_file():
        return path
    if path.suffix == ".toml" or "/" in name_or_path:
        raise ConfigError(f"recipe: there is no file {name_or_path!r}; `vqgen recipes` lists the recipes that ship")
    nearest = difflib.get_close_matches(name_or_path, shipped, n=3, cutoff=0.4) or list(shipped)
    raise ConfigError(f"recipe: there is none called {name_or_path!r}; the nearest are: {', '.join(nearest)}")


def read_recipe(path: Path) -> AnyRecipe:
    """Reads and validates a recipe file, each section for itself (`check_recipe` looks across them).

    Raises:
        ConfigError: The file is no TOML, or fields are wrong: all of them at once, with their paths.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"recipe {path}: is not a TOML file: {error}") from error
    return validate_recipe(document, origin=str(path))


def validate_recipe(document: dict[str, Any], *, origin: str, warn: bool = True) -> AnyRecipe:
    """Turns a parsed document into a recipe: that of a baseline if it has a section [autoencoder].

    Args:
        document: The recipe, section by section.
        origin: Name of the recipe in errors and warnings.
        warn: Warn of fields under their old names; no user can mend those in a folder that vqgen wrote.

    Raises:
        ConfigError: Fields are wrong: all of them at once, with their paths.
    """
    kind = BaselineRecipe if "autoencoder" in document else Recipe
    for path, renamed in _old_names(document, kind) if warn else ():
        warnings.warn(
            f"recipe {origin}: {path} is now called {renamed}; the old name will go", VQGenWarning, stacklevel=2
        )
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        lines = [_describe(problem, kind) for problem in error.errors()]
        raise ConfigError(
            "\n".join([f"recipe {origin}: {len(lines)} wrong:", *(f"  {line}" for line in lines)])
        ) from error


def save_recipe(recipe: AnyRecipe, path: Path) -> None:
    """Writes the resolved recipe, every field included, as TOML, unless it is there already."""
    text = tomli_w.dumps(recipe.model_dump(mode="json", exclude_none=True))
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)


def _old_names(document: Any, model: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yields the path and the new name of every field of a document that has an old name."""
    if not isinstance(document, dict):
        return
    for name, value in document.items():
        if name in model.old_names:
            yield f"{prefix}{name}", model.old_names[name].name
        elif name in model.model_fields:
            section = section_of(model.model_fields[name].annotation)
            for index, part in enumerate(value if isinstance(value, list | tuple) else []):
                yield from _old_names(part, section, f"{prefix}{name}.{index}.")
            if section is not None:
                yield from _old_names(value, section, f"{prefix}{name}.")


def section_of(annotation: Any) -> type[Config] | None:
    """Returns the class of a section: of the field itself, of its entries, or of what it is unless it is absent."""
    if isinstance(annotation, type) and issubclass(annotation, Config):
        return annotation
    return next((found for part in get_args(annotation) if (found := section_of(part))), None)


def _describe(problem: Any, kind: type[AnyRecipe]) -> str:
    """One line for one of pydantic's errors: path, requirement, value found, nearest key."""
    location: Sequence[int | str] = problem["loc"]
    path = ".".join(str(part) for part in location)
    if problem["type"] == "extra_forbidden":
        nearest = difflib.get_close_matches(str(location[-1]), _sibling_keys(location, kind), n=1)
        return f"{path}: is no key of a recipe" + (f"; did you mean {nearest[0]!r}?" if nearest else "")
    if problem["type"] == "missing":
        return f"{path}: is missing"
    message = problem["msg"].removeprefix("Value error, ").removeprefix("Input ")
    found = "" if "found" in message else f", found {problem['input']!r}"
    return f"{path}: {message}{found}"


def _sibling_keys(location: Sequence[int | str], kind: type[AnyRecipe]) -> list[str]:
    """The keys allowed where `location` points."""
    model: Any = kind
    for part in location[:-1]:
        if isinstance(part, int):
            continue
        annotation = model.model_fields[part].annotation
        model = next((arg for arg in getattr(annotation, "__args__", ()) if hasattr(arg, "model_fields")), annotation)
        if not hasattr(model, "model_fields"):
            return []
    return list(model.model_fields)
