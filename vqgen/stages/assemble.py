"""The pipeline folder of a run: written as soon as its first model exists, further models added as they finish.

A model is copied from the stage that made it. A model that has not changed is taken over from the old pipeline folder.
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from vqgen.codec import frequencies_of_counts
from vqgen.data import LabelMap
from vqgen.errors import CheckpointError
from vqgen.models.checkpoint import hash_model
from vqgen.pipeline.folder import BASELINE_CLASS, CODES_CLASS, write_description
from vqgen.pipeline.parts import FREQUENCIES
from vqgen.stages.context import RunContext
from vqgen.stages.model_card import write_card
from vqgen.stages.records import StageRecord, read_record
from vqgen.storage.documents import read_json
from vqgen.storage.files import atomic_path
from vqgen.storage.tensors import load_tensors, save_tensors

HISTOGRAMS = "histograms.safetensors"
"""File beside a run's code store: level -> how often each code occurs in the training images."""


def write_pipeline(
    context: RunContext, label_map: LabelMap, split: dict[str, list[int]], finished: StageRecord
) -> None:
    """Writes `pipeline/` from the models that belong together; call it in the main process.

    Args:
        context: The run.
        label_map: Names of the labels.
        split: Split name -> indices of its images in the source.
        finished: Record of the stage that ends with this; its folder does not have it yet.
    """
    records = records_that_belong(context, finished)
    if context.first_stage not in records:
        return
    folder = context.folder / "pipeline"
    known = _recorded_hashes(folder)
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        hashes: dict[str, str] = {}
        for stage, record in records.items():
            if stage == "codes":
                continue
            source = context.folder / stage
            hashes[stage] = record.output
            is_known = known.get(stage) == record.output
            _take_model(source / "model", folder / stage if is_known else None, temporary / stage)
            if (source / "guide").is_dir():
                guide = stage.replace("prior-", "guide-")
                _take_model(source / "guide", folder / guide if is_known else None, temporary / guide)
                hashes[guide] = known[guide] if is_known and guide in known else hash_model(temporary / guide)
        _write_frequencies(context, records, temporary)
        card = write_card(context.recipe, label_map, list(records.values()))
        write_description(
            temporary,
            BASELINE_CLASS if context.is_baseline else CODES_CLASS,
            name=context.recipe.name,
            data=context.recipe.data,
            label_map=label_map,
            hashes=hashes,
            levels=None if context.is_baseline else list(context.recipe_with_codes.levels),
            split=split,
            texts={"README.md": card, "recipe.toml": (context.folder / "recipe.toml").read_text(encoding="utf-8")},
        )


def records_that_belong(context: RunContext, finished: StageRecord) -> dict[str, StageRecord]:
    """Returns stage -> record of the complete stages that belong to the first one, in the order of the run.

    A prior belongs to the VQ-VAE whose codes it was trained on, a classifier to a model of the same images; what was
    made from an earlier model waits to be made again.
    """
    found: dict[str, StageRecord] = {}
    for stage in [*context.recipe.generator_stages, "classifier"]:
        record = finished if stage == finished.stage else read_record(context.folder / stage)
        if record is None or not record.complete:
            continue
        first = found.get(context.first_stage, record)
        of_images = stage == "classifier" and record.inputs.get("images") == first.inputs.get("images")
        if record is first or of_images or record.inputs.get(context.first_stage) == first.output:
            found[stage] = record
    return found


def _recorded_hashes(folder: Path) -> dict[str, str]:
    """Returns the hashes of the models in the pipeline folder as it is; empty if there is none, or it is damaged."""
    try:
        return dict(read_json(folder / "pipeline.json")["sha256"])
    except (CheckpointError, KeyError, TypeError, ValueError):
        return {}


def _take_model(source: Path, known: Path | None, target: Path) -> None:
    """Copies a model folder, or links the same model in the old pipeline folder, which is about to go."""
    if known is not None and known.is_dir():
        shutil.copytree(known, target, copy_function=_link)
    else:
        shutil.copytree(source, target)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # the file system has no links
        shutil.copy2(source, target)


def _write_frequencies(context: RunContext, records: Mapping[str, StageRecord], folder: Path) -> None:
    """Writes the integer frequencies of the static coder, once the codes of this VQ-VAE have been extracted."""
    path = context.folder / "codes" / HISTOGRAMS
    if "codes" not in records or not path.is_file():
        return
    frequencies: dict[str, Tensor] = {
        level: frequencies_of_counts(counts).to(torch.int32) for level, counts in load_tensors(path)[0].items()
    }
    save_tensors(folder / FREQUENCIES, frequencies)
