"""Pictures that a search does not find: of formats that are not read here, or under names that do not say so.

They are counted, so that no part of a folder vanishes without a word.
"""

import os
from collections import Counter
from dataclasses import dataclass, field

from vqgen.data.pictures.formats import HEAD_BYTES, Format, recognize, unread_suffixes
from vqgen.storage.names import listed

# fmt: off
IMAGE_SUFFIXES = frozenset({
    ".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg",
    ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp",
})
"""Suffixes of the image files that are read everywhere, in lower case."""

_OF_PLUGINS = frozenset({".heic", ".heics", ".heif", ".heifs", ".hif", ".jxl"})
"""Suffixes of the image files that are read if the extra of their format is installed."""

_MORE_FORMATS = {
    "camera raw": ".3fr .arw .crw .dcr .dng .erf .fff .iiq .kdc .mef .mos .mrw .nef .nrw .pef .raw .rwl .sr2 .srf .srw "
                  ".x3f",
    "microscope": ".czi .lif .mrxs .nd2 .ndpi .scn .svs .vsi",
    "Radiance HDR": ".rgbe",
    "SVG": ".svgz",
    "TGA": ".tga",
    "SGI": ".rgb .rgba .sgi",
    "DPX": ".cin .dpx",
    "JPEG XR": ".hdp",
    "FITS": ".fts",
    "EMF": ".emf",
    "DjVu": ".djvu",
    "JNG": ".jng",
    "Sun raster": ".ras",
    "XBM": ".xbm",
    "XPM": ".xpm",
}
# fmt: on
"""Format -> suffixes, beside those of `unread_suffixes`: their content does not tell them from another format."""

_NO_PICTURES = (
    ".7z .arrow .bib .bin .bz2 .c .cfg .conf .cpp .csv .dat .db .doc .docx .gz .h5 .hdf5 .htm .html .ini .ipynb .js "
    ".json .jsonl .log .lock .m4a .m4v .mat .md .mkv .mov .mp3 .mp4 .npy .npz .parquet .pdf .pickle .pkl .ps .pt .pth "
    ".py .rar .rst .safetensors .sh .sqlite .tar .tfrecord .tgz .toml .tsv .txt .vqg .vqga .wav .xls .xlsx .xml .xz "
    ".yaml .yml .zip"
)
"""Suffixes of files that nobody takes for pictures of a data set; they are not opened to find out."""

_MOST_OPENED = 1_000
"""Files of unknown kind that a search opens, at most."""


def image_suffixes() -> frozenset[str]:
    """Returns the suffixes of the image files that this installation reads, in lower case, with their dot."""
    return IMAGE_SUFFIXES | (_OF_PLUGINS - unread_suffixes().keys())


@dataclass
class Unread:
    """Pictures below a folder that are not read.

    Attributes:
        by_format: Format -> number of files whose name tells it.
        misnamed: File whose content is a picture, although its name does not say so -> its format.
        remedies: Format -> the way to have it read.
        suffixes: Suffix -> format that is not read.
        opened: Files that were opened to find out.
        more: True if some files of unknown kind were not opened.
    """

    by_format: Counter[str] = field(default_factory=Counter)
    misnamed: dict[str, str] = field(default_factory=dict)
    remedies: dict[str, str] = field(default_factory=dict)
    suffixes: dict[str, Format] = field(default_factory=unread_suffixes)
    opened: int = 0
    more: bool = False

    def __len__(self) -> int:
        return self.by_format.total() + len(self.misnamed)

    def note(self, name: str, path: str) -> None:
        """Counts a file if it is a picture.

        Args:
            name: Its name, for messages.
            path: Its path. It is opened if the name does not tell the kind of the file.
        """
        suffix = os.path.splitext(name)[1].lower()
        if suffix in _NOT_OPENED:
            return
        if (found := _SUFFIXES.get(suffix)) is not None:
            self.by_format[found] += 1
        elif (form := self.suffixes.get(suffix)) is not None:
            self.by_format[_short(form.name)] += 1
            self.remedies[_short(form.name)] = form.remedy.removesuffix(" reads it")
        elif self.opened == _MOST_OPENED:
            self.more = True
        else:
            self.opened += 1
            content = recognize(_head(path))
            # The kinds of files above have contents too, but no name that ends in this way.
            if content is not None and content.suffixes and not _NOT_OPENED.intersection(content.suffixes):
                self.misnamed[name] = _short(content.name)

    def text(self, num_read: int) -> str:
        """Returns one line: how many files of how many are not read, by format, with a remedy for each.

        Args:
            num_read: Files that are read.
        """
        parts = [self._counted(self.by_format)] if self.by_format else []
        if self.misnamed:
            formats = self._counted(Counter(self.misnamed.values()))
            parts.append(f"{formats} under names that end otherwise ({listed([*self.misnamed], 3)}; rename them)")
        count = f"{'at least ' if self.more else ''}{len(self)} of {num_read + len(self)}"
        return f"{count} files are pictures that are not read: {', '.join(parts)}"

    def _counted(self, formats: Counter[str]) -> str:
        most_first = sorted(formats.items(), key=lambda item: (-item[1], item[0]))
        return ", ".join(
            f"{count} {form}" + (f" ({self.remedies[form]})" if form in self.remedies else "")
            for form, count in most_first
        )


def _short(name: str) -> str:
    """Returns the name of a format without its article, for a count before it."""
    return name.removeprefix("an ").removeprefix("a ")


def _head(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(HEAD_BYTES)
    except OSError:
        return b""


_SUFFIXES = {suffix: form for form, suffixes in _MORE_FORMATS.items() for suffix in suffixes.split()}

_NOT_OPENED = frozenset(_NO_PICTURES.split())
