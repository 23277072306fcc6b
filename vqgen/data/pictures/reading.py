"""The rules by which a model reads pictures: their version, and the range of samples that have none of their own."""

from dataclasses import dataclass

from vqgen.config import DataConfig
from vqgen.config.data import NEWEST_RULES, ReadingRules, ValueRange


@dataclass(frozen=True)
class Reading:
    """The rules by which pictures are read. It can be pickled, for worker processes.

    Attributes:
        rules: Version of the rules. Version 1 is the one of models that do not name a version.
        value_range: Sample values of black and white in every file; None for each file's own range.
        measured_range: Sample values of black and white in files whose samples have no range of their own; None if it
            is not known.
    """

    rules: ReadingRules = NEWEST_RULES
    value_range: ValueRange | None = None
    measured_range: ValueRange | None = None

    @classmethod
    def of(cls, data: DataConfig) -> "Reading":
        """Returns the rules of a model or a recipe."""
        return cls(data.reading_rules, data.value_range, data.measured_range)
