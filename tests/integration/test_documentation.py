"""Every command and every block of Python on the pages runs here, in small and in the order of the page.

Each page has a folder of its own, with pictures and with small recipes under the names of the shipped ones. A run
folder appears in it as soon as a command or a block names it.
"""

import re
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest
import sklearn.datasets
from pages import CHECKOUT, Folder, blocks, commands, few_digits
from small_runs import ENVIRONMENT

from vqgen.cli import COMMANDS
from vqgen.config import (
    ClassifierSection,
    DataConfig,
    GenerateConfig,
    LossSettings,
    PriorSection,
    QuantizerSettings,
    TrainConfig,
    VQVAESection,
    check_recipe,
)
from vqgen.config.loading import validate_recipe

PAGES = [
    CHECKOUT / "README.md",
    *(CHECKOUT / folder / "README.md" for folder in ("pipelines", "benchmarks")),
    *sorted((CHECKOUT / "docs").rglob("*.md")),
]
MOST_WORDS = 900
LANGUAGES = ("bash", "python")
NOT_RUNNABLE = {"bibtex", "text", "toml"}
SLOW_PAGES = {
    "README.md", "docs/editing.md", "docs/results/photos.md",
    "docs/baselines.md", "docs/coming-from.md", "docs/concepts/codec.md", "docs/concepts/guidance.md",
    "docs/concepts/losses.md", "docs/concepts/networks.md", "docs/concepts/priors.md", "docs/concepts/quantizer.md",
    "docs/distributed.md", "docs/evaluation.md", "docs/recipes.md", "docs/report.md", "docs/results/baselines.md",
    "docs/results/compression.md", "docs/results/digits.md", "docs/results/fashion-mnist.md",
    "docs/results/flowers.md", "docs/trackers.md", "docs/tutorial.md", "pipelines/README.md",
}  # fmt: skip


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the runs that several pages use."""
    return tmp_path_factory.mktemp("runs")


def named(page: Path) -> str:
    return page.relative_to(CHECKOUT).as_posix()


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=named(page), marks=[pytest.mark.slow] * (named(page) in SLOW_PAGES))
        for page in PAGES
        if blocks(page, *LANGUAGES)
    ],
)
def test_page_can_be_followed(page, tmp_path, runs, vqgen, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = Folder(tmp_path, runs, vqgen)
    names = {"__name__": "page"}
    for language, text in blocks(page, *LANGUAGES):
        if language == "bash":
            for command in commands(text):
                folder.follow(command)
        elif "gradio_client" not in text:  # those ask a page that is served, and test_app runs them
            folder.provide_runs(text)
            with monkeypatch.context() as patch:
                patch.setattr(sklearn.datasets, "load_digits", few_digits)
                exec(compile(text, named(page), "exec"), names)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_blocks_have_a_language_that_is_run_or_cannot_run(page):
    opened = re.findall(r"^[ \t]*```(.*)$", page.read_text(), re.MULTILINE)[::2]
    assert set(opened) <= {*LANGUAGES, *NOT_RUNNABLE}
    assert len(opened) == len(blocks(page, *LANGUAGES, *NOT_RUNNABLE))  # none is indented, and so overlooked


SECTIONS = (
    DataConfig, VQVAESection, QuantizerSettings, LossSettings, PriorSection, TrainConfig, ClassifierSection,
    GenerateConfig,
)  # fmt: skip
"""Sections whose fields the reference of recipes has."""


def test_generated_references_have_every_command_and_every_field(monkeypatch):
    monkeypatch.syspath_prepend(CHECKOUT / "docs")
    hooks = import_module("hooks")
    commands_text, fields_text = (hooks.fill(f"<!-- {name} -->") for name in ("commands", "recipe"))
    for name in COMMANDS:
        assert f"## vqgen {name}\n" in commands_text
    for option in ("--images-per-label", "--dry-run", "--coder"):
        assert f"`{option}`" in commands_text
    for section in SECTIONS:
        for field in section.model_fields.keys() - {"train", "quantizer", "losses"}:
            assert f"| `{field}` |" in fields_text


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
    for picture in re.findall(r'<img [^>]*src="([^"]+)"', prose):
        assert (page.parent / picture).is_file(), picture
    for target, anchor in re.findall(r"\]\(([^)\s#]*)(?:#([^)\s]*))?\)", prose):
        if ":" in target:
            continue
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), target
        if anchor and path != CHECKOUT / "docs" / "reference" / "commands.md":  # its headings are made from the code
            assert anchor in anchors(path), f"{target}#{anchor}"


def anchors(page: Path) -> set[str]:
    """Returns the addresses of the headings of a page and of the file that it includes."""
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
