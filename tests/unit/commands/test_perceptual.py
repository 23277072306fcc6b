import argparse

import pytest

from vqgen.commands.perceptual import add_lpips_argument, lpips_or_reason
from vqgen.errors import ConfigError


def test_option_names_a_file():
    parser = argparse.ArgumentParser()
    add_lpips_argument(parser)
    assert parser.parse_args(["--lpips-weights", "x.pth"]).lpips_weights == "x.pth"
    assert parser.parse_args([]).lpips_weights is None


def test_missing_weights_are_a_reason_and_a_missing_file_an_error(monkeypatch, tmp_path):
    monkeypatch.setattr("vqgen.models.lpips.find_lpips_weights", lambda: None)
    assert lpips_or_reason(None) == (
        None, {"lpips": "alexnet-owt-7be5be79.pth is not in torch's cache; --lpips-weights FILE names it"}
    )  # fmt: skip
    with pytest.raises(ConfigError, match=r"--lpips-weights: should be a file, found .*nowhere.*does not exist"):
        lpips_or_reason(str(tmp_path / "nowhere"))


def test_given_file_goes_before_the_cache(monkeypatch, tmp_path):
    monkeypatch.setattr("vqgen.models.lpips.find_lpips_weights", lambda: tmp_path / "cached")
    monkeypatch.setattr("vqgen.evaluation.reconstruction.load_lpips", lambda path: path)
    (tmp_path / "own").touch()
    assert lpips_or_reason(str(tmp_path / "own")) == (tmp_path / "own", {})
    assert lpips_or_reason(None) == (tmp_path / "cached", {})
