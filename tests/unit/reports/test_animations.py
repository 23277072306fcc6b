import numpy as np
import pytest
from PIL import Image

from vqgen.errors import ConfigError
from vqgen.reports.animations import FORMATS, save_animation, there_and_back


def noise(count, mode="L", side=20, seed=0):
    shape = (count, side, side) + ((3,) if mode == "RGB" else ())
    return [Image.fromarray(each) for each in np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)]


def smooth(count, side=24):
    """Pictures of many colours that change slowly from one to the other."""
    down, right = np.meshgrid(np.linspace(0, 1, side), np.linspace(0, 1, side))
    steps = [np.stack([down, right, np.full_like(down, step)], axis=2) for step in np.linspace(0, 1, count)]
    return [Image.fromarray((255 * step).astype(np.uint8)) for step in steps]


def read(path):
    """Returns the pictures of a file, its milliseconds for each, and its number of repetitions."""
    pictures, times = [], []
    with Image.open(path) as file:
        for number in range(file.n_frames):
            file.seek(number)
            pictures.append(np.asarray(file.convert("RGB")))
            times.append(file.info["duration"])
        return pictures, times, file.info.get("loop")


def differences(pictures, frames):
    assert len(pictures) == len(frames)
    pairs = zip(pictures, frames, strict=True)
    return [np.abs(one.astype(int) - np.asarray(other.convert("RGB"), dtype=int)) for one, other in pairs]


@pytest.mark.parametrize(
    ("kind", "mode"), [("gif", "L"), ("apng", "L"), ("webp", "L"), ("apng", "RGB"), ("webp", "RGB")]
)
def test_every_pixel_of_every_picture_is_kept(tmp_path, kind, mode):
    frames = noise(7, mode)
    save_animation(frames, tmp_path / f"a.{kind}", seconds=0.7)
    pictures, times, _ = read(tmp_path / f"a.{kind}")
    assert [each.max() for each in differences(pictures, frames)] == [0] * 7
    assert times == [100] * 7


def test_gif_of_few_colours_is_exact(tmp_path):
    colours = np.random.default_rng(0).integers(0, 256, (200, 3), dtype=np.uint8)
    places = np.random.default_rng(1).integers(0, 200, (4, 20, 20))
    frames = [Image.fromarray(colours[each]) for each in places]
    save_animation(frames, tmp_path / "a.gif", seconds=1)
    assert [each.max() for each in differences(read(tmp_path / "a.gif")[0], frames)] == [0] * 4


def test_gif_of_many_colours_is_close(tmp_path):
    frames = smooth(6)
    save_animation(frames, tmp_path / "a.gif", seconds=1)
    for each in differences(read(tmp_path / "a.gif")[0], frames):
        assert each.max() <= 24
        assert each.mean() < 5


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(("plays", "loop"), [(0, 0), (1, 1), (3, 3)])
def test_animation_is_played_as_often_as_asked(tmp_path, kind, plays, loop):
    save_animation(noise(3), tmp_path / f"a.{kind}", seconds=1, plays=plays)
    # A GIF counts repetitions, and has no number if it is played once.
    expected = {0: 0, 1: None, 3: 2}[plays] if kind == "gif" else loop
    assert read(tmp_path / f"a.{kind}")[2] == expected


@pytest.mark.parametrize(("seconds", "count", "time"), [(2, 40, 50), (2, 41, 50), (0.001, 5, 20), (60, 3, 20_000)])
def test_time_is_shared_by_the_pictures(tmp_path, seconds, count, time):
    for kind in FORMATS:
        save_animation(noise(count, side=3), tmp_path / f"a.{kind}", seconds=seconds)
        assert read(tmp_path / f"a.{kind}")[1] == [time] * count


@pytest.mark.parametrize(("count", "places"), [(1, [0]), (2, [0, 1]), (3, [0, 1, 2, 1]), (4, [0, 1, 2, 3, 2, 1])])
def test_way_back_has_each_end_once(count, places):
    frames = noise(count)
    assert [frames.index(each) for each in there_and_back(frames)] == places


def test_animation_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    (tmp_path / "a.gif").write_bytes(b"old")

    def full(image, path, **options):
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OSError, match="disk full"):
        save_animation(noise(2), tmp_path / "a.gif", seconds=1)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a.gif", b"old")]


def test_pillow_without_webp_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("vqgen.reports.animations.features.check", lambda name: False)
    with pytest.raises(ConfigError, match=r"a\.webp: the installed Pillow was built without WebP; choose gif or apng"):
        save_animation(noise(2), tmp_path / "a.webp", seconds=1)
