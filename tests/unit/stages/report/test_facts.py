import json

from vqgen.stages.report.facts import evaluation_section, making_section, overview_section, recipe_section
from vqgen.stages.report.run_folder import read_run


def test_overview_has_the_measurements_and_the_stages(finished):
    facts, stages = overview_section([read_run(finished)]).blocks
    assert [fact.name for fact in facts.facts] == ["PSNR", "rate of the codes", "rate by the priors", "samples", "time"]
    assert facts.facts[1].values == ["0.938"]  # 3 bits for each of 4 + 16 codes, and 64 pixels
    assert {line.state for line in stages.lines} == {"done"}


def test_stages_are_done_working_or_waiting(run_copy):
    (run_copy / "samples" / "stage.json").unlink()
    path = run_copy / "prior-bottom" / "stage.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"complete": False}))
    *_, stages = overview_section([read_run(run_copy)]).blocks
    assert [(line.name, line.state) for line in stages.lines][3:] == [
        ("prior of bottom", "working"),
        ("classifier", "done"),
        ("samples", "waiting"),
    ]
    assert stages.lines[3].text == "at step 4 of 4 (100%)"


def test_fields_that_differ_between_runs_are_listed(run_copy, finished):
    recipe = run_copy / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("codebook_decay = 0.99\n", "codebook_decay = 0.9\n"))
    runs = [read_run(finished, "one"), read_run(run_copy, "other")]
    *texts, table = recipe_section(runs).blocks
    assert [text.title for text in texts] == ["one", "other"]
    assert table.rows == [["vqvae.codebook_decay", "0.99", "0.9"]]
    assert table.summary == "One field of these recipes differs"


def evaluation(model, **changes):
    metric = {"group": "codes", "name": "usage_top", "value": 0.5, "floor": None, "space": "codes", "counts": {"a": 1}}
    return json.dumps({"model": model, "metrics": [metric | changes], "left_out": {}})


def test_evaluations_in_the_run_folder_are_shown(run_copy):
    run = read_run(run_copy)
    assert evaluation_section([run]) is None
    (run_copy / "evaluation.json").write_text(evaluation(run.records["vqvae"].output))
    (table,) = evaluation_section([run]).blocks
    assert table.rows == [["codes", "usage top", "0.5", "-", "codes", "1 a"]]
    assert "earlier model" not in table.caption
    (run_copy / "evaluation.json").write_text(evaluation("another", floor=0.25))
    (table,) = evaluation_section([run]).blocks
    assert table.rows[0][3] == "0.25" and "an earlier model" in table.caption


def test_other_json_files_are_no_evaluations(run_copy):
    for number, text in enumerate(
        ["[]", "{}", '{"metrics": 1}', "damaged", '{"metrics": [{"value": "x"}], "model": ""}']
    ):
        (run_copy / f"{number}.json").write_text(text)
    assert evaluation_section([read_run(run_copy)]) is None


def test_last_section_has_times_sizes_versions_and_the_command(finished):
    metrics, sizes, environment, _, command = making_section([read_run(finished)]).blocks
    assert ["samples", "images", "6"] in metrics.rows
    assert [row[0] for row in sizes.rows][:2] == ["VQ-VAE", "codes"]
    assert sizes.rows[0][2].endswith("B")
    assert {"python", "torch", "device", "threads"} <= {row[0] for row in environment.rows}
    assert command.text.startswith("vqgen run ")
