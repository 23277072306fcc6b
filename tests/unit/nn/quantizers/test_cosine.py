import torch
from tiny_quantizers import make_latents, rows, step

from vqgen.nn.quantizers.cosine import CosineQuantizer


def make(**settings):
    return CosineQuantizer(6, 3, **{"data_init": False, "restart_after": 0} | settings).double()


def lengths(quantizer):
    return quantizer.codebook.norm(dim=1)


def test_length_of_a_latent_changes_nothing():
    quantizer = make().eval()
    z = make_latents()
    scales = torch.rand(2, 1, 4, 4, dtype=torch.float64) * 10 + 0.1
    near, far = quantizer(z), quantizer(z * scales)
    assert torch.equal(near.codes, far.codes)
    torch.testing.assert_close(near.commitment_loss, far.commitment_loss, rtol=0, atol=1e-14)


def test_entries_have_length_one_at_the_start_and_after_every_move():
    for quantizer in (make(), make(data_init=True)):
        for _ in range(4):
            torch.testing.assert_close(lengths(quantizer), torch.ones(6, dtype=torch.float64), rtol=0, atol=1e-6)
            step(quantizer, make_latents() * 5)


def test_entry_moves_to_the_direction_of_the_mean_of_its_latents():
    quantizer = make(decay=0.0)
    z = make_latents(b=8)
    (out,) = step(quantizer, z)
    units = torch.nn.functional.normalize(rows(z), dim=1)
    for code in out.codes.unique():
        mean = units[out.codes.flatten() == code].mean(dim=0)
        torch.testing.assert_close(quantizer.codebook[code], mean / mean.norm(), rtol=0, atol=1e-12)


def test_gradient_does_not_change_the_length_of_a_latent():
    z = make_latents().requires_grad_()
    out = make()(z)
    ((out.quantized * make_latents()).sum() + out.commitment_loss).backward()
    assert (rows(z.grad) * rows(z.detach())).sum(dim=1).abs().max() < 1e-12
    assert z.grad.any()
