"""The start of a prior in the benchmark, and the rows of its table."""

from argparse import Namespace
from pathlib import Path

import pytest
import torch

from benchmarks.warm_start import first_step_below, measure, nats_by_step, start_of
from vqgen import VQGenPipeline
from vqgen.data import LabelMap
from vqgen.models.pixelcnn import PixelCNN

SHIPPED = Path(__file__).parents[3] / "checkpoints" / "pretrained" / "digits"


class Store:
    """The labels of a code store."""

    class info:
        label_map = LabelMap(("7", "cat"))


def test_start_has_the_weights_of_the_prior_and_its_labels_by_name():
    pipe = VQGenPipeline.from_pretrained(SHIPPED, device="cpu")
    source = pipe.parts.priors["top"]
    model = PixelCNN(source.config.model_copy(update={"num_classes": 2}))
    start_of(pipe, Store(), "top")(model)
    assert torch.equal(model.embedding.weight, source.embedding.weight)
    assert torch.equal(model.label_embedding.weight[0], source.label_embedding.weight[7])
    assert not torch.equal(model.label_embedding.weight[1], source.label_embedding.weight[1])


def test_first_step_below_a_limit():
    nats = {50: 3.0, 100: 2.0, 150: 2.5}
    assert first_step_below(nats, 2.5) == 100
    assert first_step_below(nats, 1.0) is None


def test_each_training_has_a_row_with_the_steps_of_its_share(monkeypatch, tmp_path, tiny_recipe):
    seen = []

    def fit(config, train, store, session, compute):
        seen.append((train.steps, train.validate_every, session.start))
        lines = [f'{{"step": {step}, "val_nats_per_code": {3 - step / 10}}}\n' for step in range(2, train.steps + 1, 2)]
        (session.folder / "metrics.jsonl").write_text("".join(lines))

    monkeypatch.setattr("benchmarks.warm_start.fit_prior", fit)
    settings = Namespace(device="cpu", dtype="float32", steps=10, every=4, shares=[0.2], seed=0, work=tmp_path)
    start = print
    random, warm = measure(settings, tiny_recipe(), Store(), {"top": start})
    assert seen == [(10, 4, None), (2, 2, start)]
    assert (random["start"], random["best_nats"], random["as_good_at_step"]) == ("random", pytest.approx(2.0), 10)
    assert (warm["start"], warm["steps"], warm["as_good_at_step"]) == ("warm", 2, None)
    assert nats_by_step(tmp_path / "top-warm-0.2") == warm["nats_by_step"] == {2: 2.8}
