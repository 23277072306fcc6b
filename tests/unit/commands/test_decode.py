import argparse

import pytest
import torch
from PIL import Image

from vqgen.commands import decode
from vqgen.data import LabelMap, ShardContent, StoreInfo, finish_store, write_shard
from vqgen.errors import DataError
from vqgen.pipeline import VQGenPipeline
from vqgen.pipeline.parts import save_pipeline


@pytest.fixture
def stored(make_parts, tmp_path):
    """Writes a pipeline and a code store of one image for each split and name."""
    save_pipeline(make_parts(), tmp_path / "pipeline")
    pipe = VQGenPipeline.from_pretrained(tmp_path / "pipeline", device="cpu")

    def write(**names):
        store = tmp_path / "store"
        store.mkdir()
        for split, name in names.items():
            codes = pipe.encode(Image.new("L", (8, 8), 99))
            write_shard(store, split, 0, ShardContent(codes, torch.tensor([0]), (name,)), 16)
        counts = dict.fromkeys(names, 1)
        info = StoreInfo(pipe.model_hash, 16, LabelMap(("cat", "dog", "10")), counts, indices={})
        finish_store(store, info)
        return argparse.Namespace(
            checkpoint=str(tmp_path / "pipeline"),
            store=str(store),
            output=str(tmp_path / "out"),
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
    with pytest.raises(DataError, match=r"name '\.\./evil' leads out of the output folder; not written"):
        decode.run(stored(images="../evil"))
    assert not (tmp_path / "evil.png").exists()
