"""Recipes as TOML files: the ones that ship with vqgen, and any other file."""

import difflib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import ValidationError

from vqgen.config.base import Config, section_of
from vqgen.config.baseline_recipe import AnyRecipe, BaselineRecipe
from vqgen.config.changed_defaults import continued, with_behaviour_of_then
from vqgen.config.recipe import Recipe
from vqgen.errors import ConfigError, VQGenWarning
from vqgen.storage.documents import read_toml
from vqgen.storage.files import write_text
from vqgen.storage.names import counted, for_toml, from_toml


def recipe_folder() -> Path:
    """Returns the folder of the recipes that ship: `vqgen/_pipelines` in a wheel, `pipelines` in a checkout."""
    package = Path(str(files("vqgen")))
    shipped = package / "_pipelines"
    return shipped if shipped.is_dir() else package.parent / "pipelines"


def shipped_recipes() -> dict[str, Path]:
    """Returns the recipes that ship: name -> file, in the order of their names."""
    return {path.stem: path for path in sorted(recipe_folder().glob("*.toml"))}


def find_recipe(name_or_path: str) -> Path:
    """Finds a recipe file.

    Args:
        name_or_path: The name of a shipped recipe, or the path of a TOML file.

    Raises:
        ConfigError: There is no such recipe. The message names the nearest ones.
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
    raise ConfigError(
        f"recipe: should be the name of a recipe that ships, or a file, found {name_or_path!r}; "
        f"the nearest are: {', '.join(nearest)}"
    )


def read_recipe(path: Path) -> AnyRecipe:
    """Reads a recipe file and validates each field. `check_recipe` then checks that the sections fit together.

    Raises:
        ConfigError: The file is not a TOML file, or fields are wrong. The message lists all of them with their paths.
    """
    document = read_toml(path, error=ConfigError, remedy="correct it, or restore it")
    kind = _kind_of(document)
    return validate_recipe(with_behaviour_of_then(document, kind) if _is_stored(path) else document, origin=str(path))


def validate_recipe(document: dict[str, Any], *, origin: str, stored: bool = False) -> AnyRecipe:
    """Turns a parsed document into a recipe. A section [autoencoder] makes it the recipe of a baseline.

    Args:
        document: The recipe, section by section.
        origin: Name of the recipe in errors and warnings.
        stored: True for a document that vqgen wrote. Fields under old names then give no warning, which the user could
            not mend, and a field that is missing means the behaviour before it was added.

    Raises:
        ConfigError: Fields are wrong. The message lists all of them with their paths.
    """
    kind = _kind_of(document)
    if stored:
        document = with_behaviour_of_then(document, kind)
    for path, renamed in () if stored else _old_names(document, kind):
        warnings.warn(
            f"recipe {origin}: {path} is now called {renamed}; the old name will go", VQGenWarning, stacklevel=2
        )
    try:
        return kind.model_validate(from_toml(document))
    except ValidationError as error:
        lines = [_describe(problem, kind) for problem in error.errors()]
        title = f"recipe {origin}: found {counted(len(lines), 'wrong field')}:"
        raise ConfigError("\n".join([title, *(f"  {line}" for line in lines)])) from error


def with_behaviour_of_run(recipe: AnyRecipe, source: Path, options: Sequence[str], folder: Path) -> AnyRecipe:
    """Returns the recipe with the behaviour of the run in a folder, where a default has changed since.

    So the command that began a run continues it (see `continued`).

    Args:
        recipe: The recipe, with its options.
        source: The file of the recipe.
        options: Words of the command line that override fields.
        folder: The run folder, which may not exist.
    """
    saved = folder / "recipe.toml"
    if not saved.is_file():
        return recipe
    document = continued(recipe, read_recipe(saved), read_toml(source, error=ConfigError), options)
    return type(recipe).model_validate(document) if document else recipe


def _kind_of(document: Mapping[str, Any]) -> type[AnyRecipe]:
    """Returns the class of a recipe. A section [autoencoder] makes it the recipe of a baseline."""
    return BaselineRecipe if "autoencoder" in document else Recipe


def _is_stored(path: Path) -> bool:
    """Returns True for the recipe of a run folder or of a pipeline folder, which vqgen wrote."""
    neighbours = ("pipeline.json", "pipeline", "vqvae/stage.json", "autoencoder/stage.json", "classifier/stage.json")
    return path.name == "recipe.toml" and any((path.parent / name).exists() for name in neighbours)


def save_recipe(recipe: AnyRecipe, path: Path) -> None:
    """Writes the resolved recipe, with every field, as TOML. An equal file stays untouched, with its time of change."""
    # TOML has no null. A field that is absent gets its default, which is None for every field that can be None.
    text = tomli_w.dumps(for_toml(recipe.model_dump(mode="json", exclude_none=True)))
    if not path.is_file() or path.read_bytes() != text.encode():
        write_text(path, text)


def _old_names(document: Any, model: type[Config], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yields the path and the new name of every field that a document has under its old name."""
    if not isinstance(document, dict):
        return
    for name, value in document.items():
        if name in model.old_names:
            yield f"{prefix}{name}", model.old_names[name].name
        elif name in model.model_fields:
            section = section_of(model.model_fields[name].annotation)
            if section is None:
                continue
            # Not validated yet: a value of the wrong kind has no old names, and is refused afterwards.
            for index, part in enumerate(value if isinstance(value, list | tuple) else []):
                yield from _old_names(part, section, f"{prefix}{name}.{index}.")
            yield from _old_names(value, section, f"{prefix}{name}.")


def _describe(problem: Any, kind: type[AnyRecipe]) -> str:
    """Returns one line for an error of pydantic: path, requirement, value found, nearest key."""
    location: Sequence[int | str] = problem["loc"]
    path = ".".join(str(part) for part in location)
    if problem["type"] == "extra_forbidden":
        nearest = difflib.get_close_matches(str(location[-1]), _sibling_keys(location, kind), n=1)
        return f"{path}: is not a field of a recipe" + (f"; did you mean {nearest[0]!r}?" if nearest else "")
    if problem["type"] == "missing":
        return f"{path}: is missing"
    # pydantic says "Input should be ..."; with the path in front that is the form of all our messages.
    message = problem["msg"].removeprefix("Value error, ").removeprefix("Input ")
    found = "" if "found" in message else f", found {problem['input']!r}"
    return f"{path}: {message}{found}"


def _sibling_keys(location: Sequence[int | str], kind: type[AnyRecipe]) -> list[str]:
    """Returns the names that are allowed where `location` points."""
    model: type[Config] = kind
    for part in location[:-1]:
        if isinstance(part, int):  # the entries of a list share the class that its name led to
            continue
        section = section_of(model.model_fields[part].annotation)
        if section is None:
            return []
        model = section
    return list(model.model_fields)
