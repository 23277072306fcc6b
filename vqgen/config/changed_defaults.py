"""Fields whose default differs from the behaviour before they were added.

A new recipe without such a field gets the default. A recipe that vqgen stored without it was made before, so there it
means the behaviour of then (see `added_field`).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_origin

from vqgen.config.base import Config, is_new_behaviour, section_of

_Path = tuple[str, ...]


def with_behaviour_of_then(document: Mapping[str, Any], kind: type[Config]) -> dict[str, Any]:
    """Completes a stored document: fields that were added since get the behaviour before them.

    Args:
        document: A section that vqgen wrote, with its sections.
        kind: The class of the section.
    """
    completed = dict(document)
    for path, before in changed_defaults(kind):
        section = completed
        for name in path[:-1]:
            inner = section.get(name)
            if not isinstance(inner, Mapping):
                break
            section[name] = dict(inner)
            section = section[name]
        else:
            section.setdefault(path[-1], before)
    return completed


def continued(recipe: Config, saved: Config, source: Mapping[str, Any], options: Sequence[str]) -> dict[str, Any]:
    """Returns the fields of such a kind in which a recipe should follow the run that it continues.

    The command that began a run then continues it with the behaviour of then.

    Args:
        recipe: The recipe, with its options.
        saved: The recipe of the run.
        source: The document of the recipe. A field that it names stays as it is.
        options: Words of the command line. A field that they name stays as it is.

    Returns:
        The document of the recipe with these fields of the run; empty if there are none.
    """
    named = {option.partition("=")[0].replace("-", "_") for option in options}
    document = recipe.model_dump()
    differs = False
    for path, _ in changed_defaults(type(recipe)):
        if f"__{'.'.join(path)}" in named or _at(source, path) is not _ABSENT:
            continue
        value = _at(saved.model_dump(), path)
        section = _at(document, path[:-1])
        if value is _ABSENT or not isinstance(section, dict) or section.get(path[-1]) == value:
            continue
        section[path[-1]] = value
        differs = True
    return document if differs else {}


def changed_defaults(kind: type[Config], prefix: _Path = ()) -> Iterator[tuple[_Path, Any]]:
    """Yields the path of each such field below a section, and the behaviour before it was added.

    Repeated sections, as those of the priors, have none.
    """
    for name, field in kind.model_fields.items():
        if is_new_behaviour(kind, name):
            assert isinstance(field.json_schema_extra, dict)
            yield (*prefix, name), field.json_schema_extra["before"]
        section = section_of(field.annotation)
        if section is not None and get_origin(field.annotation) is not tuple:
            yield from changed_defaults(section, (*prefix, name))


_ABSENT = object()


def _at(document: Any, path: _Path) -> Any:
    for name in path:
        if not isinstance(document, Mapping) or name not in document:
            return _ABSENT
        document = document[name]
    return document
