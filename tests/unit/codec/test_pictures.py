import numpy as np
import pytest
from codec_models import noise_picture
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from vqgen.codec.pictures import check_size, prepare_pictures, restore_picture
from vqgen.data import Reading
from vqgen.errors import ConfigError, DataError


@given(
    st.integers(1, 9),
    st.integers(1, 9),
    st.sampled_from(["L", "LA", "RGB", "RGBA"]),
    st.sampled_from([1, 3]),
    st.sampled_from([1, 4]),
)
def test_prepared_picture_is_restored(width, height, mode, channels, stride):
    picture = noise_picture(width, height, mode)
    prepared = prepare_pictures([picture], channels, stride, alpha="keep")[0]
    assert prepared.pixels.shape[0] == channels
    assert all(side % stride == 0 for side in prepared.pixels.shape[1:])
    assert prepared.loses_colours == (channels == 1 and mode.startswith("RGB"))
    restored = restore_picture(prepared.pixels, width, height, prepared.rgb, prepared.alpha)
    expected = picture.convert(mode.replace("RGB", "L")) if prepared.loses_colours else picture
    assert restored.mode == expected.mode
    assert restored.tobytes() == expected.tobytes()


def test_padding_repeats_the_edge():
    prepared = prepare_pictures([noise_picture(5, 3)], 1, 4)[0]
    original = np.asarray(noise_picture(5, 3))
    assert (prepared.pixels[0].numpy() == np.pad(original, ((0, 1), (0, 3)), mode="edge")).all()


def test_dropped_alpha_lays_transparent_pixels_on_white():
    clear = Image.new("LA", (2, 2), (0, 0))
    clear.putpixel((1, 1), (7, 255))
    prepared = prepare_pictures([clear], 1, 2)[0]
    assert prepared.alpha is None
    assert prepared.pixels[0].tolist() == [[255, 255], [255, 7]]


def test_unknown_alpha_and_no_pictures_are_refused():
    with pytest.raises(ConfigError, match="alpha: should be one of drop, keep, found 'blend'"):
        prepare_pictures([noise_picture(4, 4)], 1, 4, "blend")
    with pytest.raises(DataError, match="images: should be at least one, found none"):
        prepare_pictures([], 1, 4)


@pytest.mark.parametrize("size", [(70_000, 1), (1, 65_536), (8193, 8192)])
def test_picture_that_no_file_can_hold_is_refused(size):
    check_size(8192, 8192)
    check_size(65_535, 1)
    with pytest.raises(
        DataError, match=rf"at most 67108864 pixels and no side above 65535, found {size[0]} x {size[1]}"
    ):
        check_size(*size)


def test_pictures_are_read_by_the_rules_of_the_model():
    floats = Image.fromarray(np.full((4, 4), 3.0, np.float32))
    prepared = prepare_pictures([floats], 1, 4, reading=Reading(measured_range=(0, 3)))[0]
    assert (prepared.pixels == 255).all()
    with pytest.raises(DataError, match="samples are float32"):
        prepare_pictures([floats], 1, 4)
