from vqgen.data import LabelMap
from vqgen.stages.model_card import write_card
from vqgen.stages.records import StageRecord


def record(stage, **metrics):
    return StageRecord(stage, {}, {}, {}, complete=True, metrics=metrics)


def test_every_metric_has_a_line_of_its_own_in_one_table(tiny_recipe):
    records = [record("vqvae", val_mse=0.00123456, val_psnr=27.5), record("prior-top", val_nats_per_code=2.0)]
    card = write_card(tiny_recipe(), LabelMap(("cat", "dog")), records)
    before, table, after = card.partition("| stage | metric | value |\n|---|---|---|\n")
    assert table
    assert before.endswith("\n\n")
    assert "codes top 2 x 2, bottom 4 x 4, 8 codes per level" in before
    assert "- Labels: cat, dog\n" in before
    rows, _, rest = after.partition("\n\n")
    assert rows.splitlines() == [
        "| vqvae | val_mse | 0.0012346 |",
        "| vqvae | val_psnr | 27.5 |",
        "| prior-top | val_nats_per_code | 2 |",
    ]
    assert "\n\n## Use\n" in rest
