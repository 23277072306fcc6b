"""Folders of small images for tests."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vqgen.config import DataConfig
from vqgen.data import ImageSplits, open_images


def write(root: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.full((4, 5, 3), number, dtype=np.uint8)
        pixels[0] = 255  # a set without bright pixels would be warned of
        Image.fromarray(pixels).save(path)
    return root


def opened(root: Path | None, seed: int = 0, **fields: Any) -> ImageSplits:
    fields = {"source": "folder", "image_size": 4, "root": root and str(root), **fields}
    return open_images(DataConfig(**fields), seed)


def labelled(root: Path, *names: str, count: int = 10) -> Path:
    return write(root, *(f"{name}/{number}.png" for name in names for number in range(count)))
