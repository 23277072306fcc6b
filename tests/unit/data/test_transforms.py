import io
import math
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import CenterCrop, Compose, InterpolationMode, PILToTensor, Resize
from torchvision.transforms.v2 import functional as F

from vqgen.config import DataConfig
from vqgen.data import evaluation_transform, to_pil, training_transform


def config(**fields: Any) -> DataConfig:
    return DataConfig(**{"source": "folder", "image_size": 16, "channels": 3, **fields})


def noise(height: int, width: int, channels: int = 3, seed: int = 0) -> Image.Image:
    shape = (height, width) if channels == 1 else (height, width, channels)
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(8, 8), (16, 16), (40, 21), (21, 40), (1, 300)])
def test_results_are_square_uint8(size: tuple[int, int], channels: int) -> None:
    for source in (1, 3, 4):
        result = evaluation_transform(config(channels=channels))(noise(*size, source))
        assert result.shape == (channels, 16, 16)
        assert result.dtype == torch.uint8


def test_picture_of_the_right_size_is_only_cropped() -> None:
    image = noise(16, 31)
    found = evaluation_transform(config())(image)
    assert torch.equal(found, F.pil_to_tensor(image)[:, :, 7:23])


def test_scaling_agrees_with_torchvision() -> None:
    image = noise(64, 96)
    steps = Compose([Resize(16, interpolation=InterpolationMode.BICUBIC), CenterCrop(16), PILToTensor()])
    found = evaluation_transform(config())(image)
    assert (found.int() - steps(image).int()).abs().max() <= 1


def test_grey_becomes_rgb_and_rgb_grey() -> None:
    image = noise(16, 16, 1)
    colour = evaluation_transform(config())(image)
    assert torch.equal(colour, F.pil_to_tensor(image).expand(3, -1, -1))
    back = evaluation_transform(config(channels=1))(to_pil(colour[None])[0])
    assert torch.equal(back, F.pil_to_tensor(image))


def test_training_without_augmentation_equals_evaluation() -> None:
    image = noise(20, 33)
    assert not config().is_augmented
    assert torch.equal(training_transform(config())(image, 7), evaluation_transform(config())(image))


AUGMENTATIONS = [
    {"horizontal_flip": True}, {"random_shift": 3}, {"random_crop": 0.5}, {"random_rotation": 20.0},
    {"random_scale": 0.2}, {"random_shear": 10.0},
]  # fmt: skip


@pytest.mark.parametrize("fields", [*AUGMENTATIONS, AUGMENTATIONS[0] | AUGMENTATIONS[1] | AUGMENTATIONS[2]])
def test_draws_come_from_the_seed_alone(fields: dict[str, Any]) -> None:
    image = noise(20, 33)
    transform = training_transform(config(**fields))
    assert config(**fields).is_augmented
    before = torch.get_rng_state()
    first = [transform(image, seed) for seed in range(20)]
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    assert all(torch.equal(transform(image, seed), result) for seed, result in enumerate(first))
    assert any(not torch.equal(result, first[0]) for result in first)


DEFORMATIONS = {"random_rotation": 45.0, "random_scale": 0.5, "random_shear": 45.0}


@pytest.mark.parametrize("fields", [*({name: most} for name, most in DEFORMATIONS.items()), DEFORMATIONS])
def test_deformation_repeats_the_edge_and_stays_in_its_range(fields: dict[str, float]) -> None:
    white = Image.new("L", (20, 20), 255)
    transform = training_transform(config(channels=1, **fields))
    assert all(int(transform(white, seed).min()) == 255 for seed in range(40))
    image = noise(16, 16, 1)
    barely = training_transform(config(channels=1, **dict.fromkeys(fields, 1e-6)))
    assert torch.equal(barely(image, 3), evaluation_transform(config(channels=1))(image))


