from dataclasses import replace

import numpy as np
import pytest
import torch
from reported_runs import splits

from vqgen.errors import DataError
from vqgen.stages.report import kept_images
from vqgen.stages.report.kept_images import kept_tensors, opener_of, original_images
from vqgen.stages.report.run_folder import read_run


def fail():
    raise DataError("no images")


def test_originals_are_validation_images_and_are_kept(run_copy):
    run = read_run(run_copy)
    (run_copy / "report" / "originals.safetensors").unlink()
    images, labels = original_images(run, opener_of(run, splits()))
    validation = splits().validation
    assert torch.equal(images[2, 0], torch.from_numpy(np.array(validation.read(2))))
    assert labels.tolist() == validation.labels.tolist()
    again, _ = original_images(run, fail)
    assert torch.equal(again, images)


def test_originals_of_other_images_are_read_again(run_copy):
    run = read_run(run_copy)
    first = run.records["vqvae"]
    other = replace(run, records={**run.records, "vqvae": replace(first, inputs={"images": "another"})})
    with pytest.raises(DataError, match="no images"):
        original_images(other, fail)


def test_damaged_file_is_made_again(run_copy):
    path = run_copy / "report" / "x.safetensors"
    path.write_bytes(b"damaged")
    run = read_run(run_copy)
    made = kept_tensors(run, "x", 1, lambda: {"a": torch.ones(2)})
    assert made["a"].tolist() == [1, 1]
    assert kept_tensors(run, "x", 1, fail)["a"].tolist() == [1, 1]
    with pytest.raises(DataError):
        kept_tensors(run, "x", 2, fail)


def test_folder_that_cannot_be_written_does_no_harm(run_copy):
    folder = run_copy / "report"
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    folder.write_text("a file in its place")
    assert kept_tensors(read_run(run_copy), "x", 1, lambda: {"a": torch.ones(2)})["a"].tolist() == [1, 1]


def test_images_are_opened_once_and_never_downloaded(run_copy, monkeypatch):
    calls = []

    def opened(config, seed, *, exclusions):
        calls.append(config.download)
        return splits()

    monkeypatch.setattr(kept_images, "open_images", opened)
    opener = opener_of(read_run(run_copy))
    assert opener() is opener()
    assert calls == [False]


def test_other_images_in_their_place_are_refused(run_copy, monkeypatch):
    monkeypatch.setattr(kept_images, "open_images", lambda *_, **__: replace(splits(), fingerprint="another"))
    with pytest.raises(DataError, match="other images"):
        opener_of(read_run(run_copy))()
