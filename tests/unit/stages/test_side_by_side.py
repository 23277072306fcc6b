import pickle
import shutil
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from filelock import Timeout

from vqgen.config.loading import validate_recipe
from vqgen.errors import DataError
from vqgen.runtime.children import Needs, Room
from vqgen.stages import side_by_side
from vqgen.stages.records import read_record
from vqgen.stages.schedule import PlannedStage, Schedule
from vqgen.stages.side_by_side import run_requested, run_side_by_side
from vqgen.storage.folder_lock import part_lock

GROUP = ["prior-bottom", "prior-top", "classifier"]


def schedule(*stages):
    return Schedule(tuple(PlannedStage(stage, Needs(1, 5), 1.0) for stage in stages), Room(len(stages)))


@pytest.fixture
def requests(monkeypatch):
    """The jobs that would run in children, instead of the children."""
    jobs = []
    monkeypatch.setattr(side_by_side, "run_jobs", lambda given, room, *, remedy: jobs.extend(given))
    return jobs


def test_requests_have_the_run_without_its_process_and_images_only_for_stages_that_read_them(
    make_context, images, requests, capsys
):
    context = make_context(force=True, redo=True)
    run_side_by_side(context, schedule(*GROUP))
    assert capsys.readouterr().out == "side by side: prior-bottom, prior-top, classifier; at most 3 at a time\n"
    assert [job.name for job in requests] == GROUP
    assert {job.needs for job in requests} == {Needs(1, 5)}
    for job in requests:
        (request,) = job.arguments
        assert job.function is run_requested
        assert request.stage == job.name
        assert request.threads == torch.get_num_threads()
        assert (request.images is images) == (job.name == "classifier")
        assert request.settings["force"] and request.settings["redo"] and request.settings["quiet"]
        assert not request.settings.keys() & {"accelerator", "completing"}


def test_request_survives_the_pipe(make_context, requests):
    run_side_by_side(make_context(), schedule("classifier"))
    (request,) = requests[0].arguments
    found = pickle.loads(pickle.dumps(request))
    assert found.settings == request.settings
    for name in ("train", "validation"):
        one, other = getattr(found.images, name), getattr(request.images, name)
        assert one.names == other.names
        assert [one.read(index).tobytes() for index in range(len(one))] == [
            other.read(index).tobytes() for index in range(len(other))
        ]


def test_locks_of_the_stages_are_gone_after_an_error_too(make_context, monkeypatch):
    context = make_context()

    def fail(jobs, room, *, remedy):
        with part_lock(context.folder, "prior-top"), part_lock(context.folder, "completion"):
            raise DataError("broken")

    context.folder.mkdir()
    monkeypatch.setattr(side_by_side, "run_jobs", fail)
    with pytest.raises(DataError, match="broken"):
        run_side_by_side(context, schedule("prior-top"))
    assert list(context.folder.iterdir()) == []


def test_requested_stage_runs_with_its_lock_its_turn_and_its_images(make_context, images, requests, monkeypatch):
    context = make_context()
    run_side_by_side(context, schedule("classifier", "prior-top"))
    found = []

    def run_one(given, stage):
        found.append((given, stage))
        with pytest.raises(Timeout), part_lock(given.folder, stage, patience=0):
            pass
        with given.completing(), pytest.raises(Timeout), part_lock(given.folder, "completion", patience=0):
            pass

    context.folder.mkdir()
    monkeypatch.setattr(side_by_side, "run_one", run_one)
    for job in requests:
        job.function(*job.arguments)
    (with_images, classifier), (without, prior) = found
    assert (classifier, prior) == ("classifier", "prior-top")
    assert with_images.images is images
    assert "images" not in vars(without)
    for given in (with_images, without):
        assert (given.recipe, given.folder, given.compute) == (context.recipe, context.folder, context.compute)
        assert given.world_size == 1
        assert given.completing is not nullcontext
    with part_lock(context.folder, "classifier"):  # it is free again
        pass


# the real thing, in processes of their own


def results(folder: Path) -> dict[str, bytes]:
    """Reads all files but the times of the stages, which differ from run to run, and the report that tells them."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and path.name not in ("stage.json", "report.html")
        and path.parent.name not in ("state", "report")
    }


@pytest.mark.slow
def test_stages_side_by_side_have_the_bytes_of_stages_one_after_the_other(make_context, tiny_document, tmp_path):
    document = tiny_document(classifier={"channels": 8, "stages": 1, "train": {"steps": 4, "batch_size": 8}})
    recipe = validate_recipe(document, origin="tiny")
    context = make_context(recipe, force=True)
    del context.images  # the stages open the digits themselves
    for stage in ("vqvae", "codes"):
        side_by_side.run_one(context, stage)
    beside = make_context(recipe, force=True)
    beside.folder = tmp_path / "beside"
    del beside.images
    shutil.copytree(context.folder, beside.folder)
    for stage in ("prior-top", "prior-bottom", "classifier"):
        side_by_side.run_one(context, stage)
    run_side_by_side(beside, schedule(*GROUP))
    assert results(beside.folder) == results(context.folder)
    for stage in GROUP:
        one, other = (read_record(run.folder / stage) for run in (context, beside))
        assert one is not None and other is not None
        assert one.complete
        assert (one.output, one.metrics, one.inputs, one.environment) == (
            other.output,
            other.metrics,
            other.inputs,
            other.environment,
        )
