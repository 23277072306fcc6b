from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from vqgen.config import AnyRecipe, BaselineRecipe, Recipe
from vqgen.config.loading import validate_recipe
from vqgen.data import ArrayReader, ImageSet, ImageSplits, LabelMap
from vqgen.models.autoencoders.kinds import build_baseline
from vqgen.models.checkpoint import save_model
from vqgen.models.classifiers import build_classifier
from vqgen.models.pixelcnn import PixelCNN
from vqgen.models.vqvae import VQVAE
from vqgen.runtime.compute import Compute
from vqgen.stages.assemble import HISTOGRAMS, write_pipeline
from vqgen.stages.bookkeeping import require_stage
from vqgen.stages.context import RunContext
from vqgen.stages.more_steps import MoreSteps, lengthened
from vqgen.stages.records import StageRecord
from vqgen.stages.stage import StageResult, run_stage, save_stage_model
from vqgen.storage.tensors import save_tensors
from vqgen.training.objective import Session
from vqgen.training.trainer import Trainer

LABELS = LabelMap(("cat", "dog", "10"))


def draw_images(count: int, split: str, seed: int) -> ImageSet:
    """Draws grey images of 8 x 8 pixels with labels 0, 1, 2, 0, ..."""
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 8, 8), dtype=np.uint8)
    names = tuple(f"{split}/{number}" for number in range(count))
    return ImageSet(names, np.arange(count) % len(LABELS), ArrayReader(pixels))


