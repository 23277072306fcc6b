"""The rules of the house that no other tool checks: sizes, first words of docstrings, a test file for each module."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for folder in ("vqgen", "tests", "benchmarks") for path in (ROOT / folder).rglob("*.py"))
MODULES = [path for path in sorted((ROOT / "vqgen").rglob("*.py")) if not path.name.startswith("__")]
QUESTIONS = {"What", "Whether", "How", "Which", "Where", "Who", "Theirs"}


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def docstrings(path: Path) -> list[str]:
    """All docstrings of a file, of its attributes too: every expression that is a string alone."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    values = [node.value for node in nodes if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)]
    return [value.value for value in values if isinstance(value.value, str)]


def first_word(text: str) -> str:
    return (text.split(maxsplit=1) or [""])[0]


def has_logic(path: Path) -> bool:
    return any(isinstance(node, ast.FunctionDef) for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def test_few_modules_lie_beside_the_rooms():
    assert len(list((ROOT / "vqgen").glob("*.py"))) <= 8


def test_files_are_short():
    assert [relative(path) for path in SOURCES if len(path.read_text(encoding="utf-8").splitlines()) > 320] == []


def test_docstrings_do_not_open_with_a_question():
    assert [
        (relative(path), text) for path in SOURCES for text in docstrings(path) if first_word(text) in QUESTIONS
    ] == []


def test_modules_with_logic_have_their_test_files():
    expected = [(ROOT / "tests" / "unit" / path.relative_to(ROOT / "vqgen").parent, path) for path in MODULES]
    missing = [path for room, path in expected if has_logic(path) and not (room / f"test_{path.name}").is_file()]
    assert list(map(relative, missing)) == []


def test_readme_is_one_page():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= 900
