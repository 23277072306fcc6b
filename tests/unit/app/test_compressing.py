import numpy as np
import pytest
from codec_models import noise_picture, tiny_codec
from PIL import Image

from vqgen.app import compressing
from vqgen.app.compressing import Compressed, compress_steps
from vqgen.app.uploads import Upload
from vqgen.codec import Coder, ideal_bits, read_header
from vqgen.errors import DataError


@pytest.fixture
def codec(make_parts):
    return tiny_codec(make_parts)


def compressed(codec, picture, **options) -> Compressed:
    *steps, result = compress_steps(codec, Upload(picture, "a.png", ("A note.",)), **options)
    assert all(isinstance(step, str) for step in steps)
    assert isinstance(result, Compressed)
    return result


def test_file_decodes_to_the_picture_that_is_shown(codec):
    found = compressed(codec, noise_picture(19, 14))
    assert codec.decompress([found.ours.data])[0].tobytes() == found.ours.picture.tobytes()
    assert found.ours.picture.size == (19, 14)
    assert found.ours.bpp == 8 * len(found.ours.data) / (19 * 14)


def test_lengths_of_levels_and_the_header_add_up_to_the_file(codec):
    found = compressed(codec, noise_picture(19, 14))
    header, size = read_header(found.ours.data)
    assert found.other_bytes == size
    for level, written in zip(found.levels, header.levels, strict=True):
        assert set(level.lengths) == set(Coder)
        assert level.lengths[level.chosen] == written.length == min(level.lengths.values())
        assert written.coder is level.chosen


def test_file_is_as_short_as_the_one_of_the_codec(codec):
    picture = noise_picture(40, 24)
    assert len(compressed(codec, picture).ours.data) == len(codec.compress([picture])[0])


def test_best_label_is_never_worse_than_none(codec):
    picture = noise_picture(40, 24)
    best = compressed(codec, picture, label="auto")
    codes = codec.encode([picture])[0]

    def bits(label):
        return sum(ideal_bits(codec.models, codes, level, Coder.PRIOR, label) for level in codec.models.levels)

    assert bits(best.label) == min(bits(label) for label in (None, 0, 1, 2))


def test_other_formats_are_of_a_length_as_near_as_their_quality_allows(codec):
    found = compressed(codec, noise_picture(64, 64))
    assert [peer.name for peer in found.peers] == ["JPEG", "WebP"]
    for peer in found.peers:
        assert peer.picture.mode == found.original.mode
        assert 0 <= peer.quality <= 100


def test_large_picture_is_scaled_and_the_prior_left_out(codec, monkeypatch):
    monkeypatch.setattr(compressing, "MOST_PIXELS", 1000)
    monkeypatch.setattr(compressing, "PRIOR_PIXELS", 500)
    found = compressed(codec, noise_picture(100, 40), label="auto")
    assert found.original.width * found.original.height <= 1000
    assert found.original.width / found.original.height == pytest.approx(2.5, rel=0.1)
    assert all(set(level.lengths) == {Coder.PACKED, Coder.STATIC} for level in found.levels)
    assert [note.split()[0] for note in found.notes] == ["A", "Scaled", "The"]
    assert found.label is None


def test_lost_colours_are_told(codec):
    found = compressed(codec, noise_picture(8, 8, "RGB"))
    assert found.original.mode == "L"
    assert "knows grey only" in found.notes[-1]


def test_unknown_label_is_refused(codec):
    with pytest.raises(DataError, match="label"):
        compressed(codec, noise_picture(8, 8), label="bird")


def test_document_has_the_figures_of_the_result(codec):
    found = compressed(codec, Image.fromarray(np.zeros((8, 8), np.uint8)))
    document = found.document()
    assert (document["width"], document["height"]) == (8, 8)
    assert [each["format"] for each in document["formats"]] == ["vqgen", "JPEG", "WebP"]
    chosen = sum(level["bytes"][level["coder"]] for level in document["levels"])
    assert chosen + document["header_bytes"] == document["formats"][0]["bytes"]
