"""The HTTP API of the tabs Compress, Codes and Runs: files in, figures and files out.

The inputs are components that nobody sees, and not bare values: Gradio then checks that a file has been uploaded, and
is no other file of the server. Labels and levels are texts, because the choices of a list belong to one model.
"""

from collections.abc import Callable
from typing import Any

import gradio as gr

from vqgen.app.code_views import PictureCodes, code_probabilities, codes_document, draw_codes, encode_codes
from vqgen.app.compressing import Compressed
from vqgen.app.context import MODEL_QUEUE, AppContext
from vqgen.app.controls import NO_LABEL
from vqgen.app.faults import plain_errors
from vqgen.app.file_work import compress_file, open_file, save_file
from vqgen.app.run_list import list_runs
from vqgen.app.uploads import read_upload


def add_file_endpoints(context: AppContext) -> None:
    """Adds the endpoints to the page that is being built."""
    model = gr.Dropdown(context.names, value=context.names[0], label="model", visible=False)
    picture = gr.File(label="picture", type="filepath", visible=False)
    file = gr.File(label="file", type="filepath", visible=False)
    label, level = (gr.Textbox("", label=name, visible=False) for name in ("label", "level"))
    seed, row, column = (gr.Number(0, label=name, precision=0, visible=False) for name in ("seed", "row", "column"))
    result = gr.JSON(label="result", visible=False)
    made = gr.File(label="made", visible=False)
    acts = Endpoints(context)
    source = [model, label, seed, picture]

    def add(act: Callable[..., Any], inputs: list[Any], outputs: list[Any], description: str) -> None:
        gr.Button(visible=False).click(
            plain_errors(act),
            inputs,
            outputs,
            api_name=act.__name__,
            api_description=description,
            concurrency_id=MODEL_QUEUE,
            concurrency_limit=1,
        )

    add(
        acts.compress,
        [model, picture, label],
        [result, made],
        "Compresses a picture. Returns the bytes of each level by coder, JPEG and WebP of the same length, and the "
        ".vqg file. The label is a name, auto, or empty for none.",
    )
    add(acts.decompress, [model, file], [result, made], "Opens a .vqg file. Returns the header, and the picture.")
    add(
        acts.codes,
        source,
        [result],
        "Returns the codes of a picture: of an uploaded one, or else of one that is drawn with label and seed.",
    )
    add(
        acts.code_probabilities,
        [*source, level, row, column],
        [result],
        "Returns the likeliest codes at a position of such a picture under the prior, and the code that it has there.",
    )
    add(acts.runs, [], [result], "Lists the run folders and their state.")


class Endpoints:
    """The functions of the endpoints; their parameters are those of the API.

    Args:
        context: The models and the limits.
    """

    def __init__(self, context: AppContext) -> None:
        self._context = context

    def compress(self, model: str, picture: str | None, label: str | None = None) -> tuple[dict[str, Any], str]:
        """Compresses a picture; returns the figures and the path of the file."""
        steps = compress_file(self._context, model, picture, _label(label))
        (found,) = [each for each in steps if isinstance(each, Compressed)]
        return found.document(), str(save_file(self._context, picture, found))

    def decompress(self, model: str, file: str | None) -> tuple[dict[str, str], str]:
        """Opens a `.vqg` file; returns the header and the path of the picture."""
        opened, maker = open_file(self._context, model, file)
        path = self._context.new_path("picture.png")
        opened.picture.save(path)
        return {"model": maker, **dict(opened.rows)}, str(path)

    def codes(self, model: str, label: str | None, seed: float | None, picture: str | None) -> dict[str, Any]:
        """Returns the codes of an uploaded picture, or of a drawn one if there is none."""
        return codes_document(self._context.open(model), self._found(model, label, seed, picture))

    def code_probabilities(
        self,
        model: str,
        label: str | None,
        seed: float | None,
        picture: str | None,
        level: str,
        row: float | None,
        column: float | None,
    ) -> dict[str, Any]:
        """Returns the likeliest codes at a position of an uploaded picture, or of a drawn one if there is none."""
        found = self._found(model, label, seed, picture)
        place = int(row or 0), int(column or 0)
        with self._context.use(model) as pipe:
            likely = code_probabilities(pipe, found, level or pipe.levels[-1], *place)
        return {"row": place[0], "column": place[1], "codes": [vars(each) for each in likely]}

    def runs(self) -> list[dict[str, Any]]:
        """Returns the list of the runs."""
        return [vars(run) for run in list_runs(self._context.checkpoints)]

    def _found(self, model: str, label: str | None, seed: float | None, picture: str | None) -> PictureCodes:
        upload = read_upload(picture, self._context.limits, self._context.open(model).reading) if picture else None
        with self._context.use(model) as pipe:
            if upload is None:
                return draw_codes(pipe, _label(label), int(seed or 0))
            return encode_codes(pipe, upload, _label(label))


def _label(text: str | None) -> str | None:
    return None if text in (None, "", NO_LABEL) else text
