"""The pipeline folder of a run: written as soon as the VQ-VAE exists, priors and classifier added as they finish."""

from torch import Tensor

from vqgen.codec import frequencies_of_counts
from vqgen.data import LabelMap
from vqgen.models.checkpoint import hash_model, load_model, made_from
from vqgen.models.image_classifier import ImageClassifier
from vqgen.models.pixelcnn import PixelCNN
from vqgen.models.vqvae import VQVAE
from vqgen.pipeline.folder import load_classifier
from vqgen.pipeline.parts import PipelineParts, save_pipeline
from vqgen.stages.bookkeeping import StageRecord, read_record
from vqgen.stages.context import RunContext
from vqgen.stages.model_card import figure_rows, model_card
from vqgen.storage.tensors import load_tensors

HISTOGRAMS = "histograms.safetensors"
"""File beside a run's code store: level -> how often each code occurs in the training images."""


def write_pipeline(
    context: RunContext, label_map: LabelMap, split: dict[str, list[int]], finished: StageRecord
) -> None:
    """Writes `pipeline/` from the VQ-VAE, the priors that belong to it and the classifier; call it in the main process.

    Args:
        context: The run.
        label_map: Names of the labels.
        split: Split name -> indices of its images in the source.
        finished: Record of the stage that ends with this; its folder does not have it yet.
    """
    recipe, folder = context.recipe_with_codes, context.folder
    vqvae_hash = hash_model(folder / "vqvae" / "model")
    prior_folders = {level: folder / f"prior-{level}" / "model" for level in recipe.levels}
    ready = {
        level: path
        for level, path in prior_folders.items()
        if (path / "config.json").is_file() and made_from(path).get("vqvae") == vqvae_hash
    }
    classifier, classifier_made_from = find_classifier(context, len(label_map))
    parts = PipelineParts(
        name=recipe.name,
        data=recipe.data,
        label_map=label_map,
        vqvae=load_model(folder / "vqvae" / "model", VQVAE),
        priors={level: load_model(path, PixelCNN) for level, path in ready.items()},
        guides={
            level: load_model(path.parent / "guide", PixelCNN)
            for level, path in ready.items()
            if (path.parent / "guide").is_dir()
        },
        split=split,
        trained_on=dict.fromkeys(ready, vqvae_hash),
        classifier=classifier,
        classifier_made_from=classifier_made_from,
        texts={
            "README.md": _card(context, label_map, vqvae_hash, finished),
            "recipe.toml": (folder / "recipe.toml").read_text(encoding="utf-8"),
        },
        frequencies=_frequencies(context, vqvae_hash, finished),
    )
    save_pipeline(parts, folder / "pipeline")


def _frequencies(context: RunContext, vqvae_hash: str, finished: StageRecord) -> dict[str, Tensor]:
    """What the static coder counts with, once the codes of this VQ-VAE have been extracted."""
    folder = context.folder / "codes"
    record = finished if finished.stage == "codes" else read_record(folder)
    if record is None or record.inputs.get("vqvae") != vqvae_hash or not (folder / HISTOGRAMS).is_file():
        return {}
    return {level: frequencies_of_counts(counts) for level, counts in load_tensors(folder / HISTOGRAMS)[0].items()}


def find_classifier(context: RunContext, num_labels: int) -> tuple[ImageClassifier | None, dict[str, str]]:
    """The classifier that was trained on this run's images, and what they were, where there is one."""
    folder = context.folder / "classifier" / "model"
    if not (folder / "config.json").is_file() or made_from(folder) != made_from(
        context.folder / context.first_stage / "model"
    ):
        return None, {}
    return load_classifier(folder, num_labels)


def _card(context: RunContext, label_map: LabelMap, vqvae_hash: str, finished: StageRecord) -> str:
    """The model card, with what was measured of this VQ-VAE and of what was made from it."""
    recipe, records = context.recipe_with_codes, []
    images = made_from(context.folder / "vqvae" / "model").get("images")
    for stage in ["vqvae", "codes", *(f"prior-{level}" for level in recipe.levels), "classifier"]:
        record = finished if stage == finished.stage else read_record(context.folder / stage)
        if record is None or not record.complete:
            continue
        of_images = stage == "classifier" and record.inputs.get("images") == images
        if of_images or vqvae_hash in (record.output, record.inputs.get("vqvae")):
            records.append(record)
    grids = ", ".join(f"{level} {recipe.grid_side(level)} x {recipe.grid_side(level)}" for level in recipe.levels)
    return model_card(
        recipe.name,
        f"A vqgen pipeline: a VQ-VAE for images of {recipe.data.image_size} x {recipe.data.image_size} pixels, "
        f"codes {grids}, {recipe.vqvae.codebook_size} codes per level, and a PixelCNN prior per level.",
        recipe.data.source,
        ", ".join(label_map.names) or "none",
        figure_rows(records),
        "`mse` is of intensities in [0, 1], `psnr` in dB, `nats_per_code` and `bits_per_code` per code of the "
        "level, `bpp` bits of the level's codes per pixel of the image, `cross_entropy` of the labels in nats.",
        'from vqgen import VQGenPipeline\n\npipe = VQGenPipeline.from_pretrained("path/to/this/folder")',
    )
