"""Recipes of baselines of every kind that train in a second."""

from typing import Any

KINDS: dict[str, dict[str, Any]] = {
    "autoencoder": {"kind": "autoencoder", "mixture_components": 2},
    "vae": {"kind": "vae", "labels": "conditional"},
    "vae-2d": {"kind": "vae", "latent_size": 2, "likelihood": "gaussian"},
    "binary-vae": {"kind": "binary-vae", "labels": "conditional"},
}
CLASSIFIER = {"channels": 8, "stages": 2, "train": {"steps": 20, "batch_size": 32}}


def baseline_document(name: str, **sections: Any) -> dict[str, Any]:
    """Builds a recipe that trains in a second."""
    train = {"steps": 24, "batch_size": 16, "validate_every": 12, "save_every": 5, "log_every": 4}
    small = {"latent_size": 4, "channels": 8, "residual_channels": 4, "hidden": 16, "train": train}
    return {
        "name": name,
        "data": {"source": "digits", "image_size": 16, "channels": 1},
        "autoencoder": small | KINDS[name],
        "generate": {"images_per_label": 2},
    } | sections
