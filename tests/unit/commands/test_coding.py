import argparse

import pytest
from codec_models import noise_picture

from vqgen.codec.sinks import FolderSink
from vqgen.commands.coding import add_coding_arguments, compress_pictures, find_pictures, label_of
from vqgen.commands.tally import Tally
from vqgen.errors import DataError


def parsed(paths, *words):
    parser = argparse.ArgumentParser()
    add_coding_arguments(parser)
    arguments = parser.parse_args(list(words))
    arguments.paths, arguments.quiet = list(map(str, paths)), True
    return arguments


@pytest.fixture
def pictures(tmp_path):
    for seed, name in enumerate(["a.png", "b.png"]):
        noise_picture(20, 9, seed=seed).save(tmp_path / name)
    return tmp_path


def written_to(folder):
    def write(files):
        for name, writer in files:
            writer(folder / f"{name}.vqg")
        return [folder / f"{name}.vqg" for name, _ in files]

    return write


@pytest.mark.parametrize(("text", "label"), [("none", None), ("auto", "auto"), ("dog", "dog"), ("1", "1")])
def test_label_none_stands_for_no_label(text, label):
    assert label_of(text) == label


def test_wrong_label_is_refused_before_a_picture_is_looked_for(pipe, tmp_path):
    with pytest.raises(DataError, match="label should be a name or an index"):
        find_pictures(pipe, [str(tmp_path / "gone")], parsed([], "--label", "fox"))


@pytest.mark.parametrize("report", [False, True])
def test_pictures_are_written_and_counted(pipe, pictures, report, capsys):
    (pictures / "broken.png").write_bytes(b"no picture")
    arguments = parsed([pictures], "--coder", "packed")
    images = find_pictures(pipe, arguments.paths, arguments)
    tally = Tally(len(images))
    sink = FolderSink(pipe.codec, written_to(pictures), coder="packed")
    totals = compress_pictures(pipe, images, sink, tally, arguments, report=report)
    assert (totals.images, tally.done, tally.failed) == (2, 2, 1)
    assert ("PSNR" in totals.summary(pictures, sink.bytes_written, sink.coders)) == report
    assert len(list(pictures.glob("*.vqg"))) == 2
    assert "broken.png" in capsys.readouterr().err