def test_scaling_enlarges_as_often_as_it_shrinks_and_by_no_more_than_it_may() -> None:
    disc = np.hypot(*(np.indices((64, 64)) - 31.5)) < 16
    transform = training_transform(config(image_size=64, channels=1, random_scale=0.25))
    picture = Image.fromarray(disc.astype(np.uint8) * 255)
    areas = [float((transform(picture, seed) > 127).sum()) / disc.sum() for seed in range(200)]
    assert 0.75**2 - 0.02 < min(areas) < 0.7 and 1.4 < max(areas) < 1.25**2 + 0.02
    assert 60 < sum(area > 1 for area in areas) < 140  # more than five standard deviations


def test_shearing_keeps_the_area_and_the_centre() -> None:
    disc = np.hypot(*(np.indices((64, 64)) - 31.5)) < 12
    transform = training_transform(config(image_size=64, channels=1, random_shear=20.0))
    turned = [transform(Image.fromarray(disc.astype(np.uint8) * 255), seed)[0].double() for seed in range(20)]
    for picture in turned:
        assert float(picture.sum()) / (255 * disc.sum()) == pytest.approx(1, abs=0.16)  # 1 - tan(20 deg)^2 at least
        rows = (picture.sum(1) * torch.arange(64)).sum() / picture.sum()
        assert float(rows) == pytest.approx(31.5, abs=0.6)


def test_rotation_alone_equals_the_one_of_earlier_versions() -> None:
    """Stored codes of augmented copies were made with it."""
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2 import functional as F

    image = noise(16, 16, 1)
    turn = torch.rand(7, dtype=torch.float64, generator=torch.Generator().manual_seed(5))[6]
    plain = F.pad(evaluation_transform(config(channels=1))(image), [8] * 4, padding_mode="edge")
    turned = F.rotate(plain, float(2 * turn - 1) * 30, interpolation=InterpolationMode.BILINEAR)
    transform = training_transform(config(channels=1, random_rotation=30.0))
    assert torch.equal(transform(image, 5), F.center_crop(turned, [16, 16]))


def naive(config: DataConfig, image: Image.Image, seed: int) -> torch.Tensor:
    """The transform of one picture, step by step, with the functions of torchvision. Stored codes depend on it."""
    draws = torch.rand(10, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).tolist()
    size, left, top, down, right, mirror, *deformation = draws
    square = evaluation_transform(config)(image)
    if config.random_crop < 1:
        side = min(image.size) * (config.random_crop + (1 - config.random_crop) * size)
        box = (left * (image.width - side), top * (image.height - side))
        box = (*box, min(box[0] + side, image.width), min(box[1] + side, image.height))
        picture = image.convert("L" if config.channels == 1 else "RGB")
        scaled = picture.resize((config.image_size, config.image_size), Image.Resampling.BICUBIC, box=box)
        square = F.pil_to_tensor(scaled)
    if config.is_deformed:
        turn, scale, *shears = (2 * draw - 1 for draw in deformation)
        scale = 1 + scale * config.random_scale
        shears = [shear * config.random_shear for shear in shears]
        stretch = math.prod(1 + math.tan(math.radians(abs(shear))) for shear in shears) / scale
        margin = math.ceil(square.shape[-1] * max(0.5, 0.71 * stretch - 0.5))
        padded = F.pad(square, [margin] * 4, padding_mode="edge")
        degrees = -turn * config.random_rotation
        deformed = F.affine(padded, degrees, [0, 0], scale, shears, interpolation=InterpolationMode.BILINEAR)
        square = F.center_crop(deformed, [config.image_size] * 2)
    down, right = (int(draw * (2 * config.random_shift + 1)) - config.random_shift for draw in (down, right))
    rows = (torch.arange(config.image_size) - down).clamp(0, config.image_size - 1)
    columns = (torch.arange(config.image_size) - right).clamp(0, config.image_size - 1)
    shifted = square[:, rows[:, None], columns]
    return shifted.flip(-1) if config.horizontal_flip and mirror < 0.5 else shifted


