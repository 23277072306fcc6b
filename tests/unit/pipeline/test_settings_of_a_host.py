"""A host program's settings of torch change neither images nor codes nor files."""

from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

from vqgen.data import to_pil
from vqgen.pipeline import VQGenPipeline, open_pipeline
from vqgen.runtime.compute import Compute


@contextmanager
def default_dtype(dtype):
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


HOSTS = {
    "float64": lambda: default_dtype(torch.float64),
    "bfloat16": lambda: default_dtype(torch.bfloat16),
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "inference": torch.inference_mode,
    "device": lambda: torch.device("meta"),
}


@pytest.fixture
def folder(make_parts, tmp_path):
    """The folder of a tiny pipeline."""
    VQGenPipeline(make_parts(), Compute.resolve("cpu")).save_pretrained(tmp_path / "pipeline")
    return tmp_path / "pipeline"


def work(folder) -> tuple[list[Tensor], list[bytes]]:
    """Opens a pipeline and uses it in every way."""
    pipeline = open_pipeline(folder, device="cpu")
    made = pipeline(labels=[0, 1], images_per_label=2, seed=3)
    files = pipeline.compress(made.images)
    codes = pipeline.encode(made.images)
    tensors = [made.pixels, made.log_likelihood, *codes.grids.values(), pipeline.decode_tensor(codes)]
    tensors.append(pipeline.to_latents(made.pixels, torch.zeros(4, dtype=torch.int64, device="cpu")))
    return tensors, [*files, *(picture.tobytes() for picture in pipeline.decompress(files))]


@pytest.mark.parametrize("host", HOSTS)
def test_settings_of_a_host_change_nothing(folder, host):
    tensors, files = work(folder)
    with HOSTS[host]():
        found, found_files = work(folder)
    assert found_files == files
    assert [tensor.dtype for tensor in found] == [tensor.dtype for tensor in tensors]
    assert all(torch.equal(one, other) for one, other in zip(found, tensors, strict=True))


def test_opening_and_using_a_pipeline_draws_no_global_random_number(folder):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    work(folder)
    assert torch.equal(torch.get_rng_state(), before)


def test_pictures_of_a_tensor_made_in_inference_mode_are_encoded(folder):
    pipeline = open_pipeline(folder, device="cpu")
    with torch.inference_mode():
        pixels = torch.randint(0, 256, (2, 1, 8, 8), dtype=torch.uint8)
    expected = pipeline.encode(to_pil(pixels))
    assert torch.equal(pipeline.encode_tensor(pixels).grids["top"], expected.grids["top"])
