import json
import math
import warnings

import pytest
import torch
from combinations import combinations
from training_runs import (
    NUM_IMAGES,
    RESIDUAL,
    STEPS,
    VQVAE_SETTINGS,
    Cut,
    at_step,
    cut_at,
    difference,
    images,
    make_trainer,
    weights,
)

from vqgen.errors import DataError
from vqgen.runtime.randomness import derive_seed
from vqgen.storage.tensors import load_tensors
from vqgen.training.metrics_log import MetricsLog, read_metrics
from vqgen.training.optimization import learning_rate_at

# A step


@pytest.mark.parametrize(("parts", "double"), combinations([2, 3, 8, 20], [True, False], every=2))
def test_micro_batches_equal_one_batch(tmp_path, parts, double):
    tolerance = 1e-12 if double else 1e-6  # of the losses; weights add up
    settings = {"vqvae": {"initialization": "random"}, "double": double}
    whole = make_trainer(tmp_path / "1", **settings)
    cut = make_trainer(tmp_path / "2", **settings, train={"micro_batches": parts})
    whole.train()
    cut.train()
    assert difference(weights(whole), weights(cut)) < 10 * tolerance
    for one, other in zip(read_metrics(whole.log.path), read_metrics(cut.log.path), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], abs=tolerance)


def test_first_step_equals_the_formula_of_adamw(tmp_path):
    trainer = make_trainer(tmp_path, train={"steps": 1, "gradient_clip": 0.0, "warmup_steps": 0, "weight_decay": 0.1})
    batch = next(trainer.batches.steps(0))
    before = {name: p.detach().clone() for name, p in trainer.objective.model.named_parameters()}
    twin = make_trainer(tmp_path / "twin")
    twin.objective.begin_step(0, derive_seed(0, "vqvae", 0))
    twin.objective(batch.images, batch.positions)[0].backward()
    trainer.train()
    for (name, p), (_, q) in zip(
        trainer.objective.model.named_parameters(), twin.objective.model.named_parameters(), strict=True
    ):
        decay = 0.1 if q.ndim > 1 else 0.0
        # After one step both moments follow from one gradient, so that AdamW moves by its sign.
        expected = before[name] * (1 - 2e-3 * decay) - 2e-3 * q.grad / (q.grad.abs() + 1e-8)
        torch.testing.assert_close(p.detach(), expected, rtol=0, atol=1e-9)


def test_gradient_is_clipped_to_its_norm(tmp_path):
    norms = []
    trainer = make_trainer(tmp_path, train={"steps": 3, "gradient_clip": 1e-3})
    real = trainer.optimizer.step

    def step(*arguments):
        norms.append(torch.stack([p.grad.norm() for p in trainer.parameters]).norm().item())
        return real(*arguments)

    trainer.optimizer.step = step
    trainer.train()
    assert norms == pytest.approx([1e-3] * 3, rel=1e-2)


def test_optimizer_and_log_receive_the_learning_rate(tmp_path):
    trainer = make_trainer(tmp_path)
    seen = []
    real = trainer.objective.end_step
    trainer.objective.end_step = lambda: (seen.append(trainer.optimizer.param_groups[0]["lr"]), real())
    trainer.train()
    expected = [learning_rate_at(step, STEPS, trainer.config) for step in range(STEPS)]
    assert seen == expected
    assert [line["learning_rate"] for line in read_metrics(trainer.log.path)] == expected


@pytest.mark.slow
@pytest.mark.parametrize("network", [{}, RESIDUAL], ids=["paper", "residual"])
def test_compiled_run_differs_by_rounding_only_and_keeps_the_names(tmp_path, network):
    plain = make_trainer(tmp_path / "1", train={"steps": 5}, vqvae=network)
    compiled = make_trainer(tmp_path / "2", train={"steps": 5, "compile": True}, vqvae=network)
    plain.train()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the compiler, about its own internals
        compiled.train()
    assert compiled.objective.model.decoder._compiled_call_impl is not None
    assert difference(weights(plain), weights(compiled)) < 1e-10
    assert weights(plain).keys() == weights(compiled).keys()


