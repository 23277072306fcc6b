"""Pictures of labels for the page and for its HTTP API: a request of plain values in, steps and files out.

Legend: `b` images, `c` channels, `H W` image.
"""

import shlex
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor

from vqgen.app.context import AppContext, Limits
from vqgen.app.streaming import streamed
from vqgen.codes import Codes
from vqgen.data.label_map import listed_labels
from vqgen.errors import ConfigError
from vqgen.pipeline import GenerationOutput, VQGenPipeline
from vqgen.pipeline.gathering import as_processes, chosen_parts
from vqgen.pipeline.request import GenerationRequest
from vqgen.pipeline.scoring import score_images
from vqgen.sampling import SamplingParams

BATCH_SIZE = 20
"""Images drawn at a time: the page shows each batch, and a stop waits for one batch at most."""

_CANDIDATES = 4
"""Candidates per picture of the limit: the classifier may choose one of so many."""


@dataclass(frozen=True)
class Settings:
    """A request for pictures, in the values of a page.

    Attributes:
        labels: Names of labels; empty for all of them.
        images_per_label: Pictures of each label.
        seed: Image i of the request draws from (seed, i); None takes a new seed.
        temperature: One number, or one per level, coarse to fine.
        top_k: As in `SamplingParams`.
        top_p: As in `SamplingParams`.
        guidance_scale: Classifier-free guidance of all levels.
        autoguidance_scale: Autoguidance of the levels that have a guide.
        keep: Share of the samples to keep by the classifier.
    """

    labels: tuple[str, ...] = ()
    images_per_label: int = 4
    seed: int | None = 0
    temperature: tuple[float, ...] = (1.0,)
    top_k: int | None = None
    top_p: float | None = None
    guidance_scale: float = 1.0
    autoguidance_scale: float = 1.0
    keep: float = 1.0


@dataclass(frozen=True)
class Step:
    """Pictures so far.

    Attributes:
        pixels: The finished pictures, and those of the batch that is being drawn.
        labels: The label of each of them.
        drawn: Finished pictures.
        total: Pictures of the whole request, rejected candidates included.
        level: The level of the codes that came last.
    """

    pixels: UInt8[Tensor, "b c H W"]
    labels: list[int | None]
    drawn: int
    total: int
    level: str


@dataclass(frozen=True)
class Finished:
    """The result.

    Attributes:
        output: The pictures, their codes and likelihoods.
        request: The request with its seed.
    """

    output: GenerationOutput
    request: GenerationRequest


def request_of(settings: Settings, pipe: VQGenPipeline, limits: Limits) -> GenerationRequest:
    """Returns the request for images, with a seed.

    Raises:
        ConfigError: A number is out of its range, or more pictures are asked for than one request may have.
        DataError: A label is unknown.
        CheckpointError: A prior is missing, or a classifier to choose pictures.
    """
    pipe.check_generates()
    params = SamplingParams(
        temperature=settings.temperature[0] if len(set(settings.temperature)) == 1 else settings.temperature,
        top_k=settings.top_k,
        top_p=settings.top_p,
        guidance_scale=settings.guidance_scale,
        autoguidance_scale=_of_guided_levels(settings.autoguidance_scale, pipe),
    )
    request = GenerationRequest(
        labels=settings.labels or None,
        images_per_label=settings.images_per_label,
        seed=settings.seed,
        params=params,
        keep=settings.keep,
        batch_size=BATCH_SIZE,
    )
    count = request.images_per_label * len(pipe.resolve_labels(request.labels))
    if count > limits.images:
        raise ConfigError(f"number: should be at most {limits.images} pictures in all, found {count}; ask for fewer")
    candidates = pipe.count(request)
    if candidates > _CANDIDATES * limits.images:
        raise ConfigError(f"keep: should leave at most {_CANDIDATES * limits.images} candidates, found {candidates}")
    return request.seeded()


def drawn_steps(context: AppContext, model: str, settings: Settings) -> Generator[Step | Finished, None, None]:
    """Draws pictures, level by level and batch by batch. Closing the generator stops the work.

    Args:
        context: The models and the limits.
        model: Name of the model.
        settings: The request.

    Yields:
        A step after each level of each batch, and the result at the end.

    Raises:
        VQGenError: As `request_of`.
    """

    def work(hand_over: Callable[[Step | Finished], None]) -> None:
        with context.use(model) as pipe:
            request = request_of(settings, pipe, context.limits)
            hand_over(Finished(_Drawing(pipe, request, hand_over).output(), request))

    yield from streamed(work, context.closing)


