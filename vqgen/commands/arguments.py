"""Arguments that several commands share."""

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

from vqgen.errors import ConfigError

if TYPE_CHECKING:
    from vqgen.evaluation.judge.build import JudgeOptions
    from vqgen.pipeline.base import AnyPipeline
    from vqgen.pipeline.request import GenerationRequest
    from vqgen.sampling import SamplingParams

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def add_compute_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds --device, --dtype and --threads. `vqgen.cli` sets the threads before the command runs."""
    add_device_arguments(parser)
    parser.add_argument(
        "--threads",
        type=thread_count,
        metavar="N",
        help="threads on a CPU (default: as many as the work can use, at most one a core)",
    )


def add_device_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds --device and --dtype. A run has its threads in its recipe."""
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:N or mps")
    parser.add_argument("--dtype", default="float32", help="float32 (default), bfloat16, float16 or float64")


def thread_count(text: str) -> int:
    """Parses a number of threads."""
    if not (text.isascii() and text.isdecimal()) or int(text[:20]) < 1:
        raise argparse.ArgumentTypeError(f"should be a number of threads, at least 1, found {text!r}")
    return int(text)


def add_checkpoint_argument(parser: argparse.ArgumentParser) -> None:
    """Adds CHECKPOINT."""
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="a run folder, a pipeline folder, or hf:user/name")


def add_output_argument(parser: argparse.ArgumentParser) -> None:
    """Adds -o and --overwrite."""
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="folder to write into")
    add_overwrite_argument(parser)


def add_overwrite_argument(parser: argparse.ArgumentParser) -> None:
    """Adds --overwrite; `vqgen.commands.outputs` has its rule."""
    parser.add_argument("--overwrite", action="store_true", help="replace the results of an earlier call")


def add_levels_argument(parser: argparse.ArgumentParser, effect: str) -> None:
    """Adds --levels.

    Args:
        parser: The parser.
        effect: The effect on the pictures of the command.
    """
    parser.add_argument(
        "--levels",
        nargs="+",
        metavar="LEVEL",
        help=f"{effect}, --levels top for example; all other levels are at their means (default: all levels)",
    )


def chosen_levels(pipe: "AnyPipeline", names: list[str] | None) -> tuple[str, ...] | None:
    """Returns the levels that --levels names, coarse to fine; None without it.

    Args:
        pipe: The pipeline that will decode.
        names: The value of --levels.

    Raises:
        ConfigError: The model has no such level, or no codes.
    """
    if names is None:
        return None
    if not pipe.has_codes:
        raise ConfigError(f"--levels: pipeline {pipe.parts.name!r} has no codes, so it has no levels; leave it out")
    from vqgen.models.levels_alone import as_levels

    return as_levels(names, pipe.parts.vqvae.config)


def add_parameter_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the seed and the parameters of sampling."""
    parser.add_argument(
        "--seed",
        type=whole_number,
        default=0,
        metavar="N",
        help="image i of the request draws from (seed, i) (default: 0)",
    )
    per_level = {
        "--temperature": ("T", "0 takes the most likely codes"),
        "--guidance-scale": ("S", "above 1 samples fit their label more surely and are less varied"),
        "--autoguidance-scale": ("A", "above 1 samples move away from those of the prior early in its training"),
    }
    for option, (metavar, effect) in per_level.items():
        text = f"one number for all levels, or one per level, coarse to fine; {effect}; 1 samples the model (default)"
        parser.add_argument(option, type=float, nargs="+", default=[1.0], metavar=metavar, help=text)
    parser.add_argument("--top-k", type=whole_number, metavar="K", help="sample among the K most likely codes")
    parser.add_argument(
        "--top-p", type=float, metavar="P", help="sample among the most likely codes that together have probability P"
    )
    parser.add_argument(
        "--batch-size",
        type=whole_number,
        default=100,
        metavar="N",
        help="images sampled at a time, at most (default: 100)",
    )


def sampling_params(arguments: argparse.Namespace) -> "SamplingParams":
    """Returns the parameters that the arguments of `add_parameter_arguments` describe."""
    from vqgen.sampling import SamplingParams

    return SamplingParams(
        temperature=arguments.temperature,
        top_k=arguments.top_k,
        top_p=arguments.top_p,
        guidance_scale=arguments.guidance_scale,
        autoguidance_scale=arguments.autoguidance_scale,
    )


def add_sampling_arguments(parser: argparse.ArgumentParser, *, images_per_label: int) -> None:
    """Adds the number of images of each label, and the parameters of sampling."""
    text = f"images of each label (default: {images_per_label})"
    parser.add_argument("--images-per-label", type=whole_number, default=images_per_label, metavar="N", help=text)
    add_parameter_arguments(parser)
    parser.add_argument(
        "--keep",
        type=float,
        default=1.0,
        metavar="SHARE",
        help="share of the samples to keep: the ones that the classifier is surest of (default: 1, all)",
    )


def generation_request(arguments: argparse.Namespace) -> "GenerationRequest":
    """Returns the request for images that the arguments of `add_sampling_arguments` describe."""
    from vqgen.pipeline.request import GenerationRequest

    return GenerationRequest(
        labels=getattr(arguments, "labels", None),
        images_per_label=arguments.images_per_label,
        seed=arguments.seed,
        params=sampling_params(arguments),
        keep=arguments.keep,
        batch_size=arguments.batch_size,
        max_memory=getattr(arguments, "max_memory", None),
    )


def add_evaluation_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of every command that judges samples."""
    parser.add_argument("--data-root", metavar="DIR", help="folder of the real images (default: as in the run folder)")
    parser.add_argument(
        "--real-images",
        type=whole_number,
        default=60_000,
        metavar="N",
        help="real images of each split, at most (default: 60000)",
    )
    parser.add_argument(
        "--reference",
        choices=["held-out", "train"],
        default="held-out",
        help="real images to compare samples with: held-out (default; test, or else validation images) or train",
    )
    parser.add_argument(
        "--inception-weights",
        metavar="FILE",
        help="published weights of Inception, to compare samples by its features (default: features of a classifier)",
    )
    parser.add_argument(
        "--reference-features",
        metavar="FILE",
        help="file for the features of the reference images; an existing one is read, so that they are computed once",
    )
    _add_classifier_arguments(parser)
    parser.add_argument("--quiet", action="store_true", help="show no progress bars")


