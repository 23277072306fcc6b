"""The images of a run, their split and their transforms."""

import math
from typing import Literal

from pydantic import Field, field_validator

from vqgen.config.base import Config, added_field, runtime_field
from vqgen.config.bounds import LARGEST_SIDE

Source = Literal["digits", "mnist", "fashion-mnist", "kmnist", "cifar10", "cifar100", "folder"]

Crop = Literal["scaled", "native", "native-centre"]

ReadingRules = Literal[1, 2]

NEWEST_RULES: ReadingRules = 2
"""The reading rules of a new recipe."""

ValueRange = tuple[float, float]
"""The sample values of black and white."""


class DataConfig(Config):
    """Images, their split and their transforms."""

    source: Source
    """The data set; folder reads the images below data.root."""
    image_size: int = Field(gt=0, le=LARGEST_SIDE)
    """Height and width of the square images that the models see, in pixels."""
    channels: Literal[1, 3] = 3
    """1 turns every image to grey, 3 to RGB."""
    validation_fraction: float = Field(0.1, gt=0, lt=1)
    """Share of the training images of each label to hold out, if the source has no validation split of its own."""
    horizontal_flip: bool = False
    """Mirror half of the training images."""
    random_shift: int = Field(0, ge=0)
    """Shift training images by at most this number of pixels in each direction; the edge is repeated."""
    random_crop: float = Field(1.0, gt=0, le=1)
    """Smallest random square crop of a training image, as a share of its shorter side; 1 crops at the centre."""
    crop: Crop = added_field("scaled")
    """scaled (a square of the whole picture, scaled to image_size) or native (a square of image_size pixels at the
    picture's own resolution, at a random place in training; a smaller picture is scaled). native-centre takes the
    middle in training too. Photographs that are scaled down are sharper than photographs are."""
    random_rotation: float = Field(0.0, ge=0, le=180)
    """Rotate training images by at most this number of degrees either way; the edge is repeated."""
    random_scale: float = added_field(0.0, ge=0, le=0.5)
    """Enlarge or shrink training images by at most this share of their size; the edge is repeated."""
    random_shear: float = added_field(0.0, ge=0, le=45)
    """Shear training images by at most this number of degrees either way, across and down; the edge is repeated."""
    augmented_copies: int = Field(0, ge=0)
    """Augmented versions of each training image. The priors are trained on them too, beside the image itself."""
    mirrored_copies: bool = added_field(False)
    """Train the priors on mirrored images too. They are conditioned on the mirroring, so samples are not mirrored."""
    reading_rules: ReadingRules = added_field(NEWEST_RULES, before=1)
    """Version of the rules that say what a sample of an image file means; docs/pictures.md has a table. A run that was
    begun under earlier rules keeps them."""
    value_range: ValueRange | None = added_field(None)
    """Sample values of black and white in every image file, for example 0 4095 for 12 bits in 16-bit files. Without it
    a file's own range counts; samples that have none (signed, 32-bit, float) get the range of all training images."""
    measured_range: ValueRange | None = added_field(None)
    """Range of the training images whose samples have no range of their own. A run measures it and saves it with the
    model."""
    max_unreadable: float = runtime_field(0.01, ge=0, le=1)
    """Largest share of unreadable training images with which training starts."""
    root: str | None = runtime_field(None)
    """Folder of the images. For a data set of torchvision: the folder that holds or receives it (default: data)."""
    download: bool = runtime_field(True)
    """Let torchvision download a data set that is not below root."""
    workers: int = runtime_field(0, ge=0)
    """Processes that read images, for each training process; 0 reads in the training process itself."""

    @field_validator("value_range", "measured_range")
    @classmethod
    def _range_is_not_empty(cls, value: ValueRange | None) -> ValueRange | None:
        if value is not None and not (all(map(math.isfinite, value)) and value[0] < value[1]):
            raise ValueError(f"should be two numbers, black below white, found {value[0]:g} {value[1]:g}")
        return value

    @property
    def is_augmented(self) -> bool:
        """True if training images are changed at random."""
        return bool(self.horizontal_flip or self.random_shift or self.crops_at_random or self.is_deformed)

    @property
    def crops_at_random(self) -> bool:
        """True if the squares of training images lie at random places."""
        return self.random_crop < 1 or self.crop == "native"

    @property
    def is_deformed(self) -> bool:
        """True if training images are rotated, scaled or sheared at random."""
        return bool(self.random_rotation or self.random_scale or self.random_shear)

    @property
    def num_copies(self) -> int:
        """Versions of each training image that the priors are trained on, beside the image itself."""
        return self.augmented_copies + self.mirrored_copies

    def without_augmentation(self) -> "DataConfig":
        """Returns a configuration of the same images that changes none at random."""
        return self.model_copy(
            update={
                "horizontal_flip": False,
                "random_shift": 0,
                "random_crop": 1.0,
                "crop": "scaled" if self.crop == "scaled" else "native-centre",
                "random_rotation": 0.0,
                "random_scale": 0.0,
                "random_shear": 0.0,
                "augmented_copies": 0,
                "mirrored_copies": False,
            }
        )
