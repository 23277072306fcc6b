import torch
from PIL import Image
from scipy.stats import norm

from vqgen.reports.latent_pictures import between, manifold_points, plot_latents, save_manifold


def test_manifold_cuts_the_prior_into_equal_shares():
    points = manifold_points(5).unflatten(0, (5, 5))
    for column in range(5):
        torch.testing.assert_close(norm.cdf(points[0, column, 0]), (column + 0.5) / 5, check_dtype=False)
    assert (points[..., 0].diff(dim=1) > 0).all()
    assert (points[..., 1].diff(dim=0) < 0).all()
    torch.testing.assert_close(points.mean(dim=(0, 1)), torch.zeros(2, dtype=torch.float64))


def test_line_has_both_ends_and_equal_steps():
    line = between(torch.tensor([0.0, 4.0]), torch.tensor([2.0, 0.0]), 5)
    assert line[0].tolist() == [0.0, 4.0]
    assert line[-1].tolist() == [2.0, 0.0]
    torch.testing.assert_close(line.diff(dim=0), torch.tensor([[0.5, -1.0]]).expand(4, 2))


def test_pictures_are_written(tmp_path):
    save_manifold(lambda points: torch.zeros(len(points), 1, 8, 8, dtype=torch.uint8), tmp_path / "m.png", side=3)
    labels = torch.arange(40) % 13 - 1
    for count in (4, 13, 30):
        plot_latents(torch.randn(40, 2), labels.clamp(max=count - 1), list("abc") * 10, tmp_path / "s.png")
    for name in ("m.png", "s.png"):
        with Image.open(tmp_path / name) as image:
            assert min(image.size) > 90


def test_odd_names_of_labels_are_in_the_legend(tmp_path, monkeypatch):
    from matplotlib.axes import Axes

    legends = []
    legend = Axes.legend
    monkeypatch.setattr(Axes, "legend", lambda self, *a, **k: legends.append(legend(self, *a, **k)) or legends[-1])
    names = ("caf\udce9", "a\nb", "$x$ and $\\frac$", "_hidden")
    plot_latents(torch.rand(4, 2), torch.arange(4), names, tmp_path / "a.png")
    texts = [text.get_text().strip() for text in legends[0].get_texts()]
    assert texts == ["caf\\udce9", "a\\nb", "$x$ and $\\frac$", "_hidden"]
