from collections.abc import Mapping
from typing import ClassVar

import pytest
from pydantic import Field, ValidationError

from vqgen.config import Config, PixelCNNConfig, PriorSection, TrainConfig
from vqgen.config.base import (
    Renamed,
    added_field,
    is_new_behaviour,
    is_runtime_field,
    is_unchanged_added_field,
    runtime_field,
    section_of,
)


class Example(Config):
    """A configuration with one field of each sort."""

    old_names: ClassVar[Mapping[str, Renamed]] = {
        "colour": Renamed("is_red", to_new={"red": True, "blue": False}.get, to_old=["blue", "red"].__getitem__)
    }

    first: int = Field(1, gt=0)
    """A plain field."""
    is_red: bool = False
    """A renamed field."""
    later: float = added_field(0.5)
    """An added field."""
    rules: int = added_field(2, before=1)
    """An added field with another default than the behaviour of before."""
    silent: str = added_field("old", leaves_trace=False)
    """An added field whose old behaviour is not stored."""
    workers: int = runtime_field(0, ge=0)
    """A runtime field."""


PRIOR = {"level": "bottom", "height": 4, "width": 4, "codebook_size": 8, "num_classes": 3}


def test_configuration_is_frozen_and_refuses_unknown_names():
    with pytest.raises(ValidationError, match="frozen"):
        Example().first = 3
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        Example(second=3)


def test_docstring_of_a_field_is_its_description():
    assert Example.model_fields["workers"].description == "A runtime field."


def test_old_name_and_old_value_are_translated():
    assert Example.model_validate({"colour": "red"}) == Example(is_red=True)
    assert Example.model_validate({"colour": "blue", "first": 2}) == Example(first=2)


def test_stored_values_have_the_first_names_in_the_order_of_the_fields():
    stored = Example(is_red=True).stored()
    assert stored == {"first": 1, "colour": "red", "later": 0.5, "rules": 2, "workers": 0}
    assert list(stored) == ["first", "colour", "later", "rules", "workers"]


@pytest.mark.parametrize("is_red", [True, False])
def test_stored_values_come_back(is_red):
    config = Example(first=3, is_red=is_red)
    assert Example.model_validate(config.stored()) == config


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"hiding_keeps": "mean"}, {"rescale": True}),
        ({"hiding_keeps": "size"}, {"rescale": False}),
        ({"hiding_share": 0.25}, {"input_dropout_share": 0.25}),
        ({"is_told_mirrored": True}, {"mirror_conditioned": True}),
    ],
)
def test_prior_is_stored_and_read_under_the_names_of_the_first_models(old, new):
    config = PixelCNNConfig(**PRIOR, **new)
    assert PixelCNNConfig.model_validate(PRIOR | old) == config
    assert config.stored().items() >= old.items()
    assert not config.stored().keys() & new.keys()


def test_unknown_old_value_is_refused():
    with pytest.raises(ValidationError, match="rescale"):
        PixelCNNConfig.model_validate(PRIOR | {"hiding_keeps": "sum"})


def test_added_field_is_unchanged_only_at_its_default():
    assert is_unchanged_added_field(Example(), "later")
    assert not is_unchanged_added_field(Example(later=0.25), "later")
    assert not is_unchanged_added_field(Example(), "first")
    assert not is_unchanged_added_field(Example(), "workers")
    assert not is_unchanged_added_field(Example(), "rules")
    assert is_unchanged_added_field(Example(rules=1), "rules")


def test_old_behaviour_may_leave_no_trace_in_what_is_stored():
    assert "silent" not in Example().stored()
    assert Example(silent="new").stored()["silent"] == "new"
    assert Example().stored()["later"] == 0.5
    for example in (Example(), Example(silent="new")):
        assert Example.model_validate(example.stored()) == example


def test_runtime_field_is_told_from_the_other_fields():
    assert [name for name in Example.model_fields if is_runtime_field(Example, name)] == ["workers"]


def test_behaviour_is_new_if_the_default_differs_from_the_behaviour_of_before():
    assert [name for name in Example.model_fields if is_new_behaviour(Example, name)] == ["rules"]


@pytest.mark.parametrize(
    ("annotation", "section"),
    [(TrainConfig, TrainConfig), (TrainConfig | None, TrainConfig), (tuple[PriorSection, ...], PriorSection),
     (int, None), (str | None, None), (tuple[int, ...], None)],
)  # fmt: skip
def test_section_is_found_inside_its_annotation(annotation, section):
    assert section_of(annotation) is section
