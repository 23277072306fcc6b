import torch
from tiny_quantizers import make_latents, rows

from vqgen.nn.quantizers.lfq import LookupFreeQuantizer


def test_bits_of_a_code_are_the_signs_of_its_latent():
    quantizer = LookupFreeQuantizer(5).double()
    z = make_latents(b=4, dim=5)
    out = quantizer(z)
    bits = out.codes.flatten()[:, None] >> torch.arange(5) & 1
    assert torch.equal(bits.bool(), rows(z) > 0)
    assert torch.equal(rows(out.quantized), 2 * bits.double() - 1)


def test_entries_are_the_corners_of_a_cube():
    entries = LookupFreeQuantizer(3).entries()
    assert len(entries.unique(dim=0)) == 8
    assert torch.equal(entries.abs(), torch.ones(8, 3))


def test_commitment_pulls_latents_to_their_corner():
    z = make_latents(dim=3).requires_grad_()
    out = LookupFreeQuantizer(3).double()(z)
    out.commitment_loss.backward()
    whole = 2 * (z.detach() - z.detach().sign()) / z.numel()
    torch.testing.assert_close(z.grad, whole / 50, rtol=0, atol=1e-15)


def test_mean_without_frequencies_is_the_centre():
    assert not LookupFreeQuantizer(4).mean_entry().any()
