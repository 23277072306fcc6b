"""A recipe in words, and the command that repeats a run."""

import shlex
from pathlib import Path
from typing import Any

from vqgen.config import AnyRecipe, BaselineRecipe, PriorSection, Recipe, TrainConfig, read_recipe, shipped_recipes
from vqgen.config.data import DataConfig
from vqgen.config.overrides import RecipeField, recipe_fields
from vqgen.errors import VQGenError
from vqgen.order import CausalOrder
from vqgen.storage.names import counted, shown

_MOST_OPTIONS = 12
"""Options of the command that repeats a run, at most. With more of them the recipe file is the shorter way."""

_BASELINES = {
    "autoencoder": "a plain autoencoder, whose latents are sampled from a Gaussian mixture of each label",
    "vae": "a variational autoencoder with Gaussian latents",
    "binary-vae": "a variational autoencoder with binary latents",
}
"""Kind of a baseline -> its description."""


def stage_title(stage: str) -> str:
    """Returns the name of a stage in words."""
    if stage.startswith("prior-"):
        return f"prior of {stage.removeprefix('prior-')}"
    return {"vqvae": "VQ-VAE"}.get(stage, stage)


def recipe_in_words(recipe: AnyRecipe, labels: int | None) -> list[str]:
    """Describes a recipe in a few paragraphs.

    Args:
        recipe: The recipe.
        labels: Number of labels of the images; None if it is not known yet.
    """
    models = _baseline(recipe) if isinstance(recipe, BaselineRecipe) else _models(recipe)
    parts = [_images(recipe.data, labels), *models, _classifier(recipe), _samples(recipe, labels)]
    if recipe.init_from is not None:
        parts.insert(1, f"Trainings begin with the weights that fit of {shown(recipe.init_from)}.")
    return parts


def _images(data: DataConfig, labels: int | None) -> str:
    place = f" below {shown(data.root)}" if data.root and data.source == "folder" else ""
    colour = "grey" if data.channels == 1 else "colour"
    parts = [
        f"The images come from {data.source}{place}: {colour}, {data.image_size} x {data.image_size} pixels"
        + ("" if labels is None else f", {counted(labels, 'label')}" if labels else ", without labels")
        + "."
    ]
    changes = [
        text
        for applies, text in (
            (data.horizontal_flip, "mirrors half of the training images"),
            (data.random_shift, f"shifts them by at most {counted(data.random_shift, 'pixel')}"),
            (data.random_crop < 1, f"crops at least {data.random_crop:.0%} of their shorter side"),
            (data.crop == "native", "takes squares of them at random places, which are not scaled"),
            (data.random_rotation, f"rotates them by at most {data.random_rotation:g} degrees"),
            (data.random_scale, f"changes their size by at most {data.random_scale:.0%}"),
            (data.random_shear, f"shears them by at most {data.random_shear:g} degrees"),
        )
        if applies
    ]
    if changes:
        parts.append(f"Augmentation {_and(changes)}.")
    copies = [f"{counted(data.augmented_copies, 'augmented version')}"] if data.augmented_copies else []
    copies += ["a mirrored version"] if data.mirrored_copies else []
    if copies:
        parts.append(f"The priors also learn {_and(copies)} of every training image.")
    return " ".join(parts)


def _models(recipe: Recipe) -> list[str]:
    vqvae = recipe.vqvae
    sides = {level: recipe.grid_side(level) for level in recipe.levels}
    grids = _and([f"{side} x {side} codes ({level})" for level, side in sides.items()])
    count = sum(side**2 for side in sides.values())
    bits = (vqvae.codebook_size - 1).bit_length()
    pixels = recipe.data.image_size**2
    text = (
        f"The VQ-VAE turns an image into {grids}, each one of {vqvae.codebook_size:,} entries of its codebook. "
        f"{counted(count, 'code')} of {counted(bits, 'bit')} make {count * bits:,} bits for {pixels:,} pixels: "
        f"{count * bits / pixels:.3g} bits per pixel before any entropy coding. {_training(vqvae.train)}"
    )
    return [
        text,
        *(_prior(recipe, level, section) for level, section in zip(recipe.levels, recipe.priors, strict=True)),
    ]


def _prior(recipe: Recipe, level: str, section: PriorSection) -> str:
    side = recipe.grid_side(level)
    steps = CausalOrder(side, side, section.slope).num_steps
    attention = f" and attention after every {_nth(section.attention_every)}layer" if section.attention_every else ""
    after = " after the coarser codes are known" if level != recipe.levels[0] else ""
    parts = [
        f"The prior of {level} is a PixelCNN with {counted(section.layers, 'layer')} of {section.channels} channels"
        f"{attention}. It draws a grid of codes in {counted(steps, 'step')}{after}. {_training(section.train)}"
    ]
    shares = [
        f"{share:.0%} of the {what}"
        for share, what in (
            (section.label_dropout, "labels"),
            (section.code_dropout, "codes that it sees"),
            (section.coarser_dropout if after else 0, "coarser codes"),
        )
        if share
    ]
    if shares:
        parts.append(f"Training hides {_and(shares)}.")
    return " ".join(parts)


