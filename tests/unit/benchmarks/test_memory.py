import sys

import numpy as np
import pytest

from benchmarks.memory import peak_of, programs, smooth_noise


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_smooth_noise_has_the_size_and_the_mode(mode):
    picture = smooth_noise(40, mode)
    assert picture.size == (40, 40)
    assert picture.mode == mode
    assert np.asarray(picture).std() > 10


def test_peak_counts_memory_that_is_free_again():
    """A process takes 300 MB, frees them, and goes on."""
    code, peak = peak_of([sys.executable, "-c", "import time; x = bytearray(300_000_000); del x; time.sleep(0.2)"])
    assert code == 0
    assert 300e6 < peak < 400e6


def test_commands_are_words_of_a_program(tmp_path):
    for words in programs(tmp_path, tmp_path / "large.png", tmp_path / "small").values():
        assert words()[:3] == [sys.executable, "-m", "vqgen"]
