import math
from types import SimpleNamespace

import pytest
import torch

from vqgen.codes import Codes
from vqgen.config import ClassifierSection
from vqgen.evaluation.judge.judge import Judge, Samples
from vqgen.evaluation.judge.real_images import RealImages


def images_of(codes, labels):
    """What a judge takes for images whose codes of one level are these."""
    grid = torch.tensor(codes).view(-1, 1, 1)
    return torch.zeros(len(codes), 1, 8, 8, dtype=torch.uint8), torch.tensor(labels), Codes({"top": grid})


def code_entropy(real, sampled):
    images, labels, codes = images_of(*real)
    held_out = RealImages("test", images, labels)
    judge = Judge(
        pipe=SimpleNamespace(encode_tensor=lambda images: codes, has_codes=True),
        train=held_out,
        held_out=held_out,
        seed=0,
        reference=held_out,
        space=None,
        section=ClassifierSection.model_validate({}),
    )
    return {metric.name: metric for metric in judge.code_entropy(Samples(*images_of(*sampled)))}


def test_code_entropy_is_of_equally_many_samples_and_real_images_of_each_label():
    """Label 0: 2 real, 6 samples, all different; label 1: 6 real, all different, 3 samples, all alike."""
    found = code_entropy(
        ([1, 2, 1, 2, 3, 4, 5, 6], [0] * 2 + [1] * 6), ([1, 2, 3, 4, 5, 6, 7, 7, 7], [0] * 6 + [1] * 3)
    )
    assert found.keys() == {"entropy_top", "entropy_top_of_real"}
    assert found["entropy_top"].value == pytest.approx(2 / 5 * math.log(2))
    assert found["entropy_top_of_real"].value == pytest.approx(2 / 5 * math.log(2) + 3 / 5 * math.log(3))
    assert found["entropy_top"].counts == {"samples": 5, "test": 5}


def test_code_entropy_of_images_without_labels_takes_all_as_one():
    found = code_entropy(([1, 1, 2, 2], [-1] * 4), ([1, 2, 3, 4], [-1] * 4))
    assert found["entropy_top"].value == pytest.approx(math.log(4))
    assert found["entropy_top_of_real"].value == pytest.approx(math.log(2))
    assert found["entropy_top_of_real"].floor is not None
