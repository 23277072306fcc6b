import json

import pytest
from codec_models import noise_picture

from vqgen.commands import vary
from vqgen.errors import ConfigError


@pytest.fixture
def run(call, opens, pipe, tmp_path):
    opens(pipe)
    noise_picture(8, 8).save(tmp_path / "one.png")
    return lambda *words: call(vary, "c", tmp_path / "one.png", "-o", tmp_path / "out", *words)


@pytest.mark.parametrize(("keep", "redrawn", "sweeps"), [("top", [0, 16], 0), ("bottom", [4, 0], 4)])
def test_named_level_stays_and_sweeps_follow_from_it(run, tmp_path, keep, redrawn, sweeps):
    assert run("--keep", keep, "--rescored", "2") == 0
    document = json.loads((tmp_path / "out" / "edits.json").read_text())
    (image,) = document["images"]
    assert list(image["redrawn"].values()) == redrawn
    assert document["settings"]["sweeps"] == sweeps


def test_unknown_level_is_refused(run):
    with pytest.raises(ConfigError, match="keep: should be one of several levels, found 'middle'"):
        run("--keep", "middle")