class _Drawing:
    """The pictures of a request as they come.

    Args:
        pipe: The model.
        request: The request, with a seed.
        hand_over: Called with each step.
    """

    def __init__(
        self, pipe: VQGenPipeline, request: GenerationRequest, hand_over: Callable[[Step | Finished], None]
    ) -> None:
        self._pipe = pipe
        self._request = request
        self._hand_over = hand_over
        self._candidates = pipe.check_request(request)
        self._chosen = pipe.resolve_labels(request.labels)
        self._labels = [label for label in self._chosen for _ in range(self._candidates)]
        self._finished: list[UInt8[Tensor, "b c H W"]] = []
        self._last: list[UInt8[Tensor, "b c H W"]] = []
        self._drawn = 0

    def output(self) -> GenerationOutput:
        """Draws the pictures: those of `pipe.generate`, which shows no levels."""
        row = (self._request.images_per_label, self._candidates)
        alone = as_processes(None, self._pipe.compute.device)
        (output,) = chosen_parts(self._chosen, row, len(self._labels), self._draw, alone)
        return output

    def _draw(self, labels: list[int | None], indices: range) -> GenerationOutput:
        request = self._request
        assert request.seed is not None
        codes, log_likelihood = self._pipe.sample(
            labels,
            indices,
            seed=request.seed,
            params=request.params,
            batch_size=request.batch_size,
            on_level=self._show,
            progress=self._count,
        )
        drawn = GenerationOutput(
            pixels=self._pipe.decode_tensor(codes),
            labels=labels,
            seed=request.seed,
            codes=codes,
            log_likelihood=log_likelihood,
        )
        classifier = self._pipe.parts.classifier
        if self._candidates == request.images_per_label or classifier is None:
            return drawn
        sureness = score_images(classifier, drawn.pixels, drawn.labels, self._pipe.compute)
        return replace(drawn, label_probability=sureness)

    def _show(self, codes: Codes) -> None:
        """Hands over the batch with the levels that are drawn; those that are missing are decoded as their mean."""
        self._last = [self._pipe.decode_tensor(codes.to("cpu"), levels=list(codes.levels))]
        pixels = torch.cat([*self._finished, *self._last])
        labels = self._labels[: len(pixels)]
        self._hand_over(Step(pixels, labels, self._drawn, len(self._labels), codes.levels[-1]))

    def _count(self, images: int) -> None:
        """Keeps the pictures of the batch that is finished."""
        self._drawn += images
        self._finished += self._last
        self._last = []


def guidance_choices(pipe: VQGenPipeline) -> dict[str, bool]:
    """Returns the parameters that a model can take: guidance, autoguidance and keep -> True if it can."""
    return {
        "guidance_scale": pipe.takes_labels and pipe.takes_none,
        "autoguidance_scale": bool(pipe.parts.guides),
        "keep": pipe.parts.classifier is not None and pipe.takes_labels,
    }


def _of_guided_levels(scale: float, pipe: VQGenPipeline) -> float | tuple[float, ...]:
    """Returns one scale per level: 1 for a level without a guide, if some levels have one."""
    guides = pipe.parts.guides
    if scale == 1 or not guides or len(guides) == len(pipe.levels):
        return scale
    return tuple(scale if level in guides else 1.0 for level in pipe.levels)


def python_call(model: str, request: GenerationRequest) -> str:
    """Returns the Python program that draws the same pictures."""
    values = _arguments(request)
    labels = [] if request.labels is None else [f"labels={listed_labels(request.labels)!r}"]
    words = [*labels, *(f"{name}={value!r}" for name, value in values.items())]
    return (
        "from vqgen import VQGenPipeline\n\n"
        f"pipe = VQGenPipeline.from_pretrained({model!r})\n"
        f"out = pipe({', '.join(words)})\n"
    )


def command_line(model: str, request: GenerationRequest) -> str:
    """Returns the command that writes the same pictures."""
    words = ["vqgen", "generate", model, "-o", "out/"]
    if request.labels is not None:
        words += ["--labels", *map(str, listed_labels(request.labels))]
    for name, value in _arguments(request).items():
        numbers = value if isinstance(value, Sequence) else [value]
        words += [
            f"--{name.replace('_', '-')}",
            *(f"{number:g}" if isinstance(number, float) else str(number) for number in numbers),
        ]
    return shlex.join(words)


def _arguments(request: GenerationRequest) -> dict[str, Any]:
    """Returns the arguments of a call that differ from their defaults, and the ones that one wants to see."""
    document = request.describe()
    changed = {name: value for name, value in document.items() if value not in (None, 1.0)}
    plain: dict[str, Any] = {"images_per_label": request.images_per_label, "seed": request.seed, **changed}
    return plain | {"batch_size": request.batch_size}
