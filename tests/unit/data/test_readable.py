import logging

import numpy as np
import pytest
from PIL import Image

from vqgen.data import ImageSet, check_readable
from vqgen.errors import DataError


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
    assert check_readable(images, 0.0) == (images, [], {})


@pytest.mark.parametrize("threads", [None, 1, 3])
def test_readable_images_remain_in_order(threads: int | None) -> None:
    broken = {0, 64, 150, 299}
    kept, names, _ = check_readable(image_set(300, broken), 0.5, threads)
    assert names == ["0", "64", "150", "299"]
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
