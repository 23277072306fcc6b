from pathlib import Path

import pytest
from codec_models import noise_picture

gr = pytest.importorskip("gradio", reason="vqgen[app] is not installed")

from vqgen.app.controls import NO_LABEL  # noqa: E402
from vqgen.app.file_endpoints import Endpoints, add_file_endpoints  # noqa: E402
from vqgen.errors import DataError  # noqa: E402


@pytest.fixture
def endpoints(context):
    return Endpoints(context)


@pytest.fixture
def picture(tmp_path):
    noise_picture(12, 9).save(tmp_path / "a.png")
    return str(tmp_path / "a.png")


def test_schema_has_the_endpoints_with_the_names_of_their_parameters(context):
    with gr.Blocks() as page:
        add_file_endpoints(context)
    found = page.get_api_info()["named_endpoints"]
    names = {path: [each["parameter_name"] for each in found[path]["parameters"]] for path in found}
    assert names == {
        "/compress": ["model", "picture", "label"],
        "/decompress": ["model", "file"],
        "/codes": ["model", "label", "seed", "picture"],
        "/code_probabilities": ["model", "label", "seed", "picture", "level", "row", "column"],
        "/runs": [],
    }


def test_compressed_picture_is_decompressed(endpoints, picture):
    document, file = endpoints.compress("tiny", picture, "cat")
    assert document["label"] == 0
    header, restored = endpoints.decompress("tiny", file)
    assert header["label"] == "0 (cat)"
    assert Path(restored).read_bytes()[1:4] == b"PNG"


@pytest.mark.parametrize("label", ["", None, NO_LABEL])
def test_empty_label_means_none(endpoints, picture, label):
    assert endpoints.compress("tiny", picture, label)[0]["label"] is None


def test_codes_are_those_of_the_upload_or_of_a_drawn_picture(endpoints, pipe, picture):
    drawn = endpoints.codes("tiny", "cat", 3, None)
    codes = pipe(["cat"], seed=3).codes
    assert drawn["codes"] == {level: grid[0].tolist() for level, grid in codes.grids.items()}
    encoded = endpoints.codes("tiny", None, 0, picture)
    codes = pipe.encode([noise_picture(12, 9)])
    assert encoded["codes"] == {level: grid[0].tolist() for level, grid in codes.grids.items()}


def test_level_may_be_left_out(endpoints):
    likely = endpoints.code_probabilities("tiny", "cat", 3, None, "", None, 1)
    codes = endpoints.codes("tiny", "cat", 3, None)["codes"]
    assert (likely["row"], likely["column"]) == (0, 1)
    assert [each["code"] for each in likely["codes"] if each["is_drawn"]] == [codes["bottom"][0][1]]


def test_wrong_values_are_refused(endpoints):
    with pytest.raises(DataError, match="level"):
        endpoints.code_probabilities("tiny", "cat", 3, None, "<b>", 0, 0)
    with pytest.raises(DataError, match="label"):
        endpoints.codes("tiny", "bird", 0, None)


def test_runs_are_documents(endpoints, run_folder):
    (run,) = endpoints.runs()
    assert (run["name"], run["state"]) == ("noise", "complete")
