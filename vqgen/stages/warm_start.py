"""The start of a training from the model of another run: the recipe's `init_from`.

init_from --> pipeline folder --> hash of the model of the stage --> an input of the stage
                                  its weights that fit           --> the model, before its first step
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import nn

from vqgen.config import AnyRecipe, BaselineRecipe, Level, differences
from vqgen.config.lengths import training_stages
from vqgen.data import LabelMap
from vqgen.errors import CheckpointError, ConfigError
from vqgen.models.autoencoders.kinds import build_baseline
from vqgen.models.classifiers import build_classifier
from vqgen.models.pixelcnn import PixelCNN
from vqgen.models.registry import CONFIGS
from vqgen.models.vqvae import VQVAE
from vqgen.models.warm_start import SharedWeights, shared_weights, take_weights
from vqgen.models.without_weights import without_weights
from vqgen.pipeline.folder import BASELINE_CLASS, PipelineDocument, load_part, read_document
from vqgen.stages.context import RunContext
from vqgen.stages.records import StageRecord, read_record
from vqgen.storage.documents import read_json
from vqgen.storage.files import sha256_of_json, write_json
from vqgen.storage.names import shown
from vqgen.training.state import state_path

NOTE = "init_from.json"
"""File in the folder of a stage: the weights that its model began with, and those that it did not take."""

MODEL_INPUT = "init_from"
"""The input of a stage that is the hash of the model from which it begins."""

LABELS_INPUT = "init_from_labels"
"""The input that is the hash of the names of that model's labels, because rows of labels are taken by name."""

_SHOWN = 3
"""Weights and fields that a message lists."""


@dataclass(frozen=True)
class WarmStart:
    """The start of the training of a stage. It is called with the new model, in all processes.

    Attributes:
        context: The run.
        stage: Name of the stage.
        label_map: The labels of the new model.
        inputs: Name -> SHA-256 of that from which the training begins; empty without a warm start.
    """

    context: RunContext
    stage: str
    label_map: LabelMap = field(default_factory=LabelMap)
    inputs: dict[str, str] = field(default_factory=dict)

    def check(self) -> None:
        """Refuses a checkpoint that cannot be the start; in the main process, before the stage changes anything.

        Raises:
            CheckpointError: There is no such checkpoint, it is damaged, or its model is of another kind.
            ConfigError: The checkpoint is the run itself, or nothing of its first model fits.
        """
        if self.inputs:
            fit_of_start(self.context, self.stage)

    def __call__(self, model: nn.Module) -> None:
        """Gives the model the weights that fit, prints what was taken, and writes `init_from.json`."""
        if self.inputs:
            self.context.in_all(lambda: self._give(model))
        elif self.context.recipe.init_from is not None:
            self.context.say(f"{self.stage}: begins at random, {named(self.context)} has no such model")

    def _give(self, model: nn.Module) -> None:
        document = source_of_start(self.context, self.stage)
        if document.hashes.get(self.stage) != self.inputs[MODEL_INPUT]:
            raise CheckpointError(
                f"init_from: {self.stage} in {named(self.context)} has changed since the stage began; run the same "
                "command again when the run there is complete"
            )
        source = _load(self.context, document, self.stage, type(model))
        shared = shared_weights(model, source)
        same = self.label_map.common(document.label_map)
        copied = take_weights(model, source, shared, same) if shared.fit(model) else {}
        if self.context.is_main:
            self.context.say(_summary(self.context, self.stage, model, shared, copied))
            labels = [self.label_map.names[index] for index in same] if copied and shared.by_label else []
            note = {**self.inputs, "taken": copied, "labels": labels, "not_taken": shared.rest}
            write_json(self.context.folder / self.stage / NOTE, note)


def warm_start(context: RunContext, stage: str, label_map: LabelMap | None = None) -> WarmStart:
    """Returns the start of the training of a stage. All processes call this function.

    Args:
        context: The run.
        stage: Name of the stage.
        label_map: The labels of the new model; None for a model without labels.

    Raises:
        CheckpointError: There is no such checkpoint, or it is damaged.
        ConfigError: The checkpoint is the run itself, or holds models of another kind.
    """
    return WarmStart(context, stage, label_map or LabelMap(), context.on_main(lambda: start_inputs(context, stage)))


def start_inputs(context: RunContext, stage: str) -> dict[str, str]:
    """Returns name -> SHA-256 of that from which the training of a stage begins; empty without a warm start.

    A training that has begun needs no start any more: if the checkpoint is gone, the record tells the inputs.

    Args:
        context: The run.
        stage: A stage of any kind.

    Raises:
        CheckpointError: As in `warm_start`, if the training is still to begin.
        ConfigError: As in `warm_start`.
    """
    if context.recipe.init_from is None or not training_stages(context.recipe, [stage]):
        return {}
    try:
        document = source_of_start(context, stage)
    except CheckpointError:
        record = read_record(context.folder / stage)
        if record is None or not (record.complete or state_path(context.folder / stage).is_file()):
            raise
        return inputs_of_start(record)
    if stage not in document.hashes:
        return {}
    labels = {} if stage == "vqvae" else {LABELS_INPUT: sha256_of_json(list(document.label_map.names))}
    return {MODEL_INPUT: str(document.hashes[stage])} | labels


def inputs_of_start(record: StageRecord) -> dict[str, str]:
    """Returns the inputs of a stage that are of its warm start."""
    return {name: value for name, value in record.inputs.items() if name in (MODEL_INPUT, LABELS_INPUT)}


def without_start(inputs: Mapping[str, str]) -> dict[str, str]:
    """Returns the inputs of a stage but those of a warm start."""
    return {name: value for name, value in inputs.items() if name not in (MODEL_INPUT, LABELS_INPUT)}


