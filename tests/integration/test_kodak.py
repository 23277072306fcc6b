"""Photographs far larger than the model's images, through the shipped model."""

from pathlib import Path

import pytest

from vqgen import VQGenPipeline
from vqgen.codec import Coder, read_header
from vqgen.data import find_images, read_image
from vqgen.errors import BitstreamError

CHECKOUT = Path(__file__).parents[2]
KODAK = CHECKOUT / "data" / "kodak"


@pytest.mark.slow
@pytest.mark.skipif(not KODAK.is_dir(), reason="needs the Kodak images in data/kodak")
@pytest.mark.parametrize("coder", ["packed", "static", "prior"])
def test_codes_of_photographs_come_back(coder):
    pipe = VQGenPipeline.from_pretrained(CHECKOUT / "checkpoints" / "pretrained" / "digits", device="cpu")
    paths = find_images(KODAK)
    assert len(paths) == 12
    for path in paths:
        codes = pipe.codec.encode([read_image(path).convert("L")])
        data = pipe.codec.pack(codes, pipe.codec.models.offered(coder), verify=False)
        assert {level.coder for level in read_header(data[0])[0].levels} == {Coder[coder.upper()]}
        back = pipe.codec.unpack(data)[0]
        assert not isinstance(back, BitstreamError)
        assert back.equals(codes[0])
        assert pipe.codec.decode([back])[0].size == read_image(path).size
