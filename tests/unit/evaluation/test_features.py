import pytest
import torch

from vqgen.data import to_float
from vqgen.errors import CheckpointError, ConfigError, DataError
from vqgen.evaluation.features import ClassifierSpace, Features, check_same_space, halves, load_features, save_features
from vqgen.evaluation.inception import InceptionSpace
from vqgen.runtime.compute import Compute

CPU = Compute.resolve("cpu")


def features(space="classifier 0123"):
    return Features(torch.randn(7, 3).double(), space, torch.randn(7, 4).double().log_softmax(1))


def test_a_classifier_gives_its_penultimate_layer(make_classifier):
    classifier = make_classifier()
    images = torch.randint(256, (250, 1, 8, 8), dtype=torch.uint8)
    found = ClassifierSpace(classifier, "0123456789abcdef", CPU)(images)
    assert found.space == "classifier 0123456789ab"
    with torch.no_grad():
        pixels = to_float(images)
        torch.testing.assert_close(found.values, classifier.features(pixels).double(), rtol=0, atol=1e-5)
        expected = classifier(pixels).double().log_softmax(1)
    torch.testing.assert_close(found.log_probabilities, expected, rtol=0, atol=1e-5)


def test_features_of_two_spaces_are_not_compared():
    check_same_space(features(), features())
    with pytest.raises(DataError, match="should be of one space, found 'classifier 0123' and 'inception 9'"):
        check_same_space(features(), features("inception 9"))


def test_saved_features_come_back(tmp_path):
    saved = features()
    save_features(saved, tmp_path / "f.safetensors")
    loaded = load_features(tmp_path / "f.safetensors")
    assert loaded.space == saved.space
    assert torch.equal(loaded.values, saved.values)
    assert torch.equal(loaded.log_probabilities, saved.log_probabilities)
    (tmp_path / "f.safetensors").write_bytes((tmp_path / "f.safetensors").read_bytes()[:40])
    with pytest.raises(CheckpointError, match="damaged or cut short"):
        load_features(tmp_path / "f.safetensors")


@pytest.mark.parametrize("count", [0, 1, 2, 9, 100])
def test_halves_are_disjoint_of_one_size_and_the_same_for_a_seed(count):
    one, other = halves(count, 3)
    assert len(one) == len(other) == count // 2
    assert len(set(one.tolist()) | set(other.tolist())) == 2 * (count // 2)
    assert torch.equal(one, halves(count, 3)[0])
    assert count < 9 or not torch.equal(one, halves(count, 4)[0])


@pytest.fixture(scope="module")
def inception_weights(tmp_path_factory):
    """Weights of Inception as drawn, in the file that the published ones come in."""
    module = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "load_state_dict_from_url", lambda *a, **k: {})
        patch.setattr(module.FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None)
        network = module.FeatureExtractorInceptionV3("drawn", ["2048", "logits_unbiased"])
    torch.save(network.state_dict(), path)
    return path, network


@pytest.mark.parametrize("channels", [1, 3])
def test_inception_gives_what_torch_fidelity_gives(inception_weights, channels):
    path, network = inception_weights
    images = torch.randint(256, (2, channels, 16, 16), dtype=torch.uint8)
    found = InceptionSpace(path, CPU)(images)
    values, logits = network(images.expand(-1, 3, -1, -1).contiguous())
    assert found.space.startswith("inception ")
    assert found.values.shape == (2, 2048)
    torch.testing.assert_close(found.values, values.double())
    torch.testing.assert_close(found.log_probabilities, logits.double().log_softmax(1))


def test_other_files_are_no_inception(tmp_path):
    pytest.importorskip("torch_fidelity")
    torch.save({"weight": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"other\.pth: should hold the weights of Inception, .*: weight"):
        InceptionSpace(tmp_path / "other.pth", CPU)
    with pytest.raises(ConfigError, match="there is no such file; torch-fidelity publishes it as weights-inception"):
        InceptionSpace(tmp_path / "gone.pth", CPU)


def test_a_file_that_would_run_code_is_refused(tmp_path):
    pytest.importorskip("torch_fidelity")
    torch.save({"Mixed_7c.branch_pool.conv.weight": Trap(tmp_path / "sprung")}, tmp_path / "trap.pth")
    with pytest.raises(CheckpointError, match=r"trap\.pth: should hold the weights of Inception"):
        InceptionSpace(tmp_path / "trap.pth", CPU)
    assert not (tmp_path / "sprung").exists()


class Trap:
    """What writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_without_torch_fidelity_the_extra_is_named(tmp_path, monkeypatch):
    weights = tmp_path / "weights.pth"
    weights.write_bytes(b"")
    monkeypatch.setitem(__import__("sys").modules, "torch_fidelity.feature_extractor_inceptionv3", None)
    with pytest.raises(ConfigError, match=r"torch-fidelity, which is not installed; `pip install 'vqgen\[evaluate\]'`"):
        InceptionSpace(tmp_path / "weights.pth", CPU)
