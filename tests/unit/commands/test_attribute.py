import argparse

import pytest

from vqgen.commands.attribute import _check_direction, add_arguments
from vqgen.errors import ConfigError


def parse(*words):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(["checkpoint", "image.png", "-o", "out", *words])


@pytest.mark.parametrize("words", ["--from 1 --to 2", "--without a --with b"])
def test_direction_between_two_labels_or_two_folders_is_accepted(words):
    _check_direction(parse(*words.split()))


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("", "neither"),
        ("--from 1", "one end only"),
        ("--with a", "one end only"),
        ("--from 1 --to 2 --without a --with b", "both"),
        ("--from 1 --with b", "both"),
    ],
)
def test_incomplete_or_double_direction_is_refused(words, found):
    with pytest.raises(ConfigError, match=f"direction: should be --from LABEL --to LABEL, or .*, found {found}"):
        _check_direction(parse(*words.split()))
