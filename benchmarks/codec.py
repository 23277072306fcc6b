"""Measures compressed files: their sizes beside the ideal of the models, and the speed of coding.

    python -m benchmarks.codec CHECKPOINT FOLDER [--images 1000] [--label auto] [--repeats 3] [--json FILE]
                               [--only sizes|speeds|grid] [--coders static prior] [--quality 50]

Sizes: an archive of the images without names, for each coder, beside -log2 p of its codes under the coder's own model.
Speeds: from codes to files and back, and the whole way from pictures and back, all pictures in one call and one by one.
MB are megabytes of raw pixels. `verify` includes the check that decodes each file alone.
Last, a large grid: one image of 32 x 32 + 64 x 64 codes, with priors of 3 M parameters and random weights.
"""

import argparse
import io
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.report import RESULTS, interleaved_medians, print_table, run_main, write_json
from vqgen import VQVAE, PixelCNN, VQGenPipeline
from vqgen.codec import Codec, Coder, ImageCodes, ImageShape, ideal_bits
from vqgen.codec.archive_reader import ArchiveReader
from vqgen.codec.archive_writer import ArchiveWriter
from vqgen.config import DataConfig, PixelCNNConfig, VQVAEConfig
from vqgen.data import LabelMap, find_images, read_image
from vqgen.errors import VQGenWarning
from vqgen.pipeline.parts import PipelineParts
from vqgen.runtime.compute import Compute

_CODERS = ("packed", "static", "prior", "auto")


def sizes(codec: Codec, codes: list[ImageCodes], coder: str) -> dict[str, Any]:
    """Writes an archive, and returns its length beside the ideal length."""
    file = io.BytesIO()
    writer = ArchiveWriter(file, codec, coder=coder, with_names=False)
    for each in codes:
        writer.add(each)
    size = writer.finish()
    file.seek(0)
    read = [each for _, each in ArchiveReader(file, codec)]
    # A short file that loses a code would be no achievement.
    assert all(one.equals(other) for one, other in zip(read, codes, strict=True))
    row: dict[str, Any] = {"coder": coder, "images": len(codes), "bytes": size}
    row["bpp"] = 8 * size / sum(each.shape.width * each.shape.height for each in codes)
    if coder == "auto":
        return row | dict.fromkeys(("ideal_bytes", "over_ideal", "allowed"), "")
    used = Coder[coder.upper()]
    bits = sum(ideal_bits(codec.models, each, level, used, each.shape.label) for each in codes for level in each.grids)
    ideal = bits / 8 + _label_bytes(codec, codes)
    return row | {"ideal_bytes": ideal, "over_ideal": size - ideal, "allowed": 0.005 * ideal + 64}


def _label_bytes(codec: Codec, codes: list[ImageCodes]) -> float:
    """Returns the bytes of the labels. They are not codes, but a decoder with a prior needs them."""
    known = any(each.shape.label is not None for each in codes)
    return known * len(codes) * len(codec.parts.label_map).bit_length() / 8


def speeds(pipe: VQGenPipeline, pictures: list[Any], coder: str, quality: float, repeats: int) -> dict[str, Any]:
    """Measures images and MB of pixels per second, in both directions."""
    codec = pipe.codec
    offered = pipe.codec.models.offered(coder)
    codes = codec.encode(pictures, coder=coder, quality=quality)
    files = codec.pack(codes, offered)
    compress = partial(codec.compress, coder=coder, quality=quality)
    times = interleaved_medians(
        {
            "codes_to_files": partial(codec.pack, codes, offered, verify=False),
            "codes_to_files_verify": partial(codec.pack, codes, offered),
            "files_to_codes": partial(codec.unpack, files),
            "compress_verify": partial(compress, pictures),
            "compress_verify_alone": lambda: [compress([picture]) for picture in pictures],
            "decompress": partial(codec.decompress, files),
            "decompress_alone": lambda: [codec.decompress(file) for file in files],
        },
        repeats=repeats,
        warm_ups=1,
    )
    megabytes = sum(each.width * each.height * len(each.getbands()) for each in pictures) / 1e6
    row: dict[str, Any] = {"coder": coder, "images": len(pictures)}
    row |= {f"{name}_images_s": len(pictures) / seconds for name, seconds in times.items()}
    return row | {f"{name}_MB_s": megabytes / times[name] for name in ("compress_verify", "decompress")}


