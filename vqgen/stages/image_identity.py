"""The fingerprints of images in the records of earlier versions."""

from pathlib import Path

from vqgen.data import ImageSplits
from vqgen.errors import CheckpointError
from vqgen.storage.documents import read_json
from vqgen.storage.files import write_json


def renew_fingerprints(folder: Path, images: ImageSplits) -> None:
    """Puts the fingerprint of the images into the records of a run that have one of an earlier version.

    So a run of an earlier version goes on. From now on its records notice a change that keeps the sizes of files. Only
    the main process calls this function.

    Args:
        folder: The run folder.
        images: The images. A record of other images stays as it is, so that its stage is refused.
    """
    for path in sorted(folder.glob("*/stage.json")):
        try:
            record = read_json(path)
        except CheckpointError:  # its stage reports it
            continue
        inputs = record.get("inputs")
        if isinstance(inputs, dict) and inputs.get("images") in images.earlier_fingerprints:
            write_json(path, record | {"inputs": inputs | {"images": images.fingerprint}})
