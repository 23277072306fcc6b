"""Every kind of quantizer goes through all stages, the codec and the decoding of single levels."""

import numpy as np
import pytest
from PIL import Image
from small_runs import assert_refused, pixels, run_installed, save_picture, small_document, write_recipe

KINDS = {
    "cosine": {"kind": "cosine", "codebook": "learned", "gradient": "rotation"},
    "lfq-simvq": {"kind": ["lfq", "simvq"], "entropy_weight": 0.01},
    "fsq-ema": {"kind": ["fsq", "ema"]},
    "priced": {"kind": "ema", "depth": [1, 2], "rate_weight": 0.5},
}

DEPTHS = {
    "fine": (2, {"depth": [1, 2]}, ["top", "bottom", "bottom-2"]),
    "one level": (1, {"kind": "simvq", "depth": 2}, ["bottom", "bottom-2"]),
    "four grids": (2, {"depth": 2, "gradient": "rotation"}, ["top", "top-2", "bottom", "bottom-2"]),
}
"""Levels, quantizers, and the names of the grids."""


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_kind_goes_through_all_stages_and_the_codec(vqgen, tmp_path, name):
    document = small_document(vqvae__quantizer=KINDS[name])
    recipe = write_recipe(tmp_path / "tiny.toml", document)
    finished = vqgen("run", recipe, "--checkpoints", tmp_path, "--force")
    assert finished.code == 0, finished.err
    run = tmp_path / "tiny"
    assert vqgen("run", recipe, "--checkpoints", tmp_path, "--force").code == 0  # everything is complete
    assert "prior-bottom" in vqgen("run", recipe, "--checkpoints", tmp_path, "--dry-run").out

    save_picture(tmp_path / "picture.png", 3, size=(40, 24), grey=True)
    written = vqgen("compress", run, tmp_path / "picture.png", "-o", tmp_path / "small")
    assert written.code == 0, written.err
    (file,) = (tmp_path / "small").rglob("*.vqg")
    assert vqgen("decompress", run, file, "-o", tmp_path / "back").code == 0
    (back,) = (tmp_path / "back").rglob("*.png")
    assert pixels(back).shape == (24, 40)

    assert vqgen("generate", run, "--labels", 3, "--seed", 5, "-o", tmp_path / "one").code == 0
    assert vqgen("generate", run, "--labels", 3, "--seed", 5, "-o", tmp_path / "two").code == 0
    for path in (tmp_path / "one").rglob("*.png"):
        other = tmp_path / "two" / path.relative_to(tmp_path / "one")
        assert np.array_equal(pixels(path), pixels(other))
    assert (run / "report.html").is_file()  # it decodes the top alone, and draws entries by their likeness


@pytest.fixture(scope="module", params=DEPTHS)
def deep(request, tmp_path_factory):
    """A run whose levels have several quantizers: its folder, its recipe, its grids, and a picture."""
    levels, quantizer, grids = DEPTHS[request.param]
    folder = tmp_path_factory.mktemp("deep")
    recipe = write_recipe(folder / "tiny.toml", small_document(levels, vqvae__quantizer=quantizer))
    finished = run_installed("run", recipe, "--checkpoints", folder, "--force")
    assert finished.code == 0, finished.err
    save_picture(folder / "pictures" / "picture.png", 3, size=(40, 24), grey=True)
    return folder, recipe, grids


@pytest.mark.slow
def test_every_grid_of_a_level_has_a_prior_and_is_described(vqgen, deep):
    folder, recipe, grids = deep
    run = folder / "tiny"
    assert all((run / f"prior-{grid}" / "model").is_dir() for grid in grids)
    again = vqgen("run", recipe, "--checkpoints", folder, "--force")
    assert again.code == 0
    assert f"prior-{grids[-1]}: complete" in again.out
    info = vqgen("info", run).out
    plan = vqgen("plan", recipe).out
    for grid in grids:
        assert f"\n  {grid:<8} " in info
        assert f"prior-{grid}" in plan
        assert f"usage_{grid} " in info
    judged = vqgen("evaluate", run, "--quick")
    assert judged.code == 0, judged.err
    assert all(f"perplexity_{grid}" in judged.out for grid in grids)
    assert all(grid in (run / "report.html").read_text(encoding="utf-8") for grid in grids)


