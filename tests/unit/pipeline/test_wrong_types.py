"""Every public function says what it takes: one line that names the parameter, and never an error from inside."""

import inspect
import io
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from codec_models import random_codes, tiny_codec
from PIL import Image

from vqgen import VQVAE, BaselinePipeline, CausalOrder, Codes, PixelCNN, VQGenPipeline, open_pipeline
from vqgen.codec.archive_reader import ArchiveReader
from vqgen.codec.archive_writer import ArchiveWriter
from vqgen.codec.codec import Codec
from vqgen.data import CodeStore, LabelMap, ShardContent, StoreInfo, finish_store, write_store
from vqgen.errors import VQGenError
from vqgen.pipeline.request import GenerationRequest
from vqgen.sampling import LevelParams, SamplingParams

WRONG = [
    None, 1, -1, 1.5, True, "x", "", b"x", object(), [], [None], {}, {"x": 1}, {1}, float("nan"), 2**5000, int,
    np.array([1.5, 2.5]), np.array(1.5), torch.zeros(2), torch.tensor(2), Path("nowhere"), lambda *_: None,
]  # fmt: skip

OTHER_NAMES = {
    "name_or_path": ("checkpoint",),
    "labels": ("label",),
    "grids": ("codes",),
    "files": ("compressed image",),
    "folder": ("code store",),
    "vqvae_hash": ("VQ-VAE",),
    "temperature": ("one number, or one per level",),
}
"""Parameter -> the words that may name it in place of its own name."""

pytestmark = pytest.mark.usefixtures("unchecked_annotations")


@pytest.fixture
def pipe(make_parts):
    return VQGenPipeline(make_parts(), None)


@pytest.fixture
def codec(make_parts):
    return tiny_codec(make_parts)


@pytest.fixture
def store(tmp_path):
    codes = Codes({"top": torch.zeros(4, 2, 2, dtype=torch.int64)})
    info = StoreInfo("a" * 64, 16, LabelMap(("x", "y")), {"train": 4}, {"train": [0, 1, 2, 3]})
    content = ShardContent(codes, torch.zeros(4, dtype=torch.int64), tuple("abcd"))
    write_store(tmp_path / "store", info, lambda split, span: content)
    finish_store(tmp_path / "store", info)
    return CodeStore(tmp_path / "store")


def refuse_or_work(call, good, skip=()):
    """Calls a function with each wrong value of each parameter. The values that it takes may work.

    Args:
        call: The function.
        good: Values of all its parameters.
        skip: Parameters that are not tried.
    """
    call(**good)
    names = [name for name in inspect.signature(call).parameters if name not in skip]
    assert set(names) <= set(good), f"no value of {set(names) - set(good)}"
    for name in names:
        for value in WRONG:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    found = call(**good | {name: value})
                    if inspect.isgenerator(found):
                        list(found)
            except VQGenError as error:
                text = str(error)
                known = (name, *OTHER_NAMES.get(name, ()))
                assert any(word in text for word in known), (name, value, text)
                assert len(text.splitlines()) == 1, (name, value, text)
                assert len(text) < 600, (name, value, text)
            except Exception as error:
                pytest.fail(f"{name}={value!r}: {type(error).__name__}: {error}")


def pixels(count=2):
    return torch.zeros(count, 1, 8, 8, dtype=torch.uint8)


def labels_of(count=2):
    return torch.zeros(count, dtype=torch.int64)


REQUEST = {
    "labels": ["cat"], "images_per_label": 1, "seed": 0, "temperature": 1.0, "top_k": None, "top_p": None,
    "guidance_scale": 1.0, "autoguidance_scale": 1.0, "keep": 1.0, "batch_size": 10, "max_memory": None,
    "progress": None,
}  # fmt: skip


def test_opening(folder):
    for call in (open_pipeline, VQGenPipeline.from_pretrained):
        refuse_or_work(call, {"name_or_path": folder, "device": "cpu", "dtype": "float32"})


