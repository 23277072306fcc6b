import pytest
import torch
from torchvision.models import alexnet

from vqgen.errors import CheckpointError
from vqgen.models.lpips import LPIPS_FILE, find_lpips_weights, lpips_network


def test_lpips_weights_are_found_in_the_cache_of_torch(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    assert find_lpips_weights() is None
    path = tmp_path / "checkpoints" / LPIPS_FILE
    path.parent.mkdir()
    path.write_bytes(b"")
    assert find_lpips_weights() == path


def test_network_has_the_weights_of_the_file_and_no_gradients(tmp_path):
    backbone = alexnet(weights=None)
    torch.save(backbone.state_dict(), tmp_path / "alexnet.pth")
    network = lpips_network(tmp_path / "alexnet.pth")
    first = next(parameter for parameter in network.net.parameters())
    assert torch.equal(first, backbone.features[0].weight)
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert not any(module.training for module in network.modules())


def test_weights_of_another_alexnet_are_refused(tmp_path):
    weights = alexnet(weights=None).state_dict() | {"features.0.weight": torch.zeros(64, 1, 11, 11)}
    torch.save(weights, tmp_path / "grey.pth")
    with pytest.raises(
        CheckpointError, match=r"grey\.pth: should hold the weights of torchvision's AlexNet, found oth"
    ):
        lpips_network(tmp_path / "grey.pth")