def source_of_start(context: RunContext, stage: str) -> PipelineDocument:
    """Reads the description of the checkpoint from which a stage begins.

    Raises:
        CheckpointError: There is no such checkpoint, or it is damaged.
        ConfigError: The checkpoint is the run itself, or holds models of another kind.
    """
    document = read_document(context.init_folder)
    if document.folder.resolve().is_relative_to(context.folder.resolve()):
        raise ConfigError(
            f"init_from: should be another run than the one that begins, found {named(context)}; give another "
            "checkpoint, or another --run-name"
        )
    is_baseline = document.pipeline_class == BASELINE_CLASS
    if stage != "classifier" and is_baseline != context.is_baseline:
        kinds = ("a VQ-VAE with priors", "a baseline without codes")
        raise ConfigError(
            f"init_from: should be {kinds[context.is_baseline]}, as the recipe, found {kinds[is_baseline]} in "
            f"{named(context)}; give another checkpoint"
        )
    return document


@dataclass(frozen=True)
class StartFit:
    """The part of the model of a stage that it can take from a checkpoint.

    Attributes:
        share: Share of its numbers, in [0, 1].
        reason: The reason why it takes none; empty if it takes some.
        changed: Lines with the fields of the model's configuration that differ.
    """

    share: float = 0.0
    reason: str = ""
    changed: tuple[str, ...] = ()


def fit_of_start(context: RunContext, stage: str) -> StartFit:
    """Compares the model of a stage with the one in the checkpoint. The images are not needed.

    Raises:
        CheckpointError: There is no such checkpoint, it is damaged, or its model is of another kind.
        ConfigError: The checkpoint is the run itself, or nothing of its first model fits.
    """
    document = source_of_start(context, stage)
    if stage not in document.hashes:
        return StartFit(reason="no such model there")
    # The number of labels may not be known yet. It decides about no weight as a whole.
    model = without_weights(lambda: _build(context.recipe, stage, max(1, len(document.label_map))))
    source = _load(context, document, stage, type(model))
    shared = shared_weights(model, source)
    if shared.fit(model):
        return StartFit(shared.share(model), changed=tuple(_changed_fields(model, source)))
    if stage == context.first_stage:  # all others are of little use without it
        raise ConfigError(_nothing_fits(context, stage, model, source, shared))
    return StartFit(reason="nothing fits")


def named(context: RunContext) -> str:
    """Returns the checkpoint as the recipe names it, for messages."""
    return shown(str(context.recipe.init_from))


def _build(recipe: AnyRecipe, stage: str, num_labels: int) -> nn.Module:
    if stage == "classifier":
        return build_classifier(recipe.classifier_config(num_labels))
    if isinstance(recipe, BaselineRecipe):
        return build_baseline(recipe.autoencoder_config(num_labels))
    if stage == "vqvae":
        return VQVAE(recipe.vqvae_config())
    level: Level = next(level for level in recipe.levels if stage == f"prior-{level}")
    return PixelCNN(recipe.prior_config(level, num_labels))


def _load(context: RunContext, document: PipelineDocument, stage: str, wanted: type[nn.Module]) -> nn.Module:
    """Loads the model of a stage from the checkpoint."""
    folder = document.folder / stage
    found = read_json(folder / "config.json").get("class")
    if found != wanted.__name__ and found in {known.__name__ for known in CONFIGS}:
        raise CheckpointError(
            f"init_from: {stage} should be a {wanted.__name__}, as in the recipe, found a {found} in "
            f"{named(context)}; give another checkpoint, or choose this kind in the recipe"
        )
    return load_part(folder, [wanted], document.hashes)[0]


def _summary(context: RunContext, stage: str, model: nn.Module, shared: SharedWeights, copied: dict[str, int]) -> str:
    """Returns a few lines: the part that was taken, and the first weights that were not."""
    if not copied:
        return f"{stage}: begins at random, no weights of {named(context)} fit"
    sizes = {name: tensor.numel() for name, tensor in model.state_dict().items()}
    numbers = f"{sum(copied.values()):,} of {sum(sizes.values()):,} numbers"
    parts = [
        f"  {name}: {sizes[name] - copied[name]:,} of {sizes[name]:,} numbers are of labels that are new"
        for name in shared.by_label
        if copied[name] < sizes[name]
    ]
    rest = [f"  {name}: {reason}" for name, reason in shared.rest.items()]
    more = len(rest) - _SHOWN
    tensors = f"{len(copied)} of {len(sizes)} tensors ({numbers})"
    others = "; these begin at random:" if parts or rest else ""
    return "\n".join(
        [
            f"{stage}: begins with {tensors} of {named(context)}{others}",
            *parts,
            *rest[:_SHOWN],
            *([f"  and {more} more, which {stage}/{NOTE} lists"] if more > 0 else []),
        ]
    )


def _nothing_fits(context: RunContext, stage: str, model: nn.Module, source: nn.Module, shared: SharedWeights) -> str:
    """Returns the message for a model that can take nothing, with the fields that differ."""
    shapes = [f"{name}: {reason}" for name, reason in shared.rest.items() if reason.startswith("should")]
    return "\n  ".join(
        [
            f"init_from: nothing of {stage} in {named(context)} fits the recipe; give {stage} the sizes that it has "
            "there, or give another checkpoint:",
            *_changed_fields(model, source)[:_SHOWN],
            *shapes[:_SHOWN],
        ]
    )


def _changed_fields(model: nn.Module, source: nn.Module) -> list[str]:
    before, now = (each.config.model_dump(mode="json") for each in (source, model))  # type: ignore[union-attr]
    return differences(before, now)
