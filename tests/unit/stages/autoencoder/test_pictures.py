import json

import pytest
from PIL import Image

from vqgen.stages.autoencoder.pictures import save_pictures

ALWAYS = {"losses.png", "reconstructions.png"}


@pytest.mark.parametrize(
    ("changes", "pictures"),
    [
        ({"kind": "vae"}, ALWAYS),
        ({"kind": "vae", "latent_size": 2}, ALWAYS | {"latents.png", "manifold.png"}),
        ({"kind": "vae", "latent_size": 2, "labels": "conditional"}, ALWAYS | {"latents.png"}),
        ({"kind": "autoencoder", "latent_size": 2}, ALWAYS | {"latents.png"}),
        ({"kind": "binary-vae"}, ALWAYS),
    ],
)
def test_pictures_depend_on_the_latents(make_run, baseline_recipe, changes, pictures):
    run = make_run(baseline_recipe(**changes))
    folder = run.context.folder / "autoencoder"
    folder.mkdir(parents=True)
    lines = [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.4, "val_loss": 0.6}]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    save_pictures(run.context, run.model("autoencoder", 0).eval())
    assert {path.name for path in folder.glob("*.png")} == pictures
    for name in pictures:
        with Image.open(folder / name) as picture:
            picture.verify()
