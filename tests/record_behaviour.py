"""Records what vqgen computes, as hashes, so that a change of its structure can be shown to change nothing else.

    python tests/record_behaviour.py before.json                      # at the commit before
    python tests/record_behaviour.py after.json --against before.json # at the commit after; exit code 1 if they differ

Compare recordings of one machine only: rounding differs between processors and versions of torch.
Everything runs through the command line in one thread, so the script is the same before and after a move.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
from PIL import Image
from safetensors import safe_open

SHIPPED_MODEL = Path(__file__).parents[1] / "checkpoints" / "pretrained" / "digits"
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}

TRAIN = {"steps": 24, "batch_size": 16, "validate_every": 12, "save_every": 5, "log_every": 4}
PRIOR = {
    "layers": 1, "channels": 8, "attention_every": 1, "attention_heads": 2, "conditioning_layers": 1,
    "code_dropout": 0.2, "guide_share": 0.5, "train": TRAIN | {"steps": 16, "validate_every": 8, "ema_decay": 0.9},
}  # fmt: skip
DATA = {"source": "digits", "image_size": 16, "channels": 1}
CLASSIFIER = {"channels": 8, "train": TRAIN | {"steps": 8}}


def record(folder: Path) -> dict[str, str]:
    """Runs every part and returns name -> SHA-256."""
    pictures = write_pictures(folder / "pictures")
    hashes = record_generation(folder) | record_codes(folder, pictures) | record_files(folder, pictures)
    for name, recipe in recipes().items():
        hashes |= record_run(folder, name, recipe)
    return hashes


def write_pictures(folder: Path) -> Path:
    """Writes 12 pictures of several sizes, modes and formats."""
    random = np.random.default_rng(0)
    sizes = [(16, 16), (8, 8), (17, 31), (64, 48), (33, 16), (100, 70)]
    for number in range(12):
        mode = ("L", "RGB", "RGBA", "LA")[number % 4]
        bands = {"L": (), "LA": (2,), "RGB": (3,), "RGBA": (4,)}[mode]
        coarse = Image.fromarray(random.integers(0, 256, (4, 4, *bands), dtype=np.uint8))
        path = folder / f"{number % 3}" / f"{number:02}.{'jpg' if mode == 'RGB' else 'png'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse.resize(sizes[number % 6], Image.Resampling.BICUBIC).save(path)
    return folder


def record_generation(folder: Path) -> dict[str, str]:
    """Samples of the shipped model: plain, guided, filtered, and chosen by its classifier."""
    variants: dict[str, list[str]] = {
        "plain": [],
        "guided": ["--guidance-scale", "1.5", "--temperature", "0.9", "1.1", "--top-k", "20"],
        "kept": ["--keep", "0.5", "--images-per-label", "2", "--top-p", "0.9"],
    }
    hashes = {}
    for name, options in variants.items():
        out = folder / f"generate-{name}"
        vqgen("generate", SHIPPED_MODEL, "--seed", 1, *options, "-o", out)
        hashes[f"generate {name}: pixels"] = hash_of_pixels(out)
        hashes[f"generate {name}: samples.json"] = hash_of_bytes((out / "samples.json").read_bytes())
    return hashes


def record_codes(folder: Path, pictures: Path) -> dict[str, str]:
    """Codes of the pictures, and the pictures decoded from them."""
    vqgen("encode", SHIPPED_MODEL, pictures, "-o", folder / "codes")
    vqgen("decode", SHIPPED_MODEL, folder / "codes", "-o", folder / "decoded")
    vqgen("reconstruct", SHIPPED_MODEL, pictures, "-o", folder / "reconstructed")
    return {
        "encode: codes": hash_of_tensors(*sorted((folder / "codes").glob("*.safetensors"))),
        "decode: pixels": hash_of_pixels(folder / "decoded"),
        "reconstruct: pixels": hash_of_pixels(folder / "reconstructed"),
    }


def record_files(folder: Path, pictures: Path) -> dict[str, str]:
    """Bytes of compressed files and of an archive, and the pixels that come back."""
    vqgen("compress", SHIPPED_MODEL, pictures, "-o", folder / "small")
    vqgen("compress", SHIPPED_MODEL, pictures, "-o", folder / "small-archive", "--archive", "--label", "none")
    vqgen("decompress", SHIPPED_MODEL, folder / "small", "-o", folder / "back")
    files = sorted(path for path in folder.glob("small*/**/*.vqg*") if path.is_file())
    names = {path: path.relative_to(folder).as_posix() for path in files}
    return {f"compress: {names[path]}": hash_of_bytes(path.read_bytes()) for path in files} | {
        "decompress: pixels": hash_of_pixels(folder / "back")
    }


def recipes() -> dict[str, dict[str, Any]]:
    """A recipe of each kind that trains in seconds."""
    vqvae = {
        "codebook_size": 16, "embedding_dim": 4, "channels": 8, "residual_channels": 4, "residual_layers": 1,
        "restart_after": 10, "train": TRAIN,
    }  # fmt: skip
    downsamples = {"two-levels": [8, 4], "three-levels": [8, 4, 2]}
    documents: dict[str, dict[str, Any]] = {
        name: {
            "name": name, "data": DATA | {"random_rotation": 10, "augmented_copies": 2},
            "vqvae": vqvae | {"downsample": downsample}, "priors": [PRIOR] * len(downsample),
            "classifier": CLASSIFIER, "generate": {"images_per_label": 2},
        }
        for name, downsample in downsamples.items()
    }  # fmt: skip
    for kind in ("autoencoder", "vae", "binary-vae"):
        conditional = {} if kind == "autoencoder" else {"labels": "conditional"}
        documents[kind] = {
            "name": kind, "data": DATA, "generate": {"images_per_label": 2},
            "autoencoder": {"kind": kind, "latent_size": 4, "channels": 8, **conditional, "train": TRAIN},
        }  # fmt: skip
    return documents


def record_run(folder: Path, name: str, recipe: dict[str, Any]) -> dict[str, str]:
    """Final weights, codes and samples of a tiny run."""
    path = folder / f"{name}.toml"
    path.write_text(tomli_w.dumps(recipe))
    vqgen("run", path, "--checkpoints", folder / "checkpoints", "--quiet")
    run = folder / "checkpoints" / name
    parts = {
        f"{weights.relative_to(run).as_posix()}": hash_of_tensors(weights)
        for weights in sorted([*run.glob("pipeline/**/*.safetensors"), *run.glob("codes/*.safetensors")])
    }
    parts["samples: pixels"] = hash_of_pixels(run / "samples")
    parts["pipeline.json: hashes"] = hash_of_json(
        json.loads((run / "pipeline" / "pipeline.json").read_text())["sha256"]
    )
    for record in sorted(run.glob("*/stage.json")):
        document = json.loads(record.read_text())
        metrics = document["metrics"] if "metrics" in document else document["figures"]  # their name in version 0.1
        parts[f"{record.parent.name}: metrics"] = hash_of_json(metrics)
    return {f"{name}: {part}": found for part, found in parts.items()}


def vqgen(*words: object) -> None:
    """Runs a command of the program; its message is shown when it fails."""
    command = [sys.executable, "-m", "vqgen", *map(str, words)]
    finished = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    if finished.returncode:
        sys.exit(f"{' '.join(command)}\nended with {finished.returncode}:\n{finished.stderr}")


def hash_of_pixels(folder: Path) -> str:
    """The SHA-256 over the names, sizes and pixels of all PNG files below a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.png")):
        with Image.open(path) as image:
            pixels = np.asarray(image)
        digest.update(f"{path.relative_to(folder).as_posix()} {pixels.shape}".encode() + pixels.tobytes())
    return digest.hexdigest()


