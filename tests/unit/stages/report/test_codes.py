import math

import pytest
import torch
from reported_runs import EVIL, splits

from vqgen.errors import DataError
from vqgen.stages.report.codes import codes_section, usage_section
from vqgen.stages.report.decoder import open_decoder
from vqgen.stages.report.kept_images import opener_of, original_images
from vqgen.stages.report.run_folder import read_run


def test_gallery_goes_from_the_image_to_the_codes_and_back(finished):
    run = read_run(finished)
    (gallery,) = codes_section(run, opener_of(run, splits()))
    assert [row.name for row in gallery.rows] == [
        "original",
        "top codes, 2\u00a0x\u00a02",
        "decoded from top alone",
        "bottom codes, 4\u00a0x\u00a04",
        "decoded from all levels",
    ]
    assert {len(row.pictures) for row in gallery.rows} == {7}
    assert gallery.rows[0].pictures[1].text == f"Original, label {EVIL}"
    assert len({row.pictures[0].uri for row in gallery.rows}) == 5


def test_notes_are_the_psnr_of_the_reconstructions(finished):
    run = read_run(finished)
    images, _ = original_images(run, opener_of(run, splits()))
    pipe = open_decoder(run)
    errors = (images.double() - pipe.decode_tensor(pipe.encode_tensor(images)).double()).square().flatten(1).mean(1)
    (gallery,) = codes_section(run, opener_of(run, splits()))
    assert [picture.note for picture in gallery.rows[-1].pictures] == [
        f"{10 * math.log10(255**2 / error):.1f} dB" for error in errors.tolist()
    ]


def test_several_runs_show_fewer_images_each(finished):
    run = read_run(finished)
    (gallery,) = codes_section(run, opener_of(run, splits()), 2)
    assert {len(row.pictures) for row in gallery.rows} == {4}
    assert "of noise" in gallery.caption


def test_images_that_are_not_here_leave_a_sentence(run_copy):
    def missing():
        raise DataError("the disk is not mounted")

    (run_copy / "report" / "originals.safetensors").unlink()
    (block,) = codes_section(read_run(run_copy), missing)
    assert "the disk is not mounted" in block.paragraphs[0]


def test_decoder_has_no_priors(finished):
    pipe = open_decoder(read_run(finished))
    assert pipe.parts.priors == {} and pipe.parts.classifier is None
    assert pipe.compute.device == torch.device("cpu")
    assert set(pipe.parts.frequencies) == {"top", "bottom"}


def test_usage_has_a_row_for_each_level_and_the_bits_of_the_prior(finished):
    run = read_run(finished)
    table, charts = usage_section([run]).blocks
    assert [row[0] for row in table.rows] == ["top", "bottom"]
    for row in table.rows:
        perplexity, raw, entropy, prior = (float(cell) for cell in row[4:])
        assert raw == 3 and entropy == pytest.approx(math.log2(perplexity), abs=1e-3) and entropy <= raw
        assert prior == pytest.approx(run.records[f"prior-{row[0]}"].metrics["val_bits_per_code"], abs=1e-3)
    assert [line.curve.name for line in charts.charts[0].lines] == ["top", "bottom"]
    for line in charts.charts[0].lines:
        shares = [share for _, share in line.curve.points]
        assert shares == sorted(shares, reverse=True) and sum(shares) == pytest.approx(1)


def test_run_without_codes_has_no_usage(run_copy):
    (run_copy / "codes" / "stage.json").unlink()
    assert usage_section([read_run(run_copy)]) is None
