from itertools import pairwise

import pytest
from PIL import Image

from vqgen.reports.plots import plot_losses, plot_rate_distortion, plot_trade_off


@pytest.fixture
def drawn(monkeypatch):
    """The axes of the plots that a test draws."""
    from matplotlib.figure import Figure

    axes = []
    add_subplot = Figure.add_subplot
    subplots = Figure.subplots
    monkeypatch.setattr(Figure, "add_subplot", lambda self, *args, **options: keep(add_subplot(self, *args, **options)))

    def keep(new):
        axes.append(new)
        return new

    def all_subplots(self, *args, **options):
        made = subplots(self, *args, **options)
        axes[:] = made.flat
        return made

    monkeypatch.setattr(Figure, "subplots", all_subplots)
    return axes


def lines_of(axes):
    return {line.get_label(): line.get_xydata().tolist() for line in axes.lines}


@pytest.mark.parametrize(("last", "scale"), [(0.01, "log"), (0.25, "linear"), (0.0, "linear"), (-1.0, "linear")])
def test_losses_are_drawn_over_the_steps(tmp_path, drawn, last, scale):
    metrics = [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 0.5, "val_mse": 2.0}, {"step": 3, "loss": last}]
    plot_losses(metrics, tmp_path / "losses.png", {"loss": "training", "val_mse": "validation", "absent": "-"}, "nats")
    assert lines_of(drawn[0]) == {"training": [[1, 1], [2, 0.5], [3, last]], "validation": [[2, 2]]}
    assert (drawn[0].get_xlabel(), drawn[0].get_ylabel()) == ("step", "nats")
    assert drawn[0].get_yscale() == scale
    with Image.open(tmp_path / "losses.png") as picture:
        assert min(picture.size) > 300
    assert [path.name for path in tmp_path.iterdir()] == ["losses.png"]


def test_plot_without_losses_is_empty(tmp_path):
    plot_losses([], tmp_path / "losses.png", {"loss": "training"}, "nats")
    assert (tmp_path / "losses.png").stat().st_size > 0


def test_trade_off_has_a_point_for_each_value_and_the_limits_of_real_images(tmp_path, drawn):
    points = [
        {"value": 1.0, "precision": 0.5, "recall": 0.75, "frechet_distance": 4.0, "cas": 0.25},
        {"value": 2.0, "precision": 0.75, "recall": 0.5, "frechet_distance": 8.0, "cas": 0.5},
    ]
    limits = {"precision": 0.875, "recall": 1.0, "cas": 0.625}
    plot_trade_off(points, limits, "temperature", tmp_path / "a.png")
    quality, score = drawn
    assert [[0.5, 0.75], [0.75, 0.5]] in lines_of(quality).values()
    assert lines_of(quality)["halves of the real images"] == [[0.875, 1.0]]
    assert [[4.0, 0.25], [8.0, 0.5]] in lines_of(score).values()
    assert {height for _, height in lines_of(score)["as many real images"]} == {0.625}
    assert [text.get_text() for text in quality.texts] == ["1", "2"]
    assert quality.get_title() == "over temperature"
    assert (tmp_path / "a.png").stat().st_size > 0


def test_trade_off_without_scores_has_one_plot(tmp_path, drawn):
    points = [{"value": 1.0, "precision": 0.5, "recall": 0.5, "frechet_distance": 1.0}]
    plot_trade_off(points, {}, "keep", tmp_path / "a.png")
    assert [axes.get_xlabel() for axes in drawn] == ["precision (quality)"]
    assert drawn[0].get_legend() is None


def test_rate_distortion_has_a_curve_for_each_codec_in_order_of_its_rates(tmp_path, drawn):
    curves = {
        "vqgen": {"psnr": [(0.25, 25.0)], "ms_ssim": []},
        "JPEG": {"psnr": [(1.0, 30.0), (0.5, 20.0)], "ms_ssim": [(0.5, 10.0), (1.0, 15.0)]},
    }
    plot_rate_distortion(curves, tmp_path / "a.svg")
    psnr, ms_ssim = drawn
    assert lines_of(psnr) == {"vqgen": [[0.25, 25.0]], "JPEG": [[0.5, 20.0], [1.0, 30.0]]}
    assert lines_of(ms_ssim) == {"vqgen": [], "JPEG": [[0.5, 10.0], [1.0, 15.0]]}
    assert psnr.get_xscale() == ms_ssim.get_xscale() == "log"
    assert (psnr.get_ylabel(), ms_ssim.get_ylabel()) == ("PSNR, dB", "MS-SSIM, dB")
    assert psnr.xaxis.get_major_formatter()(0.5, None) == "0.5"
    (legend,) = psnr.figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["vqgen", "JPEG"]
    assert (tmp_path / "a.svg").stat().st_size > 0


@pytest.mark.parametrize(("high", "shown"), [(2.0, [0.5, 1, 2]), (400.0, [1, 10, 100])])
def test_rates_are_plain_numbers_that_do_not_run_into_each_other(tmp_path, drawn, high, shown):
    curve = {"psnr": [(0.4, 20.0), (high, 30.0)], "ms_ssim": []}
    plot_rate_distortion({"vqgen": curve}, tmp_path / "a.png")
    low, high = drawn[0].get_xlim()
    assert [tick for tick in drawn[0].get_xticks() if low <= tick <= high] == pytest.approx(shown)
    labels = [label.get_window_extent() for label in drawn[0].get_xticklabels() if label.get_text()]
    inside = [each for each in labels if drawn[0].bbox.x0 - 20 <= each.x0 <= drawn[0].bbox.x1]
    assert all(left.x1 < right.x0 for left, right in pairwise(inside))


def test_many_curves_with_long_names_are_told_apart_and_fit_into_the_picture(tmp_path, drawn):
    names = [f"a curve of the file some/folder/curves-{number}.json" for number in range(12)]
    curves = {name: {"psnr": [(0.1, 20.0 + number)], "ms_ssim": []} for number, name in enumerate(names)}
    plot_rate_distortion(curves, tmp_path / "a.png")
    figure = drawn[0].figure
    looks = {(line.get_color(), line.get_marker()) for line in drawn[0].lines}
    assert len(looks) == len(names)
    extent = figure.legends[0].get_window_extent()
    assert extent.x0 >= 0 and extent.x1 <= figure.bbox.x1
    with Image.open(tmp_path / "a.png") as picture:
        assert 1000 <= picture.width <= 1400  # letters of 10 points, so 11 pixels or more at a width of 700
