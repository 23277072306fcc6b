import pytest

from vqgen.commands.sweep import _COLUMNS, VALUES, _add_scores, _line, _varied
from vqgen.evaluation.metric import Findings, Metric
from vqgen.pipeline.request import GenerationRequest
from vqgen.sampling import SamplingParams

REQUEST = GenerationRequest(["cat"], 3, params=SamplingParams(temperature=[0.5, 1.0], guidance_scale=[1.0, 2.0]))


@pytest.mark.parametrize("vary", VALUES)
def test_one_parameter_is_varied_for_all_levels(vary):
    varied = _varied(REQUEST, vary, 0.75)
    name = vary.replace("-", "_")
    changed = {"keep": 0.75} if name == "keep" else {name: [0.75]}
    assert varied.describe() == REQUEST.describe() | changed
    assert (varied.labels, varied.images_per_label) == (REQUEST.labels, REQUEST.images_per_label)


def test_every_parameter_has_values_that_start_at_the_model():
    assert all(1.0 in values and len(values) > 1 for values in VALUES.values())


def test_line_of_the_table_has_a_dash_for_an_absent_metric():
    cells = _line("keep", {"value": 0.5, "frechet_distance": 12.3456, "recall": 0.25}, _COLUMNS).split()
    assert cells == ["0.5", "12.35", "-", "0.25", "-", "-"]
    assert len(cells) == 1 + len(_COLUMNS)
    assert _line("keep", {"value": 1, "cas": 0.98765}, ("cas",)).split() == ["1", "0.9877"]


class ScoringJudge:
    """A judge whose accuracy score of a set is the set itself."""

    score_seeds = 1

    def accuracy_scores(self, sets):
        for each in sets:
            yield Findings([Metric("accuracy score", "cas", each)] if each else [], {} if each else {"cas": "none"})


def test_scores_join_their_points_and_the_last_one_is_the_limit(capsys):
    points = [{"value": 1.0, "recall": 0.5}, {"value": 2.0}]
    assert _add_scores(ScoringJudge(), [0.25, 0.75, 0.98], points, "keep") == ({"cas": 0.98}, {})
    assert points == [{"value": 1.0, "recall": 0.5, "cas": 0.25}, {"value": 2.0, "cas": 0.75}]
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["keep", "cas"], ["1", "0.25"], ["2", "0.75"]
    ]  # fmt: skip


def test_score_that_is_left_out_is_a_dash_with_its_reason(capsys):
    points = [{"value": 1.0}, {"value": 2.0}]
    assert _add_scores(ScoringJudge(), [0.0, 0.75, 0.0], points, "keep") == ({}, {"cas": "none"})
    assert points == [{"value": 1.0}, {"value": 2.0, "cas": 0.75}]
    assert capsys.readouterr().out.splitlines()[1].split() == ["1", "-"]
