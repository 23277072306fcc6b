"""The levels that a reader decodes: all of a file, those that were asked for, or those that a cut file has whole.

    header | coarsest level | ... | finest level | alpha planes | checksum of all of it: in the header

A file holds its levels from coarse to fine, so the beginning of a file holds the coarse ones. The checksum covers the
codes of all levels and the alpha planes together. So it can be compared only where all of them are there, and nothing
but the header guards a preview.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from vqgen.arguments import as_flag
from vqgen.config import VQVAEConfig
from vqgen.errors import BitstreamError
from vqgen.models.levels_alone import as_levels


@dataclass(frozen=True)
class TakenLevels:
    """The levels that are taken from one file, or from one block of an archive.

    Attributes:
        names: The levels to decode alone, coarse to fine.
        count: Levels to read, counted from the coarsest: a finer level may need the coarser ones.
        is_checked: True if all that the checksum covers is read, so that it is compared.
        cut: The reason why levels or alpha planes are missing; None if nothing is missing that was asked for.
    """

    names: tuple[str, ...]
    count: int
    is_checked: bool
    cut: str | None = None


@dataclass(frozen=True)
class LevelChoice:
    """A request for levels.

    Attributes:
        levels: All levels of the model, coarse to fine.
        names: The levels to decode alone, coarse to fine.
        allow_partial: True if a cut file may give the levels that it has whole.
    """

    levels: tuple[str, ...]
    names: tuple[str, ...]
    allow_partial: bool = False

    @staticmethod
    def of(config: VQVAEConfig, names: Sequence[str] | None = None, allow_partial: bool = False) -> "LevelChoice":
        """Checks a request.

        Args:
            config: Configuration of the VQ-VAE.
            names: Names of the levels to decode alone, in any order; None for all.
            allow_partial: As in the class.

        Raises:
            ConfigError: The VQ-VAE has no such level, or a value is of a wrong type.
        """
        allow_partial = as_flag("allow_partial", allow_partial)
        return LevelChoice(config.levels, config.levels if names is None else as_levels(names, config), allow_partial)

    @property
    def count(self) -> int:
        """The number of levels to read, counted from the coarsest."""
        return self.levels.index(self.names[-1]) + 1

    @property
    def needs_all(self) -> bool:
        """True if everything is read: the finest level, and with it the alpha planes behind it."""
        return self.count == len(self.levels)

    def take(self, ends: Sequence[int], found: int, cut: BitstreamError | None) -> TakenLevels:
        """Takes the levels that were asked for.

        Args:
            ends: The offset behind the segment of each level, coarse to fine.
            found: Bytes that are there.
            cut: The error of a file that is cut short; None for a whole one.

        Raises:
            BitstreamError: The file is cut short, and partial files are not allowed, or no level that was asked for is
                whole.
        """
        if cut is None:
            return TakenLevels(self.names, self.count, self.needs_all)
        if not self.allow_partial:
            raise cut
        whole = self.levels[: sum(end <= found for end in ends)]
        names = tuple(name for name in self.names if name in whole)
        has = f"; of its levels {', '.join(self.levels)} it has {', '.join(whole) or 'none'} whole"
        if not names:
            raise BitstreamError(f"{cut}{has}") from cut
        return TakenLevels(names, self.levels.index(names[-1]) + 1, False, f"{cut}{has}")
