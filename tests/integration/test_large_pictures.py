"""The largest picture that a file holds, through the commands, in bounded memory and among others."""

import sys

import numpy as np
import pytest
from PIL import Image

from benchmarks.memory import CHECKPOINT, peak_of, smooth_noise

_SIDE = 8192
"""67 megapixels: the most that a file can hold."""

_MOST = 1_500_000_000
"""Bytes of the whole process, with the libraries of torch, which take half of it."""


def vqgen(*words):
    return peak_of([sys.executable, "-m", "vqgen", *map(str, words)])


@pytest.mark.slow
def test_largest_picture_passes_the_commands_in_bounded_memory_and_a_torn_one_fails_alone(tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(20):
        smooth_noise(16, "L", number).save(pictures / f"{number:02d}.png")
    large = pictures / "10-large.png"
    smooth_noise(_SIDE, "RGB").save(large, compress_level=1)
    (pictures / "11-torn.png").write_bytes(large.read_bytes()[:10_000])

    code, peak = vqgen("compress", CHECKPOINT, pictures, "-o", tmp_path / "small", "--coder", "static", "--quiet")
    assert code == 1
    assert peak < _MOST
    assert len(list((tmp_path / "small").glob("*.vqg"))) == 21

    code, peak = vqgen("decompress", CHECKPOINT, tmp_path / "small", "-o", tmp_path / "restored", "--quiet")
    assert code == 0
    assert peak < _MOST
    with Image.open(tmp_path / "restored" / "10-large.png.png") as restored:
        assert restored.size == (_SIDE, _SIDE)
        assert np.asarray(restored.resize((64, 64))).std() > 5  # it shows something

    for verb in ("reconstruct", "encode"):
        code, peak = vqgen(verb, CHECKPOINT, pictures, "-o", tmp_path / verb)
        assert code == 1
        assert peak < _MOST
