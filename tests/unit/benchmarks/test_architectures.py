"""The comparison of networks: the same recipe and time for all, and figures of held-out images."""

from argparse import Namespace

import pytest

from benchmarks import quantizers
from benchmarks.architectures import VARIANTS, rows_of, section_of, with_length
from benchmarks.quantizers import document_of
from vqgen.config.checks import check_recipe
from vqgen.config.loading import validate_recipe
from vqgen.models.checkpoint import load_model
from vqgen.models.vqvae import VQVAE
from vqgen.stages.records import read_record
from vqgen.training.state import seconds_of_training


def arguments(tmp_path, **changes):
    settings = {
        "data_root": None, "image_size": 64, "minutes": 0.1, "variants": ["paper", "residual, 1 2, all"],
        "downsample": [8, 4], "codebook_size": 16, "seeds": [0], "work": tmp_path, "device": "cpu", "dtype": "float32",
    }  # fmt: skip
    return Namespace(**settings | changes)


@pytest.fixture
def recipe_of(tmp_path):
    """Returns the recipe of a variant."""

    def build(name, **changes):
        document = document_of(arguments(tmp_path, **changes))
        return validate_recipe(document | {"vqvae": section_of(document, name)}, origin=name)

    return build


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("root", [None, "photos"])
def test_variants_fit_the_recipe_and_differ_in_their_networks_or_average_alone(recipe_of, name, root):
    recipe, paper = recipe_of(name, data_root=root), recipe_of("paper", data_root=root)
    check_recipe(recipe)
    differing = {
        field for field in recipe.vqvae.model_fields_set if getattr(recipe.vqvae, field) != getattr(paper.vqvae, field)
    }
    networks = {"architecture", "upsampling", "attention_heads", "channel_multipliers", "channels", "residual_channels"}
    # Shortcuts are measured with the commitment that they need.
    assert differing <= networks | {"train"} | ({"shortcuts", "commitment_weight"} if "shortcuts" in name else set())
    assert recipe.vqvae.train.model_copy(update={"ema_decay": 0.0}) == paper.vqvae.train


def test_multipliers_give_the_channels_of_the_other_variants_and_half_of_them_on_the_finest_grid(recipe_of):
    config = recipe_of("residual, 1 2").vqvae_config()
    other = recipe_of("residual").vqvae_config()
    assert [config.channels_of(factor) / other.channels_of(factor) for factor in (2, 4, 8)] == [0.5, 1, 1]


def test_training_has_its_time_and_steps(recipe_of):
    section = with_length(recipe_of("paper, average").vqvae.model_dump(), 30.0, 100)
    train = section["train"]
    assert (train["max_seconds"], train["steps"], train["validate_every"], train["ema_decay"]) == (30, 100, 20, 0.999)


@pytest.mark.slow
def test_row_has_the_figures_of_its_training(tmp_path, monkeypatch):
    monkeypatch.setattr(quantizers, "_PROBES", (1, 2, 6))
    rows = rows_of(arguments(tmp_path))
    assert [row["variant"] for row in rows] == ["paper", "residual, 1 2, all"]
    for row, name in zip(rows, ["paper-0", "residual-1-2-all-0"], strict=True):
        folder = tmp_path / name / "vqvae"
        metrics = read_record(folder).metrics
        model = load_model(folder / "model", VQVAE)
        assert row["weights"] == sum(parameter.numel() for parameter in model.parameters())
        assert row["psnr"] == metrics["val_psnr"] > 5
        assert row["steps_per_second"] == pytest.approx(row["steps"] / seconds_of_training(folder))
        assert row["perplexity_top"] == metrics["val_perplexity_top"] / 16
        assert row["mflops"] > 1
    assert rows_of(arguments(tmp_path)) == rows  # all is complete
