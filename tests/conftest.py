import gc
import os
import random
from collections.abc import Callable, Iterator
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch
from annotations import check_again

from vqgen.config import Recipe, VQVAEConfig
from vqgen.config.loading import validate_recipe

torch.set_num_threads(1)  # every core has a worker of its own
os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the programs that tests start


LONGEST = (
    "test_side_by_side.py", "test_documentation.py", "test_resuming.py", "test_digits_quality.py", "test_losses.py",
    "test_launching.py", "test_benchmark_accelerator.py", "test_warm_starting.py", "test_continuing.py",
    "test_budget.py", "test_tracking.py", "test_large_pictures.py", "test_comparing.py", "test_quantizers.py",
)  # fmt: skip
"""Files whose slow tests take a minute and more together, the longest first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the longest files first: as the last ones they would leave the other workers idle."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


def pytest_collection_finish() -> None:
    """Takes modules and tests, which all stay, out of the searches for cycles: half a second at the end of a stage."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Seeds all generators, so that a test draws the same numbers whatever ran before it."""
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)


@pytest.fixture(autouse=True)
def checked_annotations() -> None:
    """Begins the checks of annotations, of which a test has a number."""
    check_again()


@pytest.fixture
def set_cores(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """Gives the rule of threads a number of cores, with a thread of torch for each."""
    before = torch.get_num_threads()

    def set_cores(count: int) -> None:
        torch.set_num_threads(count)
        monkeypatch.setattr("vqgen.runtime.threads.available_cores", lambda: count)
        monkeypatch.setattr("vqgen.runtime.threads._fixed", False)

    yield set_cores
    torch.set_num_threads(before)


@pytest.fixture
def unchecked_annotations(checked_annotations: None) -> Iterator[None]:
    """Switches the check of annotations off, for tests of the errors that wrong types raise without it."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def merge(into: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Returns a copy of `into` with `changes`. Dictionaries are merged key by key."""
    merged = dict(into)
    for key, value in changes.items():
        merged[key] = merge(merged[key], value) if isinstance(value, dict) and key in merged else value
    return merged


@pytest.fixture
def tiny_document() -> Callable[..., dict[str, Any]]:
    """Builds the document of a recipe that trains in a second. Given sections replace single keys."""

    def build(**changes: Any) -> dict[str, Any]:
        train = {"steps": 4, "batch_size": 8, "validate_every": 2, "save_every": 2, "log_every": 1}
        prior = {
            "layers": 2, "channels": 8, "attention_every": 2, "attention_heads": 2, "conditioning_layers": 1,
            "train": train,
        }  # fmt: skip
        document = {
            "name": "tiny",
            "seed": 0,
            "data": {"source": "digits", "image_size": 8, "channels": 1},
            "vqvae": {
                "downsample": [4, 2], "codebook_size": 8, "embedding_dim": 4, "channels": 8, "residual_channels": 4,
                "residual_layers": 1, "train": train,
            },
            "priors": [prior, prior],
            "generate": {"images_per_label": 1},
        }  # fmt: skip
        return merge(document, changes)

    return build


@pytest.fixture
def tiny_recipe(tiny_document: Callable[..., dict[str, Any]]) -> Callable[..., Recipe]:
    """Builds the recipe of `tiny_document`."""
    return lambda **changes: validate_recipe(tiny_document(**changes), origin="tiny")


@pytest.fixture
def tiny_vqvae_config() -> Callable[..., VQVAEConfig]:
    """Builds the configuration of a VQ-VAE of 8 x 8 grey pixels. Given settings replace its own."""

    def build(**changes: Any) -> VQVAEConfig:
        settings = {
            "downsample": (4, 2), "codebook_size": 16, "embedding_dim": 4, "channels": 8, "residual_channels": 4,
            "residual_layers": 1, "image_size": 8, "image_channels": 1,
        }  # fmt: skip
        return VQVAEConfig(**(settings | changes))

    return build
