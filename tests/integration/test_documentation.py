"""The pages are true: every command and every block of Python on them runs here, in small, in the order of the page.

A page runs in a folder of its own. It holds pictures, shipped recipes made small under their own names, and, as soon as
a command or a block names one, the run that the recipe makes.
"""

import re
import shlex
import shutil
import subprocess
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
from small_runs import ENVIRONMENT, Finished, save_picture, write_recipe

from vqgen.config import check_recipe, shipped_recipes
from vqgen.config.loading import validate_recipe

CHECKOUT = Path(__file__).parents[2]
PAGES = [
    CHECKOUT / "README.md",
    *(CHECKOUT / folder / "README.md" for folder in ("pipelines", "benchmarks")),
    *sorted((CHECKOUT / "docs").rglob("*.md")),
]
MOST_WORDS = 900

NOT_RUN = {
    "pip install": "would change the environment of the tests",
    "pytest": "runs the tests, this one too",
    "mkdocs serve": "never ends; the build of the pages is tested below",
    "sbatch": "needs a cluster",
}
"""Beginnings of the commands that are not run, with the reason. Files and extras that they name are looked for."""

LAUNCHERS = re.compile(r"(torchrun|accelerate launch)( --?\w+ \S+)* -m vqgen ")
"""Launchers are left out: test_launching starts several processes."""

JUDGED = "--images-per-label 8 --classifier-steps 2 --real-images 80 --score-seeds 1 --quiet"

SMALLER = {
    "vqgen --help": "",
    "vqgen attribute": "",
    "vqgen compare": JUDGED,
    "vqgen completion": "",
    "vqgen compress": "",
    "vqgen decode": "",
    "vqgen decompress": "--overwrite",
    "vqgen doctor": "",
    "vqgen encode": "",
    "vqgen evaluate": JUDGED,
    "vqgen evaluate-codec": "--images 2",
    "vqgen extract-codes": "",
    "vqgen generate": "--images-per-label 2",
    "vqgen generate-samples": "",
    "vqgen info": "",
    "vqgen inspect": "",
    "vqgen interpolate": "",
    "vqgen plan": "--no-measure",
    "vqgen recipes": "",
    "vqgen reconstruct": "",
    "vqgen run": "--force",
    "vqgen sweep": JUDGED,
    "vqgen train-autoencoder": "",
    "vqgen train-classifier": "",
    "vqgen train-prior": "--force",
    "vqgen train-vqvae": "",
}
"""Command -> words that are appended to run it in small; after two steps codes may have collapsed, hence `--force`.
`python -m benchmarks.*` is asked for its help instead."""

SLOW_PAGES = {"docs/results/baselines.md", "docs/results/digits.md", "docs/results/fashion-mnist.md"}

LEAST = {"image-size": 16, "steps": 2, "batch-size": 8, "channels": 8, "layers": 1}
"""Field of a recipe -> its value here, if a command sets it."""

OTHER_RUNS = {"try-2": ("digits", "--priors.1.dropout", "0.3")}
"""Name of a run that no recipe has -> how it is made."""


