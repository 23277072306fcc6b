from dataclasses import replace
from pathlib import Path

from vqgen.data import ImageSplits
from vqgen.stages.image_identity import renew_fingerprints
from vqgen.stages.records import StageRecord, read_record


def write_records(run: Path, *found: str) -> list[Path]:
    folders = [run / f"stage{number}" for number in range(len(found))]
    for folder, sha256 in zip(folders, found, strict=True):
        StageRecord(folder.name, {"a": 1}, {"images": sha256, "vqvae": "x"}, {}, complete=True).write(folder)
    return folders


def found_in(folders: list[Path]) -> list[str]:
    return [record.inputs["images"] for folder in folders if (record := read_record(folder))]


def test_records_of_an_earlier_version_get_the_present_fingerprint(tmp_path: Path, images: ImageSplits) -> None:
    images = replace(images, fingerprint="new", earlier_fingerprints=("old",))
    folders = write_records(tmp_path, "old", "other", "new", "old")
    before = read_record(folders[0])
    assert before is not None
    renew_fingerprints(tmp_path, images)
    # Other images stay other images, so that their stage is refused.
    assert found_in(folders) == ["new", "other", "new", "new"]
    assert read_record(folders[0]) == replace(before, inputs={"images": "new", "vqvae": "x"})


def test_records_of_images_without_earlier_fingerprints_stay(tmp_path: Path, images: ImageSplits) -> None:
    (folder,) = write_records(tmp_path, "old")
    before = (folder / "stage.json").read_bytes()
    renew_fingerprints(tmp_path, images)
    assert (folder / "stage.json").read_bytes() == before


def test_records_without_inputs_and_damaged_ones_are_left_to_their_stage(tmp_path: Path, images: ImageSplits) -> None:
    images = replace(images, earlier_fingerprints=("old",))
    for name, text in (("a", "{"), ("b", "[]"), ("c", '{"inputs": 3}'), ("d", '{"inputs": {"images": [1]}}')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "stage.json").write_text(text)
    renew_fingerprints(tmp_path, images)
    assert (tmp_path / "a" / "stage.json").read_text() == "{"
    renew_fingerprints(tmp_path / "missing", images)
