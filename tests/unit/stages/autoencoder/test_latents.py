import pytest
import torch

from vqgen.data import evaluation_transform, model_pixels
from vqgen.stages.autoencoder.latents import encode_images


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_latents_are_those_of_the_model_in_the_dtype_of_its_weights(make_run, baseline_recipe, images, dtype):
    run = make_run(baseline_recipe(), dtype)
    context = run.context
    model = context.compute.place(run.model("autoencoder", 0)).eval()
    found = list(encode_images(context, model, images.train))
    assert torch.cat([batch.labels for batch, _ in found]).tolist() == images.train.labels.tolist()
    latents = torch.cat([latents for _, latents in found])
    assert latents.dtype == model.dtype
    assert not latents.requires_grad
    transform = evaluation_transform(context.recipe.data)
    pixels = torch.stack([transform(images.train.read(index)) for index in range(20)])
    with torch.no_grad(), context.compute.autocast():
        expected = model.encode(
            model_pixels(pixels, context.device, model.dtype), torch.from_numpy(images.train.labels)
        )
    torch.testing.assert_close(latents, expected.to(model.dtype))


def test_images_are_encoded_without_augmentation(make_run, baseline_recipe, images):
    run = make_run(baseline_recipe())
    model = run.model("autoencoder", 0).eval()

    def latents(**data):
        recipe = run.context.recipe
        run.context.recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update=data)})
        return torch.cat([latents for _, latents in encode_images(run.context, model, images.train)])

    assert torch.equal(latents(), latents(horizontal_flip=True, random_shift=3))
