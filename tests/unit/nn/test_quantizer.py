import copy

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from vqgen.nn.quantizer import VectorQuantizer, _repeats, straight_through


def make(size=6, dim=3, **settings):
    """A quantizer in float64 that starts at random and never restarts, unless told so."""
    settings = {"data_init": False, "restart_after": 0} | settings
    return VectorQuantizer(size, dim, **settings).double()


def latents(b=2, dim=3, side=4, scale=1.0):
    return torch.randn(b, dim, side, side, dtype=torch.float64) * scale


def rows(grid):
    return grid.permute(0, 2, 3, 1).reshape(-1, grid.shape[1])


def step(quantizer, *parts):
    outputs = [quantizer(part) for part in parts]
    quantizer.update()
    return outputs


def state(quantizer):
    return {name: tensor.clone() for name, tensor in quantizer.state_dict().items()}


def same(before, after):
    """Names of the tensors that are not the same bit for bit."""
    return [name for name in before if not torch.equal(before[name], after[name])]


def beside(codebook, codes, noise=0.0):
    """Latents `(1, d, 1, n)` at (or near) these entries."""
    picked = codebook[torch.tensor(codes)]
    return (picked + noise * torch.randn_like(picked)).T[None, :, None]


# The forward pass and its gradients


def test_shapes_and_values():
    quantizer, z = make(), latents(b=3, side=4)
    out = quantizer(z)
    assert out.codes.shape == (3, 4, 4)
    assert out.codes.dtype == torch.int64
    assert out.quantized.shape == z.shape
    assert torch.equal(rows(out.quantized), quantizer.codebook[out.codes.flatten()])
    assert torch.equal(out.codes.flatten(), torch.cdist(rows(z), quantizer.codebook).argmin(dim=1))
    assert torch.equal(quantizer.embed(out.codes), out.quantized)


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_the_straight_through_value_is_the_entry_bit_for_bit(scale):
    quantizer = make(size=32).float()
    out = quantizer(latents(b=4, scale=scale).float().requires_grad_())
    assert torch.equal(rows(out.quantized), quantizer.codebook[out.codes.flatten()])


def test_the_straight_through_gradient_is_exactly_one():
    z = latents().requires_grad_()
    make()(z).quantized.sum().backward()
    assert torch.equal(z.grad, torch.ones_like(z))


def test_the_gradient_passes_unchanged_whatever_it_is():
    z, entries, upstream = torch.randn(3, 40, 3, dtype=torch.float64).unbind()
    value, _ = straight_through(z.requires_grad_(), entries)
    assert torch.equal(value, entries)
    value.backward(upstream)
    assert torch.equal(z.grad, upstream)


@pytest.mark.parametrize("weights", [(1.0, 0.0), (0.0, 1.0), (1.0, 0.25)])
def test_the_gradient_of_value_and_loss_is_that_of_plain_operations(weights):
    z, entries, upstream = torch.randn(3, 40, 3, dtype=torch.float64).unbind()

    def gradient(passed, loss):
        total = weights[0] * (passed * upstream).sum() + weights[1] * loss
        return torch.autograd.grad(total, z)[0]

    z.requires_grad_()
    plain = gradient(entries + (z - z.detach()), (z - entries).square().mean())
    torch.testing.assert_close(gradient(*straight_through(z, entries)), plain, rtol=0, atol=1e-15)


def test_the_layout_of_the_latents_changes_nothing():
    quantizer, z, upstream = make(), latents(), latents()
    results = []
    for layout in (torch.contiguous_format, torch.channels_last):
        own = z.clone(memory_format=layout).requires_grad_()
        out = quantizer(own)
        (out.commitment_loss + (out.quantized * upstream).sum()).backward()
        results.append((out.quantized, out.codes, out.commitment_loss, own.grad))
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


