"""The commands that use a trained run: info, generate, reconstruct, encode, decode."""

import json
import shutil
import sys

import pytest
from small_runs import all_files, pixels, run_installed

from vqgen.data import CodeStore


def test_info_describes_a_run_folder(vqgen, trained):
    finished = vqgen("info", trained)
    assert finished.code == 0
    assert finished.out.startswith("tiny: 16 x 16 grey\n")
    for part in (
        "labels: 0, 1, 2",
        "top      2 x 2 codes",
        "bottom   4 x 4 codes",
        "prior-bottom",
        "val_nats_per_code",
    ):
        assert part in finished.out


def test_info_describes_a_pipeline_folder(vqgen, trained):
    finished = vqgen("info", trained / "pipeline")
    assert finished.code == 0
    assert "0.3125 bpp" in finished.out  # (2 x 2 + 4 x 4) codes of 4 bits on 16 x 16 pixels


def test_generate_accepts_names_and_indices_and_writes_pictures_and_a_grid(vqgen, trained, tmp_path):
    finished = vqgen("generate", trained, "--labels", "3", "7", "--images-per-label", 2, "-o", tmp_path / "out")
    assert finished.code == 0, finished.err
    assert "4 images" in finished.out
    assert finished.err == ""  # no terminal, so no bar
    written = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*")}
    assert written == {
        "3/00000.png", "3/00001.png", "7/00000.png", "7/00001.png", "grid.png", "samples.json",
    }  # fmt: skip
    assert pixels(tmp_path / "out" / "3" / "00000.png").shape == (16, 16)
    # Two rows of two pictures, each enlarged three times, with a margin of 3 pixels.
    assert pixels(tmp_path / "out" / "grid.png").shape == (2 * 48 + 3 * 3, 2 * 48 + 3 * 3)
    samples = json.loads((tmp_path / "out" / "samples.json").read_text())
    assert [entry["label"] for entry in samples["images"]] == [3, 3, 7, 7]
    assert all(entry["log_likelihood"] < 0 for entry in samples["images"])
    assert samples["sampling"]["temperature"] == [1.0] and samples["sampling"]["keep"] == 1


def test_generate_without_labels_samples_every_label(vqgen, trained, tmp_path):
    assert vqgen("generate", trained, "--images-per-label", 1, "-o", tmp_path / "out", "--quiet").code == 0
    assert len(list((tmp_path / "out").glob("*/*.png"))) == 10


def test_seed_determines_the_bytes_and_batch_size_changes_no_picture(vqgen, trained, tmp_path):
    def generate(name, *options):
        assert vqgen("generate", trained, "--images-per-label", 3, "-o", tmp_path / name, *options).code == 0
        return {path: entry[1] for path, entry in all_files(tmp_path / name).items()}

    first = generate("first", "--seed", 1)
    again = generate("again", "--seed", 1)
    assert first == again
    other_seed = generate("other", "--seed", 2)
    assert first["grid.png"] != other_seed["grid.png"]
    # In float64, where rounding cannot change a code.
    whole = generate("whole", "--seed", 1, "--dtype", "float64")
    batched = generate("batched", "--seed", 1, "--dtype", "float64", "--batch-size", 7)
    assert {name: sha for name, sha in whole.items() if name.endswith(".png")} == {
        name: sha for name, sha in batched.items() if name.endswith(".png")
    }


def test_generate_accepts_filters_in_bfloat16(vqgen, trained, tmp_path):
    options = ("--temperature", 0.5, 1.0, "--top-k", 4, "--top-p", 0.9, "--dtype", "bfloat16", "--labels", 1)
    finished = vqgen("generate", trained, *options, "-o", tmp_path / "out")
    assert finished.code == 0, finished.err
    assert len(list((tmp_path / "out" / "1").glob("*.png"))) == 8


def test_reconstruct_keeps_paths_and_skips_a_broken_file(vqgen, trained, pictures, tmp_path):
    (pictures / "a" / "broken.png").write_bytes(b"\x89PNG and no more")
    finished = vqgen("reconstruct", trained, pictures, "-o", tmp_path / "out")
    assert finished.code == 1
    assert finished.err.count("\n") == 1
    assert "a/broken.png" in finished.err
    written = {
        path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.png") if path.is_file()
    }
    assert written == {"x.jpg.png", "a/x.jpg.png", "a/b/wide.png.png", "a/b/tall.webp.png", "grey.png.png"}
    assert "5 images" in finished.out
    assert "dB" in finished.out
    assert "0.3125 bpp" in finished.out
    assert pixels(tmp_path / "out" / "x.jpg.png").shape == (96 + 2 * 6, 2 * 96 + 3 * 6)


