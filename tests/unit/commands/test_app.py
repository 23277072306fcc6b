import importlib.util
import sys
from types import ModuleType

import pytest

from vqgen.commands import app
from vqgen.errors import ConfigError
from vqgen.pipeline.parts import save_pipeline


@pytest.fixture
def served(monkeypatch):
    """The arguments of the servers that the command makes; none is started."""
    made = []

    class Server:
        url = "http://127.0.0.1:1"

        def __init__(self, context, address, password):
            made.append((context.names, context.limits, address, password))

        def open_in_browser(self):
            made.append("opened")

        def run(self):
            made.append("ran")

    class Address(tuple):
        def __new__(cls, *parts):
            return super().__new__(cls, parts)

    module = ModuleType("vqgen.app.server")
    module.PageServer = Server
    module.Address = Address
    monkeypatch.setitem(sys.modules, "vqgen.app.server", module)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.delenv("VQGEN_APP_PASSWORD", raising=False)
    return made


def test_page_gets_models_limits_address_and_password(call, served, make_parts, tmp_path, capsys):
    save_pipeline(make_parts(), tmp_path / "tiny")
    words = ("--max-upload", "1MB", "--max-images", 7, "--port", 0, "--host", "::1", "--password", "x", "--open")
    assert call(app, tmp_path / "tiny", *words) == 0
    (names, limits, address, password), *rest = served
    assert (names, limits.upload_bytes, limits.images, address, password) == (["tiny"], 10**6, 7, ("::1", 0), "x")
    assert rest == ["opened", "ran"]
    assert capsys.readouterr().out == "tiny at http://127.0.0.1:1 (Ctrl-C ends it)\n"


def test_models_that_ship_are_opened_if_none_is_named(call, served):
    assert call(app) == 0
    assert "digits" in served[0][0]
    assert served[0][2:] == (("127.0.0.1", None), None)


def test_password_comes_from_a_file_or_a_variable(call, served, tmp_path, monkeypatch):
    (tmp_path / "secret").write_text("señor x\nsecond line\n")
    call(app, "--password-file", tmp_path / "secret")
    monkeypatch.setenv("VQGEN_APP_PASSWORD", "other")
    call(app)
    assert [made[3] for made in served if made != "ran"] == ["señor x", "other"]


def test_wrong_passwords_are_refused(call, served, tmp_path, monkeypatch):
    (tmp_path / "empty").write_text("")
    for words, text in (
        (("--password", " "), "--password: should be a password, found an empty one"),
        (("--password-file", tmp_path / "empty"), "found an empty one"),
        (("--password-file", tmp_path / "none"), "cannot be read"),
        (("--password-file", tmp_path / "none", "--password", "x"), "found both; give one of them"),
    ):
        with pytest.raises(ConfigError, match=text):
            call(app, *words)
    assert served == []


def test_missing_gradio_is_named_with_its_command(call, served, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'vqgen\[app\]'"):
        call(app)


def test_limit_below_one_is_refused(call, served):
    with pytest.raises(ConfigError, match="--queue: should be at least 1, found 0"):
        call(app, "--queue", 0)
