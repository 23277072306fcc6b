import pytest
import torch
from reported_runs import document, splits

from vqgen.config.loading import validate_recipe
from vqgen.stages.report import nearest
from vqgen.stages.report.kept_images import read_images
from vqgen.stages.report.nearest import nearest_images
from vqgen.stages.report.run_folder import read_run


@pytest.fixture
def samples():
    return torch.randint(0, 256, (4, 1, 8, 8), dtype=torch.uint8)


def test_nearest_image_is_that_of_a_naive_search(finished, samples, monkeypatch):
    monkeypatch.setattr(nearest, "_BLOCK", 3)
    run = read_run(finished)
    train = read_images(run, splits().train, torch.arange(20))
    found = nearest_images(run, splits(), samples)
    for sample, image, distance in zip(samples, found["images"], found["distances"], strict=True):
        errors = [((sample.double() - each.double()) / 255).square().mean().sqrt() for each in train]
        assert torch.equal(image, train[int(torch.stack(errors).argmin())])
        assert float(distance) == pytest.approx(float(min(errors)), rel=1e-4)
    assert found["total"] == found["compared"] == 20
    assert 0 < float(found["usual"]) < 1


def test_training_image_is_its_own_nearest_image_by_codes_too(finished, monkeypatch):
    monkeypatch.setattr(nearest, "MOST_COMPARED", 10)
    monkeypatch.setattr(nearest, "_CANDIDATES", 5)
    run = read_run(finished)
    images = read_images(run, splits().train, torch.tensor([3, 17]))
    found = nearest_images(run, splits(), images)
    assert torch.equal(found["images"], images)
    assert found["distances"].tolist() == pytest.approx([0, 0], abs=1e-4)
    assert (int(found["compared"]), int(found["total"])) == (5, 20)
    assert torch.isnan(found["usual"])


def test_baseline_compares_some_of_many_images(finished, samples, monkeypatch):
    from dataclasses import replace

    monkeypatch.setattr(nearest, "MOST_COMPARED", 10)
    run = replace(read_run(finished), recipe=validate_recipe(document(baseline=True), origin="x"))
    found = nearest_images(run, splits(), samples)
    assert (int(found["compared"]), int(found["total"])) == (10, 20)