def blocks(page: Path, *languages: str) -> list[tuple[str, str]]:
    """The fenced blocks of a page in some languages: language and text."""
    found = re.findall(r"^```(\w+)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    return [(language, text) for language, text in found if language in languages]


def commands(text: str) -> Iterator[str]:
    """The commands of a block, without comments, continuations and the file that the output goes to."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        for command in shlex.join(words).split(" '&&' "):
            if command:
                yield command.partition(" '>' ")[0]


def small_recipe(name: str) -> dict[str, Any]:
    """A shipped recipe with its own sections, so small that it trains in a second or two."""
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
    """The folder in which a page is followed."""

    def __init__(self, root: Path, runs: Path, vqgen: Callable[..., Finished]) -> None:
        self.root, self.runs, self.vqgen = root, runs, vqgen
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
        command = LAUNCHERS.sub("vqgen ", command)
        reason = next((reason for words, reason in NOT_RUN.items() if f"{command} ".startswith(f"{words} ")), None)
        if reason is not None:
            check_names(command)
        elif command.startswith("python -m benchmarks"):
            check_benchmark(command)
        else:
            self.follow_small(command)

    def follow_small(self, command: str) -> None:
        words = shlex.split(command)
        kind = " ".join(words[:2])
        assert kind in SMALLER, f"`{command}` is on a page, and SMALLER says nothing of {kind!r}"
        if kind == "vqgen run" and len(words) == 3:  # complete then, and looked through stage by stage
            self.provide_runs(f"checkpoints/{words[2]}")
        self.provide_runs(command)
        self.run(*smaller(words), *shlex.split(SMALLER[kind]))

    def run(self, *words: object) -> None:
        """Runs a command of vqgen and asserts that it does well."""
        finished = self.vqgen(*words[1:])
        AcceleratorState._reset_state(reset_partial_state=True)  # the next command may have another dtype
        assert finished.code == 0, f"{shlex.join(map(str, words))}: {finished.err}"


def smaller(words: Sequence[str]) -> list[str]:
    """A command's words with the small recipe of that name, and with small numbers for the fields of a recipe."""
    is_training = words[1] == "run" or words[1].startswith(("train-", "extract-", "generate-s"))
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
    """Asserts that files and extras exist that a command names which is not run."""
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
    for word in words:
        assert not word.startswith("--") or word in output.getvalue(), f"`{command}`: --help does not have {word}"


def few_digits(load: Callable[[], Any] = sklearn.datasets.load_digits) -> Any:
    """The first of scikit-learn's digits."""
    digits = load()
    return sklearn.utils.Bunch(images=digits.images[:60], target=digits.target[:60])


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the runs that several pages use."""
    return tmp_path_factory.mktemp("runs")


def named(page: Path) -> str:
    return page.relative_to(CHECKOUT).as_posix()


@pytest.mark.parametrize(
    "page", [pytest.param(p, id=named(p), marks=[pytest.mark.slow] * (named(p) in SLOW_PAGES)) for p in PAGES]
)
def test_page_can_be_followed(page, tmp_path, runs, vqgen, monkeypatch):
    steps = blocks(page, "bash", "python")
    if not steps:
        pytest.skip("has nothing to run")
    monkeypatch.chdir(tmp_path)
    folder, names = Folder(tmp_path, runs, vqgen), {"__name__": "page"}
    for language, text in steps:
        if language == "bash":
            for command in commands(text):
                folder.follow(command)
        else:
            folder.provide_runs(text)
            with monkeypatch.context() as patch:
                patch.setattr(sklearn.datasets, "load_digits", few_digits)
                exec(compile(text, named(page), "exec"), names)


def test_recipes_on_the_pages_are_recipes():
    documents = [(page, tomllib.loads(text)) for page in PAGES for _, text in blocks(page, "toml")]
    assert len(documents) >= 3
    for page, document in documents:
        assert check_recipe(validate_recipe(document, origin=named(page))) == []


def test_commands_are_read_as_a_shell_reads_them():
    text = "pip install . && vqgen run digits  # trains\n\n# nothing\nvqgen info \\\n  'a b' > out.txt\n"
    assert list(commands(text)) == ["pip install .", "vqgen run digits", "vqgen info 'a b'"]


def test_readme_is_short_and_has_the_two_commands():
    text = (CHECKOUT / "README.md").read_text()
    assert len(text.split()) <= MOST_WORDS
    assert ["pip install -e .", "vqgen run digits", "pip install -e '.[test]'", "pytest"] in [
        list(commands(block)) for _, block in blocks(CHECKOUT / "README.md", "bash")
    ]


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_to_files_and_headings(page):
    prose = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for target, anchor in re.findall(r"\]\(([^)\s#]*)(?:#([^)\s]*))?\)", prose):
        if ":" in target:
            continue
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), target
        if anchor and path != CHECKOUT / "docs" / "reference" / "commands.md":  # its headings are made from the code
            assert anchor in anchors(path), f"{target}#{anchor}"


def anchors(page: Path) -> set[str]:
    """The addresses of a page's headings, and of those that it includes."""
    text = page.read_text()
    for included in re.findall(r"^<!-- include: (\S+) -->$", text, re.MULTILINE):
        text += (CHECKOUT / included).read_text()
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading.lower())).strip("-") for heading in headings}


@pytest.mark.slow
def test_site_is_built_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path):
    for module in ("mkdocs", "material", "mkdocstrings", "mkdocstrings_handlers.python"):
        pytest.importorskip(module)
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site"]
    variables = ENVIRONMENT | {"NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(words, cwd=CHECKOUT, env=variables, capture_output=True, text=True, timeout=120, check=False)
    assert built.returncode == 0, built.stderr
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > len([page for page in PAGES if "docs" in page.parts])
    for page in pages:
        loaded = re.findall(r"""<(?:script|img|link)[^>]*(?:src|href)=["'](?:https?:)?//""", page.read_text())
        assert loaded == [], page
