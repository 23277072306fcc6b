import pytest
import torch
from tiny_quantizers import make_latents, make_quantizer, step

from vqgen.nn.quantizers.base import Quantizer, weighted_mean


def test_quantizer_without_entries_cannot_be_built():
    with pytest.raises(TypeError, match="abstract"):
        Quantizer(0)


def test_steps_count_once_for_all_micro_batches():
    quantizer = make_quantizer()
    quantizer.update()
    assert quantizer.steps == 0
    step(quantizer, make_latents(), make_latents())
    assert quantizer.steps == 1


def test_waiting_goes_on_after_loading():
    quantizer = make_quantizer(quantize_after=3)
    step(quantizer, make_latents())
    other = make_quantizer(quantize_after=3)
    other.load_state_dict(quantizer.state_dict())
    for _ in range(2):
        assert other.waits
        step(other, make_latents())
    assert not other.waits


def test_mean_is_weighted():
    entries = torch.tensor([[1.0, 0.0], [3.0, 8.0]])
    assert weighted_mean(entries, torch.tensor([1, 3])).tolist() == [2.5, 6.0]
