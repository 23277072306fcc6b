"""The pixels of images in all their forms: uint8 for people and files, [-1, 1] for models, pictures of Pillow.

Legend: `b` batch, `c` channels, `h w` pixels.
"""

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor


def to_float(images: UInt8[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """Scales 0..255 to [-1, 1]: x / 127.5 - 1, in float32."""
    return images.to(torch.float32).div_(127.5).sub_(1)  # of the copy, so in place


def to_uint8(images: Float[Tensor, "b c h w"]) -> UInt8[Tensor, "b c h w"]:
    """Scales [-1, 1] to 0..255, rounded and clamped. It inverts `to_float` exactly."""
    return (images.to(torch.float32) + 1).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)


def model_pixels(
    images: UInt8[Tensor, "b c h w"], device: torch.device, dtype: torch.dtype
) -> Float[Tensor, "b c h w"]:
    """Prepares images for a model: moves them to its device, scales them to [-1, 1] and casts them to its dtype.

    Args:
        images: Values in 0..255, on any device.
        device: The model's device.
        dtype: The model's dtype, of floating point.

    Returns:
        Values in [-1, 1], computed in float32 and then cast.
    """
    # A uint8 image is a quarter of its float32 version: it is moved first and scaled on the device.
    return to_float(images.to(device)).to(dtype)


def image_pixels(decoded: Float[Tensor, "b c h w"]) -> UInt8[Tensor, "b c h w"]:
    """Turns a model's output in [-1, 1] into uint8 images in memory of the CPU."""
    return to_uint8(decoded.float()).cpu()


def to_tensor(picture: Image.Image) -> UInt8[Tensor, "c h w"]:
    """Copies the pixels of a picture of mode `L` or `RGB`."""
    pixels = torch.from_numpy(np.array(picture))
    return pixels.view(picture.height, picture.width, -1).permute(2, 0, 1)


def to_pil(images: UInt8[Tensor, "b c h w"]) -> list[Image.Image]:
    """Turns a batch into pictures, of mode `L` for one channel and `RGB` for three.

    Raises:
        ValueError: The batch is not uint8 `(b, 1 or 3, h, w)`.
    """
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(f"images should be uint8 (b, 1 or 3, h, w), found {images.dtype} {tuple(images.shape)}")
    pixels = images.detach().cpu().permute(0, 2, 3, 1).contiguous().numpy()
    return [Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture) for picture in pixels]
