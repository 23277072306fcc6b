import pytest

from vqgen.stages.report.curves import curves_section
from vqgen.stages.report.run_folder import read_run


def charts(section):
    return {chart.title: chart for block in section.blocks if block.kind == "charts" for chart in block.charts}


def test_every_training_has_charts(finished):
    found = charts(curves_section([read_run(finished)]))
    assert list(found) == [
        "VQ-VAE: mean squared error, pixels in [-1, 1]",
        "VQ-VAE: PSNR of validation images, dB",
        "VQ-VAE: entries in effective use (perplexity)",
        "Prior of top: nats per code",
        "Prior of bottom: nats per code",
        "Classifier: cross entropy of the labels, nats",
        "Classifier: accuracy on validation images",
    ]


def test_validation_is_comparable_with_the_training(finished):
    """The log has the error of intensities in [0, 1], and the training that of pixels in [-1, 1]."""
    run = read_run(finished)
    curves = [
        line.curve for line in charts(curves_section([run]))["VQ-VAE: mean squared error, pixels in [-1, 1]"].lines
    ]
    assert [curve.name for curve in curves] == ["training", "validation"]
    assert curves[1].points == [(step, 4 * value) for step, value in run.curve("vqvae", "val_mse")]
    assert curves[0].colour != curves[1].colour


def test_runs_share_the_charts_of_a_stage_and_keep_their_colours(finished):
    runs = [read_run(finished, "one"), read_run(finished, "other")]
    chart = charts(curves_section(runs))["Prior of top: nats per code"]
    assert [(line.curve.name, line.curve.colour) for line in chart.lines] == [
        ("one, training", 1),
        ("one, validation", 1),
        ("other, training", 2),
        ("other, validation", 2),
    ]


def test_long_log_is_thinned(run_copy):
    with (run_copy / "vqvae" / "metrics.jsonl").open("w") as log:
        log.writelines(f'{{"step": {step}, "loss": 1.0, "reconstruction": {1 / step}}}\n' for step in range(1, 20_001))
    chart = charts(curves_section([read_run(run_copy)]))["VQ-VAE: mean squared error, pixels in [-1, 1]"]
    assert len(chart.lines[0].curve.points) <= 400
    assert chart.caption == "Each point of the training is a mean over 50 steps. "


def test_nats_are_shown_without_the_contrast_of_labels(run_copy):
    (run_copy / "prior-top" / "metrics.jsonl").write_text(
        '{"step": 1, "loss": 9.0, "nats_per_code": 2.0}\n{"step": 2, "loss": 9.0, "nats_per_code": 1.5}\n'
    )
    chart = charts(curves_section([read_run(run_copy)]))["Prior of top: nats per code"]
    assert [value for _, value in chart.lines[0].curve.points] == [2.0, 1.5]


def test_losses_that_a_recipe_chooses_have_charts(run_copy):
    (run_copy / "vqvae" / "metrics.jsonl").write_text(
        '{"step": 1, "loss": 2.0, "reconstruction": 0.5, "pixel": 0.7, "perceptual": 0.3, "adversarial": -0.1, '
        '"discriminator": 0.9}\n{"step": 2, "loss": 2.0, "reconstruction": 0.4, "pixel": 0.6, "perceptual": 0.2, '
        '"adversarial": 0.1, "discriminator": 1.0, "val_mse": 0.1, "val_pixel": 0.65, "val_perceptual": 0.25}\n'
    )
    found = charts(curves_section([read_run(run_copy)]))
    assert {title: [line.curve.name for line in chart.lines] for title, chart in found.items() if "VQ" in title} == {
        "VQ-VAE: mean squared error, pixels in [-1, 1]": ["training", "validation"],
        "VQ-VAE: loss of pixels": ["training", "validation"],
        "VQ-VAE: difference of features (perceptual loss)": ["training", "validation"],
        "VQ-VAE: adversarial loss of the decoder": ["training"],
        "VQ-VAE: loss of the discriminator": ["training"],
    }
    assert found["VQ-VAE: mean squared error, pixels in [-1, 1]"].lines[0].curve.points == [(1, 0.5), (2, 0.4)]


@pytest.mark.parametrize("text", ["", "half"])
def test_training_without_a_line_has_no_chart(run_copy, text):
    for stage in ("vqvae", "prior-top", "prior-bottom", "classifier"):
        (run_copy / stage / "metrics.jsonl").write_text(text)
    (block,) = curves_section([read_run(run_copy)]).blocks
    assert block.paragraphs == ["No training has written a step yet."]
