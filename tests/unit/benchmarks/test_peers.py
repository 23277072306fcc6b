"""The comparison with pythae: equal times, metrics of known samples, and a whole comparison where pythae is there."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from benchmarks import peers
from benchmarks.peers import Contestant, row_of, training_minutes
from vqgen.errors import ConfigError
from vqgen.evaluation.metric import Findings, Metric
from vqgen.stages.records import StageRecord


def write_record(run, stage, seconds):
    StageRecord(stage, {}, {}, {}, complete=True, output="x", seconds=seconds).write(run / stage)


def test_time_is_that_of_all_stages_of_the_run(tmp_path):
    for stage, seconds in (("vqvae", 60.0), ("codes", 30.0), ("prior-bottom", 90.0)):
        write_record(tmp_path, stage, seconds)
    assert training_minutes(tmp_path, ["vqvae", "codes", "prior-bottom"]) == 3
    assert training_minutes(tmp_path, ["vqvae", "codes", "prior-top"]) is None


def test_run_without_times_needs_the_minutes(tmp_path, monkeypatch):
    pipe = SimpleNamespace(parts=SimpleNamespace(data=SimpleNamespace(channels=3)))
    monkeypatch.setattr(peers, "why_missing", lambda: None)
    monkeypatch.setattr(peers, "open_pipeline", lambda run, device: pipe)
    monkeypatch.setattr(peers, "build_judge", lambda *arguments, **options: None)
    monkeypatch.setattr(peers, "recipe_of", lambda pipe: SimpleNamespace(generator_stages=["vqvae"]))
    with pytest.raises(ConfigError, match=r"times of its stages, found .*; give --minutes"):
        peers.main([str(tmp_path)])


def test_row_judges_the_samples_and_the_reconstructions_of_its_contestant():
    originals = torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8)
    seen = []

    def findings(samples, name, value):
        seen.append(samples)
        return Findings([Metric("group", name, value)])

    judge: Any = SimpleNamespace(
        held_out=SimpleNamespace(images=originals),
        distribution=lambda samples: findings(samples, "frechet_distance", 5.0),
        memorisation=lambda samples: (findings(samples, "copies", 0.25), None),
    )
    drawn = torch.zeros(6, 3, 8, 8, dtype=torch.uint8)
    shifted = (originals.int() + 1 - 2 * (originals > 100)).to(torch.uint8)  # each sample differs by one
    contestant = Contestant("it", 7, 2.0, lambda count: drawn[:count], lambda images: shifted)
    row, images = row_of(contestant, judge, 6)
    assert row["model"] == "it"
    assert (row["frechet_distance"], row["copies"], row["recall"]) == (5.0, 0.25, None)
    assert row["psnr"] == pytest.approx(20 * torch.log10(torch.tensor(255.0)).item(), rel=1e-4)
    assert images is not None and torch.equal(images, drawn)
    assert all(torch.equal(samples.images, drawn) and (samples.labels == -1).all() for samples in seen)


def test_picture_shows_samples_of_all_labels():
    images = torch.arange(500)[:, None, None, None].expand(-1, 3, 2, 2).clamp(max=255).to(torch.uint8)
    shown = peers._spread(images)
    assert len(shown) == 64
    assert shown[0, 0, 0, 0] == 0 and len(shown[:, 0, 0, 0].unique()) > 30


@pytest.mark.slow
def test_pythae_trains_within_its_time_and_draws_images():
    pytest.importorskip("pythae")
    from benchmarks.pythae_images import fit

    images = torch.randint(0, 256, (40, 3, 32, 32), dtype=torch.uint8)
    images[0] = 255
    fitted = fit("cifar", images, images[:8], 4.0, seed=0)
    assert min(fitted.epochs) >= 1
    assert fitted.reconstruct(images[:3]).shape == (3, 3, 32, 32)
    samples = fitted.sample(2, seed=1)
    assert samples.shape == (2, 3, 32, 32) and samples.dtype == torch.uint8
    assert torch.equal(samples, fitted.sample(2, seed=1))