@pytest.mark.slow
@pytest.mark.parametrize("coder", ["packed", "static", "prior"])
def test_grids_of_a_level_are_compressed_and_come_back(vqgen, deep, tmp_path, coder):
    folder, _, grids = deep
    run, picture = folder / "tiny", folder / "pictures" / "picture.png"
    assert vqgen("reconstruct", run, picture, "-o", tmp_path / "seen").code == 0
    written = vqgen("compress", run, picture, "-o", tmp_path / "small", "--coder", coder)
    assert written.code == 0, written.err
    (file,) = (tmp_path / "small").rglob("*.vqg")
    assert file.read_bytes()[4] == (1 if len(grids) <= 3 else 2)
    assert vqgen("inspect", file).out.count(f", {coder},") == len(grids)
    archive = tmp_path / "all.vqga"
    assert vqgen("compress", run, folder / "pictures", "--archive", "-o", archive, "--coder", coder).code == 0
    for source in (file, archive):
        assert vqgen("decompress", run, source, "-o", tmp_path / source.suffix).code == 0
    (one,), (other,) = ((tmp_path / suffix).rglob("*.png") for suffix in (".vqg", ".vqga"))
    assert pixels(one).shape == (24, 40)
    assert np.array_equal(pixels(one), pixels(other))


@pytest.mark.slow
def test_grids_of_a_level_are_drawn_edited_and_decoded_alone(vqgen, deep, tmp_path):
    folder, _, grids = deep
    run = folder / "tiny"
    assert vqgen("generate", run, "--labels", 3, "--seed", 5, "-o", tmp_path / "drawn").code == 0
    save_picture(tmp_path / "square.png", 4, grey=True)
    mask = np.zeros((16, 16), dtype=np.uint8)
    mask[:8, :8] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    edited = vqgen(
        "inpaint", run, tmp_path / "square.png", "--mask", tmp_path / "mask.png", "--sweeps", 1, "-o", tmp_path / "edit"
    )
    assert edited.code == 0, edited.err
    assert all(f"{grid} 4 of 16" in edited.out for grid in grids if grid.startswith("bottom"))
    assert vqgen("encode", run, tmp_path / "square.png", "-o", tmp_path / "codes").code == 0
    alone = vqgen("decode", run, tmp_path / "codes", "--levels", grids[-1], "-o", tmp_path / "alone")
    assert alone.code == 0, alone.err


@pytest.mark.parametrize(
    ("options", "lines"),
    [
        (["--vqvae.quantizer.kind", "fsq", "--vqvae.quantizer.fsq-levels", "8", "5"],
         ["vqvae.quantizer.fsq_levels: should multiply to codebook_size = 16, found 8 x 5 = 40"]),
        (["--vqvae.quantizer.kind", "ema", "ema", "fsq"], ["quantizer.kind: should be one kind, or one for each"]),
        (["--vqvae.quantizer.kind", "ema", "lfq", "--vqvae.quantizer.depth", "2"],
         ["vqvae.quantizer.depth: should be 1 for kinds that cannot quantize residuals, found 2 for bottom (lfq)"]),
        (["--vqvae.quantizer.depth", "1", "2", "3"],
         ["vqvae.quantizer.depth: should be one number, or one for each level (top, bottom), found 3: 1, 2, 3"]),
        (["--vqvae.quantizer.kind", "vq"], ["vqvae.quantizer.kind", "'simvq'", "found 'vq'"]),
        (["--vqvae.quantizer.kind", "lfq", "--vqvae.codebook-size", "20"],
         ["vqvae.codebook_size: should be a power of two for lfq, found 20"]),
    ],
)  # fmt: skip
def test_quantizer_that_does_not_fit_is_refused_before_anything_trains(vqgen, tmp_path, options, lines):
    recipe = write_recipe(tmp_path / "tiny.toml", small_document())
    assert_refused(vqgen("run", recipe, "--checkpoints", tmp_path, *options), *lines)
    assert not (tmp_path / "tiny").exists()
