import json
from dataclasses import asdict, replace

import pytest
import torch

from vqgen.errors import CheckpointError, DataError
from vqgen.evaluation.features import Features
from vqgen.evaluation.stored_features import FeatureOrigin, check_stored_features, load_features, save_features
from vqgen.storage.tensors import save_tensors

ORIGIN = FeatureOrigin(7, "ab" * 32, "float32", "classifier 0123")


@pytest.fixture
def path(tmp_path):
    """A file of the features of `ORIGIN`."""
    save_features(features(), ORIGIN, tmp_path / "f.safetensors")
    return tmp_path / "f.safetensors"


def features():
    values = torch.arange(21).view(7, 3).double()
    return Features(values, "classifier 0123", (values + 1).log_softmax(1))


def test_saved_features_come_back(path):
    loaded = load_features(path, ORIGIN)
    assert loaded.space == "classifier 0123"
    assert torch.equal(loaded.values, features().values)
    assert torch.equal(loaded.log_probabilities, features().log_probabilities)


@pytest.mark.parametrize(
    ("field", "wanted", "message"),
    [
        ("count", 8, r"8 images .*, found those of 7 images .*: another number of images; name another file"),
        ("images", "cd" * 32, r"SHA-256 cdcdcdcdcdcd.*found .*SHA-256 abababababab.*: other images, or another trans"),
        ("space", "classifier 4", r"in the space 'classifier 4' .* 'classifier 0123' in float32: another network"),
        ("dtype", "float64", r"in float64, found .* in float32: another dtype; name another file"),
    ],
)
def test_features_of_another_origin_are_refused_by_name(path, field, wanted, message):
    with pytest.raises(
        DataError, match=r"--reference-features .*f\.safetensors: should hold the features of .*" + message
    ):
        load_features(path, replace(ORIGIN, **{field: wanted}))


def test_network_that_is_not_known_yet_is_not_compared(path):
    known = replace(ORIGIN, dtype=None, space=None)
    check_stored_features(path, known)
    with pytest.raises(DataError, match="other images"):
        check_stored_features(path, replace(known, images="cd" * 32))


@pytest.mark.parametrize("space", ["classifier 0123", "inception 6726825d0123"])
def test_features_of_an_earlier_version_without_their_images_are_refused(path, space):
    save_tensors(path, {"values": features().values, "log_probabilities": features().log_probabilities}, space)
    with pytest.raises(DataError, match=r"found a file of an earlier version, which does not; remove it, or name"):
        load_features(path, replace(ORIGIN, space=space))


def test_damaged_or_foreign_files_of_features_are_refused(path):
    for text in ("", "{}", "[1]", json.dumps(asdict(replace(ORIGIN, space=None)))):
        save_tensors(path, {"weight": torch.zeros(2)}, text)
        with pytest.raises(DataError, match="should hold features that vqgen wrote, found something else"):
            check_stored_features(path, ORIGIN)
    for tensors in (
        {"values": torch.zeros(7, 2)},
        {"values": torch.zeros(6, 2), "log_probabilities": torch.zeros(7, 2)},
    ):
        save_tensors(path, tensors, json.dumps(asdict(ORIGIN)))
        with pytest.raises(DataError, match="should hold 7 rows of features, found"):
            load_features(path, ORIGIN)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(CheckpointError, match="damaged or cut short"):
        load_features(path, ORIGIN)
