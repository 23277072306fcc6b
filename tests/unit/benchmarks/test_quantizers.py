"""The comparison of quantizers: the same recipe and time for all, and figures of held-out images."""

from argparse import Namespace

import pytest

from benchmarks import quantizers
from benchmarks.quantizers import KINDS, document_of, filling_steps, rows_of, timed
from vqgen.config.checks import check_recipe
from vqgen.config.loading import validate_recipe
from vqgen.config.quantizer import QuantizerSettings


def arguments(tmp_path, **changes):
    settings = {
        "data_root": None, "image_size": 64, "minutes": 0.05, "kinds": ["ema"], "sizes": [16], "seeds": [0],
        "work": tmp_path, "device": "cpu", "dtype": "float32", "json": tmp_path / "rows.json",
    }  # fmt: skip
    return Namespace(**settings | changes)


@pytest.mark.parametrize("root", [None, "photos"])
def test_recipe_fits_every_kind_and_size(tmp_path, root):
    document = document_of(arguments(tmp_path, data_root=root))
    for settings in KINDS.values():
        for size in (256, 1024):
            vqvae = document["vqvae"] | {"codebook_size": size, "quantizer": settings}
            check_recipe(validate_recipe(document | {"vqvae": vqvae}, origin="test"))


def test_every_kind_of_quantizer_is_measured():
    kinds = {QuantizerSettings.model_validate(settings).kind for settings in KINDS.values()}
    assert kinds == {("ema",), ("cosine",), ("simvq",), ("fsq",), ("lfq",)}


@pytest.mark.parametrize("start", [0.0, 30.0])
def test_steps_fill_the_time_twice_however_long_a_training_takes_to_start(monkeypatch, start):
    """A step takes 0.1 s, so 100 s have 1,000 steps."""
    now = [0.0]
    monkeypatch.setattr(quantizers.time, "perf_counter", lambda: now[0])

    def probe(steps):
        now[0] += 500.0  # preparation, which is no part of the training

        def train():
            now[0] += start + 0.1 * steps

        return train

    assert filling_steps(100.0, probe) == 2000


def test_trainings_have_their_time(tmp_path):
    document = document_of(arguments(tmp_path))
    seconds = {"vqvae": 30.0, "priors": 5.0, "classifier": 2.0}
    recipe = validate_recipe(timed(document, seconds, {"vqvae": 100, "priors": 50, "classifier": 20}), origin="test")
    assert [train.max_seconds for train in recipe.trainings] == [30, 5, 5, 2]
    assert [train.steps for train in recipe.trainings] == [100, 50, 50, 20]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:codes. have collapsed")  # nothing is learned in three seconds
@pytest.mark.filterwarnings("ignore:.*is slower than planned")  # nor is the speed of a busy machine foreseen
def test_row_is_of_the_held_out_images(tmp_path, monkeypatch):
    monkeypatch.setattr(quantizers, "_PROBES", (1, 2, 6))
    (row,) = rows_of(arguments(tmp_path))
    assert row["kind"] == "ema" and row["codes"] == 16
    assert 5 < row["psnr"] < 30
    assert row["distance"] > 0
    assert 0 < row["usage_top"] <= 1 and 0 < row["perplexity_bottom"] <= 1
    # A code of 16 has at most log2(16) = 4 bits, and an untrained prior a little more: 2 x 2 and 4 x 4 codes.
    assert 0 < row["bits_per_picture"] < 1.5 * 4 * (2 * 2 + 4 * 4)
    assert rows_of(arguments(tmp_path)) == [row]  # all is complete
