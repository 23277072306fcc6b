"""The parts of `benchmarks.accelerator`: the program of each, its share of the time, and the file of its results."""

import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from benchmarks.programs import CHECKOUT
from vqgen.commands.evaluate import OF_SAMPLES
from vqgen.config import find_recipe, read_recipe
from vqgen.data.sources import open_images
from vqgen.errors import DataError
from vqgen.pipeline.folder import read_document
from vqgen.stages.records import read_record
from vqgen.training.metrics_log import read_metrics

_WITHOUT_PRIORS = ("--only", "reconstruction", "codes")
"""The metrics of a pipeline whose priors are not trained yet."""

_GUIDED = ("--guidance-scale", "1", "1.5", "--only", *OF_SAMPLES)
"""Guided at the bottom alone, as in docs/results/fashion-mnist.md, without the metrics that it does not change."""


@dataclass(frozen=True)
class Sizes:
    """The sizes of all parts.

    Attributes:
        sampling: Name of a part -> the sizes, grids and batches of `benchmarks.sampling`.
        training: Name of a part -> the cases of `benchmarks.training_step`.
        rounds: Rounds of the training steps.
        recipe: The recipe that is run as a whole.
        changes: Its overrides.
        judging: Options of `vqgen evaluate`.
    """

    sampling: dict[str, tuple[Sequence[str], Sequence[str], Sequence[str]]]
    training: dict[str, Sequence[str]]
    rounds: int
    recipe: str
    changes: Sequence[str]
    judging: Sequence[str]


FULL = Sizes(
    sampling={
        "sampling-6M": (("6M",), ("32", "64"), ("1", "64")),
        "sampling-paper-top": (("paper-top",), ("32",), ("1", "64")),
        "sampling-paper-bottom": (("paper-bottom",), ("64",), ("1", "64")),
    },
    training={
        f"training-{recipe}": [f"{recipe}-{stage}" for stage in ("vqvae", "top", "bottom")]
        for recipe in ("fashion-mnist", "cifar10", "paper")
    },
    rounds=5,
    recipe="fashion-mnist",
    changes=(),
    judging=["--images-per-label", "1000", "--classifier-steps", "600"],
)

_TINY_CHANGES = """
--data.augmented-copies 0 --data.image-size 8
--vqvae.downsample 4 2 --vqvae.codebook-size 8 --vqvae.embedding-dim 4 --vqvae.channels 8 --vqvae.residual-channels 4
--priors.0.channels 8 --priors.1.channels 8 --priors.1.layers 1 --priors.1.attention-every 1
--vqvae.train.steps 8 --priors.0.train.steps 4 --priors.1.train.steps 4
--classifier.channels 8 --classifier.train.steps 4 --generate.images-per-label 1 --force
"""

TINY = Sizes(
    sampling={"sampling-tiny": (("tiny",), ("4", "8"), ("1", "2"))},
    training={"training-tiny": ["tiny-vqvae", "tiny-top"]},
    rounds=1,
    recipe="digits",
    changes=_TINY_CHANGES.split(),
    judging=["--images-per-label", "4", "--classifier-steps", "2", "--real-images", "40"],
)

_GRACE = 5.0
"""Seconds that a program has after SIGTERM."""

_GRACE_OF_A_RUN = 30.0
"""Seconds that a run has after SIGTERM, to finish its step and to save its state."""

_SHARES = {"tests": 0.08, "sampling": 0.22, "training": 0.18, "recipe": 0.36, "judged": 0.16}
"""Share of the time of each group of parts. Parts of a group share it equally."""


class LeftOut(Exception):
    """A part that cannot run, with the reason."""


@dataclass(frozen=True)
class Part:
    """A part.

    Attributes:
        name: Its name.
        share: Its share of the time, relative to the shares of the other parts.
        words: Returns its program and arguments. It raises `LeftOut` if the part cannot run.
        result: Returns the results so far, with the names of those that are `left`; empty without any.
        grace: Seconds that the program has to save after SIGTERM.
    """

    name: str
    share: float
    words: Callable[[], list[str]]
    result: Callable[[], dict[str, Any]]
    grace: float = _GRACE


