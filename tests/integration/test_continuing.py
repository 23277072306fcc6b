"""A run whose trainings get more steps: cut and resumed, side by side, in two processes."""

import shutil
import sys

import pytest
from small_runs import (
    all_files,
    assert_refused,
    final_hashes,
    metrics,
    record,
    run_installed,
    small_document,
    write_recipe,
)

from vqgen.errors import Interrupted
from vqgen.training.trainer import Trainer

pytestmark = pytest.mark.slow  # together they take too long for the tests that everybody runs

STAGES = ("vqvae", "codes", "prior-top", "prior-bottom", "samples")


@pytest.fixture
def copied(trained, tmp_path):
    """A copy of the trained run, which a test may change."""
    return shutil.copytree(trained, tmp_path / "checkpoints" / "tiny")


@pytest.fixture
def again(vqgen, tiny_toml, copied):
    """A function that runs the recipe of the copied run again, with options."""
    return lambda *options, command="run": vqgen(
        command, tiny_toml, "--checkpoints", copied.parent, "--quiet", *options
    )


@pytest.fixture
def cut(monkeypatch):
    """Makes the training of a stage stop in a step, as after SIGTERM."""

    def arrange(stage, step):
        real = Trainer._stop_if_asked

        def stop(trainer, pending):
            real(trainer, pending)
            if trainer.session.stage == stage and trainer.progress.step == step:
                trainer._save()
                monkeypatch.setattr(Trainer, "_stop_if_asked", real)
                raise Interrupted(15)

        monkeypatch.setattr(Trainer, "_stop_if_asked", stop)

    return arrange


def results(run):
    """The results of a run, without the stages that were kept."""
    return {name: sha for name, sha in final_hashes(run).items() if ".old-" not in name}


@pytest.mark.slow
def test_cut_run_goes_on_with_the_same_command_and_adds_its_steps_once(again, copied, trained, cut, tmp_path, vqgen):
    whole = shutil.copytree(trained, tmp_path / "whole" / "tiny")
    recipe = write_recipe(tmp_path / "whole.toml", small_document())
    one = ("--parallel-stages", 1, "--more-steps", "vqvae=12")
    assert vqgen("run", recipe, "--checkpoints", whole.parent, "--quiet", *one).code == 0
    old = {stage: record(copied / stage) for stage in STAGES}
    pipeline = all_files(copied / "pipeline")

    cut("vqvae", 30)
    stopped = again(*one)
    assert stopped.code == 143
    assert "  vqvae            go on from step 24 to 36 steps\n" in stopped.out
    assert "  codes, prior-top, prior-bottom, samples: made again after that\n" in stopped.out
    assert all_files(copied / "pipeline") == pipeline  # it serves until the stage is complete
    assert vqgen("generate", copied, "--labels", 0, "-o", tmp_path / "out").code == 0
    assert_refused(again("--more-steps", "vqvae=5"), "--more-steps vqvae=12 of an earlier command is not finished")

    cut("prior-top", 9)
    stopped = again(*one)
    assert stopped.code == 143
    assert (
        "  vqvae            goes on with --more-steps vqvae=12, which was asked for before: step 30 of 36"
        in stopped.out
    )
    finished = again(*one)
    assert finished.code == 0, finished.err
    assert "vqvae: complete\n" in finished.out
    assert results(copied) == results(whole)
    assert [line["step"] for line in metrics(copied / "vqvae")] == list(range(1, 37))
    for stage, before in old.items():
        assert record(copied / f"{stage}.old-1") == before
        assert not (copied / f"{stage}.old-2").exists()

    files = all_files(copied)
    assert again().out.count("complete") == 5  # the command that began the run knows its recipe
    assert vqgen("run", copied / "recipe.toml", "--checkpoints", copied.parent).out.count("complete") == 5
    assert all_files(copied) == files
    once_more = again(*one)
    assert "  vqvae            go on from step 36 to 48 steps\n" in once_more.out
    assert len(metrics(copied / "vqvae")) == 48