def test_building(make_parts, make_baseline_parts, cpu64):
    refuse_or_work(VQGenPipeline, {"parts": make_parts(), "compute": cpu64, "sampler": None})
    refuse_or_work(BaselinePipeline, {"parts": make_baseline_parts(), "compute": cpu64})
    refuse_or_work(VQVAE, {"config": make_parts().vqvae.config})
    refuse_or_work(PixelCNN, {"config": make_parts().priors["top"].config})


def test_generating(pipe, make_baseline_parts, cpu64):
    refuse_or_work(pipe.__call__, REQUEST)
    refuse_or_work(BaselinePipeline(make_baseline_parts(), cpu64).__call__, REQUEST)


@pytest.mark.parametrize("kind", ["codes", "baseline"])
def test_methods_of_every_pipeline(kind, pipe, make_baseline_parts, cpu64, tmp_path):
    any_pipe = pipe if kind == "codes" else BaselinePipeline(make_baseline_parts(), cpu64)
    request = GenerationRequest(["cat"])
    latents = any_pipe.to_latents(pixels(), labels_of())
    refuse_or_work(any_pipe.generate, {"request": request, "processes": None, "progress": None})
    refuse_or_work(any_pipe.check_request, {"request": request})
    refuse_or_work(any_pipe.count, {"request": request})
    refuse_or_work(any_pipe.check_sampling, {"params": SamplingParams()})
    refuse_or_work(any_pipe.resolve_labels, {"labels": "cat"})
    refuse_or_work(any_pipe.preprocess, {"images": Image.new("L", (9, 9))})
    refuse_or_work(any_pipe.reconstruct_tensor, {"images": pixels(), "labels": labels_of()})
    refuse_or_work(any_pipe.to_latents, {"images": pixels(), "labels": labels_of()})
    refuse_or_work(any_pipe.from_latents, {"latents": latents, "labels": labels_of()})
    refuse_or_work(any_pipe.known_labels, {"images": pixels(), "labels": labels_of()})
    refuse_or_work(any_pipe.to, {"device": "cpu", "dtype": "float32"})
    # Words and paths are names of folders that would be written.
    refused = [value for value in WRONG if not isinstance(value, str | Path)]
    any_pipe.save_pretrained(tmp_path / "saved")
    for value in [*refused, "", "a\0b"]:
        with pytest.raises(VQGenError, match="folder: should be a path"):
            any_pipe.save_pretrained(value)
    for value in [*refused, ""]:
        with pytest.raises(VQGenError, match="repository: should be the name of a repository"):
            any_pipe.push_to_hub(value)
    for name in ("private", "token"):
        with pytest.raises(VQGenError, match=f"{name}: should be "):
            any_pipe.push_to_hub("user/name", **{name: 1.5})


def test_images_codes_and_files(pipe):
    codes = pipe.encode_tensor(pixels())
    files = pipe.compress(Image.new("L", (9, 9)))
    refuse_or_work(pipe.level_params, {"params": SamplingParams()})
    sample = {"labels": [0, None], "image_indices": [0, 1], "seed": 0, "params": None, "batch_size": 2}
    sample |= {"max_memory": None, "progress": None}
    refuse_or_work(pipe.sample, sample, skip=["on_level"])  # some values are classes, which fail when they get codes
    for value in (1.5, "x", [print]):
        with pytest.raises(VQGenError, match="on_level: should be a function"):
            pipe.sample(**sample, on_level=value)
    refuse_or_work(pipe.encode, {"images": Image.new("L", (9, 9))})
    refuse_or_work(pipe.encode_tensor, {"images": pixels()})
    for call in (pipe.decode, pipe.decode_each, pipe.decode_tensor):
        refuse_or_work(call, {"codes": codes, "levels": None})
    for call in (pipe.log_likelihood, pipe.log_probabilities):
        refuse_or_work(call, {"codes": codes, "labels": None})
    options = {"label": None, "coder": "packed", "alpha": "drop", "verify": True, "quality": 100, "target_bpp": None}
    refuse_or_work(pipe.compress, {"images": Image.new("L", (9, 9)), **options})
    refuse_or_work(pipe.decompress, {"files": files, "levels": None, "allow_partial": False})


