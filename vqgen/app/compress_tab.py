"""The tab Compress: a picture beside its reconstruction and beside other formats, and `.vqg` files opened again."""

from collections.abc import Generator
from pathlib import Path
from typing import Any

import gradio as gr

from vqgen.app.compressing import Compressed
from vqgen.app.context import MODEL_QUEUE, AppContext
from vqgen.app.controls import NO_LABEL, model_choice
from vqgen.app.faults import plain_errors
from vqgen.app.file_work import compress_file, enlarged, open_file, save_file
from vqgen.app.gallery import Shown, gallery
from vqgen.app.html_tables import html_table, paragraphs
from vqgen.app.opening import OpenedPicture
from vqgen.app.uploads import check_upload, escape, is_compressed
from vqgen.storage.names import shown

_SHORTEST = "auto"


def build(context: AppContext) -> None:
    """Builds the tab."""
    gr.HTML(
        paragraphs(
            "Drop a picture, and see how it comes back from its codes; or drop a .vqg file to open it again.",
            "The models that ship are small and know small grey pictures of one kind. They draw everything with what "
            "they learned, so photographs come back badly; JPEG and WebP are better there.",
        )
    )
    with gr.Row():
        with gr.Column(scale=1, min_width=280):
            model = model_choice(context)
            file = gr.File(label="Picture or .vqg file", file_count="single", type="filepath", height=180)
            label = gr.Dropdown(
                coding_labels(context, context.names[0]),
                value=NO_LABEL,
                label="Label of the picture",
                info="The prior predicts the codes by the label.",
            )
            with gr.Row():
                start = gr.Button("Compress", variant="primary")
                stop = gr.Button("Stop")
            saved = gr.DownloadButton("Download", interactive=False)
        with gr.Column(scale=2, min_width=280):
            state = gr.HTML(_state("The original appears here on the left, and the reconstruction on the right."))
            slider = gr.ImageSlider(
                label="Original (left) and reconstruction (right)",
                show_label=False,
                type="pil",
                format="png",
                interactive=False,
                buttons=["fullscreen"],
                max_height=420,
                elem_classes="vq-pixels",
            )
            result = gr.HTML()

    @plain_errors
    def show(name: str, path: str | None, chosen: str) -> Generator[tuple[Any, ...], None, None]:
        yield _state("Reads the file."), gr.skip(), gr.skip(), gr.skip()
        if path is not None and is_compressed(check_upload(path, context.limits)):
            opened, by = open_file(context, name, path)
            png = context.new_path(Path(path).stem + ".png")
            opened.picture.save(png)
            picture = enlarged(opened.picture)
            words = _state(f"Opened with the model {by}.")
            yield words, (picture, picture), _header_table(opened), _download("Save the picture (png)", png)
            return
        for item in compress_file(context, name, path, _label(chosen)):
            if isinstance(item, str):
                yield _state(f"Working: {item}."), gr.skip(), gr.skip(), gr.skip()
            else:
                pair = (enlarged(item.original), enlarged(item.ours.picture))
                path_of_file = save_file(context, path, item)
                yield _state(_summary(item)), pair, _tables(item), _download("Save the file (.vqg)", path_of_file)

    outputs = [state, slider, result, saved]
    queue: dict[str, Any] = {"concurrency_id": MODEL_QUEUE, "concurrency_limit": 1}
    events: list[Any] = [
        listen(show, [model, file, label], outputs, api_visibility="private", **queue)
        for listen in (file.upload, start.click)
    ]
    stop.click(lambda: _state("Stopped."), None, state, cancels=events, queue=False, api_visibility="private")
    model.change(
        plain_errors(lambda name: gr.Dropdown(coding_labels(context, name), value=NO_LABEL)),
        model,
        label,
        api_visibility="private",
    )


def coding_labels(context: AppContext, model: str) -> list[tuple[str, str]]:
    """Returns the labels that a model offers for compression: none, the best one, and each by name."""
    pipe = context.open(model)
    names = [name for name in pipe.label_map.names if name not in (NO_LABEL, _SHORTEST)] if pipe.takes_labels else []
    best = [(f"{_SHORTEST} (the one with the shortest file)", _SHORTEST)] if names else []
    return [(NO_LABEL, NO_LABEL), *best, *((shown(name), name) for name in names)]


def _label(chosen: str | None) -> str | None:
    return None if chosen in (None, "", NO_LABEL) else chosen


def _state(text: str) -> str:
    return f'<p role="status">{escape(text)}</p>'


def _download(text: str, path: Path) -> gr.DownloadButton:
    return gr.DownloadButton(text, value=str(path), interactive=True)


def _summary(found: Compressed) -> str:
    ours = found.ours
    size = f"{found.original.width} x {found.original.height}"
    figures = f"{size} pixels in {len(ours.data)} bytes, {ours.bpp:.3g} bits per pixel, PSNR {ours.psnr:.2f} dB."
    return f"{figures} Left: the original. Right: from the codes."


def _tables(found: Compressed) -> str:
    pixels = found.original.width * found.original.height
    coders = sorted({coder for level in found.levels for coder in level.lengths})
    levels = [["level", "codes", *(coder.name.lower() for coder in coders)]]
    for level in found.levels:
        cells = [_length(level.lengths.get(coder), pixels, coder is level.chosen) for coder in coders]
        levels.append([level.name, f"{level.height} x {level.width}", *cells])
    formats = [["format", "bytes", "bits per pixel", "PSNR", "MS-SSIM", "quality"]]
    for each in (found.ours, *found.peers):
        similarity = "-" if each.ms_ssim is None else f"{each.ms_ssim:.4f}"
        quality = "-" if each.quality is None else str(each.quality)
        formats.append([each.name, str(len(each.data)), f"{each.bpp:.4g}", f"{each.psnr:.2f} dB", similarity, quality])
    pictures = [
        Shown(enlarged(each.picture), f"{each.name}, {len(each.data)} bytes, {each.psnr:.2f} dB", each.name)
        for each in (found.ours, *found.peers)
    ]
    return (
        paragraphs(*found.notes)
        + html_table("Bytes (bits per pixel) of each level by coder; the file has the marked ones", levels)
        + paragraphs(f"The header takes {found.other_bytes} bytes more; in an archive (.vqga) pictures share it.")
        + html_table("Other formats at the quality with the file nearest in length", formats)
        + gallery([("The same length in three formats", pictures)])
    )


def _length(length: int | None, pixels: int, is_chosen: bool) -> str:
    if length is None:
        return "-"
    return f"{'✓ ' if is_chosen else ''}{length} ({8 * length / pixels:.3g})"


def _header_table(opened: OpenedPicture) -> str:
    return html_table("The file", [["entry", "value"], *map(list, opened.rows)])
