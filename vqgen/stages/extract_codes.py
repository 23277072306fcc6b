"""Between the stages: turn every image into codes, written by all processes."""

import torch
from tqdm import tqdm

from vqgen.checkpoint import load_model
from vqgen.codes import Codes
from vqgen.data import (
    CodeStore,
    ImageSet,
    ShardContent,
    StoreInfo,
    evaluation_transform,
    finish_store,
    to_float,
    write_store,
)
from vqgen.metrics import code_usage
from vqgen.models.vqvae import VQVAE
from vqgen.stages.bookkeeping import begin_stage, complete_stage, require_stage
from vqgen.stages.context import RunContext

STAGE = "codes"

_BATCH_SIZE = 64


def extract_codes(context: RunContext) -> str:
    """Writes the code store `codes/` of a run from its VQ-VAE.

    The batches of a shard do not depend on the number of processes, so the codes do not either.

    Returns:
        The SHA-256 of the store's manifest.
    """
    vqvae_record = require_stage(context, "vqvae")
    inputs = {"vqvae": vqvae_record.output, "images": context.images.fingerprint}
    action, record = begin_stage(context, STAGE, inputs)
    folder = context.folder / STAGE
    if action == "skip":
        context.say(f"{STAGE}: complete")
        return record.output
    splits = _splits(context)
    info = StoreInfo(
        vqvae_hash=vqvae_record.output,
        codebook_size=context.recipe.vqvae.codebook_size,
        label_map=context.images.label_map,
        counts={name: len(images) for name, images in splits.items()},
        indices=context.images.indices,
    )
    encode = _ShardEncoder(context, splits)
    with tqdm(
        total=sum(info.counts.values()), desc=STAGE, unit="image", disable=context.quiet or not context.is_main
    ) as bar:
        write_store(folder, info, encode, rank=context.rank, world_size=context.world_size, on_shard=bar.update)
    context.accelerator.wait_for_everyone()
    output = context.on_main(lambda: finish_store(folder, info))
    figures = _usage_figures(CodeStore(folder), info)
    complete_stage(context, record, output, figures)
    context.say(
        f"{STAGE}: {sum(info.counts.values())} images, " + ", ".join(f"{k} {v:.4g}" for k, v in figures.items())
    )
    return output


def _splits(context: RunContext) -> dict[str, ImageSet]:
    images = context.images
    splits = {"train": images.train, "validation": images.validation}
    return splits if images.test is None else {**splits, "test": images.test}


class _ShardEncoder:
    """Reads and encodes the images of a shard, in batches that depend on nothing but the shard."""

    def __init__(self, context: RunContext, splits: dict[str, ImageSet]) -> None:
        self.splits, self.compute, self.device = splits, context.compute, context.device
        self.transform = evaluation_transform(context.recipe.data)
        model = load_model(context.folder / "vqvae" / "model", VQVAE)
        self.model = context.compute.place(model).to(context.device)

    @torch.no_grad()
    def __call__(self, split: str, span: range) -> ShardContent:
        images, parts = self.splits[split], []
        for begin in range(span.start, span.stop, _BATCH_SIZE):
            indices = range(begin, min(begin + _BATCH_SIZE, span.stop))
            pixels = torch.stack([self.transform(images.read(index)) for index in indices])
            with self.compute.autocast():
                parts.append(self.model.encode(to_float(pixels.to(self.device)).to(self.compute.float_dtype)).to("cpu"))
        return ShardContent(
            codes=Codes.cat(parts),
            labels=torch.from_numpy(images.labels[span.start : span.stop].copy()),
            names=images.names[span.start : span.stop],
        )


def _usage_figures(store: CodeStore, info: StoreInfo) -> dict[str, float]:
    """Usage and perplexity of each level over the training images."""
    figures = {}
    for level, histogram in store.histogram("train").items():
        used = code_usage(histogram)
        figures |= {f"usage_{level}": used.usage, f"perplexity_{level}": used.perplexity}
    return figures
