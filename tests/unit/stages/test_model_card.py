from types import SimpleNamespace

from vqgen.stages.model_card import figure_rows, model_card


def test_every_figure_has_a_line_of_its_own_in_one_table():
    records = [
        SimpleNamespace(stage="vqvae", figures={"val_mse": 0.00123456, "val_psnr": 27.5}),
        SimpleNamespace(stage="prior-top", figures={"val_nats_per_code": 2.0}),
    ]
    card = model_card("mine", "A model.", "digits", "none", figure_rows(records), "`mse` is small.", "import vqgen\n")
    before, table, after = card.partition("| stage | figure | value |\n|---|---|---|\n")
    assert table
    assert before.endswith("\n\n")
    rows, _, rest = after.partition("\n\n")
    assert rows.splitlines() == [
        "| vqvae | val_mse | 0.0012346 |",
        "| vqvae | val_psnr | 27.5 |",
        "| prior-top | val_nats_per_code | 2 |",
    ]
    assert rest.startswith("`mse` is small.\n\n## Use\n")
