"""The pipeline folder of a baseline's run: written when the baseline is trained, the classifier added."""

from vqgen.data import LabelMap
from vqgen.models.autoencoders.latent_model import LatentModel
from vqgen.pipeline.baseline_parts import BaselineParts, load_baseline_model, save_baseline
from vqgen.stages.assemble import find_classifier
from vqgen.stages.bookkeeping import StageRecord, read_record
from vqgen.stages.context import RunContext
from vqgen.stages.model_card import figure_rows, model_card


def write_baseline(
    context: RunContext, label_map: LabelMap, split: dict[str, list[int]], finished: StageRecord
) -> None:
    """Writes `pipeline/` from the baseline and the classifier; arguments as those of `write_pipeline`."""
    folder = context.folder
    classifier, classifier_made_from = find_classifier(context, len(label_map))
    model = load_baseline_model(folder / "autoencoder" / "model")
    parts = BaselineParts(
        name=context.recipe.name,
        data=context.recipe.data,
        label_map=label_map,
        model=model,
        split=split,
        classifier=classifier,
        classifier_made_from=classifier_made_from,
        texts={
            "README.md": _card(context, model, label_map, finished),
            "recipe.toml": (folder / "recipe.toml").read_text(encoding="utf-8"),
        },
    )
    save_baseline(parts, folder / "pipeline")


def _card(context: RunContext, model: LatentModel, label_map: LabelMap, finished: StageRecord) -> str:
    recipe, config = context.recipe, model.config
    records = [
        finished if stage == finished.stage else read_record(context.folder / stage)
        for stage in ("autoencoder", "classifier")
    ]
    size = f"{recipe.data.image_size} x {recipe.data.image_size}"
    asked = "" if config.num_classes else "; images of a label cannot be asked for"
    return model_card(
        recipe.name,
        f"A vqgen baseline ({config.kind}): images of {size} pixels as {config.latent_size} latents.",
        recipe.data.source,
        (", ".join(label_map.names) or "none") + asked,
        figure_rows([record for record in records if record is not None and record.complete]),
        "`mse` is of intensities in [0, 1], `psnr` in dB; `elbo`, `distortion` and `rate` in nats per image, "
        "`cross_entropy` of the labels in nats.",
        'from vqgen import open_pipeline\n\npipe = open_pipeline("path/to/this/folder")',
    )
