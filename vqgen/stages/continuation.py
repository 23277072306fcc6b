"""The continuation of a training: more steps from its saved state, noted in the record of its stage."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vqgen.config.lengths import Length


@dataclass(frozen=True)
class Continuation:
    """More steps for a stage that had begun, or for one that is made again with more steps.

    Attributes:
        since: Finished steps at which the training goes on; 0 if it begins anew.
        length: The length of the training before. The fields of the record have the new length.
        more: The steps that --more-steps asked for; None if the recipe was changed.
        open: True until the command that asked for it has finished. The same command then goes on, and adds no steps.
    """

    # The names of these fields are keys of stage.json.
    since: int
    length: Length
    more: int | None = None
    open: bool = True

    @staticmethod
    def read(found: Mapping[str, Any]) -> "Continuation":
        """Reads a continuation from the JSON of a record.

        Raises:
            TypeError: The keys are not those of a continuation.
        """
        return Continuation(**{**found, "length": Length(**found.get("length", {}))})


def follow(changed: set[str], continued: set[str]) -> bool:
    """Returns True if the inputs of a stage changed because a training among them was continued, for no other reason.

    Args:
        changed: Names of the inputs that changed.
        continued: Stages that were continued.
    """
    roots = {name for name in changed if source_of(name) in continued}
    # Everything but images and classifier is made from the VQ-VAE.
    of_codes = {name for name in changed if source_of(name) == "codes" or source_of(name).startswith("prior-")}
    return bool(roots) and changed <= roots | (of_codes if "vqvae" in roots else set())


def source_of(name: str) -> str:
    """Returns the stage that makes an input: a guide comes from the stage of its prior."""
    return name.replace("guide-", "prior-")
