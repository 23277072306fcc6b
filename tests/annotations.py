"""The check of annotations at run time: jaxtyping's import hook calls `checked` on every function of vqgen.

The option `--jaxtyping-packages` of pytest names it; see pyproject.toml.
"""

from collections.abc import Callable
from functools import cache, wraps
from typing import Any

import jaxtyping
from beartype import BeartypeConf, beartype

CHECKS = 1000
"""Checks in a test. A loop repeats the same calls, and each check takes longer than a small tensor."""

_checks_left = CHECKS


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """Checks the arguments and the result of a function. An int is a float, as PEP 484 says and type checkers agree."""

    @cache
    def prepared() -> Callable[..., Any]:  # at the first call: most functions of a module are not called
        return beartype(conf=BeartypeConf(is_pep484_tower=True))(function)

    @wraps(function)
    def check(*args: Any, **kwargs: Any) -> Any:
        global _checks_left
        _checks_left -= 1
        if not _checks_left:
            jaxtyping.config.update("jaxtyping_disable", True)
        return prepared()(*args, **kwargs)

    return check


def check_again() -> None:
    """Begins the checks of a test."""
    global _checks_left
    _checks_left = CHECKS
    jaxtyping.config.update("jaxtyping_disable", False)
