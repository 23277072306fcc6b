import math

import pytest
import torch
from tiny_models import make_prior

from vqgen.codes import Codes
from vqgen.pipeline.likelihood import code_likelihood
from vqgen.runtime.compute import Compute

CPU64 = Compute.resolve("cpu", "float64")


@pytest.fixture
def priors():
    return {level: CPU64.place(make_prior(level)).eval() for level in ("top", "bottom")}


def codes(b):
    return Codes({"top": torch.randint(16, (b, 2, 2)), "bottom": torch.randint(16, (b, 4, 4))})


def test_metrics_are_means_of_the_likelihood_of_the_priors(priors):
    drawn = codes(150)
    labels = torch.randint(-1, 3, (150,))
    chosen = torch.arange(150)
    found = code_likelihood(priors, drawn, labels, CPU64).metrics(chosen, 64)
    with torch.no_grad():
        top = -priors["top"].log_likelihood(drawn.top, labels, None).mean()
        condition = priors["bottom"].encode_condition(drawn.top)
        bottom = -priors["bottom"].log_likelihood(drawn.bottom, labels, condition).mean()
    assert found["nats_top"] == pytest.approx(float(top) / 4, rel=1e-10)
    assert found["nats_bottom"] == pytest.approx(float(bottom) / 16, rel=1e-10)
    assert found["bpp"] == pytest.approx(float(top + bottom) / math.log(2) / 64, rel=1e-10)


def test_uniform_priors_need_all_bits(priors):
    for prior in priors.values():
        torch.nn.init.zeros_(prior.output[-1].weight)
        torch.nn.init.zeros_(prior.output[-1].bias)
    found = code_likelihood(priors, codes(5), torch.zeros(5, dtype=torch.int64), CPU64).metrics(torch.arange(5), 64)
    assert found["nats_top"] == pytest.approx(math.log(16))
    assert found["bpp"] == pytest.approx(4 * 20 / 64)


def test_levels_without_a_prior_are_left_out_and_so_is_bpp(priors):
    del priors["bottom"]
    found = code_likelihood(priors, codes(5), torch.zeros(5, dtype=torch.int64), CPU64).metrics(torch.arange(5), 64)
    assert found.keys() == {"nats_top"}


def test_metrics_of_some_images_do_not_depend_on_the_rest(priors):
    drawn = codes(9)
    labels = torch.randint(-1, 3, (9,))
    chosen = torch.tensor([7, 0, 3])
    alone = code_likelihood(priors, drawn[chosen], labels[chosen], CPU64).metrics(torch.arange(3), 64)
    assert code_likelihood(priors, drawn, labels, CPU64).metrics(chosen, 64) == pytest.approx(alone, rel=1e-10)
