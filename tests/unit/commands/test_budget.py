import argparse

import pytest

from vqgen.commands.budget import budget_request, budget_seconds
from vqgen.stages.budgeted_run import BudgetRequest


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("45m", 2700), ("2h", 7200), ("90s", 90), ("1h30m", 5400), ("1.5h", 5400), (" 1 H 5 s ", 3605), ("1d", 86400),
     ("1d2h3m4s", 93784)],
)  # fmt: skip
def test_budget_is_parsed(text, seconds):
    assert budget_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "45", "m", "45x", "1h1h", "30m1h", "-5m", "1h 20", "1h;", "soon", "1e3s", "nan"])
def test_text_that_is_no_time_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match="should be a time with its units, like 45m"):
        budget_seconds(text)


@pytest.mark.parametrize("text", ["0s", "0m", "0h0m"])
def test_budget_of_zero_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match="should be above 0"):
        budget_seconds(text)


def test_words_of_a_command_become_a_request():
    arguments = argparse.Namespace(budget=60.0, recipe="digits", overrides=["--seed", "4"])
    assert budget_request(arguments, 7.0) == BudgetRequest(60.0, "digits", ("--seed", "4"), 7.0)
