"""The results that benchmarks compute from their times, in closed form. The times themselves are not tested."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import __main__ as everything
from benchmarks.operations import group_of, time_shares
from benchmarks.priors import SIZES, Request, arithmetic_seconds, limit_seconds, make_prior, reading_seconds
from benchmarks.pythae_peer import PythaePeer, num_layers, why_missing
from benchmarks.report import Line, fit_line, interleaved_medians, print_table, write_json
from benchmarks.sampling import Bench, marks, measure
from benchmarks.scaling import PARTS, Point, causes, fitted_points, rows_of
from benchmarks.step_parts import attentions, products
from vqgen.models.pixelcnn import PixelCNN
from vqgen.planning.costs import prior_costs
from vqgen.runtime.compute import Compute
from vqgen.runtime.machine import Machine

CHECKOUT = Path(__file__).parents[3]
CPU = torch.device("cpu")
FAST = Machine(matmul_flops=1e30, convolution_flops=1e30, bandwidth=1e30)


def small_prior(conditioned=False, slope=2):
    """Builds a small prior of one of the kinds in the benchmarks."""
    config = make_config("paper-bottom" if conditioned else "3M", slope)
    return PixelCNN(config.model_copy(update={"channels": 8, "layers": 2, "codebook_size": 16, "attention_heads": 2}))


def make_config(size, slope=2):
    with torch.device("meta"):
        return make_prior(size, 4, slope, torch.device("meta")).config


# Lines


def test_line_through_points_on_a_line_is_that_line():
    line = fit_line([1, 2, 5], [5.0, 7.0, 13.0])
    assert (line.intercept, line.slope) == (pytest.approx(3), pytest.approx(2))
    assert Line(3, 2)(10) == 23


def test_errors_are_relative_to_the_value():
    # Through (1, 1), (1, 3), (2, 4): at x = 1, the value v with the least (1 - v)^2 + (1 - v / 3)^2 is 6 / 5.
    line = fit_line([1, 1, 2], [1.0, 3.0, 4.0])
    assert line(1) == pytest.approx(6 / 5)
    assert line(2) == pytest.approx(4)


def test_lines_of_parts_add_up_to_the_line_of_their_sum():
    xs = [1, 2, 3, 7]
    one = [1.0, 0.0, 5.0, 2.0]
    other = [3.0, 4.0, 1.0, 9.0]
    whole = [a + b for a, b in zip(one, other, strict=True)]
    lines = [fit_line(xs, ys, whole) for ys in (one, other)]
    assert sum(line(20) for line in lines) == pytest.approx(fit_line(xs, whole)(20))


def make_points(seconds, on_line):
    """Makes a series x = 1, 2, 4, ...: products and drawing take 1 + x, half each, and attention takes the rest."""
    points = []
    for place, value in enumerate(seconds):
        x = 2**place
        over = value - (1 + x)
        parts = {"products": (1 + x) / 2, "attentions": over, "drawing": (1 + x) / 2, "the rest": 0.0}
        columns = {"grid": x, "batch": 1, "steps": x, "weights_over_cache": 0.5, "kept_over_cache": 2.0}
        points.append(Point(x, value, parts, on_line[place], columns))
    return points


def test_line_is_fitted_where_its_limit_holds():
    xs = [1, 2, 4, 8, 16, 32, 64]
    series = make_points([0.0] * 7, [True, True, True, True, True, False, False])
    assert [p.x for p in fitted_points(series, is_grid=True)] == xs[:4]  # at most the half
    series = make_points([0.0] * 7, [False, False, False, True, True, True, True])
    assert [p.x for p in fitted_points(series, is_grid=False)] == xs[:2:-1]
    series = make_points([0.0] * 7, [False] * 6 + [True])
    assert [p.x for p in fitted_points(series, is_grid=False)] == xs[:3:-1]  # at least three


def test_row_off_the_line_is_described_with_the_part_that_takes_it_off():
    assert set(PARTS) == set(make_points([2.0], [True])[0].parts)
    rows = rows_of(make_points([2.0, 3.0, 5.0, 9.0, 17.0 + 8.5], [True] * 5), is_grid=True)
    assert [row["measured_over_line"] for row in rows] == pytest.approx([1, 1, 1, 1, 1.5])
    assert rows[-1]["parts_off_line"]["attentions"] == pytest.approx(8.5)
    assert [causes(row) is None for row in rows] == [True, True, True, True, False]
    assert causes(rows[-1]).startswith(
        "grid 16, batch 1: 1.50 x the line, +8.5e+03 ms in 16 steps: attentions +8.5e+03"
    )


# Limits


def test_limit_is_the_larger_of_operations_and_weights_read_once_per_step():
    prior = small_prior()
    flops = prior_costs(prior.config).total.flops
    weights = sum(p.numel() for p in prior.parameters())
    slow = Machine(10.0, 20.0, 1e30)
    narrow = Machine(1e30, 1e30, 5.0)
    assert arithmetic_seconds(prior, 3, slow) == limit_seconds(prior, 3, slow, 4) == 3 * flops / 20
    assert prior.order.num_steps == 10
    assert reading_seconds(prior, narrow, 2) == limit_seconds(prior, 3, narrow, 2) == 2 * weights * 10 / 5


def test_weights_over_coarser_codes_are_read_once():
    prior = small_prior(conditioned=True)
    parts = (prior.coarser_embedding, prior.coarser_stack, prior.upsample)
    once = sum(p.numel() for part in parts for p in part.parameters())
    every = sum(p.numel() for p in prior.parameters()) - once
    assert once > 0
    assert reading_seconds(prior, Machine(1, 1, 1.0), 1) == every * prior.order.num_steps + once


@pytest.mark.parametrize(("size", "millions"), [("3M", 3), ("6M", 6), ("30M", 30)])
def test_sizes_have_the_parameters_in_their_names(size, millions):
    with torch.device("meta"):
        prior = make_prior(size, 32, 2, torch.device("meta"))
    assert sum(p.numel() for p in prior.parameters()) == pytest.approx(millions * 1e6, rel=0.25)
    assert {"paper-top", "paper-bottom"} < SIZES.keys()


@pytest.mark.parametrize("conditioned", [False, True])
def test_products_timed_alone_are_all_that_the_prior_needs(conditioned):
    prior = small_prior(conditioned)
    request = Request(prior, 2, Compute(CPU))
    costs = prior_costs(prior.config)
    with FlopCounterMode(display=False) as counter:
        products(request)()
    of_attention = costs.attentions.flops - 2 * 2 * 8 * pairs(prior) * len(prior.attentions)
    label = 2 * 8 * 16 * len(prior.blocks)  # computed once per image, in no step
    parts = costs.convolutions.flops + costs.gates.flops + costs.output.flops + costs.logits.flops + of_attention
    assert counter.get_total_flops() == 2 * (parts - label)


def test_attentions_timed_alone_are_those_of_the_visible_pairs():
    prior = small_prior().eval()
    prior = PixelCNN(prior.config.model_copy(update={"attention_every": 1}))
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        attentions(Request(prior, 3, Compute(CPU)))()
    assert counter.get_total_flops() == 3 * 2 * (2 * 2 * 8 * pairs(prior))


def pairs(prior):
    """Counts the pairs of a position and a position of no later time."""
    return int(prior.order.attention_mask().sum())


# Rows


def test_sample_beyond_the_time_is_left_out_and_other_samplers_are_compared():
    bench = Bench(Compute(CPU), FAST, seconds=1e9, repeats=1, has_pythae=why_missing() is None)
    for row in measure("tiny", 4, 2, bench):
        assert row["plain_is"] == "measured"
        assert row["over_plain_same_order"] == row["plain_seconds"] / row["seconds"]
        assert row["share_of_limit"] == row["limit_seconds"] / row["seconds"]
    alone = Bench(Compute(CPU), FAST, seconds=1e9, repeats=1, has_pythae=False, has_peers=False)
    (row,) = measure("tiny", 4, 2, alone)
    assert (row["slope"], row["plain_is"], row["over_plain_raster"]) == (2, "left out", None)
    assert row["share_of_limit"] == row["limit_seconds"] / row["seconds"]
    slow = Bench(Compute(CPU), Machine(1.0, 1.0, 1.0), seconds=1.0, repeats=1, has_pythae=False)
    for row in measure("tiny", 4, 2, slow):
        assert (row["seconds"], row["plain_is"], row["plain_seconds"]) == (None, "left out", None)


def test_kernels_are_compared_where_they_can_run(monkeypatch):
    bench = Bench(Compute(CPU), FAST, seconds=1e9, repeats=1, has_pythae=False, has_peers=False)
    assert not bench.has_kernels
    (row,) = measure("tiny", 4, 2, bench)
    assert (row["fused_seconds"], row["fused_gain"]) == (None, None)
    assert "fused_gain" not in marks([row])
    monkeypatch.setattr(Bench, "has_kernels", True)
    (row,) = measure("tiny", 4, 2, bench)
    assert row["fused_gain"] == row["seconds"] / row["fused_seconds"]
    assert marks([row])["fused_gain"] == {"tiny 4 slope 2 batch 2": row["fused_gain"]}


def test_marks_are_those_of_the_named_size():
    row = {"size": "6M", "grid": 32, "batch": 1, "share_of_limit": 0.5, "over_plain_raster": 70.0}
    rows = [row | {"slope": "raster"}, row | {"slope": 2, "over_plain_raster": 300.0}, row | {"slope": 2, "grid": 8}]
    assert marks(rows) == {
        "cached_raster_over_plain_raster": 70.0,
        "cached_slope2_over_plain_raster": 300.0,
        "share_of_limit": {
            "6M 32 slope raster batch 1": 0.5, "6M 32 slope 2 batch 1": 0.5, "6M 8 slope 2 batch 1": 0.5,
        },
    }  # fmt: skip


def test_peer_has_about_the_wanted_number_of_parameters():
    if reason := why_missing():
        pytest.skip(reason)
    for parameters in (100_000, 3_000_000):
        peer = PythaePeer(parameters, side=4, codebook_size=512)
        assert abs(peer.parameters - parameters) <= 52_000  # half a layer
    assert num_layers(1, 512) == 1
    assert peer.num_steps == 16


def test_peer_samples_codes(monkeypatch):
    if reason := why_missing():
        pytest.skip(reason)
    peer = PythaePeer(1, side=3, codebook_size=5)
    calls = []
    peer.model.register_forward_hook(lambda *arguments: calls.append(1))
    assert peer.sample(2)().shape == (2, 1, 3, 3)
    assert len(calls) == peer.num_steps == 9


def test_missing_peer_is_reported_with_its_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "pythae", None)
    monkeypatch.setitem(sys.modules, "pythae.models", None)
    assert why_missing() == "pythae is not installed and is left out; pip install 'vqgen[bench]' brings it"
    monkeypatch.setitem(sys.modules, "pythae.models", SimpleNamespace(VQVAE=None))
    assert why_missing().startswith("pythae is left out: it does not work with the versions here (ImportError")


# Reports


def test_table_has_a_column_for_each_name(capsys):
    print_table([{"name": "a", "value": 0.123456}, {"name": "bcd", "value": None}, {"name": "e", "value": 12345.6}])
    assert capsys.readouterr().out.splitlines() == ["name  value", "   a  0.123", " bcd      -", "   e  12346"]


def test_warm_ups_do_not_count_and_contestants_take_turns():
    turns = []
    times = interleaved_medians({"a": lambda: turns.append("a"), "b": lambda: turns.append("b")}, repeats=3, warm_ups=2)
    assert turns == ["a", "b"] * 5
    assert times.keys() == {"a", "b"}


def test_results_are_written_with_machine_and_command(tmp_path):
    write_json(tmp_path / "new" / "x.json", {"seconds": 1.5})
    document = json.loads((tmp_path / "new" / "x.json").read_text())
    assert document["seconds"] == 1.5
    assert document["command"].startswith("python -m ")
    assert {"processor", "cores", "threads", "torch"} <= document["machine"].keys()


def test_help_lists_all_benchmarks():
    command = [sys.executable, "-m", "benchmarks", "--help"]
    output = subprocess.run(command, cwd=CHECKOUT, check=True, capture_output=True, text=True, timeout=60).stdout
    for name in everything.BENCHMARKS:
        assert name in output
        assert (CHECKOUT / "benchmarks" / f"{name}.py").is_file()


def test_benchmark_that_fails_does_not_stop_the_next_one(monkeypatch, capsys):
    ran = []

    def run(words, check):
        ran.append(words[2])
        return subprocess.CompletedProcess(words, returncode=int("plan" in words[2]))

    monkeypatch.setattr(everything.subprocess, "run", run)
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--only", "plan", "startup"])
    assert everything.main() == 1
    assert ran == ["benchmarks.plan", "benchmarks.startup"]
    assert "failed: plan" in capsys.readouterr().err


# Operations


def test_shares_of_time_add_up_and_a_product_is_recognised():
    left = torch.randn(300, 300)
    right = torch.randn(300, 300)
    shares = time_shares(lambda: left @ right)
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["products"] > 0.5
    assert [group_of(name) for name in ("addmm", "_foreach_add_", "add", "_scaled_dot_product_flash_attention")] == [
        "products", "optimizer", "the rest", "attention",
    ]  # fmt: skip
