from typing import get_args

import numpy as np
import pytest

from vqgen.config import DataConfig
from vqgen.data import ArrayReader, ImageSet, ImageSplits, LabelMap, open_images, sources

SOURCES = get_args(DataConfig.model_fields["source"].annotation)


@pytest.mark.parametrize("source", SOURCES)
def test_source_is_opened_by_the_function_of_its_kind(monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    images = ImageSet(("a",), np.array([-1]), ArrayReader(np.zeros((1, 2, 2), np.uint8)))
    splits = ImageSplits(images, images, None, LabelMap(), {}, "0" * 64)
    calls = []
    for kind in ("digits", "folder", "torchvision"):
        monkeypatch.setattr(
            sources,
            f"open_{kind}",
            lambda config, seed, *exclusions, kind=kind: calls.append((kind, config.source, seed)) or splits,
        )
    assert open_images(DataConfig.model_validate({"source": source, "image_size": 8}), 5) is splits
    assert calls == [(source if source in ("digits", "folder") else "torchvision", source, 5)]


def test_sources_contain_digits_folders_and_sets_of_torchvision() -> None:
    assert {"digits", "folder", "cifar10"} <= set(SOURCES)
