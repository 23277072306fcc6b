"""The model card of a run: the model, the measurements of its training, and how to use it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vqgen.config import AnyRecipe, BaselineRecipe, require_codes
from vqgen.data import LabelMap
from vqgen.stages.records import StageRecord
from vqgen.stages.warm_start import MODEL_INPUT
from vqgen.storage.names import shown


@dataclass(frozen=True)
class _CardTexts:
    """The texts of a card that differ between kinds of models.

    Attributes:
        description: A sentence that describes the model.
        labels: The labels, in words.
        units: A sentence that gives the units of the metrics.
        opening: Lines of Python that open `pipe` from "path/to/this/folder".
    """

    description: str
    labels: str
    units: str
    opening: str


def write_card(recipe: AnyRecipe, label_map: LabelMap, records: Sequence[StageRecord]) -> str:
    """Writes the text of the card.

    Args:
        recipe: The recipe of the run.
        label_map: Names of the labels.
        records: Records of the stages that belong to the pipeline, with the metrics for the table.
    """
    texts = _TEXTS[recipe.generator_stages[0]](recipe, label_map)
    rows = [
        f"| {record.stage} | {name} | {value:.5g} |" for record in records for name, value in record.metrics.items()
    ]
    table = "\n".join(["| stage | metric | value |", "|---|---|---|", *rows])
    continued = _begun(records) + "".join(map(_continued, records))
    return f"""# {recipe.name}

{texts.description}

- Data: `{recipe.data.source}`; `split.json` lists the images that were held out.
- Labels: {texts.labels}
- Recipe: `recipe.toml` beside this file.
{continued}
## Measured in training

By `vqgen run recipe.toml`; validation metrics are over the whole validation split, which also
chose the best weights.

{table}

{texts.units}

## Use

```python
{texts.opening}
images = pipe(images_per_label=4, seed=0).images
```
"""


def _begun(records: Sequence[StageRecord]) -> str:
    """Returns a line for the models that began with the weights of others: the recipe alone does not make them."""
    begun = ", ".join(record.stage for record in records if MODEL_INPUT in record.inputs)
    return f"- Begun with weights of another run (`made_from` in each config.json): {begun}.\n" if begun else ""


def _continued(record: StageRecord) -> str:
    """Returns a line for a training that got more steps: one with all of them from its start has other weights."""
    steps = [f"{each.since:,} ({each.length.text} planned)" for each in record.continuations if each.since]
    return f"- Continued: {record.stage}, with more steps after step {', '.join(steps)}.\n" if steps else ""


def _texts_of_codes(recipe: AnyRecipe, label_map: LabelMap) -> _CardTexts:
    with_codes = require_codes(recipe)
    sides = {level: with_codes.grid_side(level) for level in with_codes.levels}
    grids = ", ".join(f"{level} {side} x {side}" for level, side in sides.items())
    size = recipe.data.image_size
    return _CardTexts(
        description=f"A vqgen pipeline: a VQ-VAE for images of {size} x {size} pixels, codes {grids}, "
        f"{with_codes.vqvae.codebook_size} codes per level, and a PixelCNN prior per level.",
        labels=_shown(label_map),
        units="`mse` is of intensities in [0, 1], `psnr` in dB, `nats_per_code` and `bits_per_code` per code of the "
        "level, `bpp` bits of the level's codes per pixel of the image, `cross_entropy` of the labels in nats.",
        opening='from vqgen import VQGenPipeline\n\npipe = VQGenPipeline.from_pretrained("path/to/this/folder")',
    )


def _texts_of_baseline(recipe: AnyRecipe, label_map: LabelMap) -> _CardTexts:
    assert isinstance(recipe, BaselineRecipe)
    config = recipe.autoencoder_config(len(label_map))
    without_labels = "" if config.num_classes else "; images of a label cannot be asked for"
    size = recipe.data.image_size
    return _CardTexts(
        description=f"A vqgen baseline ({config.kind}): images of {size} x {size} pixels as "
        f"{config.latent_size} latents.",
        labels=_shown(label_map) + without_labels,
        units="`mse` is of intensities in [0, 1], `psnr` in dB; `elbo`, `distortion` and `rate` in nats per image, "
        "`cross_entropy` of the labels in nats.",
        opening='from vqgen import open_pipeline\n\npipe = open_pipeline("path/to/this/folder")',
    )


_TEXTS: dict[str, Callable[[AnyRecipe, LabelMap], _CardTexts]] = {
    "vqvae": _texts_of_codes,
    "autoencoder": _texts_of_baseline,
}
"""First stage of a run -> the texts of its card."""


def _shown(label_map: LabelMap) -> str:
    return ", ".join(map(shown, label_map.names)) or "none"
