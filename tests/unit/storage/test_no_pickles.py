import ast
from pathlib import Path

import pytest

import vqgen

SOURCES = sorted(Path(vqgen.__file__).parent.rglob("*.py"))


PICKLERS = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
UNSAFE = {"torch.load", "torch.save", "accelerator.save_state", "accelerator.load_state", "accelerator.save"}


FOREIGN = "published.py"
"""The module that reads published weights, which torch wrote. It reads them as tensors only."""


OF_PIPES = {
    "runtime/child.py", "runtime/children.py", "runtime/collective.py", "runtime/fresh_python.py",
    "runtime/side_by_side.py",
}  # fmt: skip
"""The modules that send pickles to processes of their own launch, and read none that came from elsewhere."""


def relative(path):
    return path.relative_to(SOURCES[0].parent).as_posix()


@pytest.mark.parametrize("name", sorted(OF_PIPES))
def test_module_of_pipes_opens_no_file(name):
    (path,) = [path for path in SOURCES if relative(path) == name]
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    names = {ast.unparse(call.func) for call in calls}
    assert not [name for name in names if name == "open" or name.endswith((".read_bytes", "Path.open"))]


def test_published_weights_are_read_as_tensors_only():
    (path,) = [path for path in SOURCES if path.name == FOREIGN]
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    (load,) = [call for call in calls if ast.unparse(call.func) == "torch.load"]
    assert {keyword.arg: ast.unparse(keyword.value) for keyword in load.keywords}["weights_only"] == "True"


@pytest.mark.parametrize(
    "path",
    [path for path in SOURCES if path.name != FOREIGN and relative(path) not in OF_PIPES],
    ids=relative,
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
