import json

import pytest
from codec_models import noise_picture

from vqgen.commands import complete
from vqgen.errors import ConfigError


@pytest.fixture
def run(call, opens, pipe, tmp_path):
    opens(pipe)
    noise_picture(8, 8).save(tmp_path / "one.png")
    return lambda *words: call(complete, "c", tmp_path / "one.png", "-o", tmp_path / "out", *words)


def test_one_pass_is_exact_and_sweeps_keep_all_rows(run, tmp_path, capsys):
    assert run("--rows", "0.5") == 0
    assert "one pass is exact: no code that stays depends on a redrawn one" in capsys.readouterr().out
    assert run("--rows", "0.5", "--sweeps", "1", "--rescored", "2", "--overwrite") == 0
    assert "1 sweeps took them into account" in capsys.readouterr().out
    (image,) = json.loads((tmp_path / "out" / "edits.json").read_text())["images"]
    assert image["redrawn"] == {"top": 2, "bottom": 8}
    assert not image["one_pass_is_exact"]


def test_share_out_of_range_is_refused(run):
    with pytest.raises(ConfigError, match="rows: should be between 0 and 1, found 0"):
        run("--rows", "0")
