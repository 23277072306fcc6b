import pytest

from vqgen.stages import runners
from vqgen.stages.runners import run_one


@pytest.mark.parametrize("stage", runners._RUNNERS)
def test_stage_runs_by_its_name(make_context, monkeypatch, stage):
    called = []
    monkeypatch.setitem(runners._RUNNERS, stage, called.append)
    context = make_context()
    run_one(context, stage)
    assert called == [context]


def test_prior_runs_by_its_level(make_context, monkeypatch):
    called = []
    monkeypatch.setattr(runners, "train_prior", lambda context, level: called.append(level))
    run_one(make_context(), "prior-bottom")
    assert called == ["bottom"]
