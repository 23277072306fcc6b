"""The parts that inpaint, complete and vary share: inputs, labels, variants, outputs and plain errors."""

import json

import numpy as np
import pytest
import torch
from codec_models import noise_picture
from PIL import Image

from vqgen.codes import Codes
from vqgen.commands import inpaint, vary
from vqgen.data import ShardContent, StoreInfo, finish_store, read_image, write_shard
from vqgen.errors import CheckpointError, ConfigError, DataError
from vqgen.pipeline import VQGenPipeline
from vqgen.pipeline.parts import save_pipeline


@pytest.fixture
def pictures(tmp_path):
    """Three pictures of 8 x 8 pixels, the last one in a folder of a label, and a mask of their right half."""
    for seed, name in enumerate(("a.png", "b.png", "dog/c.png")):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        noise_picture(8, 8, seed=seed).save(path)
    mask = np.zeros((8, 8), np.uint8)
    mask[:, 4:] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    return tmp_path / "in"


@pytest.fixture
def edit(call, opens, pipe, tmp_path):
    """Runs a command on the pipeline, and returns edits.json."""
    opens(pipe)

    def run(command, *words, output="out"):
        assert call(command, "c", *words, "-o", tmp_path / output) == 0
        return json.loads((tmp_path / output / "edits.json").read_text())

    return run


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture).copy()


def test_each_edit_is_a_picture_with_its_likelihoods(edit, pictures, tmp_path, pipe, capsys):
    found = edit(inpaint, pictures, "--mask", tmp_path / "mask.png", "--variants", 2, "--seed", 3)
    assert found["seed"] == 3 and found["settings"]["sweeps"] == 0 and found["settings"]["command"] == "inpaint"
    images = found["images"]
    assert [image["file"] for image in images[:2]] == ["a.png.0.png", "a.png.1.png"]
    assert [image["label"] for image in images] == [None] * 4 + ["dog"] * 2
    assert images[0]["redrawn"] == {"top": 2, "bottom": 8}
    codes = pipe.encode([read_image(pictures / name) for name in ("a.png", "b.png", "dog/c.png")])
    labels = [None, None, "dog"]
    places = torch.arange(3).repeat_interleave(2)
    mask = torch.zeros(8, 8, dtype=torch.bool)
    mask[:, 4:] = True
    expected = pipe.inpaint(codes[places], mask, labels=[labels[place] for place in places.tolist()], seed=3)
    assert [image["log_likelihood"] for image in images] == pytest.approx(expected.log_likelihood.tolist())
    for image, picture in zip(images, expected.images, strict=True):
        assert np.array_equal(pixels(tmp_path / "out" / image["file"]), np.asarray(picture))
    assert (tmp_path / "out" / "grid.png").is_file()
    said = capsys.readouterr().out
    assert "50.0% of the codes drawn anew (top 2 of 4, bottom 8 of 16); log p" in said
    assert "one pass does not see codes that stay and come later in the order; --sweeps 4 sees them too" in said


def test_label_of_the_command_is_that_of_all_images(edit, pictures, tmp_path):
    found = edit(inpaint, pictures, "--mask", tmp_path / "mask.png", "--label", "cat", "--sweeps", 1, "--rescored", 2)
    assert [image["label"] for image in found["images"]] == ["cat"] * 3
    assert found["settings"]["sweeps"] == 1


def test_stored_codes_are_edited_as_pictures_are(call, pictures, tmp_path, make_parts):
    save_pipeline(make_parts(), tmp_path / "pipeline")
    pipe = VQGenPipeline.from_pretrained(tmp_path / "pipeline", device="cpu")
    store = tmp_path / "store"
    store.mkdir()
    codes = pipe.encode([read_image(pictures / name) for name in ("a.png", "b.png")])
    for split, index in (("train", 0), ("validation", 1)):
        content = ShardContent(Codes.cat([codes[index : index + 1]]), torch.tensor([1 - index]), ("x",))
        write_shard(store, split, 0, content, 16)
    finish_store(store, StoreInfo(pipe.model_hash, 16, pipe.label_map, {"train": 1, "validation": 1}, indices={}))
    words = (tmp_path / "pipeline", store, "--keep", "top", "-o", tmp_path / "out", "--device", "cpu")
    assert call(vary, *words) == 0
    found = json.loads((tmp_path / "out" / "edits.json").read_text())
    assert [image["file"] for image in found["images"]] == ["train/x.png", "validation/x.png"]
    assert [image["label"] for image in found["images"]] == ["dog", "cat"]
    expected = pipe.vary(codes, keep="top", labels=["dog", "cat"])
    assert np.array_equal(pixels(tmp_path / "out" / "validation" / "x.png"), np.asarray(expected.images[1]))


def test_unreadable_picture_fails_alone(call, opens, pipe, pictures, tmp_path, capsys):
    opens(pipe)
    (pictures / "bad.png").write_bytes(b"no picture")
    assert call(inpaint, "c", pictures, "--mask", tmp_path / "mask.png", "-o", tmp_path / "out") == 1
    said = capsys.readouterr()
    assert "bad.png" in said.err
    assert "3 edits in" in said.out and "1 of 4 images failed" in said.out


def test_wrong_words_are_plain_errors(call, opens, pipe, pictures, tmp_path, make_parts):
    opens(pipe)
    for name, size, value in (("empty", (8, 8), 0), ("full", (8, 8), 255), ("other", (9, 8), 255)):
        Image.new("L", size, value).save(tmp_path / f"{name}.png")
    out = ("-o", tmp_path / "out")
    good = ("--mask", tmp_path / "mask.png")
    cases = [
        (DataError, "found nothing that the model sees", ("--mask", tmp_path / "empty.png")),
        (DataError, "found all of them marked", ("--mask", tmp_path / "full.png")),
        (DataError, "a.png: mask: should have the size of its picture, 8 x 8, found 9 x 8",
         ("--mask", tmp_path / "other.png")),
        (DataError, "found 'zebra'", (*good, "--label", "zebra")),
        (ConfigError, "--variants: should be at least 1, found 0", (*good, "--variants", "0")),
        (ConfigError, "sweeps: should be 0 with temperature", (*good, "--sweeps", "1", "--top-k", "3")),
        (ConfigError, "rescored: should be at least 2", (*good, "--rescored", "1")),
    ]  # fmt: skip
    for kind, message, words in cases:
        with pytest.raises(kind, match=message):
            call(inpaint, "c", pictures, *words, *out)
    with pytest.raises(ConfigError, match="should lie outside of"):
        call(inpaint, "c", pictures, *good, "-o", pictures / "out")
    assert not (tmp_path / "out").exists()
    parts = make_parts()
    opens(VQGenPipeline(type(parts)(**(vars(parts) | {"priors": {}}))))
    with pytest.raises(CheckpointError, match="has no prior for top, bottom"):
        call(inpaint, "c", pictures, *good, *out)
