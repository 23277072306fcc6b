import pytest
import torch
import torch.distributed as dist
from process_group import run_processes

from vqgen.pipeline import BaselinePipeline, open_pipeline
from vqgen.pipeline.baseline_parts import save_baseline
from vqgen.pipeline.request import GenerationRequest
from vqgen.pipeline.sharing import generate_shared, mean_nats
from vqgen.runtime.collective import Processes

CPU = torch.device("cpu")


def fields(output):
    """Returns the fields of generated images by name, and their pixels, as lists."""
    values = {"labels": output.labels, "seed": output.seed}
    tensors = {name: getattr(output, name, None) for name in ("latents", "log_likelihood", "label_probability")}
    tensors |= output.codes.grids if hasattr(output, "codes") else {}
    values |= {name: None if tensor is None else tensor.tolist() for name, tensor in tensors.items()}
    return values, output.pixels.tolist()


def generate_in_a_process(folder, options):
    pipe = open_pipeline(folder, device="cpu", dtype="float64")
    processes = Processes(dist.get_rank(), dist.get_world_size(), CPU)
    parts = list(generate_shared(pipe, GenerationRequest(**options), processes, quiet=True))
    return fields(type(parts[0]).cat(parts))


@pytest.mark.parametrize(
    "options",
    [{"images_per_label": 2}, {"labels": ["dog"]}, {"images_per_label": 2, "keep": 0.4}],
    ids=["several", "fewer-than-processes", "rejection"],
)
def test_two_processes_generate_the_images_of_one(choosing, tmp_path, options):
    choosing.save_pretrained(tmp_path / "p")
    options = options | {"seed": 5}
    alone, alone_pixels = fields(choosing.generate(GenerationRequest(**options)))
    (main, main_pixels), (other, other_pixels) = run_processes(2, generate_in_a_process, str(tmp_path / "p"), options)
    for found in (main, other):
        assert found.keys() == alone.keys()
        for name in ("labels", "seed", "top", "bottom"):
            assert found[name] == alone[name]
        for name in ("log_likelihood", "label_probability"):
            assert found[name] == pytest.approx(alone[name], abs=1e-9)
    assert main_pixels == alone_pixels
    assert other_pixels == []


def test_two_processes_generate_the_images_of_one_baseline(make_baseline_parts, cpu64, tmp_path):
    save_baseline(make_baseline_parts(), tmp_path / "p")
    alone = BaselinePipeline.from_pretrained(tmp_path / "p", device="cpu", dtype="float64")
    expected, pixels = fields(alone.generate(GenerationRequest(seed=5)))
    results = run_processes(2, generate_in_a_process, str(tmp_path / "p"), {"seed": 5})
    assert [found["labels"] for found, _ in results] == [expected["labels"]] * 2
    torch.testing.assert_close(torch.tensor(results[1][0]["latents"]), torch.tensor(expected["latents"]))
    assert results[0][1] == pixels


def test_main_process_shows_the_progress_of_its_share(pipe, monkeypatch):
    bars = []

    class Bar:
        def __init__(self, total, *words, show):
            bars.append([total, show])

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def update(self, count):
            bars[-1].append(count)

    monkeypatch.setattr("vqgen.pipeline.sharing.ProgressBar", Bar)
    request = GenerationRequest(images_per_label=4, batch_size=5)
    assert len(list(generate_shared(pipe, request, Processes(0, 1, CPU)))) == 1
    assert len(list(generate_shared(pipe, request, Processes(0, 1, CPU), quiet=True))) == 1
    assert bars == [[12, True, 5, 5, 2], [12, False, 5, 5, 2]]


def test_nats_are_averaged_over_the_images_of_all_parts():
    parts = [torch.tensor([-1.0, -2.0], dtype=torch.float64), torch.tensor([-6.0], dtype=torch.float64)]
    assert mean_nats(parts) == pytest.approx(3.0)
    assert mean_nats([None, None]) is None


@pytest.mark.slow
@pytest.mark.parametrize("keep", [1.0, 0.4])
def test_parts_are_bounded_by_their_bytes_and_together_are_the_request(choosing, monkeypatch, keep):
    request = GenerationRequest(images_per_label=5, batch_size=2, seed=5, keep=keep)
    whole = choosing.generate(request)
    monkeypatch.setattr("vqgen.pipeline.sharing._BYTES_OF_A_PART", 5 * 8 * 8)  # two batches of two, and a bit
    parts = list(generate_shared(choosing, request, Processes(0, 1, CPU), quiet=True))
    rows = len(choosing.label_map)
    assert [len(part.labels) for part in parts] == ([4] * (5 * rows // 4) + [5 * rows % 4] if keep == 1 else [5] * rows)
    joined = type(whole).cat(parts)
    assert torch.equal(joined.pixels, whole.pixels)
    assert torch.equal(joined.codes.bottom, whole.codes.bottom)
    assert (joined.labels, joined.seed) == (whole.labels, whole.seed)