def large_grid(repeats: int) -> dict[str, Any]:
    """Times the coding of one image of 32 x 32 + 64 x 64 codes."""
    torch.manual_seed(0)
    vqvae = VQVAE(VQVAEConfig(downsample=(8, 4), image_size=256, image_channels=3, channels=32, codebook_size=512))
    shared = {"codebook_size": 512, "num_classes": 10, "channels": 128, "layers": 5, "attention_every": 5}
    priors = {
        "top": PixelCNN(PixelCNNConfig(level="top", height=32, width=32, **shared)),
        "bottom": PixelCNN(
            PixelCNNConfig(level="bottom", height=64, width=64, coarser_height=32, coarser_width=32, **shared)
        ),
    }
    labels = LabelMap(tuple(map(str, range(10))))
    data = DataConfig(source="digits", image_size=256, channels=3)
    for model in (vqvae, *priors.values()):
        model.eval()
    parts = PipelineParts(name="large", data=data, label_map=labels, vqvae=vqvae, priors=priors)
    codec = Codec(parts, Compute.resolve("cpu"))
    grids = {"top": torch.randint(512, (32, 32)).numpy(), "bottom": torch.randint(512, (64, 64)).numpy()}
    codes = [ImageCodes(ImageShape(256, 256, True), grids)]
    offered = codec.models.offered("prior")
    files = codec.pack(codes, offered)
    times = interleaved_medians(
        {"encode": partial(codec.pack, codes, offered, verify=False), "decode": partial(codec.unpack, files)},
        repeats=repeats,
        warm_ups=1,
    )
    counts = {f"parameters_{level}": sum(p.numel() for p in prior.parameters()) for level, prior in priors.items()}
    return counts | {f"{name}_seconds": seconds for name, seconds in times.items()}


def main() -> None:
    """Prints the tables and writes them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--timed", type=int, default=64, help="number of images whose coding is timed")
    parser.add_argument("--label", help="label of all images, or auto")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", choices=("sizes", "speeds", "grid"))
    parser.add_argument("--coders", nargs="+", choices=_CODERS, default=_CODERS, help="those that are timed")
    parser.add_argument("--quality", type=float, default=100.0, help="of the pictures that are timed")
    parser.add_argument("--json", type=Path, default=RESULTS / "codec.json")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", VQGenWarning)  # about colours of the pictures
    pipe = VQGenPipeline.from_pretrained(arguments.checkpoint, device="cpu")
    pictures = [read_image(path) for path in find_images(arguments.folder)[: arguments.images]]
    metrics: dict[str, Any] = {"checkpoint": arguments.checkpoint}
    if arguments.only in (None, "sizes"):
        codes = pipe.codec.encode(pictures, label=arguments.label)
        metrics["sizes"] = [sizes(pipe.codec, codes, coder) for coder in _CODERS]
        packed = metrics["sizes"][0]["bytes"]
        for row in metrics["sizes"]:
            row["of_packed"] = row["bytes"] / packed
        print_table(metrics["sizes"])
    if arguments.only in (None, "speeds"):
        timed = pictures[: arguments.timed]
        quality = arguments.quality
        metrics["speeds"] = [speeds(pipe, timed, coder, quality, arguments.repeats) for coder in arguments.coders]
        print_table(metrics["speeds"])
    if arguments.only in (None, "grid"):
        metrics["large_grid"] = large_grid(arguments.repeats)
        print_table([metrics["large_grid"]])
    write_json(arguments.json, metrics)


if __name__ == "__main__":
    run_main(main)
