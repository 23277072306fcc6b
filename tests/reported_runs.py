"""A tiny run of noise, made in this process, with a label that a careless page would take for HTML."""

from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator

from vqgen.config.loading import validate_recipe
from vqgen.data import ArrayReader, ImageSet, ImageSplits, LabelMap
from vqgen.runtime.compute import Compute
from vqgen.stages.context import RunContext

EVIL = "<img src=x onerror=alert(1)>"
LABELS = LabelMap(("cat", EVIL, "a & b"))
_TRAIN = {"steps": 4, "batch_size": 8, "validate_every": 2, "save_every": 2, "log_every": 1}
_PRIOR = {"layers": 1, "channels": 8, "attention_heads": 2, "conditioning_layers": 1, "train": _TRAIN}


def noise(count: int, split: str, seed: int, *, side: int = 8, channels: int = 1) -> ImageSet:
    """Draws images with labels 0, 1, 2, 0, ..."""
    shape = (count, side, side) if channels == 1 else (count, side, side, channels)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    names = tuple(f"{split}/{number}" for number in range(count))
    return ImageSet(names, np.arange(count) % len(LABELS), ArrayReader(pixels))


def splits(*, side: int = 8, channels: int = 1) -> ImageSplits:
    """Draws 20 training and 7 validation images."""
    return ImageSplits(
        train=noise(20, "train", 0, side=side, channels=channels),
        validation=noise(7, "validation", 1, side=side, channels=channels),
        test=None,
        label_map=LABELS,
        indices={"train": list(range(20)), "validation": list(range(20, 27))},
        fingerprint="hash of the images",
    )


def document(*, baseline: bool = False, side: int = 8, channels: int = 1) -> dict[str, Any]:
    """Builds a recipe that trains in a second."""
    shared: dict[str, Any] = {
        "name": "noise",
        "data": {"source": "digits", "image_size": side, "channels": channels},
        "generate": {"images_per_label": 2},
    }
    if baseline:
        model = {"kind": "vae", "latent_size": 3, "channels": 8, "residual_channels": 4, "hidden": 16, "train": _TRAIN}
        return shared | {"autoencoder": model | {"labels": "conditional"}}
    vqvae = {
        "downsample": [side // 2, side // 4], "codebook_size": 8, "embedding_dim": 4, "channels": 8,
        "residual_channels": 4, "residual_layers": 1, "train": _TRAIN,
    }  # fmt: skip
    classifier = {"channels": 8, "stages": 1, "train": _TRAIN}
    return shared | {"vqvae": vqvae, "priors": [_PRIOR, _PRIOR], "classifier": classifier}


def run_context(folder: Path, recipe: dict[str, Any]) -> RunContext:
    """Builds the context of a run of noise. `run_all` runs it."""
    context = RunContext(
        validate_recipe(recipe, origin="noise"),
        folder,
        Compute.resolve("cpu", "float32"),
        Accelerator(cpu=True),
        quiet=True,
        force=True,
        parallel_stages=1,
    )
    data = recipe["data"]
    context.images = splits(side=data["image_size"], channels=data["channels"])
    return context
