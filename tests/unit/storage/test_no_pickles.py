import ast
from pathlib import Path

import pytest

import vqgen

SOURCES = sorted(Path(vqgen.__file__).parent.rglob("*.py"))


PICKLERS = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
UNSAFE = {"torch.load", "torch.save", "accelerator.save_state", "accelerator.load_state", "accelerator.save"}


FOREIGN = "published.py"
"""The module that reads published weights, which torch wrote. It reads them as tensors only."""


def test_published_weights_are_read_as_tensors_only():
    (path,) = [path for path in SOURCES if path.name == FOREIGN]
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    (load,) = [call for call in calls if ast.unparse(call.func) == "torch.load"]
    assert {keyword.arg: ast.unparse(keyword.value) for keyword in load.keywords}["weights_only"] == "True"


@pytest.mark.parametrize(
    "path",
    [path for path in SOURCES if path.name != FOREIGN],
    ids=lambda path: str(path.relative_to(SOURCES[0].parent)),
)
def test_module_reads_and_writes_no_pickle(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        imported = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        imported += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert not {name.split(".")[0] for name in imported} & PICKLERS
        if isinstance(node, ast.Attribute):
            assert not any(ast.unparse(node).endswith(name) for name in UNSAFE), ast.unparse(node)
            assert node.attr != "register_for_checkpointing"
        if isinstance(node, ast.keyword):
            assert node.arg not in ("allow_pickle", "weights_only")


def test_search_for_pickles_covers_the_whole_package():
    assert len(SOURCES) > 60
    assert {"checkpoint.py", "code_store.py", "training.py"} <= {path.name for path in SOURCES}
