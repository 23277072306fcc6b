import numpy as np
import pytest
import torch
from codec_models import noise_picture
from PIL import Image
from tiny_models import make_baseline

from vqgen.commands import interpolate
from vqgen.config import DataConfig
from vqgen.data import LabelMap
from vqgen.errors import ConfigError, DataError
from vqgen.pipeline import BaselinePipeline
from vqgen.pipeline.baseline_parts import BaselineParts
from vqgen.runtime.compute import Compute

SIDE = 96
MARGIN = 6


@pytest.fixture
def ends(tmp_path):
    """Two pictures of 8 x 8 pixels."""
    paths = [tmp_path / "first.png", tmp_path / "last.png"]
    for seed, path in enumerate(paths):
        noise_picture(8, 8, seed=seed).save(path)
    return paths


@pytest.fixture
def run(call, opens, pipe, ends, tmp_path):
    """Interpolates between the ends; returns the pictures of the row, 8 x 8 pixels each."""
    opens(pipe)

    def run_command(*words):
        assert call(interpolate, "c", *ends, "-o", tmp_path / "out", "--overwrite", *words) == 0
        with Image.open(tmp_path / "out" / "interpolation.png") as picture:
            row = np.asarray(picture)
        assert row.shape[0] == SIDE + 2 * MARGIN
        count, rest = divmod(row.shape[1] - MARGIN, SIDE + MARGIN)
        assert rest == 0
        corners = [MARGIN + number * (SIDE + MARGIN) for number in range(count)]
        return [row[MARGIN : MARGIN + SIDE : SIDE // 8, left : left + SIDE : SIDE // 8] for left in corners]

    return run_command


@pytest.fixture
def conditional(opens):
    """Opens a baseline that decodes by label, and returns the labels that it will have decoded with."""
    data = DataConfig(source="digits", image_size=8, channels=1)
    model = make_baseline(labels="conditional", num_classes=3)
    parts = BaselineParts(name="b", data=data, label_map=LabelMap(("cat", "dog", "10")), model=model)

    class Recorded(BaselinePipeline):
        def from_latents(self, latents, labels):
            decoded_with.extend(labels.tolist())
            return super().from_latents(latents, labels)

        def known_labels(self, images, labels):
            # The likeliest label of a random model is the same for both ends; these differ.
            return torch.where(labels < 0, torch.arange(len(labels)) + 1, labels)

    decoded_with = []
    return lambda: opens(Recorded(parts, Compute.resolve("cpu", "float64"))) or decoded_with


@pytest.mark.parametrize(("words", "steps"), [((), 9), (("--steps", "2"), 2), (("--steps", "5"), 5)])
def test_row_has_both_images_around_the_steps(run, ends, words, steps, capsys, tmp_path):
    row = run(*words)
    assert len(row) == steps + 2
    for path, picture in zip(ends, (row[0], row[-1]), strict=True):
        with Image.open(path) as original:
            assert (picture == np.asarray(original)).all()
    path = tmp_path / "out" / "interpolation.png"
    assert capsys.readouterr().out.startswith(f"{path}: the first image, {steps} decoded steps ")


def test_first_and_last_steps_are_the_reconstructions(run, pipe, ends):
    row = run("--steps", "3")
    pictures = [Image.open(path) for path in ends]
    first, last = pipe.reconstruct_tensor(pipe.preprocess(pictures), torch.tensor([-1, -1]))
    assert (row[1] == first[0].numpy()).all()
    assert (row[3] == last[0].numpy()).all()
    for picture in pictures:
        picture.close()


@pytest.mark.parametrize(("steps", "labels"), [(2, [1, 2]), (4, [1, 1, 2, 2]), (5, [1, 1, 1, 2, 2])])
def test_step_is_decoded_with_the_label_of_the_nearer_end(run, conditional, steps, labels):
    decoded_with = conditional()
    run("--steps", steps)
    assert decoded_with == labels


@pytest.mark.parametrize(("text", "index"), [("cat", 0), ("10", 2), ("index:1", 1)])
def test_given_label_decodes_every_step(run, conditional, text, index):
    decoded_with = conditional()
    run("--steps", 3, "--label", text)
    assert decoded_with == [index] * 3


def test_unknown_label_is_refused(run, tmp_path):
    with pytest.raises(DataError, match=r"label should be a name or an index.*'cow'"):
        run("--label", "cow")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("steps", [1, 0, -2])
def test_fewer_steps_than_ends_are_refused(run, steps):
    with pytest.raises(ConfigError, match=rf"--steps: should be at least 2 \(the two ends\), found {steps}"):
        run(f"--steps={steps}")


def test_picture_that_exists_is_refused(call, ends, tmp_path, monkeypatch):
    monkeypatch.setattr("vqgen.pipeline.open_pipeline", lambda *a, **k: pytest.fail("opened it"))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "interpolation.png").touch()
    with pytest.raises(ConfigError, match=r"interpolation\.png: exists; --overwrite replaces"):
        call(interpolate, "c", *ends, "-o", tmp_path / "out")


@pytest.mark.parametrize("kind", ["gif", "apng", "webp"])
def test_animation_goes_from_one_reconstruction_to_the_other(run, pipe, ends, tmp_path, kind, capsys):
    run("--animate", kind, "--frames", 5)
    path = tmp_path / "out" / f"interpolation.{kind}"
    assert capsys.readouterr().out.splitlines()[1] == f"{path}: 5 pictures, played again and again"
    originals = pipe.preprocess([np.asarray(Image.open(path)) for path in ends])
    expected = pipe.reconstruct_tensor(originals, torch.tensor([-1, -1]))
    with Image.open(path) as film:
        assert (film.size, film.n_frames) == ((128, 128), 5)
        for number, pixels in zip((0, 4), expected, strict=True):
            film.seek(number)
            assert (np.asarray(film.convert("L"))[::16, ::16] == pixels[0].numpy()).all()


def test_animation_that_exists_is_refused(call, ends, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "interpolation.gif").touch()
    with pytest.raises(ConfigError, match=r"interpolation\.gif: exists; --overwrite replaces"):
        call(interpolate, "c", *ends, "-o", tmp_path / "out", "--animate", "gif")
