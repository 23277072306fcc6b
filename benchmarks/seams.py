"""Measures the cost of tiles: at their seams, the prior does not see the neighbouring tile.

    python -m benchmarks.seams CHECKPOINT FOLDER [--images 12] [--json FILE]

The columns are the mean bits of a code in the first row or column of its tile, where the earlier codes beside it lie in
another tile, and elsewhere. `seam_share` is the share that a level would save if both cost the same.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import RESULTS, print_table, run_main, write_json
from vqgen import VQGenPipeline
from vqgen.codec import Codec
from vqgen.codec.prior_coder import TileStream, tile_bits
from vqgen.codec.segments import Stream, level_stream
from vqgen.data import find_images, read_image


def bits_by_place(codec: Codec, stream: Stream, level: str) -> np.ndarray:
    """Computes the mean bits at each place of a whole tile, `(h, w)`."""
    prior = codec.models.prior(level)
    tiles = TileStream.of(prior, level_stream(codec.models, stream, level))
    # Tiles at the edge are filled up with copies of other places.
    whole = (tiles.sources == np.arange(tiles.sources.shape[1])).all(axis=1)
    return tile_bits(prior, tiles)[whole].mean(axis=0).reshape(prior.order.height, prior.order.width)


def main() -> None:
    """Prints the table and writes it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=12)
    parser.add_argument("--json", type=Path, default=RESULTS / "seams.json")
    arguments = parser.parse_args()
    codec = VQGenPipeline.from_pretrained(arguments.checkpoint, device="cpu").codec
    colour = "L" if codec.parts.vqvae.config.image_channels == 1 else "RGB"
    codes = codec.encode(
        [read_image(path).convert(colour) for path in find_images(arguments.folder)[: arguments.images]]
    )
    grids = {level: [each.grids[level] for each in codes] for level in codec.models.levels}
    stream = Stream([each.shape for each in codes], grids)
    rows: list[dict[str, Any]] = []
    for level in codec.models.levels:
        bits = bits_by_place(codec, stream, level)
        inner = bits[1:, 1:].mean()
        edge = (bits.sum() - bits[1:, 1:].sum()) / (bits.size - bits[1:, 1:].size)
        rows.append({"level": level, "tile": f"{bits.shape[0]} x {bits.shape[1]}", "first_row_or_column_bits": edge})
        rows[-1] |= {"elsewhere_bits": inner, "seam_share": 1 - inner / bits.mean()}
    print_table(rows)
    write_json(arguments.json, {"checkpoint": arguments.checkpoint, "images": len(codes), "rows": rows})


if __name__ == "__main__":
    run_main(main)