@pytest.fixture(autouse=True)
def without_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves out the report after each stage: it takes longer than a stage without training. Its own tests have it."""
    monkeypatch.setattr("vqgen.stages.stage.report_stage", lambda context: None)
    monkeypatch.setattr("vqgen.stages.run.report_run", lambda context: None)


@pytest.fixture
def images() -> ImageSplits:
    """20 training and 7 validation images."""
    return ImageSplits(
        train=draw_images(20, "train", 0),
        validation=draw_images(7, "validation", 1),
        test=None,
        label_map=LABELS,
        indices={"train": list(range(20)), "validation": list(range(20, 27))},
        fingerprint="hash of the images",
    )


@pytest.fixture
def baseline_recipe() -> Callable[..., BaselineRecipe]:
    """Builds the recipe of a baseline that trains in a second. Given fields replace fields of [autoencoder]."""

    def build(**changes: Any) -> BaselineRecipe:
        train = {"steps": 4, "batch_size": 8, "validate_every": 2, "save_every": 2, "log_every": 1}
        small = {"kind": "vae", "latent_size": 3, "channels": 8, "residual_channels": 4, "hidden": 16, "train": train}
        document = {
            "name": "tiny",
            "data": {"source": "digits", "image_size": 8, "channels": 1},
            "autoencoder": small | changes,
            "generate": {"images_per_label": 1},
        }
        recipe = validate_recipe(document, origin="tiny")
        assert isinstance(recipe, BaselineRecipe)
        return recipe

    return build


@pytest.fixture
def make_context(tiny_recipe: Callable[..., Recipe], images: ImageSplits, tmp_path: Path) -> Callable[..., RunContext]:
    """Builds the context of a run of one process in `tmp_path / "run"`, of the tiny recipe by default."""

    def build(recipe: AnyRecipe | None = None, dtype: str = "float32", **options: bool) -> RunContext:
        compute = Compute.resolve("cpu", dtype)
        accelerator = Accelerator(cpu=True)
        context = RunContext(recipe or tiny_recipe(), tmp_path / "run", compute, accelerator, quiet=True, **options)
        context.images = images
        return context

    return build


@dataclass
class FakeRun:
    """A run whose stages finish in milliseconds, because their models are not trained.

    Attributes:
        context: The run.
        images: Hash of the images.
    """

    context: RunContext
    images: str = "hash of the images"

    @property
    def pipeline(self) -> Path:
        """The pipeline folder."""
        return self.context.folder / "pipeline"

    def finish(self, stage: str, seed: int = 0, *, guide_seed: int | None = None) -> str:
        """Runs a stage in the way of the real stages, with another result for each seed.

        Args:
            stage: Name of the stage.
            seed: Seed of the weights.
            guide_seed: Seed of the weights of the guide; None for no guide.
        """
        inputs = self.inputs(stage)
        folder = self.context.folder / stage

        def work(record: StageRecord) -> StageResult:
            if stage == "codes":
                counts = {level: torch.arange(8) for level in self.context.recipe_with_codes.levels}
                save_tensors(folder / HISTOGRAMS, counts)
                return StageResult(f"codes of {inputs['vqvae']}")
            if guide_seed is not None:
                save_model(self.model(stage, guide_seed), folder / "guide", inputs)
            output = save_stage_model(self.context, stage, self.model(stage, seed), inputs)
            return StageResult(output, {"loss": 0.5})

        def finish(finished: StageRecord) -> None:
            write_pipeline(self.context, LABELS, {"train": [0], "validation": [1]}, finished)

        return run_stage(self.context, stage, inputs, work, finish=finish)

    def inputs(self, stage: str) -> dict[str, str]:
        """Returns the inputs of a stage, by name."""
        needed = {"codes": ["vqvae"]}.get(stage, ["vqvae", "codes"] if stage.startswith("prior-") else [])
        images = {} if stage.startswith("prior-") else {"images": self.images}
        return images | {name: require_stage(self.context, name).output for name in needed}

    def model(self, stage: str, seed: int) -> nn.Module:
        """Builds the model of a stage, untrained."""
        recipe = self.context.recipe
        torch.manual_seed(seed)
        if stage == "classifier":
            return build_classifier(recipe.classifier_config(len(LABELS)))
        if isinstance(recipe, BaselineRecipe):
            return build_baseline(recipe.autoencoder_config(len(LABELS)))
        if stage == "vqvae":
            vqvae = VQVAE(recipe.vqvae_config())
            # A few forward passes start the codebooks at latents, so that codes differ.
            prices = torch.zeros(16) if vqvae.config.quantizer.rate_weight else None  # they measure their unit
            for _ in range(3):
                vqvae(torch.rand(16, recipe.data.channels, *[recipe.data.image_size] * 2) * 2 - 1, None, prices)
                vqvae.update_codebooks()
            return vqvae.eval()
        (level,) = [level for level in recipe.levels if stage == f"prior-{level}"]
        return PixelCNN(recipe.prior_config(level, len(LABELS)))


@pytest.fixture
def make_run(make_context: Callable[..., RunContext]) -> Callable[..., FakeRun]:
    """Builds a fake run. It takes the arguments of `make_context`."""
    return lambda *arguments, **options: FakeRun(make_context(*arguments, **options))


def give_more_steps(context: RunContext, stage: str, steps: int) -> None:
    """Asks for more steps of a stage that has begun."""
    longer = lengthened(context.recipe, context.folder, [stage], MoreSteps({stage: steps}))
    context.recipe = longer.recipe
    context.continued = {**context.continued, **longer.continued}


@pytest.fixture
def more_steps() -> Callable[[RunContext, str, int], None]:
    """Asks for more steps of a stage that has begun."""
    return give_more_steps


WARM_CLASSIFIER = {"channels": 8, "stages": 2, "train": {"steps": 4, "batch_size": 8, "validate_every": 2}}


@pytest.fixture
def source(make_run: Callable[..., FakeRun], tiny_recipe: Callable[..., Recipe], tmp_path: Path) -> Path:
    """The folder of a run with all models, from which `make_warm` begins."""
    run = make_run(tiny_recipe(classifier=WARM_CLASSIFIER))
    for stage in ("vqvae", "codes", "prior-top", "prior-bottom", "classifier"):
        run.finish(stage, seed=7)
    return run.context.folder.rename(tmp_path / "source")


@pytest.fixture
def make_warm(
    make_context: Callable[..., RunContext], tiny_recipe: Callable[..., Recipe], images: ImageSplits, source: Path
) -> Callable[..., RunContext]:
    """Builds the context of a run with other labels (dog, owl, cat) that begins with the models of the source."""

    def build(checkpoint: Path | None = source, **changes: Any) -> RunContext:
        init_from = None if checkpoint is None else str(checkpoint)
        context = make_context(tiny_recipe(classifier=WARM_CLASSIFIER, init_from=init_from, **changes))
        context.images = replace(images, label_map=LabelMap(("dog", "owl", "cat")))
        return context

    return build


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Tensor]]:
    """Collects the weights with which trainings begin: stage -> state dict."""
    found: dict[str, dict[str, Tensor]] = {}
    real = Trainer.__init__

    def begin(
        trainer: Trainer, objective: Any, batches: Any, config: Any, steps: int, session: Session, **options: Any
    ) -> None:
        real(trainer, objective, batches, config, steps, session, **options)
        found[session.stage] = {name: each.clone() for name, each in objective.model.state_dict().items()}

    monkeypatch.setattr(Trainer, "__init__", begin)
    return found
