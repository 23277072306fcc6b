import torch

from vqgen.nn.repeats import find_repeats, move_apart


def test_repeats_equal_those_of_a_comparison_of_all_pairs():
    entries = torch.randn(40, 5, dtype=torch.float64)
    entries[[3, 17, 39]] = entries[8] + 1e-12 * torch.randn(3, 5, dtype=torch.float64)
    entries[20] = entries[2]
    near = torch.cdist(entries, entries, compute_mode="donot_use_mm_for_euclid_dist") < 1e-6
    expected = (near & torch.ones(40, 40).tril(-1).bool()).any(dim=1)
    assert torch.equal(find_repeats(entries), expected)
    assert expected.nonzero().flatten().tolist() == [8, 17, 20, 39]


def test_move_apart_leaves_distinct_entries_and_no_repeat():
    entries = torch.randn(6, 3, dtype=torch.float64).repeat(4, 1)
    moved = move_apart(entries, torch.Generator().manual_seed(0))
    assert torch.equal(moved[:6], entries[:6])
    assert not find_repeats(moved).any()
    assert (moved - entries).norm(dim=1).max() < 0.1 * entries.norm(dim=1).mean()


def test_noise_of_an_entry_does_not_depend_on_the_number_of_repeats():
    entries = torch.randn(6, 3, dtype=torch.float64)
    entries[5] = entries[0]
    more = entries.clone()
    more[2] = 2 * entries[0] - entries[0]  # another repeat of the first entry
    one, other = (move_apart(each, torch.Generator().manual_seed(0)) - each for each in (entries, more))
    assert not one[2].any()
    assert other[2].any()
    torch.testing.assert_close(one[5] / one[5].norm(), other[5] / other[5].norm())