def _baseline(recipe: BaselineRecipe) -> list[str]:
    section = recipe.autoencoder
    labels = " Encoder and decoder know the label." if section.labels == "conditional" else ""
    return [
        f"The model is {_BASELINES[section.kind]}: {section.latent_size} latents for "
        f"{recipe.data.channels * recipe.data.image_size**2:,} numbers of an image.{labels} {_training(section.train)}"
    ]


def _classifier(recipe: AnyRecipe) -> str:
    if recipe.classifier is None:
        return "The recipe trains no classifier of real images."
    return f"A classifier of real images judges samples and chooses among them. {_training(recipe.classifier.train)}"


def _training(train: TrainConfig) -> str:
    images = f"{counted(train.batch_size, 'image')} a step"
    length = f"for {counted(train.steps, 'step')} of {counted(train.batch_size, 'image')} each"
    if train.epochs is not None:
        length = f"until it has seen all training images {train.epochs:g} times, {images}"
    falls = " and then falls along a cosine" if train.schedule == "cosine" else ""
    average = " The saved weights are a moving average." if train.ema_decay else ""
    stop = (
        f" It may stop after {counted(train.patience, 'validation')} without an improvement." if train.patience else ""
    )
    return f"It trains {length}; the learning rate reaches {train.learning_rate:g}{falls}.{average}{stop}"


def _samples(recipe: AnyRecipe, labels: int | None) -> str:
    wanted = recipe.generate
    per = " of each label" if labels or labels is None else ""
    parts = [f"temperature {wanted.temperature:g}"]
    parts += [f"the {wanted.top_k} most likely codes"] if wanted.top_k else []
    parts += [f"the likeliest codes up to a probability of {wanted.top_p:g}"] if wanted.top_p else []
    parts += [f"guidance {wanted.guidance_scale:g}"] if wanted.guidance_scale != 1 else []
    parts += [f"autoguidance {wanted.autoguidance_scale:g}"] if wanted.autoguidance_scale != 1 else []
    kept = f" The classifier keeps the surest {wanted.keep:.0%}." if wanted.keep < 1 else " All are kept."
    count = counted(wanted.images_per_label, "sample")
    return f"The run ends with {count}{per}, at {_and(parts)}.{kept} All random numbers follow from seed {recipe.seed}."


def repeating_command(recipe: AnyRecipe, folder: Path, environment: dict[str, Any]) -> str:
    """Returns the command that makes a run again.

    Args:
        recipe: The recipe of the run.
        folder: The run folder. Its recipe.toml serves if no shipped recipe is close to the recipe.
        environment: The environment in the record of a stage.
    """
    options = _options(recipe)
    words = ["vqgen", "run", str(folder / "recipe.toml"), "--run-name", f"{folder.resolve().name}-again"]
    if options is not None:
        name = folder.resolve().name
        words = ["vqgen", "run", recipe.name, *options, *(["--run-name", name] if name != recipe.name else [])]
    dtype = environment.get("dtype", "float32")
    device = environment.get("device", "cpu")
    words += [] if dtype == "float32" else ["--dtype", dtype]
    return shlex.join([*words, "--device", device])


def _options(recipe: AnyRecipe) -> list[str] | None:
    """Returns the options that turn the shipped recipe of the same name into this one; None if there is no such way."""
    path = shipped_recipes().get(recipe.name)
    if path is None:
        return None
    try:
        shipped = {field.path: field for field in recipe_fields(read_recipe(path)) if field.new_name is None}
        own = [field for field in recipe_fields(recipe) if field.new_name is None]
    except VQGenError:
        return None
    if {field.path for field in own} != {field.path for field in shipped.values()}:
        return None
    changed = [field for field in own if field.value != shipped[field.path].value]
    if len(changed) > _MOST_OPTIONS:
        return None
    return [word for field in changed for word in _words(field)]


def _words(field: RecipeField) -> list[str]:
    if field.is_flag:
        return [field.option if field.value else field.negations[0]]
    values = field.value if isinstance(field.value, tuple) else (field.value,)
    return [field.option, *map(str, values)]


def _nth(number: int) -> str:
    """Returns the words after "every": nothing for 1, "second " for 2, and so on."""
    if number == 1:
        return ""
    named = {2: "second", 3: "third"}
    return f"{named.get(number, f'{number}th')} "


def _and(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
