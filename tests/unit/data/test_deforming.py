"""Deformations of many pictures at once: the pixels of torchvision, picture by picture."""

import math

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from vqgen.data.deforming import Deformations, deform


def noise(count: int, channels: int, size: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, channels, size, size), dtype=torch.uint8)


def drawn(count: int, degrees: float = 180.0, scale: float = 0.5, shear: float = 45.0) -> Deformations:
    turns, scales, across, down = np.random.default_rng(count).uniform(-1, 1, (4, count))
    return Deformations(turns * degrees, 1 + scales * scale, across * shear, down * shear)


def of_one(degrees: float = 0.0, scale: float = 1.0, across: float = 0.0, down: float = 0.0) -> Deformations:
    return Deformations(*(np.array([value]) for value in (degrees, scale, across, down)))


def naive(image: torch.Tensor, degrees: float, scale: float, across: float, down: float) -> torch.Tensor:
    """The deformation of one picture by torchvision."""
    stretch = (1 + math.tan(math.radians(abs(across)))) * (1 + math.tan(math.radians(abs(down)))) / scale
    margin = math.ceil(image.shape[-1] * max(0.5, 0.71 * stretch - 0.5))
    padded = F.pad(image, [margin] * 4, padding_mode="edge")
    turned = F.affine(padded, -degrees, [0, 0], scale, [across, down], interpolation=InterpolationMode.BILINEAR)
    return F.center_crop(turned, list(image.shape[-2:]))


@pytest.mark.parametrize("strengths", [(10, 0, 0), (180, 0, 0), (0, 0.5, 0), (0, 0, 45), (180, 0.5, 45)])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 9, 16, 33])
def test_batch_equals_torchvision_picture_by_picture(size, channels, strengths):
    images = noise(9, channels, size)
    deformations = drawn(9, *strengths)
    rows = zip(deformations.degrees, deformations.scales, deformations.across, deformations.down, strict=True)
    expected = [naive(image, *map(float, row)) for image, row in zip(images, rows, strict=True)]
    assert torch.equal(deform(images, deformations), torch.stack(expected))


def test_layout_in_memory_changes_nothing():
    images = noise(4, 3, 16)
    other = images.contiguous(memory_format=torch.channels_last)
    assert torch.equal(deform(images, drawn(4)), deform(other, drawn(4)))
    assert deform(other, drawn(4)).is_contiguous()


def test_no_deformation_changes_no_pixel():
    images = noise(1, 3, 16)
    assert torch.equal(deform(images, of_one()), images)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_quarter_turns_are_counterclockwise(turns):
    images = noise(1, 1, 16)
    assert torch.equal(deform(images, of_one(90.0 * turns)), torch.rot90(images, turns, dims=(2, 3)))


def test_half_the_scale_shows_the_picture_in_the_middle_and_its_edge_around():
    images = torch.full((1, 1, 16, 16), 200, dtype=torch.uint8)
    images[..., 1:-1, 1:-1] = 50
    shrunk = deform(images, of_one(scale=0.5))[0, 0]
    assert (shrunk[5:11, 5:11] == 50).all()
    assert (shrunk[0] == 200).all() and (shrunk[:, -1] == 200).all()


def test_matrix_undoes_shears_and_rotation():
    """The determinant of a rotation and shears is 1, and a scale divides both axes."""
    matrices = drawn(20).matrices()
    assert np.linalg.det(matrices[:, :, :2]) == pytest.approx(1 / drawn(20).scales ** 2)
    assert (matrices[:, :, 2] == 0).all()


def test_margin_is_half_a_side_for_rotations_and_reaches_the_farthest_corner():
    assert drawn(50, 180, 0, 0).margins(16).tolist() == [8] * 50
    deformations = drawn(200)
    corners = np.array([[x, y] for x in (-7.5, 7.5) for y in (-7.5, 7.5)])
    farthest = np.abs(np.einsum("bij,nj->bni", deformations.matrices()[:, :, :2], corners)).max(axis=(1, 2))
    assert (farthest <= 8 + deformations.margins(16)).all()
