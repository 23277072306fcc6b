"""Follows the pages as a reader does: their blocks, and the folder in which their commands run in small."""

import json
import re
import shlex
import shutil
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout, suppress
from importlib import import_module
from inspect import signature
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import sklearn.datasets
from accelerate.state import AcceleratorState
from sklearn.utils import Bunch
from small_runs import Finished, save_picture, write_recipe

from vqgen.config import shipped_recipes

CHECKOUT = Path(__file__).parents[2]

NOT_RUN = {
    "pip install": "would change the environment of the tests",
    "pytest": "runs the tests, this one too",
    "vqgen app": "never ends; test_app serves it",
    "curl": "asks a page that is served; test_app runs it",
    "mkdocs serve": "never ends; test_documentation builds the pages",
    "sbatch": "needs a cluster",
}
"""Beginning of the commands that are not run -> the reason. The files and extras that they name have to exist."""

VARIABLES = re.compile(r"^(?:[A-Z_]+=\S+ )+")
"""Variables of the environment before a command."""

LAUNCHERS = re.compile(r"(torchrun|accelerate launch)( --?\w+ \S+)* -m vqgen ")
"""Launchers are left out: test_launching starts several processes."""

JUDGED = "--images-per-label 8 --classifier-steps 2 --real-images 80 --score-seeds 1 --quiet"

SMALLER = {
    "compare": JUDGED,
    "complete": "--sweeps 1 --overwrite",
    "decompress": "--overwrite",
    "evaluate": JUDGED,
    "evaluate-codec": "--images 2",
    "generate": "--images-per-label 2",
    "inpaint": "--sweeps 1 --overwrite",
    "plan": "--no-measure",
    "run": "--force",  # after two steps codes may have collapsed
    "sweep": JUDGED,
    "train-prior": "--force",
    "vary": "--sweeps 1 --overwrite",
}
"""Command -> words that are appended to run it in small. `python -m benchmarks.*` is asked for its help instead."""

AS_THEY_ARE = {
    "--help", "archive", "attribute", "completion", "compress", "decode", "doctor", "encode", "extract-codes",
    "generate-samples", "info", "inspect", "interpolate", "recipes", "reconstruct", "report", "train-autoencoder",
    "train-classifier", "train-vqvae",
}  # fmt: skip
"""Commands that need no more words."""

EXIT_CODES = {"--allow-partial": 1}
"""Option -> the exit code of a command with it: its file on the page is cut short."""

TRAINING = {
    "run",
    "train-vqvae",
    "train-autoencoder",
    "extract-codes",
    "train-prior",
    "train-classifier",
    "generate-samples",
}
"""Commands that take a recipe and train."""

LEAST = {"image-size": 16, "steps": 2, "batch-size": 8, "channels": 8, "layers": 1}
"""Field of a recipe -> its value here, if a command sets it."""

OTHER_RUNS = {
    "digits-16": ("digits", "--vqvae.codebook-size", "8"),
    "try-2": ("digits", "--priors.1.dropout", "0.3"),
}
"""Name of a run that no recipe has -> how it is made."""


