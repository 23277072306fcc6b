import re

import pytest
from codec_models import random_codes, write_archive

from vqgen.codec.archive_blocks import BlockContent
from vqgen.codec.block_head import HeadRules
from vqgen.commands.archives import archive_path, archive_rules, image_names, naming, numbered
from vqgen.errors import BitstreamError, DataError


def test_only_a_file_is_an_archive(tmp_path):
    (tmp_path / "x.vqga").write_bytes(b"")
    assert archive_path(str(tmp_path / "x.vqga")) == tmp_path / "x.vqga"
    with pytest.raises(DataError, match="this is a folder; name a file in it"):
        archive_path(str(tmp_path))
    with pytest.raises(DataError, match=r"gone\.vqga: there is no such file"):
        archive_path(str(tmp_path / "gone.vqga"))


def test_errors_about_the_content_get_the_path(tmp_path):
    path = tmp_path / "a\n.vqga"
    with pytest.raises(BitstreamError, match=rf"^{re.escape(str(tmp_path))}/a\\n\.vqga: is cut short$"), naming(path):
        raise BitstreamError("is cut short")
    with pytest.raises(DataError, match=r"^other$"), naming(path):
        raise DataError("other")


def test_image_without_a_name_is_called_by_its_number():
    assert image_names(9, ["a", None, ""]) == ["a", "00010", "00011"]


@pytest.mark.parametrize(("count", "numbers"), [(1, "image 4"), (3, "images 4 to 6")])
def test_damage_is_numbered(count, numbers):
    error = BitstreamError("is damaged")
    assert str(numbered(BlockContent(4, count, error), error)) == f"{numbers}, counted from 0: is damaged"


def test_rules_come_from_the_header_and_the_labels_from_the_pipeline(pipe, opens, make_parts, tmp_path):
    path = tmp_path / "x.vqga"
    path.write_bytes(write_archive(pipe.codec, [random_codes(pipe.codec, 8, 8)]))
    opens(pipe)
    with path.open("rb") as file:
        assert archive_rules(file, None) == (HeadRules(2), ())
        file.seek(0)
        assert archive_rules(file, "c") == (HeadRules(2, (4, 2), 3), pipe.label_map.names)
    other = type(pipe)(make_parts(seed=1), pipe.compute)
    opens(other)
    with path.open("rb") as file, pytest.raises(BitstreamError, match="made with VQ-VAE"):
        archive_rules(file, "c")
