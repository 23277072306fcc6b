"""Between the two stages: all images become codes. All processes write."""

import time
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from vqgen.codes import Codes
from vqgen.data import (
    CodeStore,
    ImageSet,
    ShardContent,
    StoreInfo,
    finish_store,
    model_pixels,
    training_transform,
    write_store,
)
from vqgen.data.code_batches import AUGMENTED, MIRRORED
from vqgen.data.squares import Map, Squares
from vqgen.evaluation.code_usage import code_usage
from vqgen.models.checkpoint import load_model
from vqgen.models.vqvae import VQVAE
from vqgen.nn.quantizers.bit_price import price_of
from vqgen.planning.threads import EXTRACTION_BATCH
from vqgen.runtime.collective import all_reduce_sum
from vqgen.runtime.prefetching import helping_threads, one_ahead
from vqgen.runtime.progress import ProgressBar
from vqgen.runtime.randomness import derive_seed
from vqgen.stages.assemble import HISTOGRAMS, write_pipeline
from vqgen.stages.bookkeeping import note_seconds, require_stage
from vqgen.stages.context import RunContext
from vqgen.stages.records import StageRecord
from vqgen.stages.stage import StageResult, metrics_text, run_stage
from vqgen.storage.names import counted
from vqgen.storage.tensors import save_tensors

STAGE = "codes"


def extract_codes(context: RunContext) -> str:
    """Writes the code store `codes/` of a run from its VQ-VAE.

    Images are read, encoded and written at the same time. The batches of a shard do not depend on the number of
    processes or threads, and neither do the codes. A cut extraction goes on with the missing shards.

    Returns:
        SHA-256 of the store's manifest.

    Raises:
        ConfigError: The recipe is of a baseline.
        CheckpointError: The VQ-VAE is missing, or the stage was begun with another recipe, VQ-VAE or images.
        DataError: An image cannot be read.
    """
    codebook_size = context.recipe_with_codes.vqvae.codebook_size  # refuses a baseline before all else
    images = context.images
    inputs = {"vqvae": require_stage(context, "vqvae").output, "images": images.fingerprint}
    return run_stage(
        context,
        STAGE,
        inputs,
        lambda record: _extract(context, record, codebook_size),
        finish=lambda finished: write_pipeline(context, images.label_map, images.indices, finished),
    )


def _extract(context: RunContext, record: StageRecord, codebook_size: int) -> StageResult:
    folder = context.folder / STAGE
    encode = _ShardEncoder(context, _splits(context))
    info = StoreInfo(
        vqvae_hash=record.inputs["vqvae"],
        codebook_size=codebook_size,
        label_map=context.images.label_map,
        counts=encode.counts,
        indices=context.images.indices,
    )
    total = sum(info.counts.values())
    since = time.perf_counter()

    def seconds() -> float:
        return (record.seconds or 0.0) + time.perf_counter() - since  # over all sessions

    with ProgressBar(total, STAGE, "image", show=context.is_main and not context.quiet) as bar:

        def on_shard(count: int) -> None:
            bar.update(count)
            note_seconds(context, record, seconds())

        context.in_all(
            lambda: write_store(
                folder, info, encode, rank=context.rank, world_size=context.world_size, on_shard=on_shard
            )
        )
    # Shards of an earlier session were not encoded again: they count in the total, and not in the speed.
    encoded = int(all_reduce_sum(torch.tensor(encode.encoded, device=context.device)))
    speed = encoded / (time.perf_counter() - since)
    output = context.on_main(lambda: finish_store(folder, info))
    histograms = CodeStore(folder).histogram("train")
    context.on_main(lambda: save_tensors(folder / HISTOGRAMS, histograms))
    metrics = _usage_metrics(histograms)
    shown = {"images/s": speed, **metrics} if encoded else metrics  # the record has no speed: it differs every time
    return StageResult(output, metrics, f"{counted(total, 'image')}, {metrics_text(shown)}", seconds())


def _splits(context: RunContext) -> dict[str, ImageSet]:
    images = context.images
    splits = {"train": images.train, "validation": images.validation}
    return splits if images.test is None else {**splits, "test": images.test}


