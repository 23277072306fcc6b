"""Reads the codes of many `.vqg` files at a time; a file that cannot be read leaves the files beside it as they are."""

from collections.abc import Sequence

from vqgen.codec.entropy_models import EntropyModels
from vqgen.codec.file_start import FileStart
from vqgen.codec.image_codes import ImageCodes
from vqgen.codec.image_file import OpenedFile, open_image_file
from vqgen.codec.level_choice import LevelChoice
from vqgen.codec.segments import decode_streams
from vqgen.errors import BitstreamError


def unpack_files(
    models: EntropyModels, files: Sequence[bytes | FileStart], choice: LevelChoice
) -> list[ImageCodes | BitstreamError]:
    """Reads the codes of files, those of one compute shape together.

    Args:
        models: The models that predict the codes.
        files: The bytes of each file, or its beginning.
        choice: The levels to decode.

    Returns:
        For each file its codes, or the reason why it cannot be decoded.
    """
    results: dict[int, ImageCodes | BitstreamError] = {}
    # The priors must run in the shape that the header records, so files are grouped by it.
    by_shape: dict[int, list[tuple[int, OpenedFile]]] = {}
    for index, file in enumerate(files):
        try:
            opened = open_image_file(models, file, choice)
        except BitstreamError as error:
            results[index] = error
        else:
            by_shape.setdefault(opened.header.batch_size, []).append((index, opened))
    for batch_size, group in by_shape.items():
        decoded = decode_streams(models, [opened.stream for _, opened in group], batch_size)
        for (index, opened), grids in zip(group, decoded, strict=True):
            try:
                results[index] = grids if isinstance(grids, BitstreamError) else opened.checked(grids)
            except BitstreamError as error:
                results[index] = error
    return [results[index] for index in range(len(files))]
