"""The notebook is stored without outputs, and runs from its first cell to its last one with the shipped model."""

import json
import re
import sys
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "tour.ipynb"

BAR = re.compile(r"\s*samples: +\d+%\|.*\|\s*\d+/200 \[.*\]\s*")
"""A line of the progress bar."""


@pytest.fixture(scope="module")
def stored():
    return json.loads(NOTEBOOK.read_text(encoding="utf-8"))


def texts(stored, kind):
    return ["".join(cell["source"]) for cell in stored["cells"] if cell["cell_type"] == kind]


def test_stored_notebook_has_no_outputs_and_no_traces_of_a_machine(stored):
    for cell in stored["cells"]:
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"]) == ([], None)
        assert cell["metadata"] == {}
    assert stored["metadata"].keys() == {"kernelspec", "language_info"}
    assert stored["metadata"]["kernelspec"]["name"] == "python3"
    assert stored["metadata"]["language_info"] == {"name": "python"}
    assert not re.search(r"""["'( ](/[a-z]|[A-Z]:\\|~)""", "\n".join(texts(stored, "code")))


def test_stored_notebook_is_valid(stored):
    nbformat = pytest.importorskip("nbformat")
    nbformat.validate(nbformat.from_dict(stored))
    names = [cell["id"] for cell in stored["cells"]]
    assert len(set(names)) == len(names)


def test_links_lead_to_files(stored):
    links = [link for text in texts(stored, "markdown") for link in re.findall(r"\]\(([^)#]+)", text)]
    assert links
    for link in links:
        assert (NOTEBOOK.parent / link).is_file(), link


def test_code_compiles_and_lines_are_short(stored):
    for text in texts(stored, "code"):
        compile(text, "tour", "exec")
    for kind in ("code", "markdown"):
        assert all(len(line) <= 120 for text in texts(stored, kind) for line in text.splitlines())


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """The notebook with its outputs, from the interpreter of the tests and from no kernel that is installed."""
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager

    class OwnKernel(AsyncKernelManager):
        @property
        def kernel_spec(self) -> KernelSpec:
            words = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
            return KernelSpec(argv=words, display_name="tests", language="python")

    folder = tmp_path_factory.mktemp("jupyter")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    files = sorted(NOTEBOOK.parent.rglob("*"))
    with pytest.MonkeyPatch.context() as patch:
        for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR", "MPLCONFIGDIR"):
            patch.setenv(name, str(folder / name.lower()))
        resources = {"metadata": {"path": str(NOTEBOOK.parent)}}
        nbclient.NotebookClient(notebook, timeout=300, kernel_manager_class=OwnKernel, resources=resources).execute()
    assert sorted(NOTEBOOK.parent.rglob("*")) == files
    return notebook


def outputs(notebook, start):
    """The outputs of the cell that begins with `start`."""
    (cell,) = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.startswith(start)]
    return cell.outputs


@pytest.mark.slow
def test_tour_runs_from_the_first_cell_to_the_last(executed):
    code = [cell for cell in executed.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == [*range(1, len(code) + 1)]
    for cell in code:
        for output in cell.outputs:
            assert output.output_type != "error"
            if output.get("name") == "stderr":
                lines = re.split(r"[\r\n]+", output.text)
                assert all(not line.strip() or BAR.fullmatch(line) for line in lines), output.text


@pytest.mark.slow
def test_images_show_themselves_with_captions(executed):
    (shown,) = outputs(executed, "pipe(images_per_label=5, seed=0)")
    assert {"image/png", "text/html", "text/plain"} <= shown.data.keys()
    assert shown.data["text/html"].count("<img ") == 50
    assert shown.data["text/html"].count(" nats") == 50
    assert shown.data["text/plain"] == "GenerationOutput(50 images, seed 0)"


@pytest.mark.slow
def test_tour_shows_progress_pictures_and_an_animation(executed):
    bar = outputs(executed, "from vqgen.runtime.progress")
    assert any("200/200" in output.get("text", "") or "widget" in str(output.get("data", "")) for output in bar)
    assert any("image/png" in output.get("data", {}) for output in outputs(executed, "both = "))
    assert any("image/gif" in output.get("data", {}) for output in outputs(executed, "from pathlib"))
    (compressed,) = outputs(executed, "files = pipe.compress")
    assert compressed.text.endswith("equal to the reconstructions: True\n")