def test_a_graph_that_is_kept_gives_the_same_gradient_twice():
    z = latents().requires_grad_()
    out = make()(z)
    first, second = (torch.autograd.grad(out.commitment_loss, z, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)


def test_the_commitment_loss_and_its_gradient_in_closed_form():
    quantizer, z = make(), latents().requires_grad_()
    out = quantizer(z)
    entries = out.quantized.detach()
    assert out.commitment_loss.item() == pytest.approx(((z - entries) ** 2).sum().item() / z.numel(), abs=1e-14)
    out.commitment_loss.backward()
    torch.testing.assert_close(z.grad, 2 * (z.detach() - entries) / z.numel(), rtol=0, atol=1e-15)


def test_the_loss_moves_the_encoder_and_not_the_codebook():
    quantizer, encoder = make(), nn.Conv2d(3, 3, 1).double()
    before = quantizer.codebook.clone()
    optimizer = torch.optim.SGD([*encoder.parameters(), *quantizer.parameters()], lr=0.1)
    z = latents()
    first = quantizer(encoder(z)).commitment_loss
    first.backward()
    optimizer.step()
    assert not quantizer.codebook.requires_grad
    assert list(quantizer.parameters()) == []
    assert torch.equal(quantizer.codebook, before)
    assert quantizer(encoder(z)).commitment_loss < first


# The moving averages


def naive_step(state, points, decay):
    """One step of the paper's averages, code by code, for codes that received something."""
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
def test_the_averages_are_those_of_a_naive_loop(decay):
    quantizer = make(size=8, decay=decay)
    reference = ([row.clone() for row in quantizer.codebook], [1.0] * 8, [row.clone() for row in quantizer.codebook])
    idle = False
    for number in range(30):
        z = latents(b=1, side=3, scale=0.2) + number / 10  # drifts: some codes are left behind
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
    quantizer = make()
    assert torch.equal(quantizer.ema_counts, torch.ones(6, dtype=torch.float64))
    assert torch.equal(quantizer.ema_sums, quantizer.codebook)


def test_quantize_first_then_update():
    quantizer, z = make(decay=0.5), latents()
    before = quantizer.codebook.clone()
    (out,) = step(quantizer, z)
    assert torch.equal(rows(out.quantized), before[out.codes.flatten()])
    assert not torch.equal(quantizer.codebook, before)


def test_a_codebook_at_its_latents_stays_there():
    quantizer = make(size=5)
    entries = quantizer.codebook.clone()
    for _ in range(100):
        step(quantizer, beside(entries, [0, 1, 1, 2, 3, 4, 4, 4]))
    torch.testing.assert_close(quantizer.codebook, entries, rtol=0, atol=1e-13)


def test_entries_converge_to_the_mean_of_their_latents():
    quantizer = make(size=2, dim=1, decay=0.9)
    quantizer.codebook.copy_(torch.tensor([[-1.0], [1.0]]))
    quantizer.ema_sums.copy_(quantizer.codebook)
    for _ in range(300):  # 0.9^300 = 2e-14
        step(quantizer, torch.tensor([-3.0, -2.0, 4.0, 5.0, 9.0], dtype=torch.float64).view(1, 1, 1, 5))
    torch.testing.assert_close(quantizer.codebook.flatten(), torch.tensor([-2.5, 6.0]).double(), rtol=0, atol=1e-11)
    torch.testing.assert_close(quantizer.ema_counts, torch.tensor([2.0, 3.0]).double(), rtol=0, atol=1e-11)


def test_idle_codes_are_bit_identical_after_2000_steps_and_catch_up_at_once():
    quantizer = VectorQuantizer(8, 3, data_init=False, restart_after=0)  # float32, where rounding would show
    quantizer.codebook.mul_(1 / 3)
    quantizer.ema_sums.copy_(quantizer.codebook)
    before = quantizer.codebook.clone()
    busy = beside(before, [0, 1, 2])
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


def test_an_update_without_a_forward_changes_nothing():
    quantizer = make()
    before = state(quantizer)
    quantizer.update()
    assert same(before, state(quantizer)) == []


# Training and evaluation


def test_evaluation_changes_nothing_and_training_does():
    quantizer, z = make(data_init=True, restart_after=1), latents()
    quantizer.eval()
    before = state(quantizer)
    step(quantizer, z)
    assert same(before, state(quantizer)) == []
    quantizer.train()
    step(quantizer, z)
    assert {"codebook", "ema_counts", "ema_sums", "initialized"} <= set(same(before, state(quantizer)))


def test_evaluation_between_training_steps_leaves_no_trace():
    one = make(restart_after=2)
    other = copy.deepcopy(one)
    for _ in range(5):
        z = latents()
        step(one, z)
        other(z)
        other.eval()
        other(latents())
        other.train()
        other.update()
    assert same(state(one), state(other)) == []


@pytest.mark.parametrize("parts", [1, 2, 3, 4])
def test_micro_batches_are_one_batch_restarts_included(parts):
    torch.manual_seed(5)
    whole = make(size=40, restart_after=2)
    cut, never = copy.deepcopy(whole), copy.deepcopy(whole)
    never.restart_after = 0
    for number in range(6):
        z = latents(b=4) + number
        whole.step_seed = cut.step_seed = number
        step(whole, z)
        step(never, z)
        step(cut, *z.chunk(parts))
        for name in ("codebook", "ema_counts", "ema_sums", "idle_steps"):
            torch.testing.assert_close(getattr(cut, name), getattr(whole, name), rtol=0, atol=1e-12)
    assert not torch.equal(whole.codebook, never.codebook), "nothing restarted"


def test_the_quantizer_computes_in_float32_under_autocast():
    quantizer = VectorQuantizer(256, 8, data_init=False, restart_after=0)  # so many that bfloat16 confuses some
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
    assert same(state(expected), state(quantizer)) == []


# The start


def test_data_init_takes_distinct_latents():
    quantizer, z = make(data_init=True, kmeans_iterations=0), latents()
    quantizer(z)
    equal = (quantizer.codebook[:, None] == rows(z)).all(dim=2)  # bit for bit; cdist may round
    assert equal.any(dim=1).all()
    assert len(set(equal.int().argmax(dim=1).tolist())) == 6
    assert torch.equal(quantizer.ema_counts, torch.ones(6, dtype=torch.float64))
    assert torch.equal(quantizer.ema_sums, quantizer.codebook)
    assert bool(quantizer.initialized)


def test_data_init_with_fewer_latents_than_codes_uses_all_of_them_and_no_two_codes_are_equal():
    quantizer, z = make(size=20, data_init=True, kmeans_iterations=3), latents(b=1, side=2)
    out = quantizer(z)
    assert out.commitment_loss.item() < 1e-28  # every latent is an entry
    apart = torch.cdist(quantizer.codebook, quantizer.codebook) + torch.eye(20)
    assert apart.min() > 1e-4  # latents of length about one: far above rounding
    step(quantizer, z)
    assert torch.isfinite(quantizer.codebook).all()


@pytest.mark.parametrize("rounding", [0.0, 1e-12])
def test_equal_latents_choose_the_same_codes_however_they_are_rounded(rounding):
    z = latents(b=1, side=2).repeat(8, 1, 1, 1)
    chosen = []
    for seed in range(3):
        quantizer = make(size=20, data_init=True, kmeans_iterations=0)
        noise = torch.randn(z.shape, dtype=z.dtype, generator=torch.Generator().manual_seed(seed))
        chosen.append(quantizer(z + rounding * noise).codes)
        assert len(chosen[0].unique()) == 4  # as many as there are different latents
    assert all(torch.equal(codes, chosen[0]) for codes in chosen)


def test_a_restart_passes_over_what_equals_an_entry_and_tries_again():
    quantizer = make(size=4, restart_after=2)
    busy = quantizer.codebook[:1].T.reshape(1, 3, 1, 1).repeat(6, 1, 1, 1)
    before = quantizer.codebook.clone()
    for _ in range(5):
        step(quantizer, busy)
    assert torch.equal(quantizer.codebook[1:], before[1:])
    step(quantizer, busy + torch.arange(6, dtype=torch.float64)[:, None, None, None])
    assert not torch.equal(quantizer.codebook[1:], before[1:])


def test_repeats_are_those_of_a_comparison_of_all_pairs():
    entries = torch.randn(40, 5, dtype=torch.float64)
    entries[[3, 17, 39]] = entries[8] + 1e-12 * torch.randn(3, 5, dtype=torch.float64)
    entries[20] = entries[2]
    near = torch.cdist(entries, entries, compute_mode="donot_use_mm_for_euclid_dist") < 1e-6
    expected = (near & torch.ones(40, 40).tril(-1).bool()).any(dim=1)
    assert torch.equal(_repeats(entries), expected)
    assert expected.nonzero().flatten().tolist() == [8, 17, 20, 39]


def test_data_init_happens_once():
    quantizer = make(data_init=True, kmeans_iterations=0, decay=0.99)
    quantizer(latents())
    before = quantizer.codebook.clone()
    quantizer(latents() + 100)
    assert torch.equal(quantizer.codebook, before)


def test_the_step_seed_decides_which_latents():
    z = latents(b=8)

    def start(seed):
        quantizer = make(data_init=True, kmeans_iterations=0)
        quantizer.step_seed = seed
        quantizer(z)
        return quantizer.codebook

    assert torch.equal(start(1), start(1))
    assert not torch.equal(start(1), start(2))  # 6 of 128: the same choice has probability below 1e-11


def test_kmeans_finds_separate_clusters():
    centres = torch.tensor([[0.0, 0, 0], [10, 0, 0], [0, 10, 0], [0, 0, 10]], dtype=torch.float64)
    points = (centres.repeat(25, 1) + 0.1 * torch.randn(100, 3, dtype=torch.float64)).T.reshape(1, 3, 10, 10)
    means = torch.stack([rows(points)[k::4].mean(dim=0) for k in range(4)])
    found = []
    for seed in range(20):  # one start in ten has a latent of each cluster; from it the means are exact
        quantizer = make(size=4, data_init=True, kmeans_iterations=10)
        quantizer.step_seed = seed
        quantizer(points)
        found.append(torch.cdist(means, quantizer.codebook).min(dim=1).values.max().item())
    assert min(found) < 1e-12


@pytest.mark.parametrize("iterations", [1, 4])
def test_kmeans_is_a_naive_loop_of_lloyds(iterations):
    z = latents(b=4)
    start = make(data_init=True, kmeans_iterations=0)
    start(z)
    quantizer = make(data_init=True, kmeans_iterations=iterations)
    quantizer(z)
    centres = start.codebook.clone()
    for _ in range(iterations):
        nearest = torch.cdist(rows(z), centres).argmin(dim=1)
        for k in range(6):
            if (nearest == k).any():
                centres[k] = rows(z)[nearest == k].mean(dim=0)
    torch.testing.assert_close(quantizer.codebook, centres, rtol=0, atol=1e-12)


# Restarts


def test_a_restart_resets_entry_sum_count_and_age_together():
    quantizer = make(size=4, restart_after=3)
    before = quantizer.codebook.clone()
    busy = beside(before, [0] + [1] * 30, noise=1e-3)  # 1 in 31 seeds has both codes draw the same latent
    for number in range(1, 4):
        quantizer.step_seed = number
        step(quantizer, busy)
        assert quantizer.idle_steps.tolist() == ([0, 0, number, number] if number < 3 else [0] * 4)
        assert torch.equal(quantizer.codebook[2:], before[2:]) == (number < 3)
    restarted = quantizer.codebook[2:]
    assert (restarted[:, None] == rows(busy)).all(dim=2).any(dim=1).all()  # bit for bit; cdist may round
    assert torch.equal(quantizer.ema_sums[2:], restarted)
    assert quantizer.ema_counts[2:].tolist() == [1.0, 1.0]
    assert quantizer.ema_counts[1] > 1


def test_without_restarts_an_idle_code_waits_for_ever_and_no_latents_are_kept():
    quantizer = make(size=4, restart_after=0)
    before = quantizer.codebook.clone()
    for _ in range(200):
        quantizer(beside(before, [0]))
        assert quantizer._latents == []
        quantizer.update()
    assert torch.equal(quantizer.codebook[1:], before[1:])


def test_an_update_forgets_what_it_used():
    quantizer = make(restart_after=5)
    step(quantizer, latents())
    before = state(quantizer)
    quantizer.update()
    assert same(before, state(quantizer)) == []


class NoWaiting(TorchDispatchMode):
    """Refuses the operations whose result, or its shape, a host needs before it can go on."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        by_mask = name.startswith("index") and any(t is not None and t.dtype == torch.bool for t in indices_of(args))
        if by_mask or name in ("_local_scalar_dense", "nonzero", "masked_select", "bincount", "unique_dim", "equal"):
            raise AssertionError(f"{name} waits for the device")
        return function(*args, **(kwargs or {}))


def indices_of(args):
    return args[1] if len(args) > 1 and isinstance(args[1], list) else []


@pytest.mark.parametrize("waits", [lambda t: t[t > 0], lambda t: int(t.sum()), lambda t: t.long().abs().bincount()])
def test_what_waits_for_the_device_is_noticed(waits):
    with pytest.raises(AssertionError, match="waits for the device"), NoWaiting():
        waits(torch.randn(5))


def test_no_step_waits_for_the_device_not_even_one_that_restarts():
    quantizer = make(size=40, data_init=True, restart_after=2)
    step(quantizer, latents())  # the start may wait: it happens once
    never = copy.deepcopy(quantizer)
    never.restart_after = 0
    with NoWaiting():
        for number in range(4):
            z = (latents() + number).requires_grad_()
            out = quantizer(z)
            (out.quantized.sum() + out.commitment_loss).backward()
            quantizer.update()
            step(never, z.detach())
    assert not torch.equal(quantizer.codebook, never.codebook), "nothing restarted"


# State


def test_state_round_trip_and_the_same_steps_from_there():
    quantizer = make(data_init=True, restart_after=3, size=12)
    for number in range(4):
        quantizer.step_seed = number
        step(quantizer, latents())
    other = make(data_init=True, restart_after=3, size=12)
    other.load_state_dict(quantizer.state_dict())
    assert bool(other.initialized)
    assert same(state(quantizer), state(other)) == []
    for number in range(4, 9):
        z = latents()
        quantizer.step_seed = other.step_seed = number
        step(quantizer, z)
        step(other, z)
    assert same(state(quantizer), state(other)) == []


def test_a_state_from_before_the_start_starts_again():
    fresh = make(data_init=True, kmeans_iterations=0)
    started = make(data_init=True, kmeans_iterations=0)
    fresh_state = state(fresh)
    started(latents())
    started.load_state_dict(fresh_state)
    started(latents() + 50)
    assert started.codebook.mean() > 40, "data init did not happen again"


def test_a_random_start_counts_as_initialized():
    quantizer = make(data_init=False)
    assert bool(quantizer.initialized)
    before = quantizer.codebook.clone()
    quantizer(latents() + 50)
    assert torch.equal(quantizer.codebook, before)


def test_quantize_after_lets_latents_pass_and_then_starts_at_the_data():
    quantizer = make(data_init=True, quantize_after=2)
    before, latents = state(quantizer), torch.randn(4, quantizer.codebook.shape[1], 3, 3, requires_grad=True)
    for _ in range(2):
        result = quantizer(latents)
        assert torch.equal(result.quantized, latents)
        assert result.commitment_loss == 0
        quantizer.update()
    assert same(before, state(quantizer)) == ["steps"]
    resumed = make(data_init=True, quantize_after=2)
    resumed.load_state_dict(quantizer.state_dict())
    for started in (quantizer, resumed):
        started.step_seed = 1
        result = started(latents)
        assert bool(started.initialized)
        assert not torch.equal(result.quantized, latents)
    assert torch.equal(quantizer.codebook, resumed.codebook)


def test_quantize_after_changes_nothing_in_evaluation():
    quantizer = make(quantize_after=2).eval()
    latents = torch.randn(2, quantizer.codebook.shape[1], 3, 3)
    assert torch.equal(quantizer(latents).quantized, quantizer.embed(quantizer(latents).codes))
