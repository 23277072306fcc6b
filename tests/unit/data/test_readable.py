import logging

import numpy as np
import pytest
from PIL import Image

from vqgen.config import DataConfig
from vqgen.data import FileReader, ImageSet, Reading, check_readable
from vqgen.data.pictures.extents import Extent
from vqgen.data.readable import settled_reading
from vqgen.errors import DataError, ReadError


class Partly:
    def __init__(self, broken: set[int]) -> None:
        self.broken = broken

    def __call__(self, index: int) -> Image.Image:
        if index in self.broken:
            raise DataError(f"cannot read {index}")
        return Image.new("L", (2, 2), index % 256)


def image_set(count: int, broken: set[int]) -> ImageSet:
    return ImageSet(tuple(map(str, range(count))), np.arange(count), Partly(broken))


def test_sound_set_comes_back_itself() -> None:
    images = image_set(300, set())
    assert check_readable(images, 0.0) == (images, {}, dict.fromkeys(range(300)))


@pytest.mark.parametrize("threads", [None, 1, 3])
def test_readable_images_remain_in_order(threads: int | None) -> None:
    broken = {0, 64, 150, 299}
    kept, names, _ = check_readable(image_set(300, broken), 0.5, threads)
    assert names == {index: f"cannot read {index}" for index in sorted(broken)}
    assert kept.labels.tolist() == [index for index in range(300) if index not in broken]
    assert kept.read(63).getpixel((0, 0)) == 65


def test_share_at_the_limit_is_accepted() -> None:
    images = image_set(100, {1, 2})
    assert len(check_readable(images, 0.02)[0]) == 98
    with pytest.raises(DataError, match=r"at most 0\.019 of all, found 0\.02 \(2 of 100 images\): 1, 2"):
        check_readable(images, 0.019)


def test_set_without_a_readable_image_is_refused_at_any_limit() -> None:
    with pytest.raises(DataError, match=r"10 of 10 images\): 0, 1, 2, 3, 4, \.\.\. \(the first: cannot read 0\)"):
        check_readable(image_set(10, set(range(10))), 1.0)


def test_first_twenty_unreadable_images_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "vqgen.data"):
        check_readable(image_set(100, set(range(30))), 1.0)
    lines = caplog.records[0].message.splitlines()
    assert lines[0] == "30 of 100 images cannot be read and are left out:"
    assert [line.strip() for line in lines[1:]] == [*(f"cannot read {index}" for index in range(20)), "..."]


def test_known_images_are_not_decoded() -> None:
    extent = Extent("8-bit", 0, 9, (0, 255))
    images = image_set(10, {1, 2, 3})
    checked = check_readable(images, 0.5, known={1: extent, 9: None}, left_out={0: "as ever"})
    assert checked.unreadable == {0: "as ever", 2: "cannot read 2", 3: "cannot read 3"}
    assert checked.extents == {1: extent, **dict.fromkeys(range(4, 10))}
    assert checked.images.names == ("1", "4", "5", "6", "7", "8", "9")
    with pytest.raises(DataError, match=r"found 0\.3 \(3 of 10 images\): 0, 2, 3 \(the first: as ever\)"):
        check_readable(images, 0.2, known={1: extent}, left_out={0: "as ever"})


def test_failing_system_is_raised_and_counts_no_image_as_unreadable() -> None:
    def read(index: int) -> Image.Image:
        raise ReadError(f"cannot read image {index}: Input/output error") if index == 7 else DataError("damaged")

    with pytest.raises(ReadError, match="cannot read image 7: Input/output error"):
        check_readable(ImageSet(tuple(map(str, range(100))), np.arange(100), read), 1.0)


FOLDER = DataConfig(source="folder", image_size=4)


def test_values_of_files_are_found_in_the_same_pass(tmp_path):
    paths = [tmp_path / f"{number}.tif" for number in range(3)]
    for number, path in enumerate(paths):
        Image.fromarray(np.array([[number, 10.5 * number]], np.float32)).save(path)
    paths[1].write_bytes(b"broken")
    files = ImageSet(("a", "b", "c"), np.full(3, -1), FileReader(paths))
    checked = check_readable(files, 0.5)
    assert checked.unreadable.keys() == {1}
    assert checked.extents == {0: Extent("float32", 0, 0, None), 2: Extent("float32", 2, 21, None)}
    assert checked.extents_of(range(2)) == [Extent("float32", 0, 0, None)]


def settled(caplog, extents, **fields):
    with caplog.at_level(logging.WARNING, "vqgen.data"):
        reading = settled_reading(FOLDER.model_copy(update=fields), extents)
    return reading, [record.message for record in caplog.records]


def test_range_that_is_missing_is_measured_and_told_once(caplog):
    extents = [Extent("float32", -0.5, 1, None), Extent("8-bit", 0, 255, (0, 255))]
    reading, lines = settled(caplog, extents)
    assert reading == Reading(measured_range=(-0.5, 1))
    assert len(lines) == 1
    assert "-0.5 is black and 1 is white" in lines[0]


def test_range_that_is_known_is_not_measured(caplog):
    extents = [Extent("float32", -0.5, 1, None)]
    for known in ({"value_range": (0.0, 1.0)}, {"measured_range": (0.0, 1.0)}):
        assert settled(caplog, extents, **known) == (Reading(**known), [])


def test_small_part_of_the_range_is_warned_of_with_the_option(caplog):
    dark = [Extent("16-bit", 0, 4095, (0, 65535))] * 20
    reading, lines = settled(caplog, dark)
    assert reading == Reading()
    assert len(lines) == 1
    assert lines[0].endswith("--data.value-range 0 4095")


def test_first_rules_measure_nothing(caplog):
    assert settled(caplog, [], reading_rules=1) == (Reading(rules=1), [])
