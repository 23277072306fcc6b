"""The network of a perceptual loss from outside the run: the file of LPIPS, or the classifier of a checkpoint.

A stage records the hash of it among its inputs, and not its path: the file may move.
"""

from pathlib import Path

from vqgen.config import LossSettings
from vqgen.errors import CheckpointError, ConfigError, VQGenError
from vqgen.models.classifiers import CLASSIFIERS
from vqgen.models.image_classifier import ImageClassifier
from vqgen.models.lpips import LPIPS_FILE, find_lpips_weights
from vqgen.pipeline.folder import load_part, read_document
from vqgen.pipeline.locating import locate_pipeline
from vqgen.stages.context import RunContext
from vqgen.stages.records import read_record
from vqgen.storage.files import sha256_of_file

_LPIPS = "losses.lpips_weights"

_CLASSIFIER = "losses.classifier"


def outside_inputs(context: RunContext) -> dict[str, str]:
    """Returns the input of the first stage that comes from outside the run: its name and its SHA-256, or nothing.

    A complete stage does not need its network any more. If it is gone, the recorded hash counts.

    Raises:
        ConfigError: The weights of LPIPS are not on this machine.
        CheckpointError: The checkpoint has no classifier.
    """
    losses = context.recipe.losses
    if losses.perceptual == "none" or losses.uses_own_classifier:
        return {}
    name = _LPIPS if losses.perceptual == "lpips" else _CLASSIFIER
    return context.on_main(lambda: {name: _hash(context, name)})


def _hash(context: RunContext, name: str) -> str:
    try:
        if name == _LPIPS:
            return sha256_of_file(lpips_file(context.recipe.losses, context.first_stage))
        return str(read_document(_pipeline(context)).hashes["classifier"])
    except VQGenError:
        record = read_record(context.folder / context.first_stage)
        if record is None or not record.complete or name not in record.inputs:
            raise
        return record.inputs[name]


def lpips_file(losses: LossSettings, stage: str) -> Path:
    """Returns the weights of LPIPS: the file of the recipe, or the one in torch's cache.

    Args:
        losses: The losses.
        stage: Name of their stage, for the error.

    Raises:
        ConfigError: There is no such file. The message says both ways out.
    """
    other = f"or compare the features of a classifier, with --{stage}.losses.perceptual classifier"
    if losses.lpips_weights is not None:
        path = Path(losses.lpips_weights)
        if not path.is_file():
            raise ConfigError(
                f"{stage}.losses.lpips_weights: should be a file, found {str(path)!r}, which does not exist; correct "
                f"the path, {other}"
            )
        return path
    found = find_lpips_weights()
    if found is None:
        raise ConfigError(
            f'{stage}.losses.perceptual: "lpips" needs torchvision\'s weights of AlexNet, found no {LPIPS_FILE} in '
            f"torch's cache; name the file with --lpips-weights FILE, {other}"
        )
    return found


def outside_classifier(context: RunContext) -> ImageClassifier:
    """Loads the classifier of the checkpoint that the losses name.

    Raises:
        CheckpointError: The checkpoint has no classifier, or a damaged one.
        ConfigError: The classifier is of other images.
    """
    folder = _pipeline(context)
    classifier, _ = load_part(folder / "classifier", CLASSIFIERS.values(), read_document(folder).hashes)
    data = context.recipe.data
    found = classifier.config
    where = f"{context.first_stage}.losses.classifier"
    remedy = "name another checkpoint, or leave it out for the classifier of this run"
    if found.image_channels != data.channels:
        raise ConfigError(
            f"{where}: should have a classifier of images with data.channels = {data.channels}, found one with "
            f"{found.image_channels}; {remedy}"
        )
    if found.kind == "hidden-layer" and found.image_size != data.image_size:  # convolutions take any size
        raise ConfigError(
            f'{where}: a classifier of kind "hidden-layer" should be of images with data.image_size = '
            f"{data.image_size}, found {found.image_size}; {remedy}"
        )
    return classifier


def _pipeline(context: RunContext) -> Path:
    """Returns the pipeline folder of the checkpoint that the losses name."""
    name = context.recipe.losses.classifier
    assert name is not None
    folder = locate_pipeline(name)
    if "classifier" not in read_document(folder).hashes:
        raise CheckpointError(
            f"{context.first_stage}.losses.classifier: should be a checkpoint with a classifier, found {name!r} "
            "without one; `vqgen train-classifier` adds one to a run"
        )
    return folder
