from dataclasses import replace

import pytest

from vqgen.config.lengths import Length
from vqgen.data import LabelMap
from vqgen.stages.continuation import Continuation
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


@pytest.mark.parametrize(
    ("labels", "asked"), [("unused", "; images of a label cannot be asked for"), ("conditional", "")]
)
def test_card_of_a_baseline_opens_any_pipeline(baseline_recipe, labels, asked):
    card = write_card(baseline_recipe(labels=labels), LabelMap(("cat", "dog")), [record("autoencoder", val_loss=0.5)])
    assert "A vqgen baseline (vae): images of 8 x 8 pixels as 3 latents." in card
    assert f"- Labels: cat, dog{asked}\n" in card
    assert "| autoencoder | val_loss | 0.5 |" in card
    assert 'pipe = open_pipeline("path/to/this/folder")' in card


def test_card_of_images_without_labels_names_none(tiny_recipe):
    assert "- Labels: none\n" in write_card(tiny_recipe(), LabelMap(), [])


def test_card_names_trainings_that_got_more_steps(tiny_recipe):
    continued = replace(
        record("vqvae"), continuations=(Continuation(0, Length(4), 2), Continuation(1200, Length(9, 3.0)))
    )
    made_anew = replace(record("prior-top"), continuations=(Continuation(0, Length(4), 2),))
    card = write_card(tiny_recipe(), LabelMap(), [continued, made_anew])
    line = "- Continued: vqvae, with more steps after step 1,200 (3 epochs planned)."
    assert f"beside this file.\n{line}\n\n## Measured" in card
    assert "Continued: prior-top" not in card
    assert "beside this file.\n\n## Measured" in write_card(tiny_recipe(), LabelMap(), [record("vqvae")])


def test_card_names_models_that_began_with_others(tiny_recipe):
    records = [replace(record(stage), inputs={"init_from": "abc"}) for stage in ("vqvae", "prior-top")]
    card = write_card(tiny_recipe(), LabelMap(), [*records, record("prior-bottom")])
    line = "- Begun with weights of another run (`made_from` in each config.json): vqvae, prior-top."
    assert f"beside this file.\n{line}\n\n## Measured" in card


def test_odd_labels_stay_on_their_line_and_are_text(tiny_recipe):
    card = write_card(tiny_recipe(), LabelMap(("ni\udcf1o", "a\nb", "\x1b[31m")), [])
    assert "- Labels: ni\\udcf1o, a\\nb, \\x1b[31m\n" in card
    card.encode()
