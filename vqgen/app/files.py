"""Files for download: generated pictures with their settings, a grid of them, and their codes as a code store.

The archives are what `vqgen generate` and `vqgen encode` would write, so that the commands read them.
"""

import shutil
import tempfile
from pathlib import Path

from vqgen.app.context import AppContext
from vqgen.codes import Codes
from vqgen.data import ShardContent, StoreInfo, finish_store, write_shard
from vqgen.pipeline import GenerationOutput, VQGenPipeline
from vqgen.pipeline.request import GenerationRequest, labels_as_tensor
from vqgen.reports.picture_metadata import png_with_settings, settings_of_images
from vqgen.reports.samples import save_generation

_SPLIT = "images"


def picture_files(output: GenerationOutput, pipe: VQGenPipeline, request: GenerationRequest) -> list[bytes]:
    """Returns the PNG files of generated pictures, each with its settings."""
    settings = settings_of_images(output, pipe, request.describe())
    return [png_with_settings(image, own) for image, own in zip(output.images, settings, strict=True)]


def pictures_archive(
    context: AppContext, output: GenerationOutput, pipe: VQGenPipeline, request: GenerationRequest, files: list[bytes]
) -> tuple[Path, Path]:
    """Writes generated pictures as `vqgen generate` does, and returns the archive of the folder, and the grid."""
    with tempfile.TemporaryDirectory(dir=context.folder) as name:
        folder = Path(name)
        paths = save_generation(output, pipe.label_map, folder, request.describe())
        for path, data in zip(paths, files, strict=True):
            path.write_bytes(data)
        grid = context.new_path("grid.png")
        shutil.copyfile(folder / "grid.png", grid)
        return _archive(context, folder, "pictures"), grid


def codes_archive(context: AppContext, codes: Codes, labels: list[int | None], pipe: VQGenPipeline) -> Path:
    """Writes codes as a code store, which `vqgen decode` reads, and returns its archive."""
    with tempfile.TemporaryDirectory(dir=context.folder) as name:
        folder = Path(name)
        names = tuple(f"{index:05d}" for index in range(len(codes)))
        content = ShardContent(codes, labels_as_tensor(labels), names)
        size = pipe.vqvae.config.codebook_size
        write_shard(folder, _SPLIT, 0, content, size)
        info = StoreInfo(pipe.parts.vqvae_hash, size, pipe.label_map, {_SPLIT: len(codes)}, {})
        finish_store(folder, info)
        return _archive(context, folder, "codes")


def _archive(context: AppContext, folder: Path, name: str) -> Path:
    path = context.new_path(f"{name}.zip")
    shutil.make_archive(str(path.with_suffix("")), "zip", folder)
    return path
