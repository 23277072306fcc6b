import pytest
from PIL import Image

gr = pytest.importorskip("gradio", reason="vqgen[app] is not installed")

from vqgen.app.edit_api import _complete, _inpaint, _interpolate, _vary, uploaded_path  # noqa: E402
from vqgen.errors import DataError  # noqa: E402


@pytest.fixture
def put(context):
    context.uploads.mkdir()

    def put(name, picture):
        path = context.uploads / name
        picture.save(path)
        return {"path": str(path)}

    return put


@pytest.fixture
def picture(put):
    return put("a.png", Image.linear_gradient("L").resize((8, 8)))


def test_edits_come_with_their_files(context, picture, put, unchecked_annotations):
    mask = Image.new("L", (8, 8))
    mask.paste(255, (0, 0, 4, 8))
    for edits in (
        _inpaint(context)(picture, hole="left half", edits=2),
        _inpaint(context)(picture, put("mask.png", mask), edits=2),
        _complete(context)(picture, edits=2),
        _vary(context)(picture, "top", edits=2),
    ):
        *_, (pictures, facts) = edits
        assert [each["picture"]["orig_name"] for each in pictures] == ["edit-0-0000.png", "edit-0-0001.png"]
        assert facts["log_likelihood_before"] < 0


def test_steps_between_two_pictures_are_files(context, picture, unchecked_annotations):
    assert len(_interpolate(context)(picture, picture, steps=3)) == 3


@pytest.mark.parametrize("file", [None, "a.png", {}, {"path": 3}, {"path": "/etc/passwd"}, {"path": "a\0b"}])
def test_only_an_upload_is_read(context, file):
    with pytest.raises(DataError, match="a path that /gradio_api/upload has returned"):
        uploaded_path(context, file)


def test_upload_may_not_lead_out_of_its_folder(context, put):
    outside = context.folder / "secret.png"
    outside.write_bytes(b"")
    (context.uploads / "link.png").symlink_to(outside)
    for name in ("../secret.png", "link.png"):
        with pytest.raises(DataError, match="a path that"):
            uploaded_path(context, {"path": str(context.uploads / name)})
