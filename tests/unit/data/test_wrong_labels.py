from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from torch import Tensor

from vqgen.codes import Codes
from vqgen.data import CodeStore, LabelMap, ShardContent, StoreInfo, finish_store, write_store
from vqgen.data.wrong_labels import WrongLabels, check_label_contrast
from vqgen.errors import ConfigError

MakeStore = Callable[[Tensor, Tensor], CodeStore]


@pytest.fixture
def make_store(tmp_path: Path) -> MakeStore:
    """Builds a store of one level with given codes and labels, and 16 codebook entries."""

    def make(grids: Tensor, labels: Tensor) -> CodeStore:
        def encode(split: str, span: range) -> ShardContent:
            return ShardContent(Codes({"top": grids[list(span)]}), labels[list(span)], tuple(map(str, span)))

        info = StoreInfo("hash", 16, LabelMap(("a", "b", "c", "d")), {"train": len(labels)}, {})
        write_store(tmp_path / "codes", info, encode)
        finish_store(tmp_path / "codes", info)
        return CodeStore(tmp_path / "codes")

    return make


@pytest.fixture
def pairs(make_store: MakeStore) -> WrongLabels:
    """Labels 0 and 1 have the codes 0 to 3, labels 2 and 3 the codes 8 to 11; images without a label only code 3."""
    labels = torch.arange(400) % 4
    grids = torch.randint(4, (400, 2, 2)) + 8 * (labels >= 2)[:, None, None]
    grids = torch.cat([grids, torch.full((50, 2, 2), 3)])
    return WrongLabels(make_store(grids, torch.cat([labels, torch.full((50,), -1)])), "top", 4)


def test_probabilities_are_naive_bayes_over_wrong_labels_with_a_uniform_tenth(make_store):
    labels = torch.arange(60) % 4
    grids = torch.randint(16, (60, 2, 2))
    wrong = WrongLabels(make_store(grids, labels), "top", 4)
    codes = torch.randint(16, (5, 2, 2))
    own = torch.tensor([0, 3, 1, 2, 2])
    found = wrong.probabilities(codes, own)
    for image in range(5):
        fits = []
        for label in range(4):
            seen = grids[labels == label].flatten().tolist()
            fit = 1.0
            for code in codes[image].flatten().tolist():
                fit *= (1 + seen.count(code)) / (16 + len(seen))
            fits.append(0.0 if label == own[image] else fit)
        expected = [0.0 if label == own[image] else 0.9 * fits[label] / sum(fits) + 0.1 / 3 for label in range(4)]
        assert found[image].tolist() == pytest.approx(expected, rel=1e-9)


def test_label_that_the_codes_fit_is_drawn_most(pairs):
    codes = torch.zeros(1, 2, 2, dtype=torch.int64)
    own = torch.tensor([1])
    assert pairs.probabilities(codes, own)[0, 0] > 0.9


def test_images_without_a_label_do_not_count(pairs):
    """Fifty of them have only code 3. Counted for some label, they would make that code frequent there."""
    codes = torch.full((1, 2, 2), 3)
    own = torch.tensor([2])
    found = pairs.probabilities(codes, own)[0]
    assert found[3] == pytest.approx(0.1 / 3, rel=1e-3)
    assert 0.2 < found[0] / found[1] < 5  # as often in both, up to the draws


def test_draws_occur_as_often_as_their_probability(pairs):
    count = 2000
    codes = torch.randint(16, (1, 2, 2)).expand(count, -1, -1)
    own = torch.full((count,), 2)
    uniforms = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    share = pairs.draw(codes, own, uniforms).bincount(minlength=4) / count
    assert share.tolist() == pytest.approx(pairs.probabilities(codes[:1], own[:1])[0].tolist(), abs=1.1 / count)


@pytest.mark.parametrize("uniform", [0.0, 1e-30, 1 - 2**-24])
def test_image_never_gets_its_own_label(pairs, uniform):
    own = torch.arange(4)
    drawn = pairs.draw(torch.randint(16, (4, 2, 2)), own, torch.full((4,), uniform))
    assert bool((drawn != own).all())
    assert bool(((drawn >= 0) & (drawn < 4)).all())


def test_image_without_a_label_gets_no_wrong_label(pairs):
    drawn = pairs.draw(torch.zeros(2, 2, 2, dtype=torch.int64), torch.tensor([-1, 0]), torch.tensor([0.5, 0.5]))
    assert drawn[0] == -1 and drawn[1] > 0


@pytest.mark.parametrize(
    ("contrast", "num_labels", "refused"), [(2.0, 0, True), (2.0, 1, True), (2.0, 2, False), (0, 0, False)]
)
def test_label_contrast_with_fewer_than_two_labels_is_refused(tiny_recipe, contrast, num_labels, refused):
    recipe = tiny_recipe(priors=[{"layers": 1}, {"layers": 1, "label_contrast": contrast}])
    expectation = pytest.raises(ConfigError, match=f"priors.1.label_contrast: should be 0 .* and {num_labels} labels")
    with expectation if refused else nullcontext():
        check_label_contrast(recipe, num_labels)
