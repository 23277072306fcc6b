"""The pipeline folder of a baseline's run: written when the baseline is trained, the classifier added."""

from vqgen.baseline_checkpoint import BaselineParts, load_baseline_model, save_baseline
from vqgen.data import LabelMap
from vqgen.models.latent_model import LatentModel
from vqgen.stages.assemble import find_classifier
from vqgen.stages.bookkeeping import StageRecord, read_record
from vqgen.stages.context import RunContext


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
            "README.md": model_card(context, model, label_map, finished),
            "recipe.toml": (folder / "recipe.toml").read_text(encoding="utf-8"),
        },
    )
    save_baseline(parts, folder / "pipeline")


def model_card(context: RunContext, model: LatentModel, label_map: LabelMap, finished: StageRecord) -> str:
    """A model card: what the model is, what was measured on the way, how to use it."""
    recipe, lines = context.recipe, []
    for stage in ("autoencoder", "classifier"):
        record = finished if stage == finished.stage else read_record(context.folder / stage)
        if record is not None and record.complete:
            lines += [f"| {stage} | {name} | {value:.5g} |" for name, value in record.figures.items()]
    size, config = recipe.data.image_size, model.config
    return "\n".join(
        [
            f"# {recipe.name}",
            "",
            f"A vqgen baseline ({config.kind}): images of {size} x {size} pixels as {config.latent_size} latents.",
            "",
            f"- Data: `{recipe.data.source}`; `split.json` says which of its images were held out.",
            f"- Labels: {', '.join(label_map.names) or 'none'}"
            + ("" if config.num_classes else "; images of a label cannot be asked for"),
            "- Recipe: `recipe.toml` beside this file.",
            "",
            "## Measured in training",
            "",
            "By `vqgen run recipe.toml`; validation figures are over the whole validation split.",
            "",
            "| stage | figure | value |",
            "|---|---|---|",
            *lines,
            "",
            "`mse` is of intensities in [0, 1], `psnr` in dB; `elbo`, `distortion` and `rate` in nats per image, "
            "`cross_entropy` of the labels in nats.",
            "",
            "## Use",
            "",
            "```python",
            "from vqgen import open_pipeline",
            "",
            'pipe = open_pipeline("path/to/this/folder")',
            "images = pipe(images_per_label=4, seed=0).images",
            "```",
            "",
        ]
    )
