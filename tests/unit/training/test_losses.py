import math

import pytest
import torch

from vqgen.codes import Codes
from vqgen.models.vqvae import VQVAEOutput
from vqgen.training.losses import label_contrast, nats_of_images, nats_per_code, reconstruction_loss, vqvae_loss


def output(reconstruction, **commitments):
    codes = Codes({"bottom": torch.zeros(1, 1, 1, dtype=torch.int64)})
    return VQVAEOutput(reconstruction, codes, {k: torch.tensor(v) for k, v in commitments.items()})


def test_reconstruction_loss_is_the_mean_square_over_all_pixels():
    images = torch.zeros(2, 1, 2, 2)
    images[0, 0, 0, 0] = 4
    assert reconstruction_loss(torch.zeros_like(images), images).item() == 2.0


def test_commitment_weight_multiplies_the_commitment_of_all_levels_only():
    images = torch.zeros(1, 1, 2, 2)
    loss, parts = vqvae_loss(output(torch.ones_like(images), top=2.0, bottom=3.0), images, 0.25)
    assert loss.item() == 1 + 0.25 * 5
    assert {name: part.item() for name, part in parts.items()} == {"reconstruction": 1.0, "commitment": 5.0}
    assert not any(part.requires_grad for part in parts.values())


def test_loss_has_the_dtype_of_the_images_under_autocast():
    images = torch.rand(1, 1, 2, 2)
    loss, _ = vqvae_loss(output(images.bfloat16(), bottom=0.0), images, 1.0)
    assert loss.dtype == torch.float32


def test_nats_per_code_is_the_mean_of_minus_log_p():
    logits = torch.randn(2, 5, 3, 4, dtype=torch.float64)
    codes = torch.randint(5, (2, 3, 4))
    naive = 0.0
    for b in range(2):
        for h in range(3):
            for w in range(4):
                row = logits[b, :, h, w].tolist()
                naive -= row[codes[b, h, w]] - math.log(sum(math.exp(x) for x in row))
    assert nats_per_code(logits, codes).item() == pytest.approx(naive / 24, abs=1e-12)


def test_nats_of_images_are_the_sums_over_their_codes():
    logits = torch.randn(3, 5, 2, 4)
    codes = torch.randint(5, (3, 2, 4))
    expected = [8 * nats_per_code(logits[i : i + 1], codes[i : i + 1]).item() for i in range(3)]
    assert nats_of_images(logits, codes).tolist() == pytest.approx(expected, rel=1e-5)
    assert nats_of_images(torch.zeros(3, 512, 2, 4, dtype=torch.bfloat16), codes).dtype == torch.float32


def test_label_contrast_is_minus_log_of_the_true_label_by_bayes_rule():
    likelihoods = torch.tensor([[0.3, 0.1], [0.02, 0.5], [0.4, 0.4]], dtype=torch.float64)  # of true and wrong label
    expected = -(likelihoods[:, 0] / likelihoods.sum(dim=1)).log()
    assert label_contrast(*(-likelihoods.log().T)).tolist() == pytest.approx(expected.tolist(), rel=1e-12)
    far = label_contrast(torch.tensor([1e4, 0.0]), torch.tensor([0.0, 1e4]))
    assert far.tolist() == [1e4, 0.0]  # no overflow


def test_nats_per_code_of_uniform_logits_is_log_k_also_in_bfloat16():
    codes = torch.randint(512, (1, 4, 4))
    loss = nats_per_code(torch.zeros(1, 512, 4, 4, dtype=torch.bfloat16), codes)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(math.log(512), abs=1e-5)  # bfloat16 resolves 6.2383 to 0.03