EVERYTHING = {
    "random_rotation": 180.0, "random_scale": 0.5, "random_shear": 45.0, "random_shift": 3, "random_crop": 0.6,
    "horizontal_flip": True,
}  # fmt: skip


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("fields", [{}, *({name: most} for name, most in EVERYTHING.items()), EVERYTHING])
def test_every_pixel_is_the_one_of_torchvision(fields: dict[str, Any], channels: int) -> None:
    for size in (1, 2, 5, 8, 9, 16, 31):
        settings = config(image_size=size, channels=channels, **fields)
        transform = training_transform(settings)
        seeds = [2**62 + number for number in range(12)]
        images = [noise(7 + 3 * number, 30, (1, 3)[number % 2], number) for number in range(12)]
        squares = torch.stack([transform.crop(image, seed) for image, seed in zip(images, seeds, strict=True)])
        expected = [naive(settings, image, seed) for image, seed in zip(images, seeds, strict=True)]
        assert torch.equal(transform.vary(squares, seeds), torch.stack(expected))
        assert torch.equal(transform(images[3], seeds[3]), expected[3])


@pytest.mark.parametrize("shift", [15, 16, 1000])
def test_shift_beyond_the_side_shows_only_the_edge(shift: int) -> None:
    settings = config(random_shift=shift)
    image = noise(16, 16)
    for seed in range(12):
        assert torch.equal(training_transform(settings)(image, seed), naive(settings, image, seed))


@pytest.mark.parametrize("fields", [{"random_rotation": 20.0}, {"random_shift": 2, "horizontal_flip": True}])
def test_squares_stay_as_they_were_and_a_result_depends_on_its_own_alone(fields: dict[str, Any]) -> None:
    transform = training_transform(config(**fields))
    squares = torch.stack([transform.crop(noise(16, 16, 3, seed), seed) for seed in range(5)])
    before = squares.clone()
    together = transform.vary(squares, range(5))
    assert torch.equal(squares, before)
    for number in range(5):
        assert torch.equal(transform.vary(squares[number : number + 1], [number])[0], together[number])


def test_no_square_becomes_no_square() -> None:
    nothing = torch.empty((0, 3, 16, 16), dtype=torch.uint8)
    assert training_transform(config(**EVERYTHING)).vary(nothing, []).shape == (0, 3, 16, 16)


def test_transform_says_what_its_seed_changes() -> None:
    plain, flipped, cropped = map(training_transform, (config(), config(horizontal_flip=True), config(random_crop=0.5)))
    assert [transform.is_random for transform in (plain, flipped, cropped)] == [False, True, True]
    assert [transform.crops_at_random for transform in (plain, flipped, cropped)] == [False, False, True]
    image = noise(20, 33)
    assert torch.equal(flipped.crop(image, 1), flipped.crop(image, 2))
    assert not torch.equal(cropped.crop(image, 1), cropped.crop(image, 2))


def test_half_of_the_images_are_mirrored() -> None:
    image = noise(16, 16)
    transform = training_transform(config(horizontal_flip=True))
    plain = evaluation_transform(config())(image)
    mirrored = 0
    for seed in range(400):
        result = transform(image, seed)
        assert torch.equal(result, plain) or torch.equal(result, plain.flip(-1))
        mirrored += not torch.equal(result, plain)
    assert 150 < mirrored < 250  # five standard deviations


def test_shifts_repeat_the_edge_and_reach_every_offset() -> None:
    image = noise(16, 16)
    transform = training_transform(config(random_shift=1))
    padded = torch.nn.functional.pad(
        evaluation_transform(config())(image).float(), (1, 1, 1, 1), mode="replicate"
    ).byte()
    shifts = {(y, x): padded[:, y : y + 16, x : x + 16] for y in range(3) for x in range(3)}
    seen = set()
    for seed in range(200):
        result = transform(image, seed)
        matches = [shift for shift, expected in shifts.items() if torch.equal(result, expected)]
        assert len(matches) == 1
        seen.add(matches[0])
    assert len(seen) == 9  # missing one of nine has chance below 9 * (8/9)^200 = 5e-10


