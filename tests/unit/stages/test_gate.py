import re
from types import SimpleNamespace
from unittest.mock import create_autospec

import pytest
import torch

from vqgen.codes import Codes
from vqgen.data import CodeStore
from vqgen.errors import DataError, VQGenWarning
from vqgen.models.checkpoint import save_model
from vqgen.models.vqvae import VQVAE
from vqgen.stages.gate import check_codes


def store_of(**histograms):
    """A store whose training images have these histograms of codes."""
    store = create_autospec(CodeStore, instance=True)
    store.histogram.return_value = {level: torch.tensor(counts) for level, counts in histograms.items()}
    return store


HEALTHY = [5] * 100
FEW = [100] * 9 + [0] * 91
"""9 of 100 codes occur: below a tenth."""

UNEVEN = [10**6, *[1] * 99]
"""All codes occur, but nearly every code is the same one: perplexity 1.00."""


def test_codes_in_use_pass(make_context):
    check_codes(make_context(), store_of(top=HEALTHY, bottom=HEALTHY))


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        (FEW, r"top: 9 of 100 codes occur \(should be 10 or more\)"),
        (UNEVEN, r"top: 100 of 100 .*perplexity 1\.00 \(should be 2\.0 or more\)"),
    ],
)
def test_collapsed_codes_are_refused_unless_forced(make_context, counts, message):
    store = store_of(top=counts, bottom=HEALTHY)
    with pytest.raises(DataError, match=message) as caught:
        check_codes(make_context(), store)
    assert "bottom:" not in str(caught.value)
    assert "--force trains the priors anyway" in str(caught.value)
    with pytest.warns(VQGenWarning, match=message):
        check_codes(make_context(force=True), store)


def test_least_perplexity_grows_with_the_codebook(make_context):
    eight = [1000] * 8 + [1] * 492  # perplexity about 12: enough of 500 entries, where 10 are the limit
    check_codes(make_context(), store_of(top=eight))
    with pytest.raises(DataError, match=r"should be 20\.0 or more"):
        check_codes(make_context(), store_of(top=[*eight, *[1] * 500]))


def test_codebook_larger_than_the_data_is_judged_by_the_number_of_codes(make_context):
    twenty = [1] * 20 + [0] * 980  # 2 % of the entries, but no code occurs twice
    check_codes(make_context(), store_of(top=twenty))


def collapsed(context, level="top", store=None):
    """Returns the message of the gate for a level whose codes have collapsed."""
    store = store or store_of(**{level: FEW})
    with pytest.raises(DataError) as caught:
        check_codes(context, store)
    return str(caught.value)


def save_vqvae(context, *, needs_top):
    """Saves a VQ-VAE whose decoder needs the top level, or has no use for it, and returns a store of its codes."""
    torch.manual_seed(0)
    model = VQVAE(context.recipe.vqvae_config())
    if not needs_top:
        model.quantizers[0].codebook.copy_(model.quantizers[0].codebook[:1].expand_as(model.quantizers[0].codebook))
    else:
        model.quantizers[0].codebook.mul_(30)
    save_model(model, context.folder / "vqvae" / "model")
    store = store_of(top=FEW)
    size = context.recipe.vqvae.codebook_size
    grids = {level: torch.randint(size, (4, side, side)) for level, side in (("top", 2), ("bottom", 4))}
    store.batch.return_value = (Codes(grids), torch.zeros(4, dtype=torch.int64))
    store.info = SimpleNamespace(counts={"train": 4})
    return store


def test_level_that_the_decoder_does_not_need_is_named_with_the_change_without_it(make_context):
    context = make_context()
    message = collapsed(context, store=save_vqvae(context, needs_top=False))
    assert re.search(
        r"does not need it: without its codes a pixel changes by 0\.\d of 255\. bottom does its work", message
    )
    assert "--vqvae.level-dropout 0.1 or more, found 0.1" in message
    assert "does not need it" not in collapsed(context, store=save_vqvae(context, needs_top=True))


def test_finest_level_and_codes_without_their_model_have_no_such_cause(make_context):
    context = make_context()
    assert "does not need it" not in collapsed(context)
    store = save_vqvae(context, needs_top=False)
    store.histogram.return_value = {"bottom": torch.tensor(FEW)}
    assert "does not need it" not in collapsed(context, store=store)


def test_grid_of_residuals_that_the_decoder_does_not_need_asks_for_a_smaller_depth(make_context, tiny_recipe):
    context = make_context(tiny_recipe(vqvae={"quantizer": {"depth": [1, 2]}}))
    torch.manual_seed(0)
    model = VQVAE(context.recipe.vqvae_config())
    model.quantizers[2].codebook.zero_()
    save_model(model, context.folder / "vqvae" / "model")
    store = store_of(**{"bottom-2": FEW})
    size = context.recipe.vqvae.codebook_size
    sides = {"top": 2, "bottom": 4, "bottom-2": 4}
    grids = {level: torch.randint(size, (4, side, side)) for level, side in sides.items()}
    store.batch.return_value = (Codes(grids), torch.zeros(4, dtype=torch.int64))
    store.info = SimpleNamespace(counts={"train": 4})
    message = collapsed(context, store=store)
    assert "bottom-2: 9 of 100 codes occur" in message
    assert "a pixel changes by 0.0 of 255. The grids before it leave little" in message
    assert "choose a smaller --vqvae.quantizer.depth" in message
    assert "level-dropout" not in message
    store.histogram.return_value = {"bottom": torch.tensor(FEW)}
    assert "does not need it" not in collapsed(context, store=store)  # no finer level could do its work


def test_few_latents_of_a_step_are_named(make_context, tiny_recipe):
    train = tiny_recipe().vqvae.train.model_dump()
    few = tiny_recipe(vqvae={"codebook_size": 64, "train": train | {"batch_size": 8}})
    assert "top: " in (message := collapsed(make_context(few)))
    assert f"a step has {8 * few.grid_side('top') ** 2} latents for 64 codes" in message
    enough = tiny_recipe(vqvae={"codebook_size": 64, "train": train | {"batch_size": 64}})
    assert "latents for" not in collapsed(make_context(enough))


def test_few_steps_of_the_codebooks_are_named(make_context, tiny_recipe):
    train = tiny_recipe().vqvae.train.model_dump()
    short = {"codebook_decay": 0.99, "quantize_after": 100, "train": train | {"steps": 599}}
    message = collapsed(make_context(tiny_recipe(vqvae=short)))
    assert "the codebooks moved in 499 steps (should be 500 or more)" in message
    longer = short | {"train": train | {"steps": 600}}
    assert "the codebooks moved" not in collapsed(make_context(tiny_recipe(vqvae=longer)))
