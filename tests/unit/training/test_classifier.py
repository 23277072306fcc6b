import pytest
import torch
from accelerate import Accelerator
from torch.nn import functional as F

from vqgen.config import ClassifierConfig, ClassifierSection, DataConfig, TrainConfig
from vqgen.data import evaluation_batches, evaluation_transform, to_float
from vqgen.runtime.compute import Compute
from vqgen.training.classifier import ClassifierObjective, as_image_set, train_on
from vqgen.training.objective import Session
from vqgen.training.schedule import training_order

DATA = DataConfig(source="digits", image_size=8, channels=1)
COMPUTE = Compute(torch.device("cpu"))


def bright_and_dark(count):
    """Images whose label is their brightness."""
    labels = torch.arange(count) % 2
    noise = torch.randint(0, 100, (count, 1, 8, 8))
    return (noise + 150 * labels[:, None, None, None]).to(torch.uint8), labels


@pytest.mark.parametrize("channels", [1, 3])
def test_image_set_has_the_pixels_and_labels_of_its_tensors(channels):
    images = torch.randint(0, 256, (5, channels, 8, 8), dtype=torch.uint8)
    labels = torch.tensor([2, 0, 1, 1, 0])
    transform = evaluation_transform(DATA.model_copy(update={"channels": channels}))
    (batch,) = evaluation_batches(as_image_set(images, labels), transform, 5)
    assert torch.equal(batch.images, images)
    assert torch.equal(batch.labels, labels)


def test_loss_and_validation_equal_the_formulas(make_classifier):
    images, labels = bright_and_dark(130)  # more than a batch of the validation
    model = make_classifier(num_classes=2)
    objective = ClassifierObjective(model, as_image_set(images, labels), DATA, COMPUTE, 0, 1)
    with torch.no_grad():
        logits = model(to_float(images))
        loss, parts = objective(images, labels, None)
        found = objective.validate()
    right = (logits.argmax(1) == labels).double().mean().item()
    assert loss.item() == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-5)
    assert parts["accuracy"].item() == pytest.approx(right)
    assert found == pytest.approx({"cross_entropy": loss.item(), "accuracy": right}, rel=1e-5)


def test_classifier_learns_separable_images(tmp_path):
    images = as_image_set(*bright_and_dark(48))
    held_out = as_image_set(*bright_and_dark(20))
    train = TrainConfig(steps=30, batch_size=16, learning_rate=1e-2, validate_every=15)
    section = ClassifierSection(channels=8, stages=2, train=train)
    order = training_order(train, len(images), 0, 1)
    session = Session("classifier", 0, Accelerator(cpu=True), tmp_path, quiet=True)
    config = ClassifierConfig(channels=8, stages=2, image_size=8, image_channels=1, num_classes=2)
    model, metrics = train_on(images, held_out, config, section, DATA, order, session, COMPUTE)
    assert metrics["val_accuracy"] == 1
    assert metrics["steps"] == 30
    assert not model.training
