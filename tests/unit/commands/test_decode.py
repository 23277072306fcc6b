import argparse

import pytest
import torch
from PIL import Image

from vqgen.commands import decode
from vqgen.data import LabelMap, ShardContent, StoreInfo, finish_store, write_shard
from vqgen.errors import ConfigError, DataError
from vqgen.pipeline import VQGenPipeline
from vqgen.pipeline.parts import save_pipeline


@pytest.fixture
def stored(make_parts, tmp_path):
    """Writes a pipeline, and a code store of an image for each name of each split."""
    save_pipeline(make_parts(), tmp_path / "pipeline")
    pipe = VQGenPipeline.from_pretrained(tmp_path / "pipeline", device="cpu")

    def write(**names):
        store = tmp_path / "store"
        store.mkdir()
        counts = {}
        for split, found in names.items():
            each = (found,) if isinstance(found, str) else found
            counts[split] = len(each)
            codes = pipe.encode([Image.new("L", (8, 8), 99)] * len(each))
            write_shard(store, split, 0, ShardContent(codes, torch.zeros(len(each), dtype=torch.int64), each), 16)
        info = StoreInfo(pipe.model_hash, 16, LabelMap(("cat", "dog", "10")), counts, indices={})
        finish_store(store, info)
        return argparse.Namespace(
            checkpoint=str(tmp_path / "pipeline"),
            store=str(store),
            output=str(tmp_path / "out"),
            overwrite=False,
            levels=None,
            device="cpu",
            dtype="float32",
        )

    return write


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))


def test_only_split_is_written_without_a_folder_for_it(stored, tmp_path):
    assert decode.run(stored(images="a/x.jpg")) == 0
    assert files(tmp_path / "out") == ["a/x.jpg.png"]


def test_several_splits_have_a_folder_each(stored, tmp_path):
    assert decode.run(stored(train="0", validation="0")) == 0
    assert files(tmp_path / "out") == ["train/0.png", "validation/0.png"]


def test_name_that_leads_out_of_the_folder_is_refused(stored, tmp_path):
    with pytest.raises(DataError, match=r"^\.\./evil: its name leads out of the output folder; not written"):
        decode.run(stored(images="../evil"))
    assert not (tmp_path / "evil.png").exists()


def test_split_that_leads_out_of_the_folder_is_refused(stored, tmp_path):
    arguments = stored(train="0", **{"../evil": "x"})
    with pytest.raises(DataError, match=r"a split should have the name of a file, found '\.\./evil'"):
        decode.run(arguments)
    assert not (tmp_path / "out").exists()


def test_images_that_cannot_be_written_leave_the_others(stored, tmp_path, capsys):
    names = ("a", "../evil", "n" * 255, "taken", "a", "b\n", "n" * 251)
    arguments = stored(images=names)
    (tmp_path / "out" / "taken.png").mkdir(parents=True)
    assert decode.run(arguments) == 1
    printed = capsys.readouterr()
    failed = [line.split(":")[1].strip() for line in printed.err.splitlines()]
    assert sorted(failed) == sorted(["../evil", "a", "n" * 255, "taken"])
    assert printed.out == f"3 images in {tmp_path / 'out'}; 4 of 7 images failed\n"
    found = [path.name for path in (tmp_path / "out").iterdir() if path.is_file()]
    assert sorted(found) == sorted(["a.png", "b\n.png", "n" * 251 + ".png"])


def test_damaged_shard_leaves_the_other_shards(stored, tmp_path, capsys):
    arguments = stored(train=("0", "1", "2"), validation="0")
    (tmp_path / "store" / "train-00000.safetensors").write_bytes(b"damage")
    assert decode.run(arguments) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith("vqgen: train, shard 0: code store shard ")
    assert printed.out == f"1 image in {tmp_path / 'out'}; 3 of 4 images failed\n"
    assert files(tmp_path / "out") == ["validation/0.png"]


def test_folder_with_files_is_refused(stored, tmp_path):
    arguments = stored(images="a")
    assert decode.run(arguments) == 0
    with pytest.raises(ConfigError, match=r"should be a new or empty folder, found a\.png; --overwrite"):
        decode.run(arguments)
    arguments.overwrite = True
    assert decode.run(arguments) == 0


@pytest.mark.parametrize("levels", [["top"], ["bottom"], ["bottom", "top"]])
def test_levels_can_be_decoded_alone(stored, tmp_path, levels):
    arguments = stored(images="a")
    arguments.levels = levels
    assert decode.run(arguments) == 0
    pipe = VQGenPipeline.from_pretrained(tmp_path / "pipeline", device="cpu")
    (expected,) = pipe.decode(pipe.encode(Image.new("L", (8, 8), 99)), levels)
    with Image.open(tmp_path / "out" / "a.png") as picture:
        assert picture.tobytes() == expected.tobytes()


def test_unknown_level_is_refused_before_the_work(stored, tmp_path):
    arguments = stored(images="a")
    arguments.levels = ["top", "middle"]
    with pytest.raises(ConfigError, match="levels: should be some of top, bottom, found 'middle'"):
        decode.run(arguments)
    assert not (tmp_path / "out").exists()
