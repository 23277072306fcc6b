from dataclasses import replace

import pytest
from codec_models import noise_picture, tiny_codec

from vqgen.app import opening
from vqgen.app.opening import check_header, is_of_model, open_compressed
from vqgen.codec import read_header
from vqgen.errors import BitstreamError


@pytest.fixture
def codec(make_parts):
    return tiny_codec(make_parts, labels=("cat", "<b>dog</b>", "10"))


def test_picture_and_header_are_those_of_the_file(codec):
    data = codec.compress([noise_picture(19, 14)], label=1)[0]
    opened = open_compressed(codec, data)
    rows = dict(opened.rows)
    assert opened.picture.tobytes() == codec.decompress([data])[0].tobytes()
    assert rows["picture"] == "19 x 14, grey"
    assert rows["label"] == "1 (<b>dog</b>)"
    assert rows["file"].startswith(f"{len(data)} bytes")
    assert rows["VQ-VAE"] == opened.header.vqvae.hex()
    assert list(rows)[3:5] == ["codes, top", "codes, bottom"]


def test_alpha_plane_and_missing_label_are_told(codec):
    rows = dict(open_compressed(codec, codec.compress([noise_picture(8, 8, "LA")], alpha="keep")[0]).rows)
    assert rows["picture"].endswith("with alpha")
    assert rows["label"] == "none"
    assert "bytes" in rows["alpha plane"]


def test_damaged_file_and_file_of_another_model_are_refused(codec, make_parts):
    data = codec.compress([noise_picture(8, 8)])[0]
    with pytest.raises(BitstreamError):
        open_compressed(codec, data[:-1])
    other = tiny_codec(make_parts, seed=5)
    assert is_of_model(codec, read_header(data)[0])
    assert not is_of_model(other, read_header(data)[0])
    with pytest.raises(BitstreamError):
        open_compressed(other, data)


@pytest.mark.parametrize(("coder", "limit"), [("prior", "_PRIOR_PIXELS"), ("packed", "_MOST_PIXELS")])
def test_picture_that_takes_too_long_is_refused_by_its_header(codec, monkeypatch, coder, limit):
    data = codec.compress([noise_picture(40, 24)], coder=coder)[0]
    check_header(data)
    monkeypatch.setattr(opening, limit, 900)
    with pytest.raises(BitstreamError, match="at most 900 pixels on this page, found 40 x 24"):
        check_header(data)


def test_huge_claim_is_refused_before_it_is_decoded(codec):
    data = codec.compress([noise_picture(8, 8)], coder="packed")[0]
    header, begin = read_header(data)
    with pytest.raises(BitstreamError):
        open_compressed(codec, replace(header, width=60_000, height=1000).pack() + data[begin:])
