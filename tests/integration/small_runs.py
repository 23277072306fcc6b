"""The helpers of the integration tests: the installed command, recipes that train in seconds, pictures, comparisons."""

import hashlib
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
from PIL import Image

INSTALLED = Path(sys.executable).with_name("vqgen")
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")} | {
    "OMP_NUM_THREADS": "1"
}


@dataclass(frozen=True)
class Finished:
    """The result of a command: exit code, stdout and stderr."""

    code: int
    out: str
    err: str


def run_installed(
    *words: object, cwd: Path | None = None, timeout: float = 120, launcher: tuple[str, ...] = (), **variables: str
) -> Finished:
    """Runs the installed command in a process of its own, or the command `launcher`, followed by the words.

    Args:
        words: The arguments.
        cwd: Folder to run in.
        timeout: Seconds after which the test fails.
        launcher: The command; empty for `vqgen`.
        variables: Environment variables, added to `ENVIRONMENT`.
    """
    command = [*(launcher or (str(INSTALLED),)), *map(str, words)]
    finished = subprocess.run(
        command, cwd=cwd, env=ENVIRONMENT | variables, capture_output=True, text=True, timeout=timeout, check=False
    )
    return Finished(finished.returncode, finished.stdout, finished.stderr)


def start(*words: object, launcher: tuple[str, ...] = (str(INSTALLED),)) -> subprocess.Popen[str]:
    """Starts the installed command, or the command `launcher`, followed by the words."""
    command = [*launcher, *map(str, words)]
    return subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(path: Path, process: subprocess.Popen[str], seconds: float = 60) -> None:
    """Waits until a file exists and is not empty, while the process lives."""
    end = time.monotonic() + seconds
    while not (path.is_file() and path.stat().st_size):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.01)


def assert_refused(finished: Finished, *parts: str) -> None:
    """Asserts that a command ended with code 2 and a few plain lines on stderr that contain `parts`."""
    assert finished.code == 2, finished.out + finished.err
    lines = finished.err.splitlines()
    assert lines[0].startswith("vqgen: ")
    assert len(lines) <= 8
    for part in parts:
        assert part in finished.err, f"{part!r} is missing in: {finished.err}"
    assert "Traceback" not in finished.err
    assert "Error(" not in finished.err
    assert " object at 0x" not in finished.err


def small_document(levels: int = 2, **changes: Any) -> dict[str, Any]:
    """Builds the document of a recipe of digits at 16 x 16. `changes` replace keys, given as `section__key`."""
    train = {"steps": 24, "batch_size": 16, "validate_every": 12, "save_every": 5, "log_every": 4}
    prior = {
        "layers": 1, "channels": 8, "attention_every": 1, "attention_heads": 2, "conditioning_layers": 1,
        "train": {**train, "steps": 16, "validate_every": 8, "ema_decay": 0.9},
    }  # fmt: skip
    document: dict[str, Any] = {
        "name": "tiny",
        "data": {"source": "digits", "image_size": 16, "channels": 1},
        "vqvae": {
            "downsample": {1: [4], 2: [8, 4], 3: [8, 4, 2]}[levels], "codebook_size": 16, "embedding_dim": 4,
            "channels": 8, "residual_channels": 4, "residual_layers": 1, "restart_after": 10, "train": train,
        },
        "priors": [prior] * levels,
        "generate": {"images_per_label": 2},
    }  # fmt: skip
    for path, value in changes.items():
        section, key = path.split("__")
        document[section] = document[section] | {key: value}
    return document


def write_recipe(path: Path, document: dict[str, Any]) -> Path:
    """Writes a recipe file and returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(tomli_w.dumps(document))
    return path


def save_picture(path: Path, number: int, *, size: tuple[int, int] = (16, 16), grey: bool = False) -> None:
    """Writes a picture of smooth colours. Each number gives another picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(number).integers(0, 256, (4, 4) if grey else (4, 4, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(path)


def final_hashes(run: Path) -> dict[str, str]:
    """Returns file -> SHA-256 for all results of a run: weights, codes and pictures."""
    results = [
        *run.glob("*/model/*"),
        *run.glob("pipeline/**/*.safetensors"),
        *run.glob("codes/*.safetensors"),
        *run.glob("codes/manifest.json"),
        *run.glob("samples/**/*.png"),
        run / "samples" / "samples.json",
    ]
    return {path.relative_to(run).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(results)}


def all_files(folder: Path) -> dict[str, tuple[int, str]]:
    """Returns file -> (time of its last change, SHA-256) for every file below a folder."""
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def pixels(path: Path) -> np.ndarray:
    """Reads the pixels of a picture."""
    with Image.open(path) as image:
        return np.asarray(image)


def metrics(stage: Path) -> list[dict[str, float]]:
    """Reads the lines of metrics.jsonl in the folder of a stage."""
    return [json.loads(line) for line in (stage / "metrics.jsonl").read_text().splitlines()]


def record(stage: Path) -> dict[str, Any]:
    """Reads stage.json in the folder of a stage."""
    return json.loads((stage / "stage.json").read_text())
