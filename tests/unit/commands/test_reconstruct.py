import os
import re

import numpy as np
import pytest
import torch
from codec_models import noise_picture
from PIL import Image
from tiny_models import make_baseline

from vqgen.commands import reconstruct
from vqgen.commands.reconstruct import _batches
from vqgen.config import DataConfig
from vqgen.data import find_images
from vqgen.data.no_data import is_output
from vqgen.errors import ConfigError
from vqgen.pipeline import BaselinePipeline
from vqgen.pipeline.baseline_parts import BaselineParts
from vqgen.runtime.compute import Compute

SIDE = 96
MARGIN = 6


@pytest.fixture
def pictures(tmp_path):
    """A folder of three pictures of 8 x 8 pixels, one of them in a folder with the name of a label."""
    (tmp_path / "in" / "dog").mkdir(parents=True)
    for seed, name in enumerate(["a.png", "b.png", "dog/c.png"]):
        noise_picture(8, 8, seed=seed).save(tmp_path / "in" / name)
    return tmp_path / "in"


@pytest.fixture
def run(call, opens, pipe, tmp_path):
    opens(pipe)
    return lambda *words: call(reconstruct, "c", *words, "-o", tmp_path / "out", "--overwrite")


def halves(path):
    """Returns the original and the reconstruction, 8 x 8 pixels each, of a written pair."""
    with Image.open(path) as picture:
        grid = np.asarray(picture)
    assert grid.shape == (SIDE + 2 * MARGIN, 2 * SIDE + 3 * MARGIN)
    assert (grid[:, :MARGIN] == 255).all()
    assert (grid[:, MARGIN + SIDE : 2 * MARGIN + SIDE] == 255).all()
    rows = slice(MARGIN, MARGIN + SIDE, SIDE // 8)
    return [grid[rows, start : start + SIDE : SIDE // 8] for start in (MARGIN, 2 * MARGIN + SIDE)]


def test_grid_has_the_original_at_the_left_and_the_reconstruction_at_the_right(run, pipe, pictures, tmp_path):
    assert run(pictures) == 0
    for name in ("a.png", "b.png", "dog/c.png"):
        with Image.open(pictures / name) as picture:
            original = pipe.preprocess(picture)
        left, right = halves(tmp_path / "out" / f"{name}.png")
        assert (left == original[0, 0].numpy()).all()
        assert (right == pipe.reconstruct_tensor(original, torch.tensor([-1]))[0, 0].numpy()).all()


def test_levels_alone_stand_between_the_original_and_the_reconstruction(run, pipe, pictures, tmp_path, capsys):
    assert run(pictures / "a.png", "--levels", "top") == 0
    with Image.open(pictures / "a.png") as picture:
        original = pipe.preprocess(picture)
    codes = pipe.encode_tensor(original)
    expected = torch.cat([original, pipe.decode_tensor(codes, ["top"]), pipe.decode_tensor(codes)])
    with Image.open(tmp_path / "out" / "a.png.png") as picture:
        grid = np.asarray(picture)
    assert grid.shape == (SIDE + 2 * MARGIN, 3 * SIDE + 4 * MARGIN)
    for place, pixels in enumerate(expected):
        left = MARGIN + place * (SIDE + MARGIN)
        cell = grid[MARGIN : MARGIN + SIDE : SIDE // 8, left : left + SIDE : SIDE // 8]
        assert (cell == pixels[0].numpy()).all()
    errors = ((expected[1:].double() - original.double()) / 255).square().mean(dim=(1, 2, 3))
    top, both = (-10 * errors.log10()).tolist()
    first, last = capsys.readouterr().out.splitlines()
    assert first == f"{top:6.2f} dB  {both:6.2f} dB  a.png"
    out = tmp_path / "out"
    assert last == f"1 image in {out}: PSNR {both:.2f} dB, {top:.2f} dB by top alone, raw codes 1.25 bpp"


def test_unknown_level_is_refused(run, pictures, tmp_path):
    with pytest.raises(ConfigError, match="levels: should be some of top, bottom, found 'middle'"):
        run(pictures, "--levels", "middle")
    assert not (tmp_path / "out").exists()


def test_levels_of_a_model_without_codes_are_refused(run, make_parts, opens, pictures):
    data = DataConfig(source="digits", image_size=8, channels=1)
    parts = BaselineParts(name="b", data=data, label_map=make_parts().label_map, model=make_baseline())
    opens(BaselinePipeline(parts, Compute.resolve("cpu", "float64")))
    with pytest.raises(ConfigError, match="--levels: pipeline 'b' has no codes, so it has no levels; leave it out"):
        run(pictures, "--levels", "top")


def test_psnr_is_that_of_the_pixels_of_the_grid(run, pictures, tmp_path, capsys):
    assert run(pictures) == 0
    *rows, last = capsys.readouterr().out.splitlines()
    values = []
    for row, name in zip(rows, ("a.png", "b.png", "dog/c.png"), strict=True):
        left, right = (half / 255.0 for half in halves(tmp_path / "out" / f"{name}.png"))
        values.append(-10 * np.log10(np.mean((left - right) ** 2)))
        assert row == f"{values[-1]:6.2f} dB  {name}"
    assert last == f"3 images in {tmp_path / 'out'}: PSNR {np.mean(values):.2f} dB, raw codes 1.25 bpp"


def test_label_of_a_picture_is_that_of_its_folder(run, pipe, pictures, monkeypatch):
    seen = []
    reconstruct_tensor = type(pipe).reconstruct_tensor

    def record(self, images, labels):
        seen.extend(labels.tolist())
        return reconstruct_tensor(self, images, labels)

    monkeypatch.setattr(type(pipe), "reconstruct_tensor", record)
    assert run(pictures) == 0
    assert seen == [-1, -1, 1]


def test_summary_of_a_baseline_has_no_codes(run, make_parts, opens, pictures, capsys):
    data = DataConfig(source="digits", image_size=8, channels=1)
    parts = BaselineParts(name="b", data=data, label_map=make_parts().label_map, model=make_baseline())
    opens(BaselinePipeline(parts, Compute.resolve("cpu", "float64")))
    assert run(pictures) == 0
    assert re.fullmatch(r"3 images in .*: PSNR \d+\.\d\d dB", capsys.readouterr().out.splitlines()[-1])


def test_unreadable_picture_is_left_out_of_the_mean(run, pictures, capsys):
    run(pictures)
    sound = capsys.readouterr().out
    (pictures / "a0.png").write_bytes(b"no picture")
    assert run(pictures) == 1
    printed = capsys.readouterr()
    assert printed.out == sound[:-1] + "; 1 of 4 images failed\n"
    assert printed.err.startswith("vqgen: ") and "a0.png" in printed.err


def test_mean_does_not_depend_on_the_batches(run, pictures, capsys, monkeypatch):
    run(pictures)
    together = capsys.readouterr().out
    monkeypatch.setattr("vqgen.commands.reconstruct._BATCH_SIZE", 2)
    run(pictures)
    assert capsys.readouterr().out == together


@pytest.mark.parametrize(("count", "sizes"), [(0, []), (1, [1]), (64, [64]), (65, [64, 1]), (130, [64, 64, 2])])
def test_batches_keep_the_order_and_have_a_largest_size(count, sizes):
    picture = noise_picture(1, 1)
    found = list(_batches((str(number), picture) for number in range(count)))
    assert [len(batch) for batch in found] == sizes
    assert [name for batch in found for name, _ in batch] == [str(number) for number in range(count)]


def test_folder_with_files_is_refused(call, opens, pipe, pictures, tmp_path):
    opens(pipe)
    words = ("c", pictures, "-o", tmp_path / "out")
    assert call(reconstruct, *words) == 0
    (pictures / "b.png").unlink()
    with pytest.raises(ConfigError, match=r"should be a new or empty folder, found a\.png\.png, and 2 more"):
        call(reconstruct, *words)


def test_older_pictures_are_counted(run, pictures, capsys):
    run(pictures)
    (pictures / "b.png").unlink()
    capsys.readouterr()
    assert run(pictures) == 0
    assert capsys.readouterr().out.endswith("; 1 older file is there too\n")


@pytest.mark.parametrize("place", ["in", "in/new"])
def test_output_among_the_inputs_is_refused(call, opens, pipe, pictures, tmp_path, place):
    opens(pipe)
    for words in ((), ("--overwrite",)):
        with pytest.raises(
            ConfigError, match=r"should lie outside of .*in, or the next call would read its own outputs"
        ):
            call(reconstruct, "c", pictures, "-o", tmp_path / place, *words)
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 3


def test_outputs_are_marked_as_no_data(run, pictures, tmp_path):
    run(pictures)
    assert is_output(tmp_path / "out", os.listdir(tmp_path / "out"))
    assert find_images(tmp_path) == sorted(pictures.rglob("*.png"))


def test_picture_that_cannot_be_written_leaves_the_others(run, pictures, tmp_path, capsys):
    (tmp_path / "out" / "a.png.png").mkdir(parents=True)
    noise_picture(8, 8).save(pictures / ("n" * 251 + ".png"))
    noise_picture(8, 8).save(pictures / ("n" * 247 + ".png"))
    assert run(pictures) == 1
    printed = capsys.readouterr()
    assert [line.split(": ")[1] for line in printed.err.splitlines()] == ["a.png", "n" * 251 + ".png"]
    assert "3 images in" in printed.out and "2 of 5 images failed" in printed.out
    assert halves(tmp_path / "out" / ("n" * 247 + ".png.png"))


def test_picture_that_takes_too_much_memory_leaves_the_others(run, pipe, pictures, capsys, monkeypatch):
    run(pictures)
    sound = capsys.readouterr().out.splitlines()
    reconstruct_tensor = type(pipe).reconstruct_tensor

    def limited(self, images, labels):
        if 1 in labels.tolist():  # of dog/c.png
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
        return reconstruct_tensor(self, images, labels)

    monkeypatch.setattr(type(pipe), "reconstruct_tensor", limited)
    assert run(pictures) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith("vqgen: dog/c.png: there is not enough memory for it")
    assert printed.out.splitlines()[:2] == sound[:2]
