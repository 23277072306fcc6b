"""Editing by codes: masks, one pass around codes that stay, sweeps that also see the codes that come later."""

from vqgen.editing.closure import is_exact_in_one_pass, rows_below, with_dependent_codes
from vqgen.editing.editor import RESCORED, EditedCodes, EditRequest, edit_codes
from vqgen.editing.joint import Joint, joint_log_likelihood
from vqgen.editing.masks import Redrawn, check_redrawn, read_masks, redrawn_codes
from vqgen.editing.sweeps import SweepNoise, sweep

__all__ = [
    "RESCORED",
    "EditRequest",
    "EditedCodes",
    "Joint",
    "Redrawn",
    "SweepNoise",
    "check_redrawn",
    "edit_codes",
    "is_exact_in_one_pass",
    "joint_log_likelihood",
    "read_masks",
    "redrawn_codes",
    "rows_below",
    "sweep",
    "with_dependent_codes",
]