def test_crops_keep_the_share_asked_for_and_stay_inside() -> None:
    # A ramp in x and y shows where the crop lies and how large it is.
    ramp = np.stack(np.broadcast_arrays(np.arange(100)[:, None] * 2, np.arange(120)[None] * 2, 0), axis=-1)
    transform = training_transform(config(random_crop=0.5))
    sides = []
    for seed in range(200):
        result = transform(Image.fromarray(ramp.astype(np.uint8)), seed).float()
        sides.append(((result[0, 12].mean() - result[0, 3].mean()) / 2 / 9 * 16).item())
    assert min(sides) > 48
    assert max(sides) < 102
    assert max(sides) - min(sides) > 40


def test_one_option_leaves_the_draws_of_another() -> None:
    image = noise(16, 16)
    both = training_transform(config(random_shift=2, horizontal_flip=True))
    shift = training_transform(config(random_shift=2))
    for seed in range(20):
        shifted = shift(image, seed)
        assert any(torch.equal(both(image, seed), choice) for choice in (shifted, shifted.flip(-1)))


def test_transforms_can_be_pickled() -> None:
    image = noise(20, 20)
    transform = training_transform(config(random_crop=0.5))
    assert torch.equal(pickle.loads(pickle.dumps(transform))(image, 3), transform(image, 3))


def test_pictures_of_users_are_read_by_the_rules_of_the_model() -> None:
    values = Image.fromarray(np.full((4, 4), 20, np.int32))
    config = DataConfig(source="folder", image_size=4, channels=1, value_range=(0, 40))
    assert (evaluation_transform(config)(values) == 128).all()
    assert (training_transform(config)(values, 0) == 128).all()
    assert (evaluation_transform(config.model_copy(update={"reading_rules": 1}))(values) == 20).all()


def test_picture_on_its_side_is_turned_before_it_is_cropped() -> None:
    stripes = np.zeros((2, 6), np.uint8)
    stripes[:, 2:4] = 255  # the centre square
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    Image.fromarray(stripes).save(file, "PNG", exif=exif)
    config = DataConfig(source="folder", image_size=2, channels=1)
    for transform in (evaluation_transform(config), lambda image: training_transform(config)(image, 0)):
        assert (transform(Image.open(file)) == 255).all()


@pytest.mark.parametrize("size", [(16, 16), (40, 23), (16, 90)])
def test_native_squares_are_pixels_of_the_picture(size: tuple[int, int]) -> None:
    image = noise(*size)
    pixels = F.pil_to_tensor(image)
    top, left = (size[0] - 16) // 2, (size[1] - 16) // 2
    native = config(crop="native")
    assert torch.equal(evaluation_transform(native)(image), pixels[:, top : top + 16, left : left + 16])
    windows = pixels.unfold(1, 16, 1).unfold(2, 16, 1).permute(1, 2, 0, 3, 4).flatten(0, 1)
    found = [training_transform(native)(image, seed) for seed in range(40)]
    assert all((windows == each).all(dim=(1, 2, 3)).any() for each in found)
    places = {each.numpy().tobytes() for each in found}
    assert len(places) > 10 or size == (16, 16)


def test_native_square_of_a_small_picture_is_enlarged() -> None:
    image = noise(9, 12)
    for seed in range(3):
        assert training_transform(config(crop="native"))(image, seed).shape == (3, 16, 16)
    assert torch.equal(evaluation_transform(config(crop="native"))(image), evaluation_transform(config())(image))


def test_native_squares_without_augmentation_are_the_middle() -> None:
    plain = config(crop="native", horizontal_flip=True, augmented_copies=2).without_augmentation()
    assert plain.crop == "native-centre"
    assert not plain.is_augmented
    image = noise(50, 60)
    assert torch.equal(training_transform(plain)(image, 3), evaluation_transform(config(crop="native"))(image))
