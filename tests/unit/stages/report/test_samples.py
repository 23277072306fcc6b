import json

import pytest
from reported_runs import EVIL, splits

from vqgen.errors import CheckpointError, DataError
from vqgen.stages.report.kept_images import opener_of
from vqgen.stages.report.run_folder import read_run
from vqgen.stages.report.samples import extremes_section, read_samples, samples_section


def changed(run_copy, change):
    path = run_copy / "samples" / "samples.json"
    found = json.loads(path.read_text())
    change(found)
    path.write_text(json.dumps(found))
    return read_run(run_copy)


def test_each_label_has_a_row_with_likelihoods(finished):
    run = read_run(finished)
    section = samples_section([run], [read_samples(run)])
    (gallery,) = section.blocks
    assert [row.name for row in gallery.rows] == ["cat", EVIL, "a & b"]
    listed = json.loads((finished / "samples" / "samples.json").read_text())["images"]
    notes = [picture.note for row in gallery.rows for picture in row.pictures]
    assert notes == [f"{entry['log_likelihood']:.1f}" for entry in listed]


def test_runs_stand_below_each_other_label_by_label(finished):
    runs = [read_run(finished, "one"), read_run(finished, "other")]
    (gallery,) = samples_section(runs, [read_samples(run) for run in runs]).blocks
    assert [row.name for row in gallery.rows][:3] == ["cat: one", "cat: other", f"{EVIL}: one"]


def test_likeliest_and_least_likely_samples_have_their_nearest_images(finished):
    run = read_run(finished)
    section = extremes_section([run], [read_samples(run)], [opener_of(run, splits())])
    (gallery,) = section.blocks
    assert [row.name for row in gallery.rows] == [
        "likeliest samples",
        "their nearest training images",
        "least likely samples",
        "their nearest training images",
    ]
    likely, unlikely = (
        [float(picture.note.rsplit(" ", 1)[1]) for picture in row.pictures] for row in gallery.rows[::2]
    )
    assert [*likely, *unlikely[::-1]] == sorted([*likely, *unlikely], reverse=True)
    assert len(likely) == len(unlikely) == 3
    assert "the nearest of 20 training images" in gallery.caption


def test_pages_of_one_run_and_of_several_share_the_kept_images(finished):
    runs = [read_run(finished, name) for name in "ab"]

    def fail():
        raise DataError("no images")

    section = extremes_section(runs, [read_samples(run) for run in runs], [fail, fail])
    assert [block.kind for block in section.blocks] == ["gallery", "gallery"]
    assert {len(row.pictures) for block in section.blocks for row in block.rows} == {2}


def test_samples_of_a_model_without_likelihoods_are_taken_evenly(run_copy):
    run = changed(run_copy, lambda found: [entry.pop("log_likelihood") for entry in found["images"]])
    (gallery,) = samples_section([run], [read_samples(run)]).blocks
    assert {picture.note for row in gallery.rows for picture in row.pictures} == {""}
    (gallery,) = extremes_section([run], [read_samples(run)], [opener_of(run, splits())]).blocks
    assert [row.name for row in gallery.rows] == ["samples", "their nearest training images"]


def test_training_images_that_are_not_here_leave_a_sentence(run_copy):
    def missing():
        raise DataError("the disk is not mounted")

    (run_copy / "report" / "nearest.safetensors").unlink()
    run = read_run(run_copy)
    (block,) = extremes_section([run], [read_samples(run)], [missing]).blocks
    assert "the disk is not mounted" in block.paragraphs[0]


def test_run_without_samples_has_no_section(run_copy):
    (run_copy / "samples" / "stage.json").unlink()
    run = read_run(run_copy)
    assert read_samples(run) is None
    assert samples_section([run], [None]) is None
    assert extremes_section([run], [None], [opener_of(run)]) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda found: found["images"][0].update(file="../../secret.png"),
        lambda found: found["images"][0].update(label=99),
        lambda found: found.pop("labels"),
        lambda found: found.update(images=7),
    ],
)
def test_odd_lists_are_refused(run_copy, change):
    with pytest.raises(CheckpointError, match="is not a list of samples"):
        read_samples(changed(run_copy, change))


def test_missing_picture_is_named(run_copy):
    run = read_run(run_copy)
    samples = read_samples(run)
    samples.samples[0].path.unlink()
    with pytest.raises(CheckpointError, match=r"00000\.png: cannot be read"):
        samples_section([run], [samples])
