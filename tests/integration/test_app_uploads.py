"""Odd files on a running server: a clear message for each, no traceback, and the server answers afterwards."""

import io
import json
import urllib.error
import urllib.request
import zlib
from pathlib import Path

import numpy as np
import pytest
from page_clients import Page
from PIL import Image
from served_page import DIGITS, served

pytestmark = pytest.mark.slow

__all__ = ["served"]  # a fixture


@pytest.fixture(scope="module")
def client(served: Page, tmp_path_factory: pytest.TempPathFactory):
    gradio_client = pytest.importorskip("gradio_client")
    return gradio_client.Client(served.url, verbose=False, download_files=str(tmp_path_factory.mktemp("answers")))


def png(width: int, height: int, mode: str = "L") -> bytes:
    return saved(Image.new(mode, (width, height), 0 if mode == "L" else None), "PNG")


def saved(picture: Image.Image, name: str, **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, name, **options)
    return file.getvalue()


def noise(mode: str) -> Image.Image:
    bands = len(Image.new(mode, (1, 1)).getbands())
    values = np.random.default_rng(0).integers(0, 256, (24, 24, bands), dtype=np.uint8)
    return Image.frombytes(mode, (24, 24), values.tobytes())


def claimed(width: int, height: int) -> bytes:
    """A short PNG that claims many pixels."""
    data = bytearray(png(1, 1))
    data[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    return bytes(data)


def put(folder: Path, name: str, data: bytes) -> str:
    path = folder / name
    path.write_bytes(data)
    return str(path)


def compress(client, path: str, label: str = ""):
    from gradio_client import handle_file

    return client.predict(model="digits", picture=handle_file(path), label=label, api_name="/compress")


def frames() -> bytes:
    pictures = [Image.new("L", (16, 16), shade) for shade in (20, 200)]
    return saved(pictures[0], "GIF", save_all=True, append_images=pictures[1:])


@pytest.mark.parametrize(
    ("name", "data", "note"),
    [
        ("cmyk.jpg", saved(noise("CMYK"), "JPEG"), "grey only"),
        ("deep.png", saved(Image.fromarray(np.full((16, 16), 40_000, np.uint16)), "PNG"), ""),
        ("frames.gif", frames(), "first one is taken"),
        ("jpeg.png", saved(noise("L"), "JPEG"), "The file is JPEG"),
        ("alpha.webp", saved(noise("RGBA"), "WEBP"), "grey only"),
        ("large.png", png(1500, 1000), "Scaled from 1500 x 1000"),
    ],
)
def test_odd_pictures_are_compressed_with_a_note(client, served, tmp_path, name, data, note):
    result, file = compress(client, put(tmp_path, name, data))
    assert note in " ".join(result["notes"])
    assert Path(file).read_bytes()[:4] == b"\x89VQG"
    assert served.process.poll() is None


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("cut.png", saved(noise("L"), "PNG")[:150], "cannot be read"),
        ("cut.jpg", saved(noise("RGB"), "JPEG")[:400], "cannot be read"),
        ("huge.png", claimed(60_000, 60_000), "at most 4,000,000 pixels, found 60000 x 60000"),
        ("empty.png", b"", "the file is empty"),
        ("text.png", b"Dear all,\nthis is a letter.\n", "it is a text"),
        ("page.png", b"<!doctype html><script>alert(1)</script>", "HTML page"),
        ("random.jpg", bytes(range(256)) * 4, "its format is not known"),
        ("broken.vqg", b"\x89VQG" + bytes(60), "compressed file of vqgen"),
    ],
)
def test_files_that_are_no_pictures_are_refused_in_a_sentence(client, served, tmp_path, name, data, message):
    with pytest.raises(Exception, match=message) as found:
        compress(client, put(tmp_path, name, data))
    assert "/gradio" not in str(found.value)  # no path of the server
    assert served.process.poll() is None


def test_unknown_labels_and_positions_are_refused_in_a_sentence(client, served, tmp_path):
    path = put(tmp_path, "a.png", png(16, 16))
    with pytest.raises(Exception, match="label"):
        compress(client, path, label="<b>eleven</b>")
    place = {"model": "digits", "label": "3", "seed": 0, "picture": None, "row": 99, "column": 0}
    with pytest.raises(Exception, match="position: should be a row in 0"):
        client.predict(**place, level="bottom", api_name="/code_probabilities")
    with pytest.raises(Exception, match="level: should be one of top, bottom"):
        client.predict(**place, level="<b>", api_name="/code_probabilities")
    assert served.process.poll() is None


def test_file_is_opened_again_and_a_damaged_one_is_refused(client, served, tmp_path):
    from gradio_client import handle_file

    _, file = compress(client, put(tmp_path, "a.png", saved(noise("L"), "PNG")))
    header, picture = client.predict(model="digits", file=handle_file(file), api_name="/decompress")
    assert header["picture"] == "24 x 24, grey"
    with Image.open(picture) as opened:
        assert opened.size == (24, 24)
    data = bytearray(Path(file).read_bytes())
    data[40] ^= 1
    for name, damaged in (("damaged.vqg", bytes(data)), ("cut.vqg", bytes(data[:30])), ("not.vqg", b"hello")):
        with pytest.raises(Exception, match=r"CRC|cut short|this is not a compressed image"):
            client.predict(model="digits", file=handle_file(put(tmp_path, name, damaged)), api_name="/decompress")
    assert served.process.poll() is None


def test_codes_and_their_probabilities_are_those_of_the_library(client, served):
    from vqgen.pipeline import VQGenPipeline

    found = client.predict(model="digits", label="3", seed=5, picture=None, api_name="/codes")
    pipe = VQGenPipeline.from_pretrained(DIGITS, device="cpu")
    codes = pipe(["3"], seed=5).codes
    assert found["codes"] == {level: grid[0].tolist() for level, grid in codes.grids.items()}
    place = {"level": "bottom", "row": 2, "column": 1}
    likely = client.predict(model="digits", label="3", seed=5, picture=None, **place, api_name="/code_probabilities")
    log_p = pipe.log_probabilities(codes, ["3"])["bottom"][0, 2, 1]
    for each in likely["codes"]:
        assert each["probability"] == pytest.approx(float(log_p[each["code"]].exp()), abs=1e-5)
    assert [each["code"] for each in likely["codes"] if each["is_drawn"]] == [int(codes.bottom[0, 2, 1])]


def test_runs_are_listed(client):
    (run,) = client.predict(api_name="/runs")
    assert (run["name"], run["state"], run["has_report"]) == ("tiny", "complete", True)


def test_files_of_the_server_are_not_served(served):
    for path in ("/etc/passwd", str(Path(__file__).resolve()), str(DIGITS / "pipeline.json")):
        with pytest.raises(urllib.error.HTTPError) as found:
            urllib.request.urlopen(f"{served.url}/gradio_api/file={path}")
        assert found.value.code in (403, 404)
        found.value.close()


def test_path_of_the_server_is_no_upload(served):
    # A client that skips the upload and names a file of the server.
    body = {"data": ["digits", {"path": str(DIGITS / "pipeline.json"), "meta": {"_type": "gradio.FileData"}}, ""]}
    request = urllib.request.Request(
        f"{served.url}/gradio_api/call/compress",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:
        event = json.load(answer)["event_id"]
    with urllib.request.urlopen(f"{served.url}/gradio_api/call/compress/{event}") as answer:
        assert b"event: error" in answer.read()


def test_server_still_answers(client, served, tmp_path):
    compress(client, put(tmp_path, "a.png", png(16, 16)))
    assert served.process.poll() is None