def blocks(page: Path, *languages: str) -> list[tuple[str, str]]:
    """Returns the fenced blocks of a page in some languages: language and text."""
    found = re.findall(r"^```(\w+)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    return [(language, text) for language, text in found if language in languages]


def commands(text: str) -> Iterator[str]:
    """Yields the commands of a block, without comments, continued lines and redirections."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        for command in shlex.join(words).split(" '&&' "):
            if command:
                yield command.partition(" '>' ")[0]


def small_recipe(name: str) -> dict[str, Any]:
    """Returns a shipped recipe with the same sections, small enough to train in a second or two."""
    document = tomllib.loads(shipped_recipes()[name].read_text())
    data = document["data"]
    data |= {"source": "digits" if data["source"] != "folder" else "folder", "image_size": 16, "workers": 0}
    if data.get("augmented_copies"):
        data["augmented_copies"] = 1
    attention = {"attention_every": 1, "attention_heads": 2}
    sizes = {
        "vqvae": {"codebook_size": 16, "embedding_dim": 4, "residual_channels": 4, "residual_layers": 1},
        "priors": {"layers": 1, **attention, "conditioning_layers": 1, "guide_share": 0.5},
        "classifier": {"stages": 1},
        "autoencoder": {"hidden": 8, "residual_channels": 4},
    }  # fmt: skip
    for section, changes in sizes.items():
        for part in document.get("priors", []) if section == "priors" else [document.get(section)]:
            if part is not None:
                part |= changes | {"channels": 8}
                ema = {"ema_decay": 0.9} if "ema_decay" in part.get("train", {}) else {}
                part["train"] = {"steps": 2, "batch_size": 8, "validate_every": 2, "learning_rate": 1e-3} | ema
    document.setdefault("classifier", {"channels": 8, "stages": 1, "train": {"steps": 2, "batch_size": 8}})
    document["generate"] = {"images_per_label": 1}
    return document


class Folder:
    """The folder of a reader who follows a page."""

    def __init__(self, root: Path, runs: Path, vqgen: Callable[..., Finished]) -> None:
        self.root = root
        self.runs = runs
        self.vqgen = vqgen
        for name in shipped_recipes():
            write_recipe(root / "pipelines" / f"{name}.toml", small_recipe(name))
        tutorial = small_recipe("folder") | {"name": "photos"}
        tutorial["data"]["root"] = "photos"
        write_recipe(root / "my.toml", tutorial)
        for number, name in enumerate(("some.png", "one.png", "other.png", "without/x.png", "with/x.png")):
            save_picture(root / name, number, grey=True)
        for number, name in enumerate(("x.jpg", "a/x.jpg", "3/y.png", "3/z.png", "8/y.png", "8/z.png")):
            save_picture(root / "folder" / name, number, size=(20, 33))
        for number in range(24):
            save_picture(root / "photos" / "37"[number % 2] / f"{number:04d}.png", number, size=(32, 32))
        shutil.copytree(root / "photos", root / "flowers128")
        points = [{"bpp": 0.5 * 2**number, "psnr": 10.0 + 3 * number, "ms_ssim": 0.5} for number in range(4)]
        (root / "paper.json").write_text(json.dumps({"name": "paper", "points": points}))
        shutil.copytree(CHECKOUT / "checkpoints" / "pretrained", root / "checkpoints" / "pretrained")

    def provide_runs(self, text: str) -> None:
        """Puts the runs that a text names into the folder; each is made once for all pages."""
        for name in dict.fromkeys(re.findall(r"checkpoints/([\w-]+)", text)):
            recipe, *words = OTHER_RUNS.get(name, (name,))
            if recipe not in shipped_recipes() or (self.root / "checkpoints" / name).exists():
                continue
            if not (self.runs / name).exists():
                path = self.root / "pipelines" / f"{recipe}.toml"
                self.run("vqgen", "run", path, "--checkpoints", self.runs, "--run-name", name, "--force", *words)
            shutil.copytree(self.runs / name, self.root / "checkpoints" / name)

    def follow(self, command: str) -> None:
        """Runs a command of a page in small."""
        command = VARIABLES.sub("", command)
        check_names(command)
        command = LAUNCHERS.sub("vqgen ", command)
        if any(f"{command} ".startswith(f"{beginning} ") for beginning in NOT_RUN):
            return
        if command.startswith("python -m benchmarks"):
            check_benchmark(command)
        else:
            self.follow_small(command)

    def follow_small(self, command: str) -> None:
        words = shlex.split(command)
        assert words[0] == "vqgen" and words[1] in {*SMALLER, *AS_THEY_ARE}, f"no test runs `{command}`; extend SMALLER"
        if words[1] == "run" and len(words) == 3:  # made before for all pages; this command then skips its stages
            self.provide_runs(f"checkpoints/{words[2]}")
        self.provide_runs(command)
        self.run(*smaller(words), *shlex.split(SMALLER.get(words[1], "")))

    def run(self, *words: object) -> None:
        """Runs a command of vqgen and asserts its exit code: 0, unless its page shows a damaged file."""
        finished = self.vqgen(*words[1:])
        AcceleratorState._reset_state(reset_partial_state=True)  # the next command may have another dtype
        code = max((EXIT_CODES.get(str(word), 0) for word in words), default=0)
        assert finished.code == code, f"{shlex.join(map(str, words))}: {finished.err}"


def smaller(words: Sequence[str]) -> list[str]:
    """Returns the words of a command with the small recipe of the same name and small values of its fields."""
    is_training = words[1] in TRAINING
    made = []
    for before, word in zip(["", *words], words, strict=False):
        field = before.rpartition(".")[2] if "." in before and before.startswith("--") else ""
        if is_training and before == words[1] and word in shipped_recipes():
            word = f"pipelines/{word}.toml"
        elif is_training and field in LEAST:
            word = str(LEAST[field])
        if not word.endswith(".train.compile"):  # needs a compiler, and half a minute
            made.append(word)
    return made


def check_names(command: str) -> None:
    """Asserts that the checkout has the extras and the recipe files that a command names."""
    extras = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for extra in re.findall(r"\[(\w+)\]", command):
        assert extra in extras, command
    for path in re.findall(r"pipelines/\S+", command):
        assert (CHECKOUT / path).is_file(), command


def check_benchmark(command: str) -> None:
    """Asserts that the help of a benchmark has every option that the command gives it."""
    _, _, module, *words = shlex.split(command)
    program = import_module("benchmarks.__main__" if module == "benchmarks" else module)
    takes_words = bool(signature(program.main).parameters)
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()) as output, suppress(SystemExit):
        patch.setattr(sys, "argv", [module, "--help"])
        program.main(*([["--help"]] if takes_words else []))
    takes_fields = "are fields of the" in output.getvalue()
    for word in words:
        if takes_fields and word.startswith("--") and "." in word:
            continue
        assert not word.startswith("--") or word in output.getvalue(), f"`{command}`: --help does not have {word}"


def few_digits(load: Callable[[], Any] = sklearn.datasets.load_digits) -> Any:
    """Returns the first 60 of scikit-learn's digits."""
    digits = load()
    return Bunch(images=digits.images[:60], target=digits.target[:60])
