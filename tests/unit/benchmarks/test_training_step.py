"""The training steps that are timed: their costs, their products and their settings. The times are not tested."""

import sys
from functools import partial
from itertools import count

import pytest
import torch

from benchmarks import training_step
from benchmarks.priors import prior_config
from benchmarks.training_step import (
    Contestant,
    Setting,
    chosen_settings,
    in_threads,
    plain_products,
    time_case,
)
from benchmarks.training_step_cases import (
    ON_A_CPU,
    SOURCES,
    fitting_batch,
    make_step_case,
    model_settings,
    product_shapes_of_vqvae,
    random_store,
)
from vqgen.config import PixelCNNConfig, VQVAEConfig, read_recipe, shipped_recipes
from vqgen.errors import ConfigError
from vqgen.planning.costs import prior_costs, vqvae_costs
from vqgen.planning.layer_costs import Cost
from vqgen.runtime.compute import Compute

CPU = torch.device("cpu")
GIB = 2**30


# Cases


@pytest.mark.parametrize("name", SOURCES)
def test_case_has_the_model_of_its_recipe(name):
    source = SOURCES[name]
    config, train, data = model_settings(source)
    assert isinstance(config, VQVAEConfig if source.stage == "vqvae" else PixelCNNConfig)
    if source.recipe not in shipped_recipes():
        return
    recipe = read_recipe(shipped_recipes()[source.recipe])
    if source.stage == "vqvae":
        assert train == recipe.vqvae.train
        assert config == recipe.vqvae_config().model_copy(update={"quantize_after": 0})
        assert data.is_augmented == (recipe.data.is_augmented and recipe.vqvae.augment)
    else:
        assert train == recipe.prior(source.stage).train
        assert config == recipe.prior_config(source.stage, 10).model_copy(update=dict(source.changes))


def test_cases_on_a_cpu_are_cases():
    assert set(ON_A_CPU) < set(SOURCES)


@pytest.mark.parametrize(
    ("batch", "memory", "fits"),
    [(64, 100 * GIB, 64), (64, 4 * GIB, 32), (64, GIB, 8), (64, 1, 1), (1, 1, 1)],
)
def test_batch_is_halved_until_it_fits(batch, memory, fits):
    # An image keeps 2^24 floats, 64 MiB.
    assert fitting_batch(batch, Cost(kept=2**24), 0, memory) == fits


