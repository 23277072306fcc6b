import argparse

import numpy as np
import pytest
from codec_models import noise_picture
from PIL import Image

from vqgen.commands import attribute
from vqgen.commands.attribute import _between, _check_direction, add_arguments
from vqgen.errors import ConfigError


def parse(*words):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(["checkpoint", "image.png", "-o", "out", *words])


@pytest.fixture
def run(call, opens, pipe, tmp_path):
    """Moves three pictures along the direction between two folders."""
    opens(pipe)
    for seed, name in enumerate(("a.png", "b.png", "c.png", "without/a.png", "with/a.png")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        noise_picture(8, 8, seed=seed).save(tmp_path / name)
    pictures = [tmp_path / name for name in ("a.png", "b.png", "c.png")]
    ends = ("--without", tmp_path / "without", "--with", tmp_path / "with")
    return lambda *words: call(attribute, "c", *pictures, "-o", tmp_path / "out", *ends, *words)


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


@pytest.mark.parametrize("kind", ["gif", "apng", "webp"])
def test_animation_has_all_pictures_in_each_frame_and_both_ends(run, tmp_path, kind):
    assert run("--strengths", -1, 0, 2, "--animate", kind, "--frames", 5) == 0
    with Image.open(tmp_path / "out" / "attribute.png") as picture:
        table = np.asarray(picture)
    step = 96 + 6  # a picture, enlarged, and its margin
    with Image.open(tmp_path / "out" / f"attribute.{kind}") as film:
        assert (film.size, film.n_frames) == ((2 * step + 6, 2 * step + 6), 5)
        for frame, column in ((0, 1), (2, 2), (4, 3)):
            film.seek(frame)
            shown = np.asarray(film.convert("L"))
            for row, (down, right) in enumerate([(0, 0), (0, 1), (1, 0)]):
                cell = shown[6 + down * step :, 6 + right * step :][:96, :96]
                assert (cell == table[6 + row * step :, 6 + column * step :][:96, :96]).all()


def test_animation_of_one_strength_is_refused(run, tmp_path):
    with pytest.raises(ConfigError, match="--strengths: should be at least 2 for an animation, found 1"):
        run("--strengths", 1, "--animate", "gif")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("given", "count", "expected"),
    [
        ((0.0, 1.0), 2, [0, 1]),
        ((0.0, 1.0), 5, [0, 0.25, 0.5, 0.75, 1]),
        ((-1.0, 0.0, 2.0), 5, [-1, -0.5, 0, 1, 2]),
        ((2.0, 0.0, 2.0), 3, [2, 0, 2]),
    ],
)
def test_strengths_lie_at_equal_distances_along_the_given_ones(given, count, expected):
    assert _between(given, count) == pytest.approx(expected)