def hash_of_tensors(*paths: Path) -> str:
    """The SHA-256 over the names, types, shapes and values of all tensors in safetensors files."""
    digest = hashlib.sha256()
    for path in paths:
        with safe_open(path, framework="np") as file:
            for name in sorted(file.keys()):
                values = file.get_tensor(name)
                digest.update(f"{name} {values.dtype} {values.shape}".encode() + values.tobytes())
    return digest.hexdigest()


def hash_of_json(value: Any) -> str:
    """The SHA-256 of a JSON value, its keys sorted."""
    return hash_of_bytes(json.dumps(value, sort_keys=True).encode())


def hash_of_bytes(content: bytes) -> str:
    """The SHA-256 of bytes."""
    return hashlib.sha256(content).hexdigest()


def main() -> int:
    """Writes a recording, and compares it with an earlier one if that is given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="file to write: name -> SHA-256")
    parser.add_argument("--against", type=Path, help="an earlier recording")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = record(Path(folder))
    arguments.output.write_text(json.dumps(found, indent=2) + "\n")
    if arguments.against is None:
        return 0
    before = json.loads(arguments.against.read_text())
    changed = [name for name in sorted(before.keys() | found.keys()) if before.get(name) != found.get(name)]
    print("\n".join(changed) if changed else f"all {len(found)} hashes are the same")
    return int(bool(changed))


if __name__ == "__main__":
    sys.exit(main())
