import pytest
from pydantic import ValidationError

from vqgen.config import TrainConfig


def test_summary_counts_epochs_if_they_replace_steps():
    assert TrainConfig(steps=800, batch_size=64).summary() == "800 steps at batch 64"
    assert TrainConfig(steps=800, epochs=2.5, batch_size=8).summary() == "2.5 epochs at batch 8"


@pytest.mark.parametrize(
    "changes", [{"steps": 0}, {"epochs": 0.0}, {"micro_batches": 0}, {"ema_decay": 1.0}, {"beta2": 1.0}]
)
def test_number_out_of_range_is_refused(changes):
    with pytest.raises(ValidationError, match=next(iter(changes))):
        TrainConfig(**changes)
