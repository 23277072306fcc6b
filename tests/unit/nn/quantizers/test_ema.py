import copy

import pytest
import torch
from tiny_quantizers import changed, copied_state, latents_at, make_latents, make_quantizer, rows, step
from torch import nn

from vqgen.nn.quantizers.ema import EmaQuantizer

# The forward pass and its gradients


def test_output_has_the_shapes_and_values_of_the_nearest_entries():
    quantizer = make_quantizer()
    z = make_latents(b=3, side=4)
    out = quantizer(z)
    assert out.codes.shape == (3, 4, 4)
    assert out.codes.dtype == torch.int64
    assert out.quantized.shape == z.shape
    assert torch.equal(rows(out.quantized), quantizer.codebook[out.codes.flatten()])
    assert torch.equal(out.codes.flatten(), torch.cdist(rows(z), quantizer.codebook).argmin(dim=1))
    assert torch.equal(quantizer.embed(out.codes), out.quantized)


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_quantized_value_is_the_entry_bit_for_bit(scale):
    quantizer = make_quantizer(size=32).float()
    out = quantizer(make_latents(b=4, scale=scale).float().requires_grad_())
    assert torch.equal(rows(out.quantized), quantizer.codebook[out.codes.flatten()])


def test_gradient_of_quantized_is_exactly_one():
    z = make_latents().requires_grad_()
    make_quantizer()(z).quantized.sum().backward()
    assert torch.equal(z.grad, torch.ones_like(z))


def test_memory_layout_of_the_latents_changes_nothing():
    quantizer = make_quantizer()
    z = make_latents()
    upstream = make_latents()
    results = []
    for layout in (torch.contiguous_format, torch.channels_last):
        own = z.clone(memory_format=layout).requires_grad_()
        out = quantizer(own)
        (out.commitment_loss + (out.quantized * upstream).sum()).backward()
        results.append((out.quantized, out.codes, out.commitment_loss, own.grad))
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


def test_retained_graph_gives_the_same_gradient_twice():
    z = make_latents().requires_grad_()
    out = make_quantizer()(z)
    first, second = (torch.autograd.grad(out.commitment_loss, z, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)


def test_commitment_loss_and_its_gradient_have_their_closed_form():
    quantizer = make_quantizer()
    z = make_latents().requires_grad_()
    out = quantizer(z)
    entries = out.quantized.detach()
    assert out.commitment_loss.item() == pytest.approx(((z - entries) ** 2).sum().item() / z.numel(), abs=1e-14)
    out.commitment_loss.backward()
    torch.testing.assert_close(z.grad, 2 * (z.detach() - entries) / z.numel(), rtol=0, atol=1e-15)


def test_commitment_loss_moves_the_encoder_and_not_the_codebook():
    quantizer = make_quantizer()
    encoder = nn.Conv2d(3, 3, 1).double()
    before = quantizer.codebook.clone()
    optimizer = torch.optim.SGD([*encoder.parameters(), *quantizer.parameters()], lr=0.1)
    z = make_latents()
    first = quantizer(encoder(z)).commitment_loss
    first.backward()
    optimizer.step()
    assert not quantizer.codebook.requires_grad
    assert list(quantizer.parameters()) == []
    assert torch.equal(quantizer.codebook, before)
    assert quantizer(encoder(z)).commitment_loss < first


# The moving averages


def naive_step(state, points, decay):
    """One step of the paper's averages, code by code, for codes that received a latent."""
    codebook, counts, sums = state
    nearest = [min(range(len(codebook)), key=lambda k: float(((p - codebook[k]) ** 2).sum())) for p in points]
    moved = [row.clone() for row in codebook]
    for k in range(len(codebook)):
        own = [p for p, code in zip(points, nearest, strict=True) if code == k]
        counts[k] = decay * counts[k] + (1 - decay) * len(own)
        if own:
            sums[k] = decay * sums[k] + (1 - decay) * sum(own)
            moved[k] = sums[k] / counts[k]
        else:
            sums[k] = codebook[k] * counts[k]
    return moved, counts, sums


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.99])
def test_moving_averages_equal_a_naive_loop(decay):
    quantizer = make_quantizer(size=8, decay=decay)
    reference = ([row.clone() for row in quantizer.codebook], [1.0] * 8, [row.clone() for row in quantizer.codebook])
    idle = False
    for number in range(30):
        z = make_latents(b=1, side=3, scale=0.2) + number / 10  # drifts: some codes are left behind
        step(quantizer, z)
        reference = naive_step(reference, rows(z), decay)
        idle = idle or bool((quantizer.idle_steps > 0).any())
        counts = torch.tensor(reference[1], dtype=torch.float64).clamp(min=1e-5)
        torch.testing.assert_close(quantizer.codebook, torch.stack(reference[0]), rtol=0, atol=1e-12)
        torch.testing.assert_close(quantizer.ema_counts, counts, rtol=0, atol=1e-12)
        used = quantizer.idle_steps == 0
        torch.testing.assert_close(quantizer.ema_sums[used], torch.stack(reference[2])[used], rtol=0, atol=1e-12)
    assert idle


