"""The page under load: many users at once, users who leave, and requests that nobody should send."""

import io
import json
import shlex
import socket
import subprocess
import sys
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import psutil
import pytest
from page_clients import Client, Page, events, served
from pages import blocks
from PIL import Image
from small_runs import assert_refused, run_installed

from vqgen.pipeline import VQGenPipeline

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("gradio") is None, reason="vqgen[app] is not installed"),
]

CHECKOUT = Path(__file__).parents[2]
DIGITS = CHECKOUT / "checkpoints" / "pretrained" / "digits"
DOCUMENT = CHECKOUT / "docs" / "app.md"


@pytest.fixture(scope="module")
def page():
    with served(DIGITS, "--device", "cpu") as page:
        yield page


@pytest.fixture
def client(page):
    return Client(page.url)


def pixels(data):
    with Image.open(io.BytesIO(data)) as opened:
        return np.asarray(opened)


def test_fifty_users_at_once_get_what_their_seeds_give_alone(page, client):
    pipe = VQGenPipeline.from_pretrained(DIGITS, device="cpu")
    client.call("generate", labels=["0"])
    server = psutil.Process(page.process.pid)
    before = server.memory_info().rss

    def ask(seed):
        pictures, _ = client.call("generate", labels=[str(seed % 10), "5"], images_per_label=2, seed=seed)
        return [(each["settings"], pixels(client.file(each["picture"]))) for each in pictures]

    with ThreadPoolExecutor(50) as users:
        answers = list(users.map(ask, range(50)))
    assert server.memory_info().rss - before < 300e6
    for seed, answer in enumerate(answers):
        alone = pipe(labels=[str(seed % 10), "5"], images_per_label=2, seed=seed)
        assert [settings["seed"] for settings, _ in answer] == [seed] * 4
        for (_, found), wanted in zip(answer, alone.images, strict=True):
            assert np.array_equal(found, np.asarray(wanted))


def test_user_who_leaves_stops_the_drawing():
    page = Page(DIGITS, drawing_pause=0.3)
    client = Client(page.url)
    stream = client.start("generate", images_per_label=10)  # five batches of 20
    assert next(events(stream))[0] == "generating"
    stream.close()
    assert len(client.call("generate", labels=["1"])[0]) == 1  # comes as soon as the model is free
    drawn = [int(line.split()[1]) for line in page.stop()]
    assert drawn[-1] == 1
    assert sum(drawn[:-1]) <= 60


def test_wrong_requests_get_sentences_and_the_server_lives(client):
    wrong = [
        ("generate", {"labels": ["cow"]}, "label should be one of the names"),
        ("generate", {"images_per_label": 1000}, "at most 100 pictures"),
        ("generate", {"images_per_label": "<b>"}, "&lt;b&gt;"),
        ("generate", {"model": "other"}, "model: should be one of digits"),
        ("generate", {"temperature": [-1]}, "temperature: should be at least 0"),
        ("inpaint", {"picture": {"path": "/etc/passwd"}}, "a path that /gradio_api/upload has returned"),
        ("vary", {"picture": None, "keep": "top"}, "a path that /gradio_api/upload has returned"),
    ]
    for name, values, text in wrong:
        with pytest.raises(ValueError, match=text):
            client.call(name, **values)
    assert client.ask("/gradio_api/call/v2/none", {})[0] == 404
    assert len(client.call("generate", labels=["1"])[0]) == 1


def test_server_fetches_no_file_from_elsewhere(client):
    described = {"path": "http://127.0.0.1:9/a.png", "meta": {"_type": "gradio.FileData"}}
    with pytest.raises(ValueError, match="fetches nothing from another one"):
        client.call("inpaint", picture=described)


@pytest.mark.parametrize("path", ["/etc/passwd", str(CHECKOUT / "pyproject.toml")])
def test_files_of_the_machine_are_not_served(client, path):
    assert client.ask(f"/gradio_api/file={path}")[0] == 403


def test_functions_of_buttons_are_not_called_around_the_queue(client):
    assert client.ask("/gradio_api/run/generate", {"data": []})[0] in (401, 404)


def test_schema_names_the_functions_and_their_parameters(client):
    _, answer = client.ask("/gradio_api/info")
    found = json.loads(answer)["named_endpoints"]
    assert {"/models", "/generate", "/inpaint", "/complete", "/vary", "/interpolate"} <= set(found)
    assert [each["parameter_name"] for each in found["/generate"]["parameters"]][:4] == [
        "model",
        "labels",
        "images_per_label",
        "seed",
    ]
    assert not [name for name in found if name.endswith("_1") or name.startswith(("/press", "/adapt"))]


def test_full_queue_is_told_and_not_waited_for():
    with served(DIGITS, "--queue", "1") as page:
        client = Client(page.url)

        def ask(seed):
            return client.ask("/gradio_api/call/v2/generate", {"images_per_label": 10, "seed": seed})[0]

        with ThreadPoolExecutor(8) as users:
            assert 503 in list(users.map(ask, range(8)))


def test_lines_of_the_documentation_ask_the_page(page, tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    text = "".join(text for _, text in blocks(DOCUMENT, "bash", "python") if "http://" in text)
    text = text.replace("http://127.0.0.1:7860", page.url)
    call, ask = (shlex.split(line) for line in text.splitlines() if line.startswith("curl"))
    answer = json.loads(subprocess.run(call, capture_output=True, check=True).stdout)
    ask[-1] = ask[-1].replace("EVENT_ID", answer["event_id"])
    assert "event: complete" in subprocess.run(ask, capture_output=True, check=True, text=True).stdout
    code = "\n".join(line for line in text.splitlines() if not line.startswith("curl"))
    program = f"{code}\nprint(pictures[0]['settings']['label'])"
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert finished.stdout.split()[-1] == "3"


def test_port_that_is_taken_is_refused():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert_refused(run_installed("app", "--port", port), f"--port: {port} is taken by another program")


@pytest.mark.parametrize("words", [("--host", "203.0.113.7"), ("--queue", "0"), ("no-such-folder",)])
def test_page_that_cannot_start_says_so(words):
    assert_refused(run_installed("app", *words))


def test_password_is_asked_for(tmp_path):
    (tmp_path / "secret").write_text("pass word")
    with served(DIGITS, "--password-file", tmp_path / "secret") as page:
        client = Client(page.url)
        assert client.ask("/")[0] == 401
        known = {"Authorization": "Basic " + b64encode(b"vqgen:pass word").decode()}
        assert client.ask("/", headers=known)[0] == 200
