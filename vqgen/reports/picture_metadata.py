"""The settings of a generated picture in its PNG file: a text chunk, by which the picture can be drawn again.

    Software    vqgen 0.1.0
    vqgen       a JSON object: model, model_sha256, seed, index, label, and the parameters of sampling

Source: Portable Network Graphics (PNG) Specification, section 11.3.4.3, tEXt.
"""

import json
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from vqgen import __version__
from vqgen.data import LabelMap
from vqgen.errors import DataError
from vqgen.pipeline.base import AnyPipeline
from vqgen.pipeline.request import GeneratedImages
from vqgen.storage.documents import parse_json

_KEY = "vqgen"


def settings_of_images(
    images: GeneratedImages, pipe: AnyPipeline, sampling: Mapping[str, Any]
) -> Sequence[dict[str, Any]]:
    """Returns the settings of each generated image, for its file.

    Args:
        images: The images of a request, in its order.
        pipe: The pipeline that drew them.
        sampling: The parameters of sampling by name; see `GenerationRequest.describe`.
    """
    return [
        {
            "model": pipe.parts.name,
            "model_sha256": pipe.model_hash,
            "seed": images.seed,
            "index": index,
            "label": label_name(label, pipe.label_map),
            **sampling,
        }
        for index, label in enumerate(images.labels)
    ]


def label_name(label: int | None, label_map: LabelMap) -> str | None:
    """Returns the name of a label; None without one."""
    return None if label is None else label_map.names[label]


def png_with_settings(image: Image.Image, settings: Mapping[str, Any]) -> bytes:
    """Returns the PNG file of a picture, with its settings."""
    info = PngInfo()
    info.add_text("Software", f"vqgen {__version__}")
    # JSON in ASCII: a tEXt chunk is Latin-1, and a label may be in any writing.
    info.add_text(_KEY, json.dumps(settings))
    file = BytesIO()
    image.save(file, "PNG", pnginfo=info)
    return file.getvalue()


def read_settings(path: Path) -> dict[str, Any]:
    """Returns the settings in a PNG file.

    Raises:
        DataError: The file has none.
    """
    try:
        with Image.open(path) as image:
            image.load()
            text = getattr(image, "text", {}).get(_KEY)
    except OSError as error:
        raise DataError(f"{path}: should be a picture of vqgen, found a file that cannot be read ({error})") from error
    if text is None:
        raise DataError(f"{path}: has no settings of vqgen; a picture that another program saved again has lost them")
    return parse_json(text, str(path), error=DataError, remedy="take the original file")