def test_counts_start_at_one_and_sums_at_the_codebook():
    quantizer = make_quantizer()
    assert torch.equal(quantizer.ema_counts, torch.ones(6, dtype=torch.float64))
    assert torch.equal(quantizer.ema_sums, quantizer.codebook)


def test_output_of_a_step_uses_the_codebook_before_the_update():
    quantizer = make_quantizer(decay=0.5)
    z = make_latents()
    before = quantizer.codebook.clone()
    (out,) = step(quantizer, z)
    assert torch.equal(rows(out.quantized), before[out.codes.flatten()])
    assert not torch.equal(quantizer.codebook, before)


def test_codebook_at_its_latents_stays_there():
    quantizer = make_quantizer(size=5)
    entries = quantizer.codebook.clone()
    for _ in range(100):
        step(quantizer, latents_at(entries, [0, 1, 1, 2, 3, 4, 4, 4]))
    torch.testing.assert_close(quantizer.codebook, entries, rtol=0, atol=1e-13)


def test_entries_converge_to_the_mean_of_their_latents():
    quantizer = make_quantizer(size=2, dim=1, decay=0.9)
    quantizer.codebook.copy_(torch.tensor([[-1.0], [1.0]]))
    quantizer.ema_sums.copy_(quantizer.codebook)
    for _ in range(300):  # 0.9^300 = 2e-14
        step(quantizer, torch.tensor([-3.0, -2.0, 4.0, 5.0, 9.0], dtype=torch.float64).view(1, 1, 1, 5))
    torch.testing.assert_close(quantizer.codebook.flatten(), torch.tensor([-2.5, 6.0]).double(), rtol=0, atol=1e-11)
    torch.testing.assert_close(quantizer.ema_counts, torch.tensor([2.0, 3.0]).double(), rtol=0, atol=1e-11)


def test_idle_codes_keep_their_bits_for_2000_steps_and_then_follow_new_latents():
    quantizer = EmaQuantizer(8, 3, data_init=False, restart_after=0)  # float32, where rounding would show
    quantizer.codebook.mul_(1 / 3)
    quantizer.ema_sums.copy_(quantizer.codebook)
    before = quantizer.codebook.clone()
    busy = latents_at(before, [0, 1, 2])
    for _ in range(2000):
        step(quantizer, busy)
    assert torch.equal(quantizer.codebook[3:], before[3:])
    assert quantizer.idle_steps.tolist() == [0, 0, 0] + [2000] * 5
    assert all(torch.isfinite(tensor).all() for tensor in quantizer.state_dict().values())
    torch.testing.assert_close(quantizer.codebook[:3], before[:3], rtol=0, atol=1e-6)
    moved = before[5:6] + 0.01
    step(quantizer, moved.T[None, :, None])
    torch.testing.assert_close(quantizer.codebook[5:6], moved, rtol=0, atol=1e-4)  # its old count is worth 0.1 %
    assert torch.equal(quantizer.codebook[6:], before[6:])


def test_update_without_a_forward_pass_changes_nothing():
    quantizer = make_quantizer()
    before = copied_state(quantizer)
    quantizer.update()
    assert changed(before, copied_state(quantizer)) == []


# Training and evaluation


def test_evaluation_changes_nothing_and_training_does():
    quantizer = make_quantizer(data_init=True, restart_after=1)
    z = make_latents()
    quantizer.eval()
    before = copied_state(quantizer)
    step(quantizer, z)
    assert changed(before, copied_state(quantizer)) == []
    quantizer.train()
    step(quantizer, z)
    assert {"codebook", "ema_counts", "ema_sums", "initialized"} <= set(changed(before, copied_state(quantizer)))


def test_evaluation_between_training_steps_leaves_no_trace():
    one = make_quantizer(restart_after=2)
    other = copy.deepcopy(one)
    for _ in range(5):
        z = make_latents()
        step(one, z)
        other(z)
        other.eval()
        other(make_latents())
        other.train()
        other.update()
    assert changed(copied_state(one), copied_state(other)) == []


