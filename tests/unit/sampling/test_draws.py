import torch

from vqgen.sampling import drawn_labels, image_draws


def test_image_draws_from_its_own_generator():
    whole = image_draws(3, [0, 1, 2, 3], 5)
    part = image_draws(3, [2], 5)
    assert torch.equal(whole.normal[2:3], part.normal)
    assert torch.equal(whole.uniform[2:3], part.uniform)
    assert torch.equal(whole.choice[2:3], part.choice)
    assert not torch.equal(whole.normal[0], whole.normal[1])


def test_draws_of_several_vectors_have_them_first():
    draws = image_draws(3, [0, 1], 5, vectors=7)
    assert draws.normal.shape == draws.uniform.shape == (7, 2, 5)
    assert draws.choice.shape == (7, 2)


def test_missing_label_is_drawn():
    labels = drawn_labels([None] * 3000, 3, 0, range(3000))
    # A third each: five deviations of 3,000 draws are 0.043.
    assert (labels.bincount(minlength=3) / 3000 - 1 / 3).abs().max() < 0.043
    assert drawn_labels([2, None], 0, 0, [0, 1]).tolist() == [2, -1]


def test_drawn_label_does_not_depend_on_the_batch():
    assert drawn_labels([None], 3, 0, [7]).tolist() == drawn_labels([0, None], 3, 0, [3, 7])[1:].tolist()
