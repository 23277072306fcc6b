"""The moving average of a training, which is validated and kept, and the snapshot of an early step."""

import pytest
import torch
from training_runs import make_trainer


def test_moving_average_is_validated_and_kept(tmp_path):
    trainer = make_trainer(tmp_path, train={"ema_decay": 0.6, "steps": 8, "validate_every": 8})
    average = [p.detach().clone() for p in trainer.parameters]
    real = trainer.objective.end_step
    real_validate = trainer.objective.validate
    judged = []
    raw = []

    def end_step():
        real()
        for a, p in zip(average, trainer.parameters, strict=True):
            decay = min(0.6, (1 + trainer.progress.step) / (10 + trainer.progress.step))
            a.copy_(decay * a + (1 - decay) * p.detach())
        raw[:] = [p.detach().clone() for p in trainer.parameters]

    def validate():
        judged[:] = [p.detach().clone() for p in trainer.parameters]
        return real_validate()

    trainer.objective.end_step = end_step
    trainer.objective.validate = validate
    trainer.train()
    for a, j, kept, r in zip(average, judged, trainer.parameters, raw, strict=True):
        torch.testing.assert_close(j, a, rtol=0, atol=1e-12)
        assert torch.equal(kept, j)
        assert not torch.equal(kept, r)


@pytest.mark.parametrize("quantize_after", [0, 3])
def test_codebooks_of_the_averaged_statistics_are_validated_and_kept(tmp_path, quantize_after):
    """Before latents are quantized the codebooks are random numbers, of which nothing may stay in the average."""
    train = {"ema_decay": 0.6, "steps": 8, "validate_every": 8}
    trainer = make_trainer(tmp_path, train=train, vqvae={"quantize_after": quantize_after})
    quantizers = list(trainer.objective.model.quantizers)

    def sums_and_counts():
        return [torch.cat([quantizer.ema_sums, quantizer.ema_counts[:, None]], dim=1) for quantizer in quantizers]

    def codebooks():
        return [quantizer.codebook.clone() for quantizer in quantizers]

    average = sums_and_counts()
    judged = []
    raw = []
    real_end_step = trainer.objective.end_step
    real_validate = trainer.objective.validate

    def end_step():
        real_end_step()
        moves = max(0, trainer.progress.step + 1 - quantize_after)
        decay = min(0.6, moves / (9 + moves))
        average[:] = [decay * old + (1 - decay) * new for old, new in zip(average, sums_and_counts(), strict=True)]
        raw[:] = codebooks()

    def validate():
        judged[:] = codebooks()
        return real_validate()

    trainer.objective.end_step = end_step
    trainer.objective.validate = validate
    trainer.train()
    for a, j, kept, r in zip(average, judged, codebooks(), raw, strict=True):
        torch.testing.assert_close(j, a[:, :-1] / a[:, -1:], rtol=0, atol=1e-12)
        assert torch.equal(kept, j)
        assert not torch.equal(kept, r)


@pytest.mark.parametrize("decay", [0.0, 0.6])
def test_snapshot_has_the_weights_of_its_step_and_changes_no_training(tmp_path, decay):
    train = {"ema_decay": decay, "steps": 6, "validate_every": 2}
    trainer = make_trainer(tmp_path / "with", train=train, noise=0.05, snapshot_step=3)
    other = make_trainer(tmp_path / "without", train=train, noise=0.05)
    at_step = []
    for step in other.steps():
        if step == 3:
            model = other.objective.model
            at_step = [value.clone() for value in (other.average.values if decay else other.parameters)]
            buffers = {name: value.clone() for name, value in model.named_buffers()}
    for step in trainer.steps():
        assert bool(trainer.snapshot) == (step >= 3)
    names = [name for name, p in trainer.objective.model.named_parameters() if p.requires_grad]
    averaged = [f"quantizers.{number}.ema_{name}" for number in (0, 1) for name in ("sums", "counts")] if decay else []
    for name, expected in zip(names + averaged, at_step, strict=True):
        assert torch.equal(trainer.snapshot[name], expected)
    assert trainer.snapshot.keys() == trainer.objective.model.state_dict().keys()
    for name, expected in buffers.items():
        is_averaged = bool(decay) and name.endswith(("codebook", "ema_sums", "ema_counts"))
        assert torch.equal(trainer.snapshot[name], expected) != is_averaged
    for one, same in zip(trainer.parameters, other.parameters, strict=True):
        assert torch.equal(one, same)
    assert not other.snapshot