@pytest.mark.parametrize("parts", [1, 2, 3, 4])
def test_micro_batches_equal_one_batch_even_with_restarts(parts):
    torch.manual_seed(5)
    whole = make_quantizer(size=40, restart_after=2)
    cut = copy.deepcopy(whole)
    never = copy.deepcopy(whole)
    never.restart_after = 0
    for number in range(6):
        z = make_latents(b=4) + number
        whole.step_seed = cut.step_seed = number
        step(whole, z)
        step(never, z)
        step(cut, *z.chunk(parts))
        for name in ("codebook", "ema_counts", "ema_sums", "idle_steps"):
            torch.testing.assert_close(getattr(cut, name), getattr(whole, name), rtol=0, atol=1e-12)
    assert not torch.equal(whole.codebook, never.codebook), "nothing restarted"


def test_quantizer_computes_in_float32_under_autocast():
    quantizer = EmaQuantizer(256, 8, data_init=False, restart_after=0)  # so many that bfloat16 confuses some
    z = torch.randn(4, 8, 16, 16)
    expected = copy.deepcopy(quantizer)
    nearest = torch.cdist(rows(z.bfloat16().double()), quantizer.codebook.double()).argmin(dim=1)
    plain = step(expected, z.bfloat16().float())[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = step(quantizer, z.bfloat16())[0]
    assert out.quantized.dtype == out.commitment_loss.dtype == torch.float32
    assert (out.codes.flatten() != nearest).sum() <= 1  # float32 may decide a near tie otherwise
    assert torch.equal(out.codes, plain.codes)
    assert torch.equal(out.commitment_loss, plain.commitment_loss)
    assert changed(copied_state(expected), copied_state(quantizer)) == []


# State


def test_loaded_state_takes_the_same_steps_as_the_saved_quantizer():
    quantizer = make_quantizer(data_init=True, restart_after=3, size=12)
    for number in range(4):
        quantizer.step_seed = number
        step(quantizer, make_latents())
    other = make_quantizer(data_init=True, restart_after=3, size=12)
    other.load_state_dict(quantizer.state_dict())
    assert bool(other.initialized)
    assert changed(copied_state(quantizer), copied_state(other)) == []
    for number in range(4, 9):
        z = make_latents()
        quantizer.step_seed = other.step_seed = number
        step(quantizer, z)
        step(other, z)
    assert changed(copied_state(quantizer), copied_state(other)) == []


def test_state_from_before_the_start_starts_again():
    fresh = make_quantizer(data_init=True, kmeans_iterations=0)
    started = make_quantizer(data_init=True, kmeans_iterations=0)
    fresh_state = copied_state(fresh)
    started(make_latents())
    started.load_state_dict(fresh_state)
    started(make_latents() + 50)
    assert started.codebook.mean() > 40, "data init did not happen again"


def test_random_start_counts_as_initialized():
    quantizer = make_quantizer(data_init=False)
    assert bool(quantizer.initialized)
    before = quantizer.codebook.clone()
    quantizer(make_latents() + 50)
    assert torch.equal(quantizer.codebook, before)


def test_latents_pass_for_quantize_after_steps_and_then_start_the_codebook():
    quantizer = make_quantizer(data_init=True, quantize_after=2)
    before = copied_state(quantizer)
    latents = torch.randn(4, quantizer.codebook.shape[1], 3, 3, requires_grad=True)
    for _ in range(2):
        result = quantizer(latents)
        assert torch.equal(result.quantized, latents)
        assert result.commitment_loss == 0
        quantizer.update()
        assert quantizer.moves == 0
    assert changed(before, copied_state(quantizer)) == ["steps"]
    resumed = make_quantizer(data_init=True, quantize_after=2)
    resumed.load_state_dict(quantizer.state_dict())
    for started in (quantizer, resumed):
        started.step_seed = 1
        result = started(latents)
        assert bool(started.initialized)
        assert not torch.equal(result.quantized, latents)
    assert torch.equal(quantizer.codebook, resumed.codebook)
    quantizer.update()
    assert quantizer.moves == 1


def test_quantize_after_changes_nothing_in_evaluation():
    quantizer = make_quantizer(quantize_after=2).eval()
    latents = torch.randn(2, quantizer.codebook.shape[1], 3, 3)
    assert torch.equal(quantizer(latents).quantized, quantizer.embed(quantizer(latents).codes))
