"""The statistics of a codebook of moving averages, which averaged weights are saved with."""

import pytest
import torch
from tiny_quantizers import latents_at, make_latents, make_quantizer, step

from vqgen.nn.quantizers.cosine import CosineQuantizer


def averaged(quantizer, earlier, weight=0.5):
    """Replaces the statistics by a mean of these and of earlier ones."""
    for tensor, old in zip(quantizer.statistics(), earlier, strict=True):
        tensor.copy_(weight * old + (1 - weight) * tensor)


def copied(quantizer):
    return [tensor.clone() for tensor in quantizer.statistics()]


def test_entries_are_the_quotients_of_the_statistics():
    quantizer = make_quantizer()
    for _ in range(5):
        step(quantizer, make_latents())
    sums, counts = quantizer.statistics()
    torch.testing.assert_close(quantizer.codebook, sums / counts[:, None], rtol=0, atol=1e-12)
    earlier = copied(quantizer)
    step(quantizer, make_latents() * 3)
    averaged(quantizer, earlier)
    quantizer.refit()
    expected = (quantizer.ema_sums / quantizer.ema_counts[:, None]).clone()
    assert torch.equal(quantizer.codebook, expected)
    quantizer.refit()
    assert torch.equal(quantizer.codebook, expected)


def test_entry_of_an_average_lies_between_its_places_by_its_latents():
    """Three parts of the latents at 0 and one at 4 have their mean at 1."""
    quantizer = make_quantizer(size=1, dim=1, decay=0.0)
    step(quantizer, torch.zeros(3, 1, 1, 1, dtype=torch.float64))
    earlier = copied(quantizer)
    step(quantizer, torch.full((1, 1, 1, 1), 4.0, dtype=torch.float64))
    averaged(quantizer, earlier)
    quantizer.refit()
    assert quantizer.codebook.item() == pytest.approx(1.0)


def test_code_that_restarted_stands_at_its_new_place_at_once():
    quantizer = make_quantizer(restart_after=600, decay=0.97)
    with torch.no_grad():
        quantizer.codebook[0] = 50.0
        quantizer.ema_sums[0] = 50.0
    for _ in range(599):
        step(quantizer, latents_at(quantizer.codebook, [1, 2, 3, 4, 5]))
    earlier = copied(quantizer)
    old = quantizer.codebook.clone()
    step(quantizer, latents_at(quantizer.codebook, [1, 2, 3, 4, 5], noise=0.1))
    new = quantizer.codebook[0].clone()
    assert old[0].tolist() == [50, 50, 50] and new.abs().max() < 10
    averaged(quantizer, earlier)
    quantizer.refit()
    # Its count had fallen to 1e-5 of that of a restart.
    torch.testing.assert_close(quantizer.codebook[0], new, rtol=0, atol=0.01)


def test_averaged_entries_of_length_one_have_length_one():
    quantizer = CosineQuantizer(6, 3, data_init=False, restart_after=0).double()
    step(quantizer, make_latents())
    earlier = copied(quantizer)
    step(quantizer, make_latents())
    averaged(quantizer, earlier)
    quantizer.refit()
    torch.testing.assert_close(quantizer.codebook.norm(dim=1), torch.ones(6, dtype=torch.float64), rtol=0, atol=1e-12)


def test_moves_count_from_the_first_quantized_step():
    quantizer = make_quantizer(quantize_after=2)
    found = []
    for _ in range(4):
        step(quantizer, make_latents())
        found.append(quantizer.moves)
    assert found == [0, 0, 1, 2]
