"""Controls that several tabs have: the choice of the model, of labels and of a seed."""

import secrets
from dataclasses import dataclass

import gradio as gr
from gradio.components import Component

from vqgen.app.class_examples import ClassExamples, class_examples
from vqgen.app.context import AppContext
from vqgen.app.gallery import data_uri
from vqgen.data import to_pil
from vqgen.storage.names import shown

FEW_LABELS = 30
"""Labels that are shown all at once, with a picture each; more are searched by name."""

NO_LABEL = "no label"


def model_choice(context: AppContext) -> gr.Dropdown:
    """Adds the choice of the model; hidden if there is only one."""
    return gr.Dropdown(
        [(shown(name), name) for name in context.names],
        value=context.names[0],
        label="Model",
        visible=len(context.names) > 1,
        filterable=False,
    )


def seed_controls() -> gr.Number:
    """Adds the seed, and a button that takes a new one."""
    with gr.Row():
        seed = gr.Number(0, label="Seed", precision=0, minimum=0, min_width=120)
        button = gr.Button("New seed", size="sm", min_width=90, scale=0, elem_classes="vq-beside")
    button.click(new_seed, None, seed, queue=False, api_visibility="private", show_progress="hidden")
    return seed


def new_seed() -> int:
    """Returns a new seed, short enough to read aloud."""
    return secrets.randbelow(10**6)


def label_choices(context: AppContext, model: str) -> list[tuple[str, str]]:
    """Returns the labels of a model: the text on the page, and the name."""
    return [(shown(name), name) for name in context.open(model).label_map.names]


@dataclass(frozen=True)
class LabelControls:
    """The choice of labels: boxes with pictures if there are few, or else a list to search.

    Attributes:
        boxes: The boxes.
        search: The list.
        pictures: The style sheet that puts a picture into each box.
    """

    boxes: gr.CheckboxGroup
    search: gr.Dropdown
    pictures: gr.HTML

    @property
    def outputs(self) -> list[Component]:
        """The components in the order of `LabelChooser.update`."""
        return [self.boxes, self.search, self.pictures]


class LabelChooser:
    """The labels of the models with their pictures, which are found once for each model.

    Args:
        context: The models.
    """

    def __init__(self, context: AppContext) -> None:
        self._context = context
        self._found: dict[str, ClassExamples | None] = {}

    def add(self) -> LabelControls:
        """Adds the controls."""
        choices = label_choices(self._context, self._context.names[0])
        few = len(choices) <= FEW_LABELS
        return LabelControls(
            gr.CheckboxGroup(
                choices,
                value=[name for _, name in choices[:2]] if few else [],
                label="Labels (none: all of them)",
                visible=few and bool(choices),
                elem_id="labels",
                elem_classes="vq-labels",
            ),
            gr.Dropdown(
                [] if few else choices,
                value=[] if few else [name for _, name in choices[:2]],
                multiselect=True,
                label="Labels",
                info="Type a name to find it.",
                visible=not few,
            ),
            gr.HTML(elem_classes="vq-style"),
        )

    def update(self, model: str) -> list[object]:
        """Returns the controls for a model, with the pictures of its labels."""
        choices = label_choices(self._context, model)
        few = len(choices) <= FEW_LABELS
        first = [name for _, name in choices[:2]]
        style, note = self._pictures(model) if few else ("", "")
        return [
            gr.CheckboxGroup(choices, value=first if few else [], visible=few and bool(choices), info=note),
            gr.Dropdown([] if few else choices, value=[] if few else first, multiselect=True, visible=not few),
            style,
        ]

    def _pictures(self, model: str) -> tuple[str, str]:
        if model not in self._found:
            with self._context.use(model) as pipe:
                self._found[model] = class_examples(pipe)
        found = self._found[model]
        if found is None:
            return "", ""
        rules = (
            f"#labels label:nth-of-type({place}) {{ --picture: url({data_uri(image)}) }}"
            for place, image in enumerate(to_pil(found.pixels), start=1)
        )
        source = "Real images." if found.real else "Samples of the model; its data is not on this machine."
        return f"<style>{''.join(rules)}</style>", source


def chosen_labels(boxes: list[str] | None, search: list[str] | None) -> tuple[str, ...]:
    """Returns the labels that are chosen in the boxes or in the list."""
    return tuple(boxes or ()) + tuple(search or ())
