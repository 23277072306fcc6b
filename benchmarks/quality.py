"""Judges the samples of a checkpoint by classifiers that have nothing to do with vqgen.

    python -m benchmarks.quality digits CHECKPOINT
    python -m benchmarks.quality fashion-mnist CHECKPOINT --data-root data

Samples are drawn at temperature 1, without filters. `digits` are judged by support vector machines, at scikit-learn's
own resolution of 8 x 8. `fashion-mnist` is judged at 28 x 28 by a small convolutional network, which this program
trains on the real images.
"""

import argparse
import json

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.report import run_main
from vqgen import VQGenPipeline

_PER_LABEL = 100


def digits(pipe: VQGenPipeline, seed: int = 123) -> dict[str, float]:
    """Judges 1,000 samples of a model of scikit-learn's digits.

    Returns:
        sample_accuracy: accuracy on the samples of an SVC that is trained on all real digits.
        classification_accuracy_score: accuracy on the held-out real digits of an SVC that is trained on the samples.
        real_accuracy: accuracy on the held-out real digits of an SVC that is trained on the real training digits.
        near_copies: share of samples nearer to a training digit than the 1st percentile of held-out digits. 0.01 is the
            share among real digits.
    """
    from scipy.spatial.distance import cdist
    from sklearn.datasets import load_digits
    from sklearn.svm import SVC

    images, labels = load_digits(return_X_y=True)
    held_out = np.array(pipe.parts.split["validation"])
    train = np.setdiff1d(np.arange(len(images)), held_out)
    samples = _as_digits(pipe(None, _PER_LABEL, seed=seed).images)
    sample_labels = np.repeat(np.arange(10), _PER_LABEL)

    def score(fit: NDArray, fit_labels: NDArray, judged: NDArray, judged_labels: NDArray) -> float:
        return float(SVC(C=10, gamma=0.001).fit(fit, fit_labels).score(judged, judged_labels))

    near = np.percentile(cdist(images[held_out], images[train]).min(axis=1), 1)
    return {
        "sample_accuracy": score(images, labels, samples, sample_labels),
        "classification_accuracy_score": score(samples, sample_labels, images[held_out], labels[held_out]),
        "real_accuracy": score(images[train], labels[train], images[held_out], labels[held_out]),
        "near_copies": float((cdist(samples, images[train]).min(axis=1) < near).mean()),
    }


def _as_digits(pictures: list[Image.Image]) -> NDArray[np.float64]:
    """Converts pictures to the form of scikit-learn's digits: 8 x 8 averages from 0 to 16."""
    return np.stack([np.asarray(p.resize((8, 8), Image.Resampling.BOX), float).ravel() * 16 / 255 for p in pictures])


def fashion_mnist(pipe: VQGenPipeline, data_root: str, seed: int = 123) -> dict[str, float]:
    """Judges 1,000 samples of a model of Fashion-MNIST.

    Returns:
        sample_accuracy: accuracy on the samples of a small network that is trained on the real training images.
        real_accuracy: accuracy of the same network on the real test images.
    """
    from torchvision.datasets import FashionMNIST

    torch.manual_seed(0)
    real, test = (FashionMNIST(data_root, train=train, download=False) for train in (True, False))
    network = _small_network()
    _fit(network, _scale(real.data), real.targets)
    pictures = [p.resize((28, 28), Image.Resampling.BICUBIC) for p in pipe(None, _PER_LABEL, seed=seed).images]
    samples = torch.stack([torch.from_numpy(np.array(picture)) for picture in pictures])
    return {
        "sample_accuracy": _accuracy(network, _scale(samples), torch.arange(10).repeat_interleave(_PER_LABEL)),
        "real_accuracy": _accuracy(network, _scale(test.data), test.targets),
    }


def _scale(images: Tensor) -> Tensor:
    return images[:, None].float() / 255


def _small_network() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(1, 32, kernel_size=3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, kernel_size=3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Dropout(0.3), nn.Linear(64 * 7 * 7, 128), nn.ReLU(), nn.Linear(128, 10)),
    )


def _fit(network: nn.Module, images: Tensor, labels: Tensor, epochs: int = 4) -> None:
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(epochs):
        for chosen in torch.randperm(len(images)).split(128):
            loss = F.cross_entropy(network(images[chosen]), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    network.eval()


@torch.no_grad()
def _accuracy(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    predicted = torch.cat([network(batch).argmax(dim=1) for batch in images.split(1000)])
    return float((predicted == labels).double().mean())


def main() -> None:
    """Prints the metrics of a checkpoint as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=["digits", "fashion-mnist"])
    parser.add_argument("checkpoint")
    parser.add_argument("--data-root", default="data")
    parser.add_argument("--seed", type=int, default=123)
    arguments = parser.parse_args()
    pipe = VQGenPipeline.from_pretrained(arguments.checkpoint)
    if arguments.data == "digits":
        metrics = digits(pipe, arguments.seed)
    else:
        metrics = fashion_mnist(pipe, arguments.data_root, arguments.seed)
    print(json.dumps(metrics, indent=2))


if __name__ == "__main__":
    run_main(main)
