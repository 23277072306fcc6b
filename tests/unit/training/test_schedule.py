import pytest

from vqgen.config import PriorSettings, TrainConfig
from vqgen.training.schedule import contrasted_steps, guide_step, input_dropout_steps, total_images, training_order


def sizes(world_size=1, num_images=10, **train):
    order = training_order(TrainConfig(batch_size=4, **train), num_images, 0, world_size)
    return [order.size(step) for step in range(order.num_steps)]


def test_steps_have_full_batches():
    assert sizes(steps=5) == [4] * 5


def test_epochs_end_with_the_remaining_images():
    assert sizes(epochs=1) == [4, 4, 2]
    assert sizes(epochs=1.5) == [4, 4, 4, 3]
    assert sizes(epochs=0.01) == [1]


@pytest.mark.parametrize(("world_size", "expected"), [(2, [4, 4, 2]), (3, [4, 4]), (4, [4, 4])])
def test_remainder_smaller_than_the_number_of_processes_is_dropped(world_size, expected):
    assert sizes(world_size, epochs=1) == expected


def test_only_batch_has_an_image_for_every_process():
    assert sizes(3, epochs=0.1) == [3]


def test_images_of_all_steps_are_counted():
    def counts(**train):
        config = TrainConfig(batch_size=4, **train)
        return [total_images(config, 10, world_size) for world_size in (1, 3)]

    assert counts(steps=5) == [20, 20]
    assert counts(epochs=1.0) == [10, 8]
    assert counts(epochs=0.01) == [1, 3]


def test_order_follows_the_seed():
    config = TrainConfig(steps=3, batch_size=4)
    one, same, other = (training_order(config, 50, seed, 1).batch(0) for seed in (0, 0, 1))
    assert one == same != other


def test_input_dropout_takes_the_first_steps_rounded_up():
    config = PriorSettings(input_dropout_share=0.25)
    assert [input_dropout_steps(config, steps) for steps in (0, 1, 4, 5)] == [0, 1, 1, 2]


def test_guide_is_kept_after_its_share_of_the_steps():
    assert guide_step(0.3, 10) == 3
    assert guide_step(0.01, 10) == 1
    assert guide_step(0.0, 10) is None


def test_contrast_takes_its_share_of_the_steps():
    assert contrasted_steps(PriorSettings(label_contrast=1.0, label_contrast_share=0.25), 10) == 3
    assert contrasted_steps(PriorSettings(label_contrast=0.0, label_contrast_share=0.25), 10) == 0
