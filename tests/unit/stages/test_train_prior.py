from types import SimpleNamespace

import pytest
import torch
from tiny_models import make_prior

from vqgen.codes import Codes
from vqgen.compute import Compute
from vqgen.stages.train_prior import mean_nats_per_code

CPU64 = Compute.resolve("cpu", "float64")


@pytest.mark.parametrize(("most", "chosen"), [(3, [0, 3, 6]), (None, range(10)), (10, range(10)), (99, range(10))])
@torch.no_grad()
def test_nats_of_some_images_are_those_of_an_even_choice(most, chosen):
    codes = Codes({"top": torch.randint(16, (10, 2, 2)), "bottom": torch.randint(16, (10, 4, 4))})
    labels, prior = torch.randint(3, (10,)), CPU64.place(make_prior("bottom")).eval()
    store = SimpleNamespace(
        info=SimpleNamespace(counts={"train": 10}),
        levels=codes.levels,
        batch=lambda split, indices: (codes[torch.tensor(indices)], labels[torch.tensor(indices)]),
    )
    found = mean_nats_per_code(prior, store, "train", CPU64, most=most)
    some = torch.tensor(list(chosen))
    condition = prior.encode_condition(codes.top[some])
    expected = -prior.log_likelihood(codes.bottom[some], labels[some], condition).mean() / 16
    assert found == pytest.approx(float(expected), rel=1e-10)
