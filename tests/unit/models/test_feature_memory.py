import weakref

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from vqgen.codes import Codes
from vqgen.models.banded import with_bands
from vqgen.models.feature_memory import bytes_per_pixel
from vqgen.models.vqvae import VQVAE
from vqgen.models.windows import Windows

RESIDUAL = {"architecture": "residual"}
MODELS = [
    {"downsample": (2,), "channels": 32},
    {"downsample": (8, 4), "channels": 32, "residual_channels": 16, "residual_layers": 2},
    {"downsample": (16, 4), "channels": 64, "image_channels": 3, "embedding_dim": 16},
    {"downsample": (8, 4, 2), "channels": 16, "embedding_dim": 32},
    {"downsample": (8, 4), "channels": 32, "upsampling": "nearest"},
    {"downsample": (8, 4), "channels": 16, "codebook_size": 16, "quantizer": {"kind": ["lfq", "fsq"]}},
    {"downsample": (4, 2), "channels": 16, "embedding_dim": 16, "quantizer": {"depth": [1, 3]}},
    RESIDUAL | {"downsample": (8, 4), "channels": 32, "residual_channels": 16},
    RESIDUAL | {"downsample": (4, 2), "channels": 16, "channel_multipliers": (1, 4), "upsampling": "nearest"},
    RESIDUAL | {"downsample": (2,), "channels": 32, "attention_heads": 2, "residual_layers": 0},
    RESIDUAL | {"downsample": (16, 4), "channels": 16, "attention_heads": 4, "channel_multipliers": (1, 2, 4, 8)},
]


class Alive(TorchDispatchMode):
    """Counts the bytes of the tensors that are alive, without the weights, and remembers the most."""

    def __init__(self, model):
        super().__init__()
        self.peak = 0
        self._sizes = {tensor.untyped_storage().data_ptr(): 0 for tensor in model.state_dict().values()}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in tree_flatten(result)[0]:
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                key = storage.data_ptr()
                if key not in self._sizes:
                    self._sizes[key] = storage.nbytes()
                    weakref.finalize(storage, self._sizes.pop, key, None)
        self.peak = max(self.peak, sum(self._sizes.values()))
        return result


def peak_per_pixel(model, side):
    """Bytes that encoding, or decoding if it takes more, has alive for each pixel."""
    images = torch.rand(1, model.config.image_channels, side, side)
    peaks = []
    with torch.no_grad():
        codes = model.encode(images)
        for run in (lambda: model.encode(images), lambda: model.decode(codes)):
            with Alive(model) as alive:
                run()
            peaks.append(alive.peak / side**2)
    return max(peaks)


@pytest.mark.parametrize("changes", MODELS, ids=str)
def test_estimate_is_above_the_memory_of_a_pass_and_below_four_times_of_it(tiny_vqvae_config, changes):
    model = VQVAE(tiny_vqvae_config(**({"image_size": 16, "initialization": "random"} | changes))).eval()
    assert peak_per_pixel(model, 128) < bytes_per_pixel(model) < 4 * peak_per_pixel(model, 128)


@pytest.mark.parametrize("changes", MODELS, ids=str)
def test_bands_take_the_memory_that_is_stated(tiny_vqvae_config, changes):
    model = VQVAE(tiny_vqvae_config(**({"image_size": 16, "initialization": "random"} | changes))).eval()
    side, room = 512, 1 << 19
    found = peak_per_pixel(with_bands(model, room), side)
    stated = bytes_per_pixel(model, in_bands=True)
    assert found < stated + room / side**2
    assert stated < 4 * found


def test_bands_save_most_of_the_memory_of_a_model_with_a_coarse_grid(tiny_vqvae_config):
    """Its finest features are the most of all."""
    model = VQVAE(tiny_vqvae_config(downsample=(16, 8), channels=64, image_channels=3, image_size=16)).eval()
    assert peak_per_pixel(with_bands(model, 1 << 16), 512) < 0.5 * peak_per_pixel(model, 512)


def test_large_picture_takes_the_working_set_in_both_directions(tiny_vqvae_config):
    """Windows are larger than what fits as a whole, so without bands they would take more."""
    model = VQVAE(tiny_vqvae_config(downsample=(16, 8), channels=64, image_channels=3, image_size=16)).eval()
    windows = Windows(model, working_set=1 << 24)
    assert windows.window_pixels > 1.5 * windows.most_pixels
    side = 2048
    codes = Codes(
        {"top": torch.zeros(1, side // 16, side // 16).long(), "bottom": torch.ones(1, side // 8, side // 8).long()}
    )
    with torch.no_grad(), Alive(model) as encoding:
        windows.encode(side, side, lambda part: torch.zeros(1, 3, *(each.stop - each.start for each in part)))
    with torch.no_grad(), Alive(model) as decoding:
        for _ in windows.decode(codes):
            pass
    held = 8 * (side // 8) ** 2 * 5 // 4  # the codes
    assert max(encoding.peak, decoding.peak) < windows.working_set + held