def test_reconstruct_accepts_single_files(vqgen, trained, pictures, tmp_path):
    finished = vqgen("reconstruct", trained, pictures / "x.jpg", pictures / "a" / "b", "-o", tmp_path / "out")
    assert finished.code == 0, finished.err
    found = sorted(path.name for path in (tmp_path / "out").glob("*.png"))
    assert found == ["tall.webp.png", "wide.png.png", "x.jpg.png"]


def test_decoded_codes_are_the_reconstructions(vqgen, trained, pictures, tmp_path):
    assert vqgen("encode", trained, pictures, "-o", tmp_path / "codes").code == 0
    finished = vqgen("decode", trained, tmp_path / "codes", "-o", tmp_path / "decoded")
    assert finished.code == 0, finished.err
    assert vqgen("reconstruct", trained, pictures, "-o", tmp_path / "side").code == 0
    decoded = sorted((tmp_path / "decoded").rglob("*.png"))
    assert len(decoded) == 5
    for path in decoded:
        pair = pixels(tmp_path / "side" / path.relative_to(tmp_path / "decoded"))
        right = pair[6:102:6, 108:204:6]  # below the margin, beside the original; enlarged six times
        assert (right == pixels(path)).all()


def test_encode_names_a_broken_file_and_leaves_it_out(vqgen, trained, pictures, tmp_path):
    (pictures / "broken.jpg").write_bytes(b"no image")
    finished = vqgen("encode", trained, pictures, "-o", tmp_path / "codes")
    assert finished.code == 1
    assert "broken.jpg" in finished.err
    store = CodeStore(tmp_path / "codes")
    assert [content.names for content in store.contents("images")] == [
        ("a/b/tall.webp", "a/b/wide.png", "a/x.jpg", "grey.png", "x.jpg")
    ]


def test_encode_takes_labels_from_the_names_of_folders(vqgen, trained, pictures, tmp_path):
    (pictures / "a").rename(pictures / "7")
    assert vqgen("encode", trained, pictures, "-o", tmp_path / "codes").code == 0
    content = next(CodeStore(tmp_path / "codes").contents("images"))
    assert dict(zip(content.names, content.labels.tolist(), strict=True)) == {
        "7/b/tall.webp": 7, "7/b/wide.png": 7, "7/x.jpg": 7, "grey.png": -1, "x.jpg": -1,
    }  # fmt: skip


def test_encode_replaces_only_a_store(vqgen, trained, pictures, tmp_path):
    store = tmp_path / "codes"
    assert vqgen("encode", trained, pictures, "-o", store).code == 0
    finished = vqgen("encode", trained, pictures / "x.jpg", "-o", store)
    assert finished.code == 2
    assert "should be a new or empty folder" in finished.err
    assert vqgen("encode", trained, pictures / "x.jpg", "-o", store, "--overwrite").code == 0
    assert CodeStore(store).info.counts == {"images": 1}

    (store / "notes.txt").write_text("mine")
    before = all_files(store)
    for folder in (store, shutil.copytree(trained / "codes", tmp_path / "run-codes"), pictures, pictures / "x.jpg"):
        finished = vqgen("encode", trained, pictures, "-o", folder, "--overwrite")
        assert finished.code == 2
        assert "should be a new folder or a code store" in finished.err
    assert all_files(store) == before
    assert (tmp_path / "run-codes" / "stage.json").is_file()


def test_folder_with_a_foreign_manifest_is_not_replaced(vqgen, trained, pictures, tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "manifest.json").write_text('{"name": "my site"}')
    assert vqgen("encode", trained, pictures, "-o", tmp_path / "site").code == 2
    assert (tmp_path / "site" / "manifest.json").read_text() == '{"name": "my site"}'


def test_current_folder_is_not_replaced(vqgen, trained, pictures, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert vqgen("encode", trained, pictures, "-o", ".").code == 2
    assert (tmp_path / "here").is_dir()


def test_moved_pipeline_folder_works_alone(vqgen, trained, tmp_path):
    shutil.copytree(trained / "pipeline", tmp_path / "elsewhere")
    finished = vqgen("generate", tmp_path / "elsewhere", "--labels", 4, "-o", tmp_path / "out")
    assert finished.code == 0, finished.err


@pytest.mark.slow
def test_python_m_vqgen_is_the_same_program(trained, tmp_path):
    words = ("generate", trained, "--labels", "2", "--images-per-label", "1", "-o", tmp_path / "out")
    finished = run_installed(*words, launcher=(sys.executable, "-m", "vqgen"))
    assert finished.code == 0, finished.err
    assert finished.err == ""
    assert (tmp_path / "out" / "2" / "00000.png").is_file()
