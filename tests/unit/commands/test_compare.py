import pytest
import torch

from vqgen.commands.compare import Judgement, _cell, _with_scores, comparison_table
from vqgen.commands.compared_runs import ComparedRun
from vqgen.evaluation.judge.judge import Samples
from vqgen.evaluation.metric import Findings, Metric
from vqgen.pipeline import VQGenPipeline


def test_table_has_a_column_for_each_run_and_a_dash_for_an_absent_metric(make_parts):
    pipe = VQGenPipeline(make_parts())
    samples = Samples(torch.zeros(0, 1, 4, 4, dtype=torch.uint8), torch.zeros(0, dtype=torch.int64))
    names = (
        "parameters", "training_seconds", "raw_bpp", "bpp", "mse", "frechet_distance", "kernel_distance", "precision",
        "recall", "sample_accuracy", "cas", "copies", "samples_per_second",
    )  # fmt: skip
    found = dict.fromkeys(names, 0.5) | {"parameters": 1234567, "training_seconds": 3671.4}
    without = found | {"raw_bpp": None, "bpp": None, "training_seconds": 9.87}
    table = comparison_table(
        [
            Judgement(ComparedRun("digits", "a", pipe), samples, found, {"mse": 0.01, "cas": 0.1}),
            Judgement(ComparedRun("digits-vae", "b", pipe), samples, without, {"mse": 0.02}),
        ]
    )
    lines = {line[:20].strip(): line[20:].split("  ") for line in table.splitlines()}
    cells = {name: [cell.strip() for cell in row if cell.strip()] for name, row in lines.items()}
    assert cells[""] == ["digits", "digits-vae", "floor"]
    assert cells["parameters"] == ["1,234,567", "1,234,567", "-"]
    assert cells["training time"] == ["61 min 11 s", "9.87 s", "-"]
    assert cells["rate, expected bpp"] == ["0.5", "-", "-"]
    assert cells["mse"] == ["0.5", "0.5", "0.02"]
    assert cells["cas"] == ["0.5", "0.5", "0.1"]
    assert len({len(line) for line in table.splitlines()}) == 1
    assert len(lines) == 1 + len(names)


@pytest.mark.parametrize(
    ("name", "value", "cell"),
    [
        ("mse", None, "-"),
        ("mse", 0.0123456, "0.01235"),
        ("parameters", 1234567, "1,234,567"),
        ("training_seconds", 59.4, "59.4 s"),
        ("training_seconds", 59.6, "1 min 00 s"),
        ("training_seconds", 3671.4, "61 min 11 s"),
    ],
)
def test_cell_has_the_unit_of_its_metric(name, value, cell):
    assert _cell(name, value) == cell


class ScoringJudge:
    """A judge whose accuracy score is the number of samples, and 99 for real images."""

    def scored_samples(self, samples):
        return len(samples.images)

    def scored_real_images(self, samples):
        return 99

    def accuracy_scores(self, sets):
        for each in sets:
            counts = {"trained on": each, "test": 30}
            score = Metric("", "cas", each, 0.5, counts=counts)
            yield Findings([score, Metric("", "cas_deviation", each / 10, counts=counts)])


def test_score_of_each_run_joins_its_metrics_and_that_of_real_images_stands_alone(make_parts):
    pipe = VQGenPipeline(make_parts())

    def judgement(count):
        samples = Samples(torch.zeros(count, 1, 4, 4, dtype=torch.uint8), torch.zeros(count, dtype=torch.int64))
        return Judgement(ComparedRun("a", "a", pipe), samples, {"mse": 0.1, "cas": None}, {"mse": 0.01})

    scored, real = _with_scores(ScoringJudge(), [judgement(3), judgement(5)])
    assert [each.values for each in scored] == [
        {"mse": 0.1, "cas": 3, "cas_deviation": 0.3},
        {"mse": 0.1, "cas": 5, "cas_deviation": 0.5},
    ]
    assert [each.floors for each in scored] == [{"mse": 0.01, "cas": 0.5}] * 2
    assert real == {"images": 99, "cas": 99, "cas_deviation": 9.9, "cas_floor": 0.5}
