import pytest

gr = pytest.importorskip("gradio", reason="vqgen[app] is not installed")

from vqgen.app.http_api import _generate, _models, add_endpoints  # noqa: E402


def test_models_are_described(context):
    (found,) = _models(context)()
    assert (found["name"], found["labels"][0], found["levels"]) == ("tiny", "cat", ["top", "bottom"])


def test_pictures_come_with_their_files_and_settings(context, unchecked_annotations):
    *steps, (pictures, facts) = _generate(context)(labels=["cat"], images_per_label=2, seed=4)
    assert steps == [([], {"drawn": 0, "total": 2})] * 2
    assert [each["settings"]["index"] for each in pictures] == [0, 1]
    assert pictures[0]["picture"]["path"].endswith("4-0000.png")
    assert facts["codes"]["path"].endswith("codes.zip")


def test_single_value_stands_for_a_list_of_one(context, unchecked_annotations):
    *_, (pictures, _) = _generate(context)(labels="cat", temperature=0.5)
    assert pictures[0]["settings"]["temperature"] == 0.5


def test_schema_has_the_defaults(context, unchecked_annotations):
    with gr.Blocks() as page:
        add_endpoints(context)
    found = page.get_api_info()["named_endpoints"]["/generate"]["parameters"]
    assert {each["parameter_name"]: each["parameter_default"] for each in found}["images_per_label"] == 1