def _add_classifier_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the classifiers that judge samples."""
    parser.add_argument(
        "--classifier",
        metavar="CHECKPOINT",
        help="judge by the classifier of this checkpoint, and compute the accuracy score by classifiers of its recipe",
    )
    parser.add_argument(
        "--classifier-steps",
        type=whole_number,
        metavar="N",
        help="training steps of each classifier that is trained to judge (default: as in the recipe)",
    )
    parser.add_argument(
        "--score-seeds",
        type=whole_number,
        default=1,
        metavar="N",
        help="classifiers of each accuracy score, each with a seed of its own; the score is their mean (default: 1)",
    )
    parser.add_argument(
        "--judging-seed",
        type=whole_number,
        default=0,
        metavar="N",
        help="seed of the halves, choices and classifiers of judging (default: 0)",
    )


def judge_options(arguments: argparse.Namespace) -> "JudgeOptions":
    """Returns the options of judging that the arguments of `add_evaluation_arguments` describe."""
    from vqgen.evaluation.judge.build import JudgeOptions

    def path(text: str | None) -> Path | None:
        return Path(text) if text else None

    return JudgeOptions(
        data_root=arguments.data_root,
        real_images=arguments.real_images,
        reference=arguments.reference,
        inception_weights=path(arguments.inception_weights),
        classifier=arguments.classifier,
        reference_features=path(arguments.reference_features),
        classifier_steps=arguments.classifier_steps,
        score_seeds=arguments.score_seeds,
        seed=arguments.judging_seed,
        quiet=arguments.quiet,
    )


def whole_number(text: str) -> int:
    """Parses a whole number in plain digits: 5.0, 1e3 and 1_0 are none. Its range is checked where it is used.

    Raises:
        ArgumentTypeError: The text is something else.
    """
    if not re.fullmatch(r"[+-]?[0-9]{1,1000}", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"should be a whole number, found {text[:60]!r}")
    return int(text)


def memory_size(text: str) -> int:
    """Parses a size such as `500MB`, `1.5G` or `2000000` and returns it in bytes.

    Raises:
        ArgumentTypeError: The text is not a size.
    """
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?([KMGT]?)B?", text.strip().upper())
    if found is None or float(found[1]) == 0:
        raise argparse.ArgumentTypeError(f"should be a size like 500MB or 2G, found {text!r}")
    return int(float(found[1]) * _UNITS[found[2]])


def add_recipe_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds RECIPE and the arguments that name its run folder."""
    parser.add_argument("recipe", metavar="RECIPE", help="name of a recipe that ships, or path of a TOML file")
    parser.add_argument(
        "--checkpoints", default="checkpoints", metavar="DIR", help="folder of the run folders (default: checkpoints)"
    )
    parser.add_argument("--run-name", metavar="NAME", help="name of the run folder (default: the recipe's name)")
    parser.epilog = (
        "Every field of the recipe is an option too: --seed 7 --vqvae.codebook-size 256 --priors.0.layers 6; "
        "`vqgen run RECIPE --fields` lists them all."
    )


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of every command that works on a run."""
    add_recipe_arguments(parser)
    parser.add_argument(
        "--redo", action="store_true", help="move stages with a changed recipe aside, and make them again"
    )
    parser.add_argument("--force", action="store_true", help="train priors even if the codes have collapsed")
    parser.add_argument("--dry-run", action="store_true", help="print the stages and their cost, and do nothing else")
    parser.add_argument("--quiet", action="store_true", help="show no progress bars")
    add_device_arguments(parser)
    parser.add_argument(
        "--fields", action="store_true", help="list the fields of the recipe with their values, and do nothing else"
    )


def add_parallel_stages_argument(parser: argparse.ArgumentParser) -> None:
    """Adds --parallel-stages."""
    parser.add_argument(
        "--parallel-stages",
        type=parallel_stages,
        metavar="N",
        help="stages that run side by side, at most; auto (default) takes as many as cores, GPUs and memory allow",
    )


def parallel_stages(text: str) -> int | None:
    """Parses a number of stages, or `auto`, which is returned as None.

    Raises:
        ArgumentTypeError: The text is neither.
    """
    if text == "auto":
        return None
    if not re.fullmatch("[0-9]+", text) or int(text) == 0:
        raise argparse.ArgumentTypeError(f"should be auto or a whole number of at least 1, found {text!r}")
    return int(text)
