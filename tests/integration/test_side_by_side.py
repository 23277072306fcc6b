"""Stages side by side: the bytes of one after the other, also after a stop, a kill, a crash and an error."""

import shutil
import signal
import subprocess
from pathlib import Path

import psutil
import pytest
from small_runs import (
    Finished,
    assert_refused,
    metrics,
    record,
    run_installed,
    small_document,
    start,
    wait_for,
    write_recipe,
)

pytestmark = pytest.mark.slow

GROUP = ("prior-top", "prior-bottom", "classifier")

SIDE_BY_SIDE = ("--parallel-stages", 3)

PATIENCE = 300
"""Seconds of a command, at most: three processes may share one busy core."""

NEVER_SAVED = [
    word for name in ("priors.0", "priors.1", "classifier") for word in (f"--{name}.train.save-every", 10**6)
]
"""Options with which a stage saves its state only at its end, or when it is asked to stop."""


def document() -> dict:
    """Builds a recipe whose priors and classifier train for some seconds, with a guide and samples that are chosen."""
    made = small_document(generate__keep=0.5)
    for prior in made["priors"]:
        prior["guide_share"] = 0.5
        prior["train"] |= {"steps": 120, "validate_every": 40}
    train = {"steps": 80, "batch_size": 16, "validate_every": 30, "log_every": 4}
    made["classifier"] = {"channels": 8, "stages": 2, "train": train}
    return made


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    return write_recipe(tmp_path_factory.mktemp("recipe") / "tiny.toml", document())


@pytest.fixture(scope="module")
def whole(tmp_path_factory, recipe):
    """A run of one stage after the other."""
    root = tmp_path_factory.mktemp("whole")
    finished = run_installed("run", recipe, "--checkpoints", root, "--parallel-stages", 1, timeout=PATIENCE)
    assert finished.code == 0, finished.err
    return root / "tiny"


@pytest.fixture
def begun(tmp_path, whole):
    """A copy of that run without the stages that can run side by side, and without those after them."""
    return shutil.copytree(whole, tmp_path / "tiny", ignore=shutil.ignore_patterns(*GROUP, "samples", "pipeline"))


def contents(run: Path) -> dict[str, bytes]:
    """Reads every file of a run but those with the time that a stage took, or with the place of the run."""
    files = [path for path in sorted(run.rglob("*")) if path.is_file()]
    timed = ("stage.json", "training.safetensors", "report.html")
    return {path.relative_to(run).as_posix(): path.read_bytes() for path in files if path.name not in timed}


def assert_same_run(run: Path, whole: Path) -> None:
    """Asserts that two runs have the same files with the same bytes, and the same records but for the times."""
    names = {path.relative_to(run) for path in run.rglob("*")}
    assert names == {path.relative_to(whole) for path in whole.rglob("*")}  # no lock or temporary file is left
    mine, expected = contents(run), contents(whole)
    assert [name for name in expected if mine[name] != expected[name]] == []
    for stage in (*GROUP, "samples"):
        assert record(run / stage) | {"seconds": 0} == record(whole / stage) | {"seconds": 0}
        assert (stage == "samples") or record(run / stage)["environment"]["threads"] == 1


def run_to_the_end(*words: object) -> Finished:
    finished = run_installed("run", *words, "--quiet", timeout=PATIENCE)
    assert finished.code == 0, finished.err
    assert finished.err == ""
    return finished


def resume(run: Path, recipe: Path, *words: object) -> None:
    run_to_the_end(recipe, "--checkpoints", run.parent, *words)


def start_group(run: Path, recipe: Path, *words: object) -> subprocess.Popen[str]:
    """Starts the run side by side, and waits until all stages of the group train."""
    process = start("run", recipe, "--checkpoints", run.parent, "--quiet", *SIDE_BY_SIDE, *words)
    for stage in GROUP:
        wait_for(run / stage / "metrics.jsonl", process, PATIENCE)
    return process


def child_of(process: subprocess.Popen[str], stage: str) -> psutil.Process:
    """Returns the process of a stage: the one that holds the lock of the stage."""
    (found,) = [
        child
        for child in psutil.Process(process.pid).children()
        if any(Path(file.path).name == f".{stage}.lock" for file in child.open_files())
    ]
    return found


