import os
import threading

import pytest

from vqgen.app.context import AppContext, Limits, shipped_models
from vqgen.errors import CheckpointError, ConfigError, DataError
from vqgen.pipeline.parts import save_pipeline


def test_models_are_named_by_their_folders_and_numbered_if_two_are_equal(make_parts, tmp_path):
    for folder in ("a/tiny", "b/tiny"):
        (tmp_path / folder).parent.mkdir()
        save_pipeline(make_parts(), tmp_path / folder)
    with AppContext([tmp_path / "a/tiny", tmp_path / "b/tiny"]) as context:
        assert context.names == ["tiny", "tiny (2)"]
        assert context.open("tiny (2)") is context.open("tiny (2)")


def test_missing_checkpoint_is_refused_before_the_page_opens(tmp_path):
    with pytest.raises(CheckpointError, match="there is no such folder"):
        AppContext([tmp_path / "none"])
    with pytest.raises(CheckpointError, match="CHECKPOINT: should be given"):
        AppContext([])


def test_unknown_model_is_refused_with_the_known_ones(context):
    with pytest.raises(ConfigError, match="should be one of tiny, found other"):
        context.open("other")


def test_model_serves_one_user_at_a_time(context):
    order = []

    def wait():
        with context.use("tiny"):
            order.append("second")

    with context.use("tiny"):
        thread = threading.Thread(target=wait)
        thread.start()
        thread.join(0.1)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_files_vanish_after_an_hour_and_at_the_end(context):
    old, new = context.new_path("a.txt"), context.new_path("a.txt")
    os.utime(old.parent, (0, 0))
    assert context.new_path("b.txt") != new
    assert not old.parent.exists()
    assert new.parent.exists()
    context.close()
    assert not context.folder.exists()
    assert context.closing.is_set()
    # A request that is still at work then ends with a line, and no traceback reaches the terminal.
    with pytest.raises(DataError, match="page: has ended"):
        context.new_path("c.txt")


@pytest.mark.parametrize(("name", "option"), [("upload_bytes", "--max-upload"), ("queue", "--queue")])
def test_limit_below_one_is_refused_by_its_option(name, option):
    with pytest.raises(ConfigError, match=f"{option}: should be at least 1, found 0"):
        Limits(**{name: 0})


def test_shipped_models_are_those_of_the_checkout():
    assert "digits" in [path.name for path in shipped_models()]


def test_path_of_a_model_is_short_below_this_folder(context, tmp_path, monkeypatch):
    assert context.path_of("tiny") == str(tmp_path / "tiny")
    monkeypatch.chdir(tmp_path)
    assert context.path_of("tiny") == "tiny"
