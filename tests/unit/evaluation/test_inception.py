import sys

import pytest
import torch

from vqgen.errors import CheckpointError, ConfigError
from vqgen.evaluation.inception import InceptionSpace
from vqgen.runtime.compute import Compute

CPU = Compute.resolve("cpu")


@pytest.fixture(scope="module")
def inception_weights(tmp_path_factory):
    """A file of random weights, in the form of the published ones, and their network."""
    module = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "load_state_dict_from_url", lambda *a, **k: {})
        patch.setattr(module.FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None)
        network = module.FeatureExtractorInceptionV3("drawn", ["2048", "logits_unbiased"])
    torch.save(network.state_dict(), path)
    return path, network


@pytest.mark.parametrize("channels", [1, 3])
def test_inception_equals_torch_fidelity(inception_weights, channels):
    path, network = inception_weights
    images = torch.randint(256, (2, channels, 16, 16), dtype=torch.uint8)
    found = InceptionSpace(path, CPU)(images)
    values, logits = network(images.expand(-1, 3, -1, -1).contiguous())
    assert found.space.startswith("inception ")
    assert found.values.shape == (2, 2048)
    torch.testing.assert_close(found.values, values.double())
    torch.testing.assert_close(found.log_probabilities, logits.double().log_softmax(1))


def test_files_without_inception_are_refused(tmp_path):
    pytest.importorskip("torch_fidelity")
    torch.save({"weight": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"other\.pth: should hold the weights of Inception, .*: weight"):
        InceptionSpace(tmp_path / "other.pth", CPU)
    with pytest.raises(ConfigError, match="there is no such file; torch-fidelity publishes it as weights-inception"):
        InceptionSpace(tmp_path / "gone.pth", CPU)


def test_missing_torch_fidelity_is_refused_with_the_extra_to_install(tmp_path, monkeypatch):
    weights = tmp_path / "weights.pth"
    weights.write_bytes(b"")
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", None)
    with pytest.raises(ConfigError, match=r"torch-fidelity, which is not installed; `pip install 'vqgen\[evaluate\]'`"):
        InceptionSpace(tmp_path / "weights.pth", CPU)
