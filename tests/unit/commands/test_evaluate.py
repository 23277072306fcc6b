import pytest
from tiny_models import make_baseline

from vqgen.commands.evaluate import GROUPS, OF_SAMPLES, OLD_GROUPS, _groups
from vqgen.config import DataConfig
from vqgen.data import LabelMap
from vqgen.errors import ConfigError, VQGenWarning
from vqgen.pipeline import BaselinePipeline, VQGenPipeline
from vqgen.pipeline.baseline_parts import BaselineParts
from vqgen.runtime.compute import Compute


@pytest.fixture
def baseline():
    data = DataConfig(source="digits", image_size=8, channels=1)
    parts = BaselineParts(name="b", data=data, label_map=LabelMap(("cat", "dog")), model=make_baseline())
    return BaselinePipeline(parts, Compute.resolve("cpu", "float64"))


def test_all_groups_apply_to_a_model_of_codes(make_parts):
    assert _groups(VQGenPipeline(make_parts()), None) == list(GROUPS)


def test_groups_that_do_not_apply_are_left_out(baseline):
    foreign = {"codes", "code-entropy", "score"}
    assert _groups(baseline, None) == [group for group in GROUPS if group not in foreign]


def test_groups_of_the_option_are_computed_in_its_order(baseline):
    assert _groups(baseline, ["memorisation", "reconstruction"]) == ["memorisation", "reconstruction"]


def test_group_that_does_not_apply_is_refused(baseline):
    with pytest.raises(
        ConfigError, match="--only: should name groups that apply to 'b', found codes, score; there are"
    ):
        _groups(baseline, ["reconstruction", "score", "codes"])


@pytest.mark.parametrize(("old", "new"), OLD_GROUPS.items())
def test_old_name_of_a_group_is_accepted_with_a_warning(make_parts, old, new):
    pipe = VQGenPipeline(make_parts())
    with pytest.warns(VQGenWarning, match=f"--only {old} is now called {new}; the old name will go"):
        assert _groups(pipe, [old]) == [new]


def test_old_names_are_not_names():
    assert not OLD_GROUPS.keys() & GROUPS.keys()
    assert set(OLD_GROUPS.values()) | set(OF_SAMPLES) <= GROUPS.keys()