def test_codec_and_archives(codec):
    picture = Image.new("L", (9, 9))
    codes = codec.encode(picture)
    refuse_or_work(Codec, {"parts": codec.parts, "compute": codec.compute})
    rate = {"coder": "static", "quality": 100, "target_bpp": None}
    refuse_or_work(codec.encode, {"images": picture, "label": None, "alpha": "drop", **rate})
    refuse_or_work(codec.rate_search, rate)
    refuse_or_work(codec.decode, {"codes": codes})
    preview = {"files": codec.compress(picture), "levels": ["top"], "allow_partial": True}
    refuse_or_work(codec.decompress, preview)
    refuse_or_work(codec.unpack, preview)
    refuse_or_work(codec.image_coder_of, {"levels": ["top"]})
    refuse_or_work(codec.pack, {"codes": codes, "offered": codec.models.offered("packed"), "verify": True})
    options = {"coder": "packed", "verify": True, "with_names": True, "after": None}
    refuse_or_work(ArchiveWriter, {"file": io.BytesIO(), "codec": codec, **options})
    file = io.BytesIO()
    writer = ArchiveWriter(file, codec)
    refuse_or_work(writer.add, {"codes": random_codes(codec, 8, 8), "name": "a"})
    writer.finish()
    for wrong in (io.StringIO(), io.StringIO("text")):
        with pytest.raises(VQGenError, match="file: should be a file that is open for bytes, found a StringIO"):
            ArchiveReader(wrong, codec)
        with pytest.raises(VQGenError, match="file: should be a file that is open for bytes, found a StringIO"):
            ArchiveWriter(wrong, codec)
    refuse_or_work(lambda file: ArchiveReader(file, codec), {"file": io.BytesIO(file.getvalue())})
    refuse_or_work(lambda codec: ArchiveReader(io.BytesIO(file.getvalue()), codec), {"codec": codec})
    refuse_or_work(
        lambda levels, allow_partial: ArchiveReader(
            io.BytesIO(file.getvalue()), codec, levels, allow_partial=allow_partial
        ),
        {"levels": ["top"], "allow_partial": True},
    )
    reader = ArchiveReader(io.BytesIO(file.getvalue()), codec)
    for value in WRONG:
        if isinstance(value, int) and not isinstance(value, bool):  # numbers out of range are an IndexError
            continue
        if isinstance(value, torch.Tensor) and value.ndim == 0:
            continue
        with pytest.raises(VQGenError, match="number: should be a whole number"):
            reader.image(value)


def test_code_store(store):
    refuse_or_work(CodeStore, {"folder": store.folder, "vqvae_hash": None})
    refuse_or_work(store.batch, {"split": "train", "indices": [0, 3]})
    refuse_or_work(store.contents, {"split": "train"})
    refuse_or_work(store.shards, {"split": "train"})
    refuse_or_work(store.histogram, {"split": "train"})


def test_vocabulary():
    refuse_or_work(LabelMap, {"names": ("a", "b")})
    refuse_or_work(LabelMap(("a", "b")).index, {"label": "a"})
    refuse_or_work(LabelMap(("a", "b")).find, {"name": "a"})
    refuse_or_work(LabelMap(("a", "b")).resolve, {"labels": ["a", 1]})
    refuse_or_work(SamplingParams, {name: REQUEST[name] for name in inspect.signature(SamplingParams).parameters})
    refuse_or_work(LevelParams, {name: REQUEST[name] for name in inspect.signature(LevelParams).parameters})


def test_values_of_the_vocabulary_out_of_range_are_value_errors():
    """As they have always been. Wrong types are not."""
    codes = Codes({"top": torch.zeros(2, 1, 1, dtype=torch.int64)})
    for call in (
        Codes,
        Codes.cat,
        codes.__getitem__,
        codes.to,
        lambda n: CausalOrder(n, 3),
        lambda n: CausalOrder(3, 3, n),
    ):
        for value in WRONG:
            try:
                call(value)
            except (VQGenError, ValueError, IndexError) as error:  # an index may be beyond the images
                assert isinstance(error, VQGenError | ValueError) or "out of bounds" in str(error)
                assert len(str(error).splitlines()) == 1
            except Exception as error:
                pytest.fail(f"{value!r}: {type(error).__name__}: {error}")
