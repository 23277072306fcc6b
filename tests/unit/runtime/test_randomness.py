import hashlib

import numpy as np
import pytest
import torch

from vqgen.runtime.randomness import derive_seed, derive_uniform


def test_seed_is_the_same_on_every_machine():
    # Golden: a change would change every run and every generated picture.
    assert derive_seed(0, "vqvae", 1, 2) == 3301535536425796287
    digest = hashlib.sha256(b"int:0\x1fstr:vqvae\x1fint:1\x1fint:2").digest()
    assert int.from_bytes(digest[:8], "little") // 2 == 3301535536425796287


def test_seeds_fit_every_generator():
    seeds = [derive_seed(index) for index in range(1000)]
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert max(seeds) > 2**62  # fails with probability 2**-1000
    torch.Generator().manual_seed(max(seeds))
    np.random.default_rng(max(seeds))


@pytest.mark.parametrize("seed", [0, 1, 2**62, 2**63 - 2**39, 2**63 - 2**38, 2**63 - 1])
def test_uniform_is_below_one_in_float32_too(monkeypatch, seed):
    monkeypatch.setattr("vqgen.runtime.randomness.derive_seed", lambda *purpose: seed)
    assert 0 <= float(torch.tensor(derive_uniform(0), dtype=torch.float32)) < 1
    assert derive_uniform(0) == pytest.approx(seed / 2**63, abs=2**-24)


def test_uniform_is_the_seed_as_a_share():
    draws = [derive_uniform(7, "label", position) for position in range(1000)]
    assert draws == [derive_seed(7, "label", position) / 2**63 for position in range(1000)]
    assert abs(sum(draws) / 1000 - 0.5) < 0.05  # 5 deviations of 0.29 / sqrt(1000)


def test_every_part_of_the_purpose_counts():
    purposes = [(0,), (1,), ("0",), (0, 0), (0, "a"), ("a", 0), ("a", 1), (1, 0), (0, 1), (10,), (1, "0"), ("1", 0)]
    assert len({derive_seed(*purpose) for purpose in purposes}) == len(purposes)
    assert derive_seed(12, 3) != derive_seed(1, 23)
    assert derive_seed("ab", "c") != derive_seed("a", "bc")


def test_equal_integers_of_all_libraries_are_one_purpose():
    plain = derive_seed(5, "image", 2)
    for make in (np.int64, np.uint8, torch.tensor, np.array):
        assert derive_seed(make(5), np.str_("image"), make(2)) == plain
    with pytest.raises(TypeError):
        derive_seed(5.0)


def test_large_numbers_are_different_purposes():
    assert len({derive_seed(seed) for seed in (2**63 - 1, 2**63, 2**64 - 1, 2**64, 2**64 + 1, 10**40)}) == 6


def test_name_with_bytes_that_are_no_text_has_a_seed() -> None:
    assert derive_seed(0, "split", "ni\udcf1o") != derive_seed(0, "split", "ni\udcf2o")
