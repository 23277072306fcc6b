import copy

import pytest
import torch

from vqgen.codes import Codes
from vqgen.models.vqvae import VQVAE
from vqgen.training.losses import vqvae_loss

LEVELS = {
    (2,): ("bottom",), (8,): ("bottom",), (4, 2): ("top", "bottom"), (8, 2): ("top", "bottom"),
    (8, 4, 2): ("top", "middle", "bottom"), (16, 4, 2): ("top", "middle", "bottom"),
}  # fmt: skip


def images(b=2, side=16, channels=1, dtype=torch.float64):
    return (torch.rand(b, channels, side, side) * 2 - 1).to(dtype)


def residual(downsample):
    """All options of the architecture "residual"."""
    multipliers = (1, 2) if downsample[0] > 2 else (1,)
    return {
        "architecture": "residual", "upsampling": "nearest", "channel_multipliers": multipliers, "attention_heads": 2,
    }  # fmt: skip


@pytest.fixture(params=["paper", "residual"])
def make(request, tiny_vqvae_config):
    """Builds a small VQ-VAE in float64. Its codebooks start at latents of a batch, so that codes differ."""

    def build(started=True, **changes):
        options = residual(changes.get("downsample", (4, 2))) if request.param == "residual" else {}
        model = VQVAE(tiny_vqvae_config(**({"image_size": 16} | options | changes))).double()
        if started:
            model(images(b=4, channels=model.config.image_channels))
            model.update_codebooks()
        return model

    return build