class _ShardEncoder:
    """A function that reads and encodes the images of a shard, in batches that depend on nothing but the shard.

    The splits `AUGMENTED` and `MIRRORED` have no images of their own. Their i-th image is a version of training image
    (i modulo the number of training images): mirrored, or augmented with draws from (seed, i). The versions are made
    of one cached square of the image, unless they are cropped at random.

    Args:
        context: The run.
        splits: Split -> its images, without the two above.

    Attributes:
        counts: Split -> number of images, with the two above.
        encoded: Number of images encoded so far in this process.
    """

    def __init__(self, context: RunContext, splits: dict[str, ImageSet]) -> None:
        data = context.recipe.data
        self.splits = splits
        self.compute = context.compute
        self.device = context.device
        self.seed = context.recipe.seed
        self.workers = data.workers
        transform = training_transform(data)
        # Without versions each image is read once, and a cache would hold it for nothing.
        cache = data.mirrored_copies or (data.augmented_copies > 0 and not transform.crops_at_random)
        self.squares = {
            name: Squares(images, transform, cache=cache and name == "train") for name, images in splits.items()
        }
        self.encoded = 0
        self.counts = {name: len(images) for name, images in splits.items()}
        if data.augmented_copies:
            self.counts[AUGMENTED] = data.augmented_copies * len(splits["train"])
        if data.mirrored_copies:
            self.counts[MIRRORED] = len(splits["train"])
        model = load_model(context.folder / "vqvae" / "model", VQVAE)
        self.model = context.compute.place(model).to(context.device).to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def __call__(self, split: str, span: range) -> ShardContent:
        images = self.splits[_source(split)]
        places = np.arange(span.start, span.stop) % len(images)
        parts = []
        # The next batch is read while the model encodes this one.
        for pixels, prices in one_ahead(self._batches(split, span)):
            with self.compute.autocast():
                prepared = model_pixels(pixels, self.device, self.compute.float_dtype)
                parts.append(self.model.encode(prepared, prices).to("cpu"))
        self.encoded += len(span)
        return ShardContent(
            codes=Codes.cat(parts),
            labels=torch.from_numpy(images.labels[places]),
            names=tuple(
                images.names[place] + _version(split, index // len(images))
                for place, index in zip(places, span, strict=True)
            ),
        )

    def _batches(self, split: str, span: range) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Yields the pixels of a shard and their prices, batch by batch. `data.workers` threads read the pixels."""
        # Threads, not processes: decoding and resizing release the interpreter's lock, and pixels need not be copied
        # between processes.
        with helping_threads(max(1, self.workers)) as pool:
            each = pool.map if self.workers > 1 else map  # one worker is the thread of `one_ahead`
            # The size of a batch is fixed, because it changes rounding and with it, rarely, a code.
            for begin in range(span.start, span.stop, EXTRACTION_BATCH):
                part = range(begin, min(begin + EXTRACTION_BATCH, span.stop))
                yield self._pixels(split, part, each), self._prices(split, part)

    def _prices(self, split: str, span: range) -> Tensor | None:
        """Draws the price of a bit in each augmented image; None for other splits, whose codes are the nearest."""
        highest = self.model.config.quantizer.rate_weight
        if split != AUGMENTED or not highest:
            return None
        seeds = [derive_seed(self.seed, "prices", index) for index in span]
        draws = [torch.rand((), generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        return price_of(torch.stack(draws), highest).to(self.device)

    def _pixels(self, split: str, span: range, each: Map) -> Tensor:
        """Reads some images of a split, `(b, c, H, W)` uint8."""
        source = _source(split)
        indices = [index % len(self.splits[source]) for index in span]
        if split == AUGMENTED:
            seeds = [derive_seed(self.seed, AUGMENTED, index) for index in span]
            return self.squares[source].random(indices, seeds, each)
        pixels = self.squares[source].centred(indices, each)
        return pixels.flip(-1) if split == MIRRORED else pixels


def _source(split: str) -> str:
    """Returns the split whose images a split shows."""
    return "train" if split in (AUGMENTED, MIRRORED) else split


def _version(split: str, copy: int) -> str:
    """Returns the end of a name in the store: it tells the versions of an image apart."""
    return {AUGMENTED: f"#{copy + 1}", MIRRORED: "#mirrored"}.get(split, "")


def _usage_metrics(histograms: dict[str, Tensor]) -> dict[str, float]:
    """Computes usage and perplexity of each level over the training images."""
    metrics = {}
    for level, histogram in histograms.items():
        used = code_usage(histogram)
        metrics |= {f"usage_{level}": used.usage, f"perplexity_{level}": used.perplexity}
    return metrics