def test_raised_steps_go_on_with_the_option_alone_and_anew_with_redo(again, copied):
    before = all_files(copied)
    longer = ("--priors.1.train.steps", 24)
    assert_refused(again(*longer), "priors.1.train.steps: 16 -> 24", "--more-steps", "--redo")
    assert "refuse without --more-steps or --redo" in again(*longer, "--dry-run").out
    assert all_files(copied) == before
    first = metrics(copied / "prior-bottom")
    top = record(copied / "prior-top")
    for _ in range(2):  # the second one has nothing to do
        finished = again(*longer, "--more-steps")
        assert finished.code == 0, finished.err
        assert metrics(copied / "prior-bottom")[:16] == first
        assert len(metrics(copied / "prior-bottom")) == 24
    assert "prior-bottom.old-2" not in {path.name for path in copied.iterdir()}
    assert record(copied / "prior-top") == top
    card = (copied / "pipeline" / "README.md").read_text()
    assert "- Continued: prior-bottom, with more steps after step 16 (16 steps planned).\n" in card


def test_stages_of_one_command_leave_the_others_to_the_run(again, copied):
    assert again("--more-steps", 4, command="train-vqvae").code == 0
    assert len(metrics(copied / "vqvae")) == 28
    again("--more-steps", 4, command="train-vqvae")
    assert len(metrics(copied / "vqvae")) == 32  # the first request was finished
    assert again(command="extract-codes").code == 0
    assert again("--parallel-stages", 1).out.count("moved the old one") == 3


@pytest.mark.parametrize("words", [("0",), ("-3",), ("1.5",), ("x=3",), ("codes=3",), ("prior-middle=3",)])
def test_wrong_requests_are_refused_and_change_nothing(again, copied, words):
    before = all_files(copied)
    assert_refused(again("--more-steps", *words), "--more-steps")
    assert all_files(copied) == before


def test_stage_without_a_whole_state_or_with_other_changes_is_refused_and_unchanged(again, copied):
    state = copied / "vqvae" / "state" / "training.safetensors"
    content = state.read_bytes()
    cases = [
        (lambda: state.write_bytes(content[: len(content) // 2]), (), "is damaged or cut short"),
        (lambda: state.unlink(), (), "is needed to train vqvae further"),
        (lambda: state.write_bytes(content), ("--vqvae.channels", 12), "vqvae.channels: 8 -> 12"),
    ]
    for arrange, options, message in cases:
        arrange()
        before = all_files(copied)
        assert_refused(again("--more-steps", "vqvae=5", *options), message, "--redo" if options else "")
        assert all_files(copied) == before


@pytest.mark.slow
def test_priors_side_by_side_go_on_as_one_after_the_other(again, copied, trained, tmp_path, tiny_toml, vqgen):
    other = shutil.copytree(trained, tmp_path / "other" / "tiny")
    words = ("--more-steps", "prior-top=8", "--more-steps", "prior-bottom=8")
    finished = again(*words, "--parallel-stages", 2)
    assert finished.code == 0, finished.err
    assert "side by side: " in finished.out
    assert vqgen("run", tiny_toml, "--checkpoints", other.parent, *words, "--parallel-stages", 1).code == 0
    assert results(copied) == results(other)
    assert [len(metrics(copied / f"prior-{level}")) for level in ("top", "bottom")] == [24, 24]


@pytest.mark.slow
def test_two_processes_go_on_together(copied, tiny_toml):
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "vqgen")
    words = ("train-vqvae", tiny_toml, "--checkpoints", copied.parent, "--more-steps", 8, "--quiet")
    finished = run_installed(*words, launcher=launcher, timeout=300)
    assert finished.code == 0, finished.err
    assert finished.out.count("go on from step 24 to 32 steps") == 1
    assert len(metrics(copied / "vqvae")) == 32
    assert record(copied / "vqvae")["complete"]
