import torch
from tiny_quantizers import make_latents

from vqgen.nn.quantizers.constant import ConstantQuantizer


def test_every_code_has_the_entry():
    entry = torch.randn(3, dtype=torch.float64)
    quantizer = ConstantQuantizer(entry, 5)
    assert torch.equal(quantizer.entries(), entry.expand(5, 3))
    assert torch.equal(quantizer.mean_entry(torch.arange(5)), entry)
    out = quantizer(make_latents())
    assert not out.codes.any()
    assert torch.equal(out.quantized, entry[None, :, None, None].expand(2, 3, 4, 4))
    assert torch.equal(quantizer.embed(torch.randint(5, (2, 4, 4))), out.quantized)
