import pytest

from vqgen import BaselinePipeline, VQGenPipeline, open_pipeline
from vqgen.errors import CheckpointError
from vqgen.pipeline.baseline_parts import save_baseline


def test_class_of_the_pipeline_is_found(folder, make_baseline_parts, tmp_path):
    save_baseline(make_baseline_parts(), tmp_path / "baseline" / "pipeline")
    assert type(open_pipeline(folder, device="cpu")) is VQGenPipeline
    assert type(open_pipeline(folder.parent, device="cpu")) is VQGenPipeline
    assert type(open_pipeline(tmp_path / "baseline", device="cpu")) is BaselinePipeline


def test_device_and_dtype_are_passed_on(folder):
    pipe = open_pipeline(folder, device="cpu", dtype="float64")
    assert (pipe.compute.device.type, pipe.compute.dtype) == ("cpu", "float64")


def test_missing_pipeline_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="there is no such folder"):
        open_pipeline(tmp_path / "gone")
