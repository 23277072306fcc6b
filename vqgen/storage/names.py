r"""Names of files, folders and labels: kept exactly, shown without harm, counted, compared as a reader sees them.

On Linux a name is bytes. Python returns a byte that is no UTF-8 as a lone surrogate, U+DC80 to U+DCFF, which neither a
UTF-8 file nor a terminal takes. One rule for each place:

    JSON       the escape of the surrogate, "\udcf1", which json.loads turns back
    TOML       has no surrogates: NUL and four digits, "\u0000dcf1"; no name contains a NUL
    terminal   an escape for each sign that is not printed: surrogates, control signs, marks of the writing direction
    compared   in the Unicode form NFC: macOS writes an accent as a sign of its own, and a keyboard does not
    path       a name that a file lists (a code store, an archive) becomes a path only if `stays_inside` is true
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import PurePath, PureWindowsPath
from typing import Any

_SURROGATE = re.compile("[\ud800-\udfff]")

_ESCAPED_IN_TOML = re.compile("\0([0-9a-f]{4})")

_LONGEST = 255
"""Bytes of the name of a folder, at most, on nearly every file system."""

_DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.IGNORECASE)
"""Names that Windows keeps for devices, with any suffix."""


def shown(name: str) -> str:
    """Returns a name for the terminal and for texts: every sign that is not printed becomes an escape."""
    return "".join(letter if _is_printed(letter) else repr(letter)[1:-1] for letter in name)


def shown_lines(text: str) -> str:
    """Returns a text for the terminal, line by line as `shown`: a name in it must not command the terminal."""
    return "\n".join(map(shown, text.split("\n")))


def listed(names: Sequence[str], most: int = 5) -> str:
    """Returns the first names, in quotes and with escapes, and the number of the rest."""
    rest = len(names) - most
    return ", ".join(repr(name) for name in names[:most]) + (f" and {rest} more" if rest > 0 else "")


def counted(number: int, noun: str) -> str:
    """Returns a number of things, as "1 image" or "2,000 images".

    Args:
        number: How many.
        noun: Their name in the singular. The plural has an s.
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def comparable(name: str) -> str:
    """Returns the form of a name that is equal for names that look alike: NFC."""
    return unicodedata.normalize("NFC", name)


def stays_inside(name: str, kind: type[PurePath] = PurePath) -> bool:
    """Returns True for a name that is a path to a file below the folder that it is appended to.

    A file may come from a stranger. Without this check a name in it could stand for any file of the user.

    Args:
        name: The name: a relative path.
        kind: The paths of the system; those of this one unless a test asks for others.
    """
    path = kind(name)
    if path.is_absolute() or path.anchor or ".." in path.parts or "\0" in name or not path.name:
        return False
    # On Windows a colon names another stream of a file, and a few names are devices in every folder.
    is_windows = isinstance(path, PureWindowsPath)
    return not (is_windows and any(":" in part or _DEVICE.fullmatch(part) for part in path.parts))


def key_on_disk(name: str) -> str:
    """Returns the form that is equal for names that some file system takes for one: by case, or by Unicode form."""
    return comparable(comparable(name).casefold())


def json_text(text: str) -> str:
    """Escapes the surrogates in a JSON document, so that it becomes a UTF-8 file. The values stay the same."""
    # In JSON a surrogate can only stand in a string, where the escape means the same.
    return _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def for_toml(value: Any) -> Any:
    """Returns a document with the surrogates of its texts escaped; `from_toml` turns it back."""
    return _in_texts(value, lambda text: _SURROGATE.sub(lambda found: f"\0{ord(found[0]):04x}", text))


def from_toml(value: Any) -> Any:
    """Returns a document that `for_toml` escaped as it was."""
    return _in_texts(value, lambda text: _ESCAPED_IN_TOML.sub(lambda found: chr(int(found[1], 16)), text))


def folder_names(names: Sequence[str], taken: Iterable[str] = ()) -> list[str]:
    """Returns a name of a folder for each label: all different, on every file system.

    A sign that some file system refuses becomes an underscore. A name that is then empty, too long, taken, the name of
    a device of Windows, or equal to another one but for upper and lower case, ends with the index of its label.

    Args:
        names: Names of the labels.
        taken: Names in the same folder that are not labels.

    Returns:
        One name per label, in the order of the labels.
    """
    plain = [_plain(name) for name in names]
    counts = Counter(map(key_on_disk, plain))
    reserved = set(map(key_on_disk, taken))
    # An index never makes a name that another label has by itself.
    used = reserved | set(counts)
    result = []
    for index, name in enumerate(plain):
        if counts[key_on_disk(name)] > 1 or key_on_disk(name) in reserved or not _is_safe(name):
            name = _numbered(name, index, used)
            used.add(key_on_disk(name))
        result.append(name)
    return result


def _is_printed(letter: str) -> bool:
    return letter.isprintable() or unicodedata.category(letter) == "Zs"  # the spaces of all scripts


def _in_texts(value: Any, change: Any) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {key: _in_texts(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_in_texts(item, change) for item in value]
    return value


def _plain(name: str) -> str:
    """Replaces the signs that a file system may refuse. Dots and spaces at the ends go: Windows drops them."""
    return "".join(letter if _is_plain(letter) else "_" for letter in comparable(name)).strip(". ")


def _is_plain(letter: str) -> bool:
    # Signs of the category M belong to the letter before them: the vowels of Devanagari and Thai.
    return letter.isalnum() or letter in "_. -" or unicodedata.category(letter).startswith("M")


def _is_safe(name: str) -> bool:
    return name not in ("", "_") and not _DEVICE.fullmatch(name) and len(name.encode()) <= _LONGEST


def _numbered(name: str, index: int, used: Collection[str]) -> str:
    """Returns a name with an index, and with underscores until it is new."""
    end = f"_{index}"
    while True:
        # "_" stands for a name without a letter, so that the result has one underscore more.
        start = (name or "_").encode()[: _LONGEST - len(end)].decode(errors="ignore")
        if key_on_disk(start + end) not in used:
            return start + end
        end += "_"