@pytest.mark.slow
@pytest.mark.skipif(
    not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="the processor computes bfloat16 as float32"
)
def test_levels_of_other_grids_are_compiled_in_bfloat16(tmp_path):
    """With dynamic shapes, which torch takes for the second level, its compiler fails here on CPUs with bfloat16."""
    network = {"architecture": "residual", "channels": 16, "channel_multipliers": (1, 2), "residual_layers": 2}
    trainer = make_trainer(tmp_path, train={"steps": 2, "compile": True}, vqvae=network, double=False)
    with warnings.catch_warnings(), torch.autocast("cpu", torch.bfloat16):
        warnings.simplefilter("ignore")
        trainer.train()
    assert trainer.progress.step == 2


@pytest.mark.slow
def test_eight_images_are_learned_by_heart(tmp_path):
    trainer = make_trainer(
        tmp_path, double=False, vqvae={"channels": 16, "residual_channels": 8, "codebook_size": 64},
        train={"steps": 250, "learning_rate": 5e-3, "validate_every": 250, "save_every": 1000},
    )  # fmt: skip
    eight = images()[:8].float()
    trainer.batches.images = eight[torch.arange(NUM_IMAGES) % 8]
    trainer.train()
    lines = read_metrics(trainer.log.path)
    assert lines[0]["reconstruction"] > 0.1
    assert lines[-1]["reconstruction"] < 0.01


