"""The settings of a judgement, in words for the terminal and by name for a JSON file."""

from collections.abc import Mapping
from typing import Any

from vqgen import __version__
from vqgen.evaluation.judge.judge import Judge
from vqgen.evaluation.judge.model_judge import ModelJudge
from vqgen.pipeline.request import GenerationRequest
from vqgen.sampling import numbers_of

FLOOR_NOTE = "floor: the distance between two halves of the real images, or the difference between their metrics"


_CHOSE_WEIGHTS = (
    "held-out: there are no test images, and the validation images chose the weights of the models, so metrics on them "
    "may be better than on new images"
)


def held_out_notes(judge: ModelJudge) -> list[str]:
    """Returns a line if the held-out images chose the weights that they judge, and else none."""
    # Every training keeps the weights of its best validation.
    return [_CHOSE_WEIGHTS] if judge.held_out.split == "validation" else []


def left_out_notes(left_out: Mapping[str, str]) -> list[str]:
    """Returns a line for each reason why metrics are left out.

    Args:
        left_out: Name of a metric or of a group -> the reason.
    """
    # Several metrics often lack the same images.
    names: dict[str, list[str]] = {}
    for name, reason in left_out.items():
        names.setdefault(reason, []).append(name)
    return [f"{', '.join(alike)}: left out, {reason}" for reason, alike in names.items()]


def sampling_text(request: GenerationRequest) -> str:
    """Describes a request for samples in words."""

    def joined(values: tuple[float, ...]) -> str:
        return "/".join(f"{value:g}" for value in values)

    params = request.params
    scales = numbers_of(params.guidance_scale)
    auto_scales = numbers_of(params.autoguidance_scale)
    parts = [
        f"{request.images_per_label} a label, seed {request.seed}",
        f"temperature {joined(numbers_of(params.temperature))}",
    ]
    if params.top_k is not None:
        parts.append(f"top-k {params.top_k}")
    if params.top_p is not None:
        parts.append(f"top-p {params.top_p:g}")
    parts.append(f"guidance {joined(scales)}" if any(scale != 1 for scale in scales) else "no guidance")
    if any(scale != 1 for scale in auto_scales):
        parts.append(f"autoguidance {joined(auto_scales)}")
    parts.append(f"the surest {request.keep:.0%}" if request.keep < 1 else "none rejected")
    return ", ".join(parts)


def judging_settings(judge: Judge, request: GenerationRequest) -> dict[str, Any]:
    """Returns the settings that two comparable judgements share, by name."""
    return {
        "vqgen": __version__,
        "device": str(judge.pipe.compute.device),
        "dtype": judge.pipe.compute.dtype,
        "space": judge.space.name if judge.space else None,
        "reference": judge.reference.split,
        "held_out": judge.held_out.split,
        "notes": held_out_notes(judge),
        "seed_of_judging": judge.seed,
        "score_seeds": judge.score_seeds,
        "sampling": {
            "images_per_label": request.images_per_label,
            "seed": request.seed,
            **request.describe(),
        },
        "classifier": judge.section.model_dump(mode="json"),
    }


def provenance(judge: Judge, checkpoint: str, request: GenerationRequest) -> dict[str, Any]:
    """Returns all that is needed to compute the metrics of a checkpoint again, by name."""
    return {"checkpoint": checkpoint, "model": judge.pipe.model_hash} | judging_settings(judge, request)
