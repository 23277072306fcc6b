import pytest
import torch

from vqgen.config import ClassifierConfig, TrainConfig, find_recipe, read_recipe
from vqgen.data import ImageCounts
from vqgen.planning import budget_meter
from vqgen.planning.budget_meter import Meter, seconds_of, training_step
from vqgen.planning.budget_pictures import sample_pictures
from vqgen.runtime.compute import Compute

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch):
    monkeypatch.setattr(budget_meter, "_kept", {})


@pytest.fixture
def digits(tiny_recipe):
    return sample_pictures(tiny_recipe().data)


class Clock:
    """A clock that each act moves by the next of some times."""

    def __init__(self, *times):
        self.now = 0.0
        self.times = list(times)
        self.calls = 0

    def act(self):
        self.now += self.times[min(self.calls, len(self.times) - 1)]
        self.calls += 1

    def seconds(self, wanted):
        return seconds_of(self.act, CPU, wanted, lambda: self.now)


def test_first_call_does_not_count():
    clock = Clock(2.9, 0.5)
    assert clock.seconds(1.0) == 0.5
    assert clock.calls == 4


def test_calls_that_another_program_slows_down_do_not_count():
    clock = Clock(0.2, 0.6, 0.2, 0.9, 0.2, 0.9)
    assert clock.seconds(2.0) == pytest.approx(0.2)


def test_single_fast_call_does_not_count():
    clock = Clock(0.2, 0.01, *[0.2] * 10)
    assert clock.seconds(1.0) == pytest.approx(0.2)


def test_slow_first_call_is_the_only_one():
    clock = Clock(6.0, 1.0)
    assert clock.seconds(1.0) == 6.0
    assert clock.calls == 1


def test_slow_calls_end_the_measurement():
    clock = Clock(4.0, 4.0)
    assert clock.seconds(1.0) == 4.0
    assert clock.calls == 3


def test_every_piece_of_a_recipe_is_measured(tiny_recipe, digits):
    recipe = tiny_recipe(classifier={"channels": 8, "stages": 1}, data={"random_rotation": 5.0})
    rates = Meter(Compute.resolve("cpu"), 1e-4).measure(recipe, digits)
    assert list(rates.steps) == ["vqvae", "prior-top", "prior-bottom", "classifier"]
    assert min(*rates.steps.values(), rates.encode, rates.sample, rates.centre, rates.random) > 0


@pytest.mark.parametrize("changes", [{"guidance_scale": 2.0}, {"autoguidance_scale": 2.0}, {"images_per_label": 1}])
def test_every_kind_of_sampling_is_measured(tiny_recipe, digits, changes):
    recipe = tiny_recipe(generate=changes)
    assert Meter(Compute.resolve("cpu"), 1e-4).measure(recipe, digits).sample > 0


@pytest.mark.parametrize("kind", ["digits-autoencoder", "digits-vae", "digits-binary-vae"])
def test_baseline_is_measured(digits, kind):
    rates = Meter(Compute.resolve("cpu"), 1e-4).measure(read_recipe(find_recipe(kind)), digits)
    assert rates.steps["autoencoder"] > 0
    assert rates.encode == 0
    assert rates.sample > 0


def test_pictures_without_labels_are_measured(tiny_recipe, digits):
    pictures = type(digits)(ImageCounts(9, 1, 0, 0), digits.side, True, 0.0, digits.sample)
    assert Meter(Compute.resolve("cpu"), 1e-4).measure(tiny_recipe(), pictures).sample > 0


@pytest.mark.slow
def test_measurement_is_kept_in_the_process(tiny_recipe, digits, monkeypatch):
    meter = Meter(Compute.resolve("cpu"), 1e-4)
    first = meter.measure(tiny_recipe(), digits)
    monkeypatch.setattr(budget_meter, "seconds_of", lambda *arguments: pytest.fail("measured twice"))
    assert meter.measure(tiny_recipe(), digits) == first
    more_steps = tiny_recipe(vqvae={"train": {"steps": 99}})  # the number of steps does not change a step
    assert meter.measure(more_steps, digits) == first


@pytest.mark.slow
def test_other_batch_model_or_threads_are_measured_anew(tiny_recipe, digits, monkeypatch):
    times = iter(range(1, 1000))
    monkeypatch.setattr(budget_meter, "seconds_of", lambda *arguments: float(next(times)))
    compute = Compute.resolve("cpu")
    plain = Meter(compute).measure(tiny_recipe(), digits).steps["vqvae"]
    others = [
        Meter(compute).measure(tiny_recipe(vqvae={"train": {"batch_size": 4}}), digits).steps["vqvae"],
        Meter(compute).measure(tiny_recipe(vqvae={"channels": 16}), digits).steps["vqvae"],
        Meter(compute, processes=2).measure(tiny_recipe(), digits).steps["vqvae"],
        Meter(compute, threads=lambda recipe, stage: 2).measure(tiny_recipe(), digits).steps["vqvae"],
        Meter(Compute.resolve("cpu", "bfloat16")).measure(tiny_recipe(), digits).steps["vqvae"],
    ]
    assert len({plain, *others}) == 6


def test_main_process_exchanges_nothing_while_the_others_wait(tiny_recipe, digits, monkeypatch):
    for name in ("ema.all_reduce_sum", "start.all_reduce_sum", "start.row_span", "start.gather_rows"):
        monkeypatch.setattr(f"vqgen.nn.quantizers.{name}", lambda *arguments: pytest.fail("waits for ever"))
    rates = Meter(Compute.resolve("cpu"), 1e-4, processes=2).measure(tiny_recipe(), digits)
    assert rates.steps["vqvae"] > 0


def test_threads_of_the_stage_are_used_and_put_back(tiny_recipe, digits, monkeypatch):
    seen = {}
    before = torch.get_num_threads()

    def note(act, *arguments):
        act()
        return float(torch.get_num_threads())

    monkeypatch.setattr(budget_meter, "seconds_of", note)
    threads = {"vqvae": 2, "prior-top": 1, "prior-bottom": 3, "codes": 2, "samples": 1}
    meter = Meter(Compute.resolve("cpu"), threads=lambda recipe, stage: threads[stage])
    rates = meter.measure(tiny_recipe(), digits)
    seen = dict(rates.steps)
    assert seen == {stage: threads[stage] for stage in ("vqvae", "prior-top", "prior-bottom")}
    assert torch.get_num_threads() == before


def test_measuring_leaves_the_random_generator_as_it_was(tiny_recipe, digits):
    state = torch.get_rng_state()
    Meter(Compute.resolve("cpu"), 1e-4).measure(tiny_recipe(), digits)
    assert torch.equal(torch.get_rng_state(), state)


def test_step_trains_the_model():
    """The step is the one of a training: the weights move, and the gradients are gone afterwards."""
    moved = []
    config = ClassifierConfig(channels=8, stages=1, image_size=8, image_channels=1, num_classes=3)
    real = budget_meter.make_optimizer

    def watched(model, train):
        moved.append(model)
        return real(model, train)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(budget_meter, "make_optimizer", watched)
        step = training_step(config, TrainConfig(ema_decay=0.9, micro_batches=2), 4, Compute.resolve("cpu"))
    before = [parameter.clone() for parameter in moved[0].parameters()]
    step()
    after = list(moved[0].parameters())
    assert all(parameter.grad is None for parameter in after)
    assert any(not torch.equal(one, other) for one, other in zip(before, after, strict=True))