def test_run_makes_no_warnings(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_trainer(tmp_path, double=False, train={"micro_batches": 2, "ema_decay": 0.9}).train()
    assert VQVAE_SETTINGS["restart_after"] < STEPS


# Validation, patience, best weights


def scripted(trainer, values):
    """Makes validations return these values; returns the list of weights that they judge."""
    judged = []
    remaining = list(values)

    def validate():
        judged.append(weights(trainer))
        return {"mse": remaining.pop(0), "other": 7.0}

    trainer.objective.validate = validate
    return judged


def test_best_weights_are_kept_with_their_metrics(tmp_path):
    trainer = make_trainer(tmp_path)
    judged = scripted(trainer, [3.0, 1.0, 2.0])
    assert trainer.train() == {"val_mse": 1.0, "val_other": 7.0, "best_step": 8, "steps": 12}
    assert difference(weights(trainer), judged[1]) == 0
    assert difference(weights(trainer), judged[2]) > 0
    assert not trainer.objective.training
    lines = read_metrics(trainer.log.path)
    assert {line["step"]: line["val_mse"] for line in lines if "val_mse" in line} == {4: 3.0, 8: 1.0, 12: 2.0}


@pytest.mark.parametrize(
    ("patience", "values", "steps", "best"),
    [
        (1, [1.0, 2.0], 8, 4),
        (2, [3.0, 1.0, 2.0, 1.0], 16, 8),  # an equal value is not a better one
        (2, [3.0, 4.0, 2.0, 4.0, 1.0, 2.0], 24, 20),
        (0, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 24, 4),
        (2, [3.0, math.nan, math.nan], 12, 4),
        (2, [math.nan, -math.inf, 3.0, 2.0, 4.0, math.nan], 24, 16),  # patience waits from the first finite value on
        (2, [math.nan, math.inf, math.nan, math.nan, math.nan, math.nan], 24, 24),  # the last weights
    ],
)
def test_patience_ends_the_training_after_validations_without_a_better_one(tmp_path, patience, values, steps, best):
    trainer = make_trainer(tmp_path, train={"steps": 24, "patience": patience})
    judged = scripted(trainer, values)
    metrics = trainer.train()
    assert (metrics["steps"], metrics["best_step"]) == (steps, best)
    assert difference(weights(trainer), judged[best // 4 - 1]) == 0
    again = make_trainer(tmp_path, train={"steps": 24, "patience": patience})
    cut_at(again, steps)
    assert again.train()["best_step"] == best
    assert difference(weights(trainer), weights(again)) == 0


VALIDATIONS = [
    ([1.0, 2.0, 9.0, 8.0, 10.0, 11.0], 24, 16),
    ([1.0, 2.0, 3.0, 10.0, 11.0, 12.0], 20, 12),
    ([1.0, 2.0, math.nan, 7.0, 8.0, 9.0], 24, 16),
    ([1.0, 2.0, math.nan, math.nan, math.nan, math.nan], 24, 24),
]
"""Values of validations, the steps that are taken, and the step of the best weights."""


@pytest.mark.parametrize(("validations", "cut"), combinations(VALIDATIONS, [None, 7, 13, 23], every=3))
def test_validations_that_do_not_count_choose_no_weights_and_use_up_no_patience(tmp_path, validations, cut):
    values, steps, best = validations
    asked = []

    def make(remaining):
        trainer = make_trainer(tmp_path, train={"steps": 24, "patience": 2, "save_every": 1})
        judged = scripted(trainer, remaining)

        def validation_counts(step, place):
            asked.append((step, place))
            return step >= 9

        trainer.objective.validation_counts = validation_counts
        return trainer, judged

    trainer, judged = make(values)
    if cut is not None and cut < steps:
        cut_at(trainer, cut)
        with pytest.raises(Cut):
            trainer.train()
        trainer, later = make(values[cut // 4 :])
    else:
        later = []
    metrics = trainer.train()
    assert (metrics["steps"], metrics["best_step"]) == (steps, best)
    assert metrics["val_mse"] == pytest.approx(values[best // 4 - 1], nan_ok=True)
    assert difference(weights(trainer), [*judged, *later][best // 4 - 1]) == 0
    assert asked == [(step - 1, step - 1) for step in range(4, steps + 1, 4)]


def test_training_whose_validations_never_counted_takes_any_later_one(tmp_path):
    first = make_trainer(tmp_path)
    scripted(first, [math.nan] * 3)
    assert first.train()["best_step"] == STEPS
    longer = make_trainer(tmp_path, train={"steps": 20}, continued_from=STEPS)
    scripted(longer, [9.0, 10.0])
    assert longer.train()["best_step"] == STEPS + 4


def test_last_step_is_always_validated(tmp_path):
    trainer = make_trainer(tmp_path, train={"steps": 5, "validate_every": 100, "save_every": 100, "log_every": 100})
    metrics = trainer.train()
    assert metrics["best_step"] == 5
    assert "val_mse" in read_metrics(trainer.log.path)[-1]


def test_validation_changes_nothing_that_trains(tmp_path):
    often = make_trainer(tmp_path / "1", train={"ema_decay": 0.9, "validate_every": 1})
    seldom = make_trainer(tmp_path / "2", train={"ema_decay": 0.9, "validate_every": 12})
    often.train()
    seldom.train()
    states = [load_tensors(trainer.state_path)[0] for trainer in (often, seldom)]
    for name in states[0]:
        if not name.startswith("best."):
            assert torch.equal(states[0][name], states[1][name]), name


# The log


def test_loss_that_is_not_finite_is_an_error_and_saves_nothing(tmp_path):
    trainer = make_trainer(tmp_path, train={"log_every": 1})

    def spoil():
        with torch.no_grad():
            trainer.parameters[0].fill_(math.nan)

    at_step(trainer, 6, spoil)
    with pytest.raises(DataError, match="loss: should be finite, found nan at step 7; lower learning_rate"):
        trainer.train()
    assert json.loads(load_tensors(trainer.state_path)[1])["step"] == 4
    assert [line["step"] for line in read_metrics(trainer.log.path)] == [1, 2, 3, 4, 5, 6]


def test_metrics_leave_the_device_only_to_be_written(tmp_path, monkeypatch):
    trainer = make_trainer(
        tmp_path, train={"steps": 30, "log_every": 12, "validate_every": 20, "save_every": 7}
    )  # fmt: skip
    flushed = []
    real = MetricsLog.flush

    def flush(log):
        if log._waiting:
            flushed.append(trainer.progress.step)
        return real(log)

    monkeypatch.setattr(MetricsLog, "flush", flush)
    trainer.train()
    assert flushed == [7, 12, 14, 20, 21, 24, 28, 30]
