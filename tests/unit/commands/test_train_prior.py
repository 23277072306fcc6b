import argparse

import pytest

from vqgen.commands import train_prior
from vqgen.errors import ConfigError


def arguments(level, recipe="digits"):
    return argparse.Namespace(recipe=recipe, overrides=[], level=level)


@pytest.mark.parametrize(("level", "trained"), [(None, ["prior-top", "prior-bottom"]), ("bottom", ["prior-bottom"])])
def test_all_priors_are_trained_or_one_alone(monkeypatch, tiny_recipe, level, trained):
    calls = []
    context = argparse.Namespace(recipe=tiny_recipe())

    def work(words, act, stages):
        assert stages(context.recipe) == trained
        return act(context) or 0

    monkeypatch.setattr("vqgen.commands.staging.work_on_run", work)
    monkeypatch.setattr("vqgen.stages.run.run_stages", lambda context, stages: calls.extend(stages))
    assert train_prior.run(arguments(level)) == 0
    assert calls == trained


def test_unknown_level_and_recipe_without_levels_are_refused():
    with pytest.raises(ConfigError, match="--level: should be one of top, bottom, found 'middle'"):
        train_prior.run(arguments("middle"))
    with pytest.raises(ConfigError, match="found a baseline without codes"):
        train_prior.run(arguments("top", recipe="digits-vae"))


def test_priors_can_be_trained_side_by_side():
    parser = argparse.ArgumentParser()
    train_prior.add_arguments(parser)
    assert parser.parse_args(["digits"]).parallel_stages is None
    assert parser.parse_args(["digits", "--parallel-stages", "2"]).parallel_stages == 2
