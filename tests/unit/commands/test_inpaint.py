import numpy as np
import pytest
from codec_models import noise_picture
from PIL import Image

from vqgen.commands import inpaint
from vqgen.errors import DataError


def test_mask_may_be_painted_on_a_transparent_picture(call, opens, pipe, tmp_path, capsys):
    opens(pipe)
    noise_picture(16, 8).save(tmp_path / "wide.png")
    painted = np.zeros((8, 16, 4), np.uint8)
    painted[0, 4] = 255  # the first pixel that the model sees
    Image.fromarray(painted).save(tmp_path / "mask.png")
    words = ("c", tmp_path / "wide.png", "--mask", tmp_path / "mask.png", "-o", tmp_path / "out")
    assert call(inpaint, *words) == 0
    assert "10.0% of the codes drawn anew (top 1 of 4, bottom 1 of 16)" in capsys.readouterr().out


def test_missing_mask_is_named(call, opens, pipe, tmp_path):
    opens(pipe)
    noise_picture(8, 8).save(tmp_path / "one.png")
    with pytest.raises(DataError, match=r"missing\.png"):
        call(inpaint, "c", tmp_path / "one.png", "--mask", tmp_path / "missing.png", "-o", tmp_path / "out")