@pytest.mark.parametrize("downsample", LEVELS)
@pytest.mark.parametrize("channels", [1, 3])
def test_levels_grids_and_shapes(make, downsample, channels):
    model = make(downsample=downsample, image_channels=channels)
    out = model(images(channels=channels))
    assert model.levels == out.codes.levels == tuple(out.commitment_losses) == LEVELS[downsample]
    assert out.reconstruction.shape == (2, channels, 16, 16)
    for level, factor in zip(model.levels, downsample, strict=True):
        assert out.codes.grids[level].shape == (2, 16 // factor, 16 // factor)
        assert out.codes.grids[level].dtype == torch.int64
        assert 0 <= out.codes.grids[level].min() <= out.codes.grids[level].max() < 16


@pytest.mark.parametrize("downsample", LEVELS)
def test_decoding_the_codes_gives_the_reconstruction(make, downsample):
    model = make(downsample=downsample).eval()
    x = images()
    out = model(x)
    codes = model.encode(x)
    assert len(codes.bottom.unique()) > 1
    for level in model.levels:
        assert torch.equal(codes.grids[level], out.codes.grids[level])
    torch.testing.assert_close(model.decode(codes), out.reconstruction.clamp(-1, 1), rtol=0, atol=1e-12)


def with_means(model, maps, levels):
    """Returns the maps of an image, coarse to fine, with the mean of the codebook in place of the finer levels."""
    means = [
        quantizer.mean_entry()[None, :, None, None].expand_as(q)
        for quantizer, q in zip(model.quantizers, maps, strict=True)
    ]
    return [q if index < levels else mean for index, (q, mean) in enumerate(zip(maps, means, strict=True))]


@pytest.mark.parametrize("downsample", LEVELS)
def test_mean_of_the_codebook_stands_for_a_level_that_an_image_does_not_decode(make, downsample):
    model = make(downsample=downsample)
    count = len(downsample)
    x = images(b=count)
    out = model(x, torch.arange(count) + 1)
    for index in range(count):
        maps = model.embed(Codes({level: grid[index : index + 1] for level, grid in out.codes.grids.items()}))
        expected = model.decoder(model._decoder_input(with_means(model, maps, index + 1)))
        torch.testing.assert_close(out.reconstruction[index : index + 1], expected, rtol=0, atol=1e-12)
    assert torch.equal(model(x, torch.full((count,), count)).reconstruction, model(x).reconstruction)


@pytest.mark.parametrize("downsample", [(8, 4), (8, 4, 2)])
def test_levels_are_encoded_alike_whatever_is_decoded(make, downsample):
    model = make(downsample=downsample)
    x = images()
    alone, all_levels = model(x, torch.ones(2, dtype=torch.int64)), model(x)
    for level in model.levels:
        assert torch.equal(alone.codes.grids[level], all_levels.codes.grids[level])
        assert alone.commitment_losses[level] == all_levels.commitment_losses[level]


def test_level_that_is_not_decoded_has_no_gradient_of_the_reconstruction(make):
    model = make(downsample=(8, 4))
    model(images(), torch.ones(2, dtype=torch.int64)).reconstruction.sum().backward()
    assert model.to_latents[1].weight.grad is None or not model.to_latents[1].weight.grad.any()
    assert model.to_latents[0].weight.grad.any()


def test_all_levels_are_decoded_while_latents_pass_unquantized(make):
    model = make(started=False, quantize_after=3)
    x = images()
    assert torch.equal(model(x, torch.ones(2, dtype=torch.int64)).reconstruction, model(x).reconstruction)
    assert model.quantizers[-1].waits
    model.eval()
    assert not model.quantizers[-1].waits


@pytest.mark.parametrize("downsample", LEVELS)
def test_encoding_leaves_out_the_last_upsampler_and_the_decoder(make, downsample):
    model = make(downsample=downsample).eval()
    x = images()
    expected = model(x).codes
    called = []
    for name, part in [("decoder", model.decoder), *enumerate(model.upsamplers)]:
        part.register_forward_hook(lambda *_, name=name: called.append(name))
    codes = model.encode(x)
    assert called == list(range(len(downsample) - 2))
    for level in model.levels:
        assert torch.equal(codes.grids[level], expected.grids[level])


@pytest.mark.parametrize("downsample", LEVELS)
def test_forward_pass_upsamples_each_level_once(make, downsample):
    model = make(downsample=downsample)
    x = images()
    called = []
    for index, part in enumerate(model.upsamplers):
        part.register_forward_hook(lambda *_, index=index: called.append(index))
    model(x)
    assert called == list(range(len(downsample) - 1))


def test_maps_between_two_images_decode(make):
    model = make().eval()
    codes = model.encode(images())
    one = model.embed(codes[:1])
    other = model.embed(codes[1:])
    assert torch.equal(model.decode_maps(one), model.decode(codes[:1]))
    between = [(a + b) / 2 for a, b in zip(one, other, strict=True)]
    assert model.decode_maps(between).shape == (1, 1, 16, 16)


@pytest.mark.parametrize("downsample", LEVELS)
def test_codes_of_every_level_change_the_image(make, downsample):
    model = make(downsample=downsample).eval()
    x = images()
    codes = model.encode(x)
    for level in model.levels:
        other = Codes(dict(codes.grids) | {level: (codes.grids[level] + 1) % 16})
        assert not torch.equal(model.decode(other), model.decode(codes)), level


def test_finer_level_is_conditioned_on_the_coarser_quantized_map(make):
    model = make(downsample=(8, 4, 2)).eval()
    x = images()
    before = model.encode(x)
    model.quantizers[0].codebook.mul_(-3)
    after = model.encode(x)
    assert not torch.equal(before.middle, after.middle)
    assert not torch.equal(before.bottom, after.bottom)


@pytest.mark.parametrize("downsample", LEVELS)
def test_gradients_reach_every_parameter(make, downsample):
    # Wide enough that no ReLU is dead for all of the batch.
    model = make(downsample=downsample, channels=32, residual_channels=32, embedding_dim=8)
    x = images(b=4)
    loss, _ = vqvae_loss(model(x), x, 0.25)
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name
    assert not any("codebook" in name for name, _ in model.named_parameters())


def test_images_of_a_batch_do_not_change_each_other(make):
    model = make().eval()
    x = images(b=5)
    whole = model(x)
    for index in range(5):
        alone = model(x[index : index + 1])
        torch.testing.assert_close(alone.reconstruction[0], whole.reconstruction[index], rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_results_have_the_dtype_of_the_weights(make, dtype):
    model = make().to(dtype)
    out = model(images(dtype=dtype))
    assert out.reconstruction.dtype == dtype
    assert all(loss.dtype == dtype for loss in out.commitment_losses.values())
    assert model.decode(out.codes).dtype == dtype


def test_float32_agrees_with_float64(make):
    double = make().eval()
    single = copy.deepcopy(double).float()
    x = images()
    codes = double.encode(x)
    torch.testing.assert_close(single.decode(codes).double(), double.decode(codes), rtol=0, atol=1e-5)


def test_images_of_other_sizes_have_codes_of_other_sizes(make):
    model = make(downsample=(8, 4)).eval()
    x = torch.rand(1, 1, 24, 40, dtype=torch.float64)
    codes = model.encode(x)
    assert (codes.top.shape, codes.bottom.shape) == ((1, 3, 5), (1, 6, 10))
    assert model.decode(codes).shape == x.shape


@pytest.mark.parametrize("shape", [(20, 16), (16, 20), (4, 4), (15, 15)])
def test_images_that_are_not_multiples_of_the_downsampling_are_refused(make, shape):
    model = make(downsample=(8, 4))
    with pytest.raises(ValueError, match=rf"sides that are multiples of 8, found \({shape[0]}, {shape[1]}\)"):
        model(torch.zeros(1, 1, *shape, dtype=torch.float64))


def test_codebooks_move_in_training_and_not_in_evaluation(make):
    model = make()
    x = images()
    codebooks = [quantizer.codebook.clone() for quantizer in model.quantizers]
    model.eval()
    model(x)
    model.update_codebooks()
    assert all(torch.equal(a, b.codebook) for a, b in zip(codebooks, model.quantizers, strict=True))
    model.train()
    model(x)
    model.update_codebooks()
    assert not any(torch.equal(a, b.codebook) for a, b in zip(codebooks, model.quantizers, strict=True))


def test_model_has_quantized_once_all_of_its_levels_have(make):
    model = make(started=False)
    assert not model.has_quantized
    model.quantizers[0](torch.randn(2, 4, 2, 2, dtype=torch.float64))
    model.update_codebooks()
    assert not model.has_quantized
    model(images(b=4))
    model.update_codebooks()
    assert model.has_quantized


def test_levels_draw_with_different_seeds(make):
    model = make()
    model.seed_step(5)
    assert len({quantizer.step_seed for quantizer in model.quantizers}) == 2