@dataclass(frozen=True)
class Parts:
    """The builder of all parts.

    Attributes:
        device: The device, without a number.
        is_tiny: True for tiny sizes.
        data_root: Folder of the images of the recipe. The tiny recipe needs none.
        work: Folder of the run and of the files of the parts.
    """

    device: str
    is_tiny: bool
    data_root: Path
    work: Path

    def all(self) -> list[Part]:
        """Returns the parts in their order."""
        words: dict[str, Callable[[], list[str]]] = {
            "tests": self._tests,
            **{name: partial(self._sampling, name) for name in self._sizes.sampling},
            **{name: partial(self._training, name) for name in self._sizes.training},
            "recipe": self._run,
            "judged-unguided": partial(self._judge, "judged-unguided"),
            "judged-guided": partial(self._judge, "judged-guided", *_GUIDED),
        }
        shares = dict(_SHARES)
        if self._missing_images:  # so that the other parts have the time
            shares |= {"recipe": 0.0, "judged": 0.0}
        groups = Counter(map(_group, words))
        return [
            Part(
                name,
                share=shares[_group(name)] / groups[_group(name)],
                words=make,
                result=self._reached if name == "recipe" else partial(_read, self._json(name)),
                grace=_GRACE_OF_A_RUN if name == "recipe" else _GRACE,
            )
            for name, make in words.items()
        ]

    @property
    def _sizes(self) -> Sizes:
        return TINY if self.is_tiny else FULL

    @property
    def _dtype(self) -> str:
        return "float32" if self.device == "cpu" else "bfloat16"

    @property
    def _folder(self) -> Path:
        """The folder of the run."""
        return self.work / self._sizes.recipe

    def _json(self, name: str) -> Path:
        return self.work / f"{name}.json"

    def _fresh_json(self, name: str) -> str:
        """Returns the file for the results of a part, without the results of an earlier start."""
        self._json(name).unlink(missing_ok=True)
        return str(self._json(name))

    def _tests(self) -> list[str]:
        outcomes = ["-p", "benchmarks.accelerator_tests", "--outcomes", self._fresh_json("tests")]
        return [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-n", "0", *outcomes, *files_with_gpu_tests()]

    def _sampling(self, name: str) -> list[str]:
        sizes, grids, batches = self._sizes.sampling[name]
        cases = ["--sizes", *sizes, "--grids", *grids, "--batches", *batches, "--alone"]
        return self._benchmark("sampling", name, *cases, "--dtype", self._dtype)

    def _training(self, name: str) -> list[str]:
        settings = ["--threads", "1", "--dtypes", "bfloat16", "float32", "--rounds", str(self._sizes.rounds)]
        return self._benchmark("training_step", name, "--cases", *self._sizes.training[name], *settings)

    def _benchmark(self, module: str, name: str, *words: str) -> list[str]:
        target = ["--device", self.device, "--json", self._fresh_json(name)]
        return [sys.executable, "-m", f"benchmarks.{module}", *words, *target]

    def _vqgen(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "vqgen", *words, "--device", self.device, "--dtype", self._dtype, "--quiet"]

    @cached_property
    def _missing_images(self) -> str:
        """The reason if the images of the recipe are missing; else empty."""
        recipe = read_recipe(find_recipe(self._sizes.recipe))
        # Without a network, a download would take the time of the part and fail in the end.
        data = recipe.data.model_copy(update={"download": False, "root": str(self.data_root)})
        try:
            open_images(data, recipe.seed)
        except DataError as error:
            return str(error)
        return ""

    def _run(self) -> list[str]:
        if self._missing_images:
            raise LeftOut(self._missing_images)
        place = ["--checkpoints", str(self.work), "--run-name", self._folder.name]
        return self._vqgen("run", self._sizes.recipe, *self._sizes.changes, *self._root("--data.root"), *place)

    def _judge(self, name: str, *options: str) -> list[str]:
        pipeline = self._folder / "pipeline"
        if not pipeline.is_dir():
            raise LeftOut("the run has no pipeline yet")
        document = read_document(pipeline)
        # The pipeline is written when the VQ-VAE exists, and again with each prior.
        if not all(f"prior-{level}" in document.hashes for level in document.levels):
            if options:
                raise LeftOut("the run has no priors yet that could be guided")
            options = _WITHOUT_PRIORS
        target = ["--json", self._fresh_json(name)]
        judging = [*options, *self._sizes.judging, *self._root("--data-root")]
        return self._vqgen("evaluate", str(self._folder), *judging, *target)

    def _root(self, option: str) -> list[str]:
        return [] if self.is_tiny else [option, str(self.data_root)]

    def _reached(self) -> dict[str, Any]:
        """Returns the state of each stage of the run."""
        path = self._folder / "recipe.toml"
        if not path.is_file():
            return {}
        stages = {stage: _stage(self._folder / stage) for stage in read_recipe(path).stage_names}
        return {"stages": stages, "left": [stage for stage, state in stages.items() if not state["complete"]]}


def files_with_gpu_tests() -> list[str]:
    """Lists the test files that need an accelerator. To import all the others would take half a minute."""
    files = sorted((CHECKOUT / "tests").rglob("test_*.py"))
    return [str(file.relative_to(CHECKOUT)) for file in files if "mark.gpu" in file.read_text(encoding="utf-8")]


def _group(name: str) -> str:
    return name.split("-")[0]


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _stage(folder: Path) -> dict[str, Any]:
    """Returns the state of a stage: its steps so far, and if it is complete its time and its metrics."""
    record = read_record(folder)
    log = folder / "metrics.jsonl"
    lines = read_metrics(log) if log.is_file() else []
    state: dict[str, Any] = {"complete": record is not None and record.complete}
    if lines:
        state["steps"] = lines[-1]["step"]
    if record is not None and record.complete:
        state |= {"seconds": record.seconds, "metrics": record.metrics}
    return state
