import json
import zipfile

import torch

from vqgen.app.files import codes_archive, picture_files, pictures_archive
from vqgen.app.generating import Settings, drawn_steps
from vqgen.data import CodeStore
from vqgen.reports.picture_metadata import read_settings


def test_archives_are_those_that_the_commands_write(context, pipe, tmp_path):
    *_, result = drawn_steps(context, "tiny", Settings(("cat", "10"), 2, 3))
    files = picture_files(result.output, pipe, result.request)
    pictures, grid = pictures_archive(context, result.output, pipe, result.request, files)
    codes = codes_archive(context, result.output.codes, result.output.labels, pipe)
    for path in (pictures, codes):
        with zipfile.ZipFile(path) as archive:
            archive.extractall(tmp_path / path.stem)
    listing = json.loads((tmp_path / "pictures" / "samples.json").read_text())
    assert [image["file"] for image in listing["images"]] == [
        "cat/00000.png",
        "cat/00001.png",
        "10/00000.png",
        "10/00001.png",
    ]
    assert read_settings(tmp_path / "pictures" / "10" / "00001.png")["index"] == 3
    assert grid.read_bytes()[:4] == b"\x89PNG"
    store = CodeStore(tmp_path / "codes", pipe.model_hash)
    found, labels = store.batch("images", range(4))
    assert torch.equal(found.bottom, result.output.codes.bottom)
    assert labels.tolist() == [0, 0, 2, 2]


def test_picture_without_a_label_has_files_too(context, pipe):
    output = pipe(labels=[None], seed=1)
    assert codes_archive(context, output.codes, output.labels, pipe).is_file()