def test_weights_take_memory_from_the_batch():
    cost = Cost(kept=2**24, once=2**20)
    sizes = [fitting_batch(64, cost, parameters, 8 * GIB) for parameters in (0, 2**26, 2**30)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > sizes[-1] == 1


@pytest.mark.parametrize("batch", [1, 3])
def test_products_of_a_vqvae_have_the_flops_of_its_layers(batch, tiny_vqvae_config):
    config = tiny_vqvae_config(image_size=16, image_channels=3)
    costs = vqvae_costs(config)
    flops = sum(2 * m * i * o for m, i, o in product_shapes_of_vqvae(config, batch))
    assert flops == batch * (costs.total.flops - costs.quantizers.flops)


def test_store_has_random_codes_of_the_level_and_the_level_above(tmp_path):
    config = prior_config("tiny", 4, 2).model_copy(update={"level": "bottom", "coarser_height": 2, "coarser_width": 3})
    store = random_store(tmp_path, config, 50)
    codes, labels = store.batch("train", list(range(50)))
    assert {level: tuple(grid.shape) for level, grid in codes.grids.items()} == {
        "top": (50, 2, 3),
        "bottom": (50, 4, 4),
    }
    assert codes.levels == ("top", "bottom")
    for grid in codes.grids.values():
        assert grid.min() >= 0
        assert grid.max() < config.codebook_size
        assert len(grid.unique()) > 100
    assert set(labels.tolist()) == set(range(10))


@pytest.mark.parametrize("name", ["tiny-vqvae", "tiny-top"])
def test_step_of_a_case_has_its_cost(name, tmp_path):
    config, train, _ = model_settings(SOURCES[name])
    step = make_step_case(name, Compute(CPU), tmp_path, most=2)
    assert step.case.batch_size == step.case.train.batch_size == 2 < train.batch_size
    if isinstance(config, VQVAEConfig):
        assert step.flops == 2 * vqvae_costs(config).train_flops
    else:
        assert step.flops == 3 * 2 * prior_costs(config).total.flops
        taps = 14  # open ones of a 5 x 5 kernel in slope 2: 5, 5, 3 and 1 of its rows
        assert (2 * 16, taps * config.channels, 2 * config.channels) in step.shapes
    assert len(step.shapes) <= 4
    # No timed step is validated or saved.
    assert min(step.case.train.validate_every, step.case.train.save_every) > 10_000


# Timing


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked_annotations")
@pytest.mark.parametrize("name", ["tiny-vqvae", "tiny-top"])
def test_rows_are_shares_of_the_measured_peak(name, tmp_path, monkeypatch):
    monkeypatch.setattr(training_step, "_SECONDS_A_TURN", 0.001)
    compute = Compute(CPU)
    step = make_step_case(name, compute, tmp_path)
    settings = [Setting(1, "float32"), Setting(2, "float32"), Setting(1, "bfloat16")]
    before = torch.get_num_threads()
    rows = time_case(step, settings, compute, tmp_path, rounds=2)
    assert torch.get_num_threads() == before
    assert [(row["threads"], row["dtype"]) for row in rows] == [(1, "float32"), (2, "float32"), (1, "bfloat16")]
    for row in rows:
        assert len(row["rounds_ms"]) == len(row["rounds_peak_gflops"]) == 2
        assert row["ms"] == pytest.approx(sum(row["rounds_ms"]) / 2)
        assert row["peak_gflops"] == max(row["rounds_peak_gflops"])
        assert row["share_of_limit"] == pytest.approx(step.flops / 1e9 / (row["ms"] / 1e3) / row["peak_gflops"])
        assert row["images_per_second"] == pytest.approx(step.case.batch_size / (row["ms"] / 1e3))


def test_turn_takes_the_steps_that_it_counts(monkeypatch):
    monkeypatch.setattr(training_step, "seconds_of", lambda run: run() or 0.2)
    steps = count()
    contestant = Contestant(steps, [(lambda: None, 10), (lambda: None, 40)])
    contestant.warm_up()
    assert contestant.steps_a_turn == 3  # ceil(0.5 / 0.2)
    before = next(steps)
    contestant.take_turn()
    assert next(steps) - before - 1 == 1 + 3  # the first one does not count
    assert contestant.seconds == [pytest.approx(0.2 / 3)]
    assert contestant.peaks == [40 / 0.2]


def test_long_step_is_taken_once_a_turn(monkeypatch):
    monkeypatch.setattr(training_step, "seconds_of", lambda run: run() or 5.0)
    steps = count()
    contestant = Contestant(steps, [(lambda: None, 10)])
    contestant.warm_up()
    before = next(steps)
    contestant.take_turn()
    assert next(steps) - before - 1 == 1
    assert contestant.seconds == [5.0]


def test_plain_products_have_their_flops():
    (run, flops), (_, large) = plain_products([(3, 4, 5), (2**20, 2, 1)], CPU, torch.float32)
    assert run().shape == (3, 5)
    assert flops == 2 * 3 * 4 * 5
    assert large == 2 * 2**18 * 2  # more rows are not faster


def test_threads_are_restored_after_an_error():
    before = torch.get_num_threads()
    seen = []
    with pytest.raises(ZeroDivisionError):
        in_threads(before + 1, lambda: (seen.append(torch.get_num_threads()), 1 / 0))
    assert (seen, torch.get_num_threads()) == ([before + 1], before)


# Arguments


def test_default_threads_are_one_and_two_if_there_are_cores():
    settings = partial(chosen_settings, CPU, None, ["float32"])
    assert [setting.threads for setting in settings(8)] == [1, 2]
    assert [setting.threads for setting in settings(1)] == [1]


def test_settings_are_all_pairs_of_threads_and_dtypes():
    settings = chosen_settings(CPU, [1, 3], ["float32", "bfloat16"], 4)
    assert settings == [Setting(threads, dtype) for dtype in ("float32", "bfloat16") for threads in (1, 3)]


def test_accelerator_keeps_its_threads():
    settings = chosen_settings(torch.device("cuda"), [1, 2], ["float32"], 4)
    assert settings == [Setting(torch.get_num_threads(), "float32")]


@pytest.mark.parametrize("threads", [[0], [1, 5]])
def test_impossible_threads_are_refused(threads):
    with pytest.raises(ConfigError, match=r"--threads: should be from 1 to 4, the cores of this machine, found \d"):
        chosen_settings(CPU, threads, ["float32"], 4)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--rounds", "0"], "--rounds: should be at least 1, found 0"),
        (["--batch", "0"], "--batch: should be at least 1, found 0"),
        (["--device", "abacus"], "device: should be auto, cpu, cuda, cuda:N or mps, found 'abacus'"),
    ],
)
def test_wrong_argument_is_refused(words, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["training_step", *words])
    assert training_step.main() == 2
    assert capsys.readouterr().err == f"{message}\n"