def test_stages_side_by_side_have_the_bytes_of_one_after_the_other(whole, recipe, tmp_path):
    finished = run_to_the_end(recipe, "--checkpoints", tmp_path, *SIDE_BY_SIDE)
    assert finished.out.count("side by side: ") == 1
    for stage in GROUP:
        assert finished.out.count(f"\n{stage}: val_") == 1
    assert_same_run(tmp_path / "tiny", whole)


def test_priors_side_by_side_have_the_bytes_of_the_run(whole, recipe, begun):
    finished = run_installed(
        "train-prior", recipe, "--checkpoints", begun.parent, "--parallel-stages", 2, timeout=PATIENCE
    )
    assert finished.code == 0, finished.err
    assert "side by side: prior-" in finished.out
    for name in ("prior-top", "prior-bottom"):
        assert contents(begun / name) == contents(whole / name)
        assert (begun / "pipeline" / name / "model.safetensors").read_bytes() == (
            whole / "pipeline" / name / "model.safetensors"
        ).read_bytes()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_one_signal_saves_all_stages_and_the_run_goes_on(whole, recipe, begun, number, code):
    process = start_group(begun, recipe, *NEVER_SAVED)
    process.send_signal(number)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == code, out + err
    assert err == "vqgen: stopped; run the same command again to go on\n"
    cut = [stage for stage in GROUP if not record(begun / stage)["complete"]]
    assert cut
    for stage in cut:
        assert (begun / stage / "state" / "training.safetensors").is_file()
        assert metrics(begun / stage)
    if number == signal.SIGINT:  # the tests below go on side by side
        resume(begun, recipe, "--parallel-stages", 1)
        assert_same_run(begun, whole)


def test_run_that_is_killed_with_its_stages_beside_it_goes_on_at_once(whole, recipe, begun):
    process = start_group(begun, recipe, *NEVER_SAVED)
    children = psutil.Process(process.pid).children()
    assert len(children) == 3
    process.kill()
    process.communicate()
    resume(begun, recipe, *SIDE_BY_SIDE)  # waits for the stages that still save their work
    assert not psutil.wait_procs(children, 0)[1]
    assert_same_run(begun, whole)


def test_crash_of_one_stage_saves_the_others_and_names_the_stage(whole, recipe, begun):
    process = start_group(begun, recipe, *NEVER_SAVED)
    child_of(process, "prior-bottom").kill()
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2, out + err
    assert err.startswith("vqgen: prior-bottom: its process was ended by signal 9")
    assert "run the same command again to go on, with --parallel-stages 1" in err
    assert len(err.splitlines()) == 1
    for stage in ("prior-top", "classifier"):
        assert record(begun / stage)["complete"] or (begun / stage / "state" / "training.safetensors").is_file()
    resume(begun, recipe, *SIDE_BY_SIDE)
    assert_same_run(begun, whole)


def test_error_of_one_stage_saves_the_others_and_is_that_of_one_after_the_other(recipe, tmp_path):
    collapsed = ("--vqvae.train.steps", 1, "--vqvae.codebook-size", 4096)
    words = ("run", recipe, "--checkpoints", tmp_path, *collapsed, "--classifier.train.steps", 10**5)
    finished = run_installed(*words, *SIDE_BY_SIDE, timeout=PATIENCE)
    assert_refused(finished, "vqgen: codes: have collapsed", "--force trains the priors anyway")
    assert run_installed(*words, "--parallel-stages", 1).err == finished.err
    run = tmp_path / "tiny"
    assert not (run / "prior-top").exists()
    assert not [path for path in run.iterdir() if path.name.endswith(".lock") and path.name != ".lock"]


def test_wrong_numbers_of_stages_are_refused_and_nothing_is_lost(recipe, tmp_path):
    words = ("run", recipe, "--checkpoints", tmp_path / "c")
    assert_refused(run_installed(*words, "--parallel-stages", 0), "--parallel-stages", "at least 1, found '0'")
    # Priors of a thousand gigabytes each: the plan knows it before anything is made.
    huge = [word for level in (0, 1) for word in (f"--priors.{level}.channels", 60_000)]
    too_many = run_installed(*words, *huge, *SIDE_BY_SIDE)
    assert_refused(too_many, "--parallel-stages: should be auto or at most 1 with", "GB of free memory, found 3")
    assert not (tmp_path / "c").exists()
