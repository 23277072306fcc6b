import argparse

import numpy as np
import pytest
from PIL import Image

from vqgen.commands.animating import FORMATS, add_animation_arguments, animation_options
from vqgen.errors import ConfigError
from vqgen.reports import animations


def options(*words):
    parser = argparse.ArgumentParser()
    add_animation_arguments(parser)
    return animation_options(argparse.Namespace(output="out", **vars(parser.parse_args(words))), "film")


def draw(count):
    return [Image.fromarray(np.full((4, 4), 10 * number, dtype=np.uint8)) for number in range(count)]


def test_formats_are_those_that_can_be_written():
    assert FORMATS == animations.FORMATS


def test_no_animation_is_written_unless_it_is_asked_for():
    assert options() is None
    assert options("--back") is None


@pytest.mark.parametrize("kind", FORMATS)
def test_file_has_the_name_of_its_format(kind):
    found = options("--animate", kind)
    assert (found.path.as_posix(), found.frames, found.seconds, found.plays) == (f"out/film.{kind}", 41, 2.0, 0)


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (("--frames", "1"), r"--frames: should be from 2 \(the two ends\) to 1000, found 1"),
        (("--frames", "1001"), "--frames: .*found 1001"),
        (("--seconds", "0"), "--seconds: should be above 0 and at most 3600, found 0"),
        (("--seconds", "nan"), "--seconds: .*found nan"),
        (("--plays=-1",), r"--plays: should be from 0 \(for ever\) to 65535, found -1"),
        (("--plays", "65536"), "--plays: .*found 65536"),
    ],
)
def test_number_out_of_its_range_is_refused(words, match):
    with pytest.raises(ConfigError, match=match):
        options("--animate", "gif", *words)


@pytest.mark.parametrize(
    ("words", "count", "text"),
    [
        ((), 5, "5 pictures, played again and again"),
        (("--back",), 8, "8 pictures, there and back, played again and again"),
        (("--plays", "1"), 5, "5 pictures, played 1 time"),
        (("--plays", "2"), 5, "5 pictures, played 2 times"),
    ],
)
def test_way_back_takes_its_own_time(tmp_path, monkeypatch, words, count, text):
    monkeypatch.chdir(tmp_path)
    found = options("--animate", "gif", "--frames", "5", "--seconds", "0.5", *words)
    assert found.write(draw) == f"out/film.gif: {text}"
    with Image.open("out/film.gif") as film:
        assert (film.n_frames, film.info["duration"]) == (count, 100)
