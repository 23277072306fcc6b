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


def test_rate_distortion_has_a_curve_for_each_format_and_a_star_without_missing_values(tmp_path, drawn):
    curve = [{"bpp": 0.5, "psnr": 20.0, "ms_ssim": None}, {"bpp": 1.0, "psnr": 30.0, "ms_ssim": None}]
    plot_rate_distortion({"JPEG": curve}, {"bpp": 0.25, "psnr": 25.0, "ms_ssim": None}, tmp_path / "a.png")
    psnr, ms_ssim = drawn
    assert lines_of(psnr) == {"JPEG": [[0.5, 20.0], [1.0, 30.0]], "vqgen": [[0.25, 25.0]]}
    assert psnr.get_xscale() == "log"
    assert ms_ssim.get_ylabel() == "MS-SSIM"
    assert (tmp_path / "a.png").stat().st_size > 0
