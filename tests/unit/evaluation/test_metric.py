import pytest
import torch

from vqgen.errors import DataError
from vqgen.evaluation.enough import check_count
from vqgen.evaluation.metric import (
    Computed,
    Findings,
    Metric,
    compute_each,
    difference,
    metric_rows,
    metrics_with_floor,
)


def test_table_has_a_row_for_each_metric_with_all_that_belongs_to_it():
    metrics = [
        Metric("reconstruction", "mse", 0.001234567, 0.0001, "pixels", {"validation": 1269}),
        Metric("reconstruction", "psnr", 31.0),
        Metric("distribution", "recall", 0.5, None, "inception 1234", {"samples": 100, "validation": 90}),
    ]
    assert metric_rows(metrics) == [
        ("", "metric", "value", "floor", "space", "images"),
        ("reconstruction", "mse", "0.001235", "0.0001", "pixels", "1,269 validation"),
        ("", "psnr", "31", "-", "pixels", ""),
        ("distribution", "recall", "0.5", "-", "inception 1234", "100 samples, 90 validation"),
    ]


def test_floors_stand_beside_their_metrics_and_are_left_out_for_too_few_images():
    def too_few():
        raise DataError("too few")

    whole = {"a": 1.0, "b": 2.0}
    found = metrics_with_floor("g", "pixels", {"samples": 3}, whole, lambda: {"a": 0.5})
    assert [(metric.name, metric.value, metric.floor) for metric in found] == [("a", 1.0, 0.5), ("b", 2.0, None)]
    assert [metric.floor for metric in metrics_with_floor("g", "pixels", {}, whole, too_few)] == [None, None]


def test_metrics_are_computed_one_by_one_and_those_of_too_few_images_are_left_out():
    def needs(count):
        def compute():
            check_count("metric", 3, count, "for a reason")
            return {"c": 1.0, "d": 2.0} if count == 2 else 0.5

        return compute

    found = compute_each({"a": needs(3), "b": needs(4), "c, d": needs(2), "e, f": needs(9)})
    assert found.values == {"a": 0.5, "c": 1.0, "d": 2.0}
    assert found.left_out == {
        "b": "it needs at least 4 images, for a reason, found 3",
        **dict.fromkeys("ef", "it needs at least 9 images, for a reason, found 3"),
    }


def test_other_errors_of_a_metric_are_not_swallowed():
    def wrong():
        raise DataError("other spaces")

    with pytest.raises(DataError, match="other spaces"):
        compute_each({"a": wrong})


def test_value_that_is_no_finite_number_is_left_out_with_the_reason():
    whole = Computed({"a": 1.0, "b": float("nan"), "c": float("inf")}, {"d": "it needs more"})
    found = metrics_with_floor("g", "pixels", {}, whole, lambda: {"a": float("nan")})
    assert [(metric.name, metric.value, metric.floor) for metric in found] == [("a", 1.0, None)]
    assert found.left_out == {
        "d": "it needs more",
        "b": "it is nan for these images",
        "c": "it is inf for these images",
    }


def test_findings_of_groups_can_be_added():
    one = Findings([Metric("g", "a", 1.0)], {"b": "too few"})
    other = Findings([Metric("h", "c", 2.0)], {"d": "too small"})
    both = one + other
    assert [metric.name for metric in both] == ["a", "c"]
    assert both.left_out == {"b": "too few", "d": "too small"}
    assert len(Findings() + one) == 1


def test_difference_is_between_the_metrics_that_both_halves_have():
    values = torch.tensor([1.0, 2.0, 3.0, 6.0])
    found = difference(lambda half: {"mean": float(values[half].mean())}, (torch.tensor([0, 1]), torch.tensor([2, 3])))
    assert found == {"mean": pytest.approx(3.0)}
    answers = iter([{"a": 1.0, "b": 2.0}, {"a": 3.0}])
    assert difference(lambda half: next(answers), (torch.tensor([0]), torch.tensor([1]))) == {"a": 2.0}


def test_difference_of_empty_halves_is_refused():
    with pytest.raises(DataError, match="should have images, found none"):
        difference(lambda half: {}, (torch.tensor([], dtype=torch.int64), torch.tensor([], dtype=torch.int64)))
