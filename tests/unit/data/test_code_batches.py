from pathlib import Path
from typing import Any

import pytest
import torch

from vqgen.codes import Codes, join_codes
from vqgen.config import PixelCNNConfig
from vqgen.data import CodeStore, LabelMap, ShardContent, StoreInfo, TrainingOrder, finish_store, write_store
from vqgen.data.code_batches import AUGMENTED, MIRRORED, CodeBatches, LabelContrast, read_batch
from vqgen.data.wrong_labels import WrongLabels

COUNTS = {"train": 10, "validation": 3, AUGMENTED: 20, MIRRORED: 10}
FIRST = {"train": 0, "validation": 500, AUGMENTED: 10, MIRRORED: 30}


@pytest.fixture
def store(tmp_path: Path) -> CodeStore:
    """A store of numbered images: label and codes of an image are its number, its coarser codes half of it."""

    def encode(split: str, span: range) -> ShardContent:
        numbers = torch.tensor([FIRST[split] + index for index in span])
        grids = {
            "top": (numbers // 2)[:, None, None].expand(-1, 1, 1),
            "bottom": numbers[:, None, None].expand(-1, 2, 2),
        }
        return ShardContent(Codes(grids), numbers, tuple(str(number) for number in numbers.tolist()))

    info = StoreInfo("hash", 1024, LabelMap(), COUNTS, {})
    write_store(tmp_path / "codes", info, encode)
    finish_store(tmp_path / "codes", info)
    return CodeStore(tmp_path / "codes")


def prior(level: str, **changes: Any) -> PixelCNNConfig:
    return PixelCNNConfig(level=level, height=2, width=2, codebook_size=1024, num_classes=0, **changes)


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_epoch_has_every_training_image_and_its_versions_once(store: CodeStore, world_size: int) -> None:
    order = TrainingOrder(40, batch_size=9, seed=0, total_images=40)
    seen = []
    for rank in range(world_size):
        for batch in CodeBatches(store, prior("bottom"), order, 0, rank, world_size).steps(0):
            assert torch.equal(batch.codes[:, 0, 0], batch.labels)
            assert batch.coarser is not None
            assert torch.equal(batch.coarser[:, 0, 0], batch.labels // 2)
            assert torch.equal(batch.mirrored, batch.labels >= 30)
            seen += batch.labels.tolist()
    assert sorted(seen) == list(range(40))


def test_draws_belong_to_the_position_in_the_stream(store: CodeStore) -> None:
    order = TrainingOrder(30, batch_size=7, seed=0, total_images=60)
    whole = list(CodeBatches(store, prior("top"), order, 0, 0, 1).steps(0))
    for batch in whole:
        assert batch.coarser is None
    later = list(CodeBatches(store, prior("top"), order, 0, 0, 1).steps(5))
    assert all(torch.equal(a.uniforms, b.uniforms) for a, b in zip(whole[5:], later, strict=True))
    split = [list(CodeBatches(store, prior("top"), order, 0, rank, 2).steps(0)) for rank in range(2)]
    for step, batch in enumerate(whole):
        draws = dict(zip(batch.labels.tolist(), batch.uniforms.tolist(), strict=True))
        for part in split:
            shared = part[step]
            assert all(draws[k] == u for k, u in zip(shared.labels.tolist(), shared.uniforms.tolist(), strict=True))


def test_wrong_labels_start_at_the_first_step_and_belong_to_the_position(store: CodeStore) -> None:
    order = TrainingOrder(40, batch_size=8, seed=0, total_images=80)
    contrast = LabelContrast(3, WrongLabels(store, "bottom", 40))
    whole = list(CodeBatches(store, prior("bottom"), order, 0, 0, 1, contrast).steps(0))
    assert [batch.wrong_labels is not None for batch in whole] == [step >= 3 for step in range(10)]
    split = [list(CodeBatches(store, prior("bottom"), order, 0, rank, 2, contrast).steps(4)) for rank in range(2)]
    for step, batch in enumerate(whole[4:]):
        assert batch.wrong_labels is not None
        assert bool((batch.wrong_labels != batch.labels).all())
        drawn = dict(zip(batch.labels.tolist(), batch.wrong_labels.tolist(), strict=True))
        for part in split:
            assert part[step].wrong_labels.tolist() == [drawn[label] for label in part[step].labels.tolist()]
    later = [batch.wrong_labels.tolist() for batch in whole[3:] if batch.wrong_labels is not None]
    assert len({tuple(row) for row in later}) == len(later)  # other draws in each step; alike by chance: (1/39)^8


def test_wrong_labels_start_at_a_place_of_the_schedule_that_batches_follow(store: CodeStore) -> None:
    order = TrainingOrder(40, batch_size=8, seed=0, total_images=80)
    batches = CodeBatches(store, prior("bottom"), order, 0, 0, 1, LabelContrast(6, WrongLabels(store, "bottom", 40)))
    batches.follow(lambda step: 2.0 * step)
    assert [batch.wrong_labels is not None for batch in batches.steps(0)] == [step >= 3 for step in range(10)]


def test_codes_of_all_conditioning_grids_are_read(tmp_path: Path) -> None:
    grids = {name: torch.randint(1024, (3, 2, 2)) for name in ("bottom", "bottom-2", "bottom-3")}

    def encode(split: str, span: range) -> ShardContent:
        return ShardContent(Codes(grids)[span.start : span.stop], torch.zeros(len(span)).long(), tuple(map(str, span)))

    info = StoreInfo("hash", 1024, LabelMap(), {"train": 3}, {})
    write_store(tmp_path / "codes", info, encode)
    finish_store(tmp_path / "codes", info)
    some = prior("bottom-3", coarser_height=2, coarser_width=2, conditioning_grids=2)
    batch = read_batch(CodeStore(tmp_path / "codes"), "train", some, [2, 0], [0.0, 0.0])
    assert torch.equal(batch.codes, grids["bottom-3"][[2, 0]])
    assert batch.coarser is not None
    assert torch.equal(batch.coarser, join_codes([grids["bottom"], grids["bottom-2"]], 1024)[[2, 0]])
