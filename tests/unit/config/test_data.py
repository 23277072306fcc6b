import math

import pytest
from pydantic import ValidationError

from vqgen.config import DataConfig

PLAIN = DataConfig(source="digits", image_size=8)

AUGMENTED = {
    "horizontal_flip": True, "random_shift": 1, "random_crop": 0.5, "random_rotation": 10.0, "random_scale": 0.1,
    "random_shear": 5.0, "crop": "native",
}  # fmt: skip


@pytest.mark.parametrize("name", AUGMENTED)
def test_every_random_change_is_an_augmentation(name):
    changed = PLAIN.model_copy(update={name: AUGMENTED[name]})
    assert changed.is_augmented
    assert changed.is_deformed == (name in ("random_rotation", "random_scale", "random_shear"))


@pytest.mark.parametrize("name", ["value_range", "measured_range"])
def test_range_should_have_black_below_white(name):
    assert getattr(DataConfig(source="digits", image_size=8, **{name: [0, 4095]}), name) == (0, 4095)
    for wrong in ((1, 1), (2, 1), (0, math.inf), (math.nan, 1)):
        with pytest.raises(ValidationError, match="should be two numbers, black below white, found"):
            DataConfig(source="digits", image_size=8, **{name: wrong})


def test_images_are_not_augmented_by_default():
    assert not PLAIN.is_augmented
    assert PLAIN.num_copies == 0


def test_augmentation_can_be_taken_away():
    copied = PLAIN.model_copy(update=AUGMENTED | {"augmented_copies": 3, "mirrored_copies": True})
    assert copied.num_copies == 4
    middle = PLAIN.model_copy(update={"crop": "native-centre"})  # what is evaluated stays
    assert copied.without_augmentation() == middle
    assert middle.without_augmentation() == middle
