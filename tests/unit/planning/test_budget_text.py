from dataclasses import replace

import pytest

from vqgen.data import ImageCounts
from vqgen.planning.budget_choice import BudgetChoice, Tried
from vqgen.planning.budget_pictures import Pictures
from vqgen.planning.budget_text import choice_lines, exact_duration
from vqgen.planning.budget_times import StageTime

PICTURES = Pictures(ImageCounts(450, 50, 0, 5), 128, False, 1e-3, ())
TIMES = (StageTime("preparation", 1.0), StageTime("vqvae", 70.0, 1200, 0.05, 60.0))


def choice(tiny_recipe, share=0.5, tried=("small", "tiny"), *, is_measured=True):
    rows = tuple(Tried(name, 3600.0, is_measured) for name in tried)
    return BudgetChoice("tiny", share, tiny_recipe(), TIMES, 71.0, rows)


def test_choice_tells_size_steps_times_and_the_reason(tiny_recipe):
    text = "\n".join(choice_lines(90.0, choice(tiny_recipe), PICTURES))
    assert text.startswith("budget 90s: tiny, with 50 % of its usual steps; about 1.2 min from here on")
    assert "450 pictures" in text
    assert any(line.split() == ["vqvae", "1,200", "0.05", "s", "1.2", "min"] for line in text.splitlines())
    assert "small: not chosen; with the fewest steps that are worth its size it takes about 60 min (measured)" in text


def test_estimated_reason_says_so(tiny_recipe):
    assert "(estimated)" in "\n".join(choice_lines(90.0, choice(tiny_recipe, is_measured=False), PICTURES))


def test_largest_candidate_needs_no_reason(tiny_recipe):
    text = "\n".join(choice_lines(90.0, choice(tiny_recipe, share=1, tried=("tiny",)), PICTURES))
    assert "not chosen" not in text
    assert "tiny, with all of its steps" in text


def test_size_that_needs_too_much_memory_is_named(tiny_recipe):
    chosen = replace(choice(tiny_recipe, tried=("tiny",)), too_large="large: not chosen; it needs 9 GB of memory")
    assert "  large: not chosen; it needs 9 GB of memory" in choice_lines(90.0, chosen, PICTURES)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1s"), (90.0, "90s"), (119.5, "2m"), (600.0, "10m"), (2700.0, "45m"), (3600.0, "1h"), (5400.0, "1h30m"),
     (7325.0, "2h2m5s")],
)  # fmt: skip
def test_durations_are_written_as_the_option_takes_them(seconds, text):
    assert exact_duration(seconds) == text
