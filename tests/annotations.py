"""The check of annotations at run time: jaxtyping's import hook calls `checked` on every function of vqgen.

The option `--jaxtyping-packages` of pytest names it; see pyproject.toml.
"""

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
"""Checks the arguments and the result of a function. An int is a float, as PEP 484 says and type checkers agree."""
