"""The HTTP API: the functions of the page under names, with typed parameters and a schema.

Every endpoint that draws yields its steps, so that a client that goes away stops the work.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from gradio.data_classes import FileData
from gradio.events import api

from vqgen.app.context import MODEL_QUEUE, AppContext
from vqgen.app.faults import plain_errors
from vqgen.app.files import codes_archive, picture_files
from vqgen.app.generating import Finished, Settings, drawn_steps
from vqgen.reports.picture_metadata import settings_of_images


def add_endpoints(context: AppContext) -> None:
    """Adds the endpoints to the page that is being built."""
    api(
        plain_errors(_models(context)),
        api_name="models",
        api_description="The models: name, labels, levels, size of the pictures.",
        queue=False,
    )
    api(
        plain_errors(_generate(context)),
        api_name="generate",
        api_description="Draws pictures of labels. Returns a list with a PNG file, the log-likelihood in nats and the "
        "settings of each picture, and the codes as an archive of a code store. The last event has the result; the "
        "events before it count the pictures that are drawn.",
        concurrency_id=MODEL_QUEUE,
        concurrency_limit=1,
    )


def _models(context: AppContext) -> Callable[[], list[dict[str, Any]]]:
    def models() -> list[dict[str, Any]]:
        opened = {name: context.open(name) for name in context.names}
        return [
            {
                "name": name,
                "labels": list(pipe.label_map.names),
                "levels": list(pipe.levels),
                "image_size": pipe.parts.data.image_size,
                "channels": pipe.parts.data.channels,
                "model_sha256": pipe.model_hash,
            }
            for name, pipe in opened.items()
        ]

    return models


def _generate(context: AppContext) -> Callable[..., Iterator[tuple[list[dict[str, Any]], dict[str, Any]]]]:
    def generate(
        model: str = context.names[0],
        labels: list[str] = [],  # noqa: B006  a default of the schema, which nothing changes
        images_per_label: int = 1,
        seed: int = 0,
        temperature: list[float] = [1.0],  # noqa: B006
        top_k: int = 0,
        top_p: float = 1.0,
        guidance_scale: float = 1.0,
        autoguidance_scale: float = 1.0,
        keep: float = 1.0,
    ) -> Iterator[tuple[list[dict[str, Any]], dict[str, Any]]]:
        settings = Settings(
            labels=_listed(labels),
            images_per_label=images_per_label,
            seed=seed,
            temperature=_listed(temperature),
            top_k=top_k or None,
            top_p=None if top_p == 1 else top_p,
            guidance_scale=guidance_scale,
            autoguidance_scale=autoguidance_scale,
            keep=keep,
        )
        for step in drawn_steps(context, model, settings):
            if isinstance(step, Finished):
                yield _described(context, model, step)
            else:
                yield [], {"drawn": step.drawn, "total": step.total}

    return generate


def _listed(value: Any) -> tuple[Any, ...]:
    """Returns a list of a client as a tuple; a single value stands for a list of one."""
    return tuple(value) if isinstance(value, list) else (value,)


def _described(context: AppContext, model: str, result: Finished) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Returns the pictures as files with their settings, and the codes."""
    pipe = context.open(model)
    output = result.output
    settings = settings_of_images(output, pipe, result.request.describe())
    pictures = []
    files = picture_files(output, pipe, result.request)
    for data, nats, own in zip(files, output.log_likelihood.tolist(), settings, strict=True):
        path = context.new_path(f"{own['seed']}-{own['index']:04d}.png")
        path.write_bytes(data)
        pictures.append({"picture": file_of(path), "log_likelihood": nats, "settings": dict(own)})
    codes = codes_archive(context, output.codes, output.labels, pipe)
    return pictures, {"drawn": len(pictures), "total": len(pictures), "codes": file_of(codes)}


def file_of(path: Path) -> dict[str, Any]:
    """Returns a file for a client: Gradio serves a copy of it, and adds the address."""
    return FileData(path=str(path), orig_name=path.name).model_dump()
