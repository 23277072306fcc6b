"""The pipeline folder of a run: every stage that trains a model, and the extraction of codes, write it again.

The first model makes it a pipeline that can be opened. Priors and the classifier are added when their stages finish.
Files are copied from the folders of the stages. A file that has not changed is taken over from the old pipeline folder.
"""

import filecmp
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from vqgen.codec import frequencies_of_counts
from vqgen.config import DataConfig
from vqgen.data import LabelMap
from vqgen.models.checkpoint import hash_model
from vqgen.pipeline.folder import BASELINE_CLASS, CODES_CLASS, write_description
from vqgen.pipeline.parts import FREQUENCIES
from vqgen.stages.context import RunContext
from vqgen.stages.model_card import write_card
from vqgen.stages.records import StageRecord, read_record
from vqgen.storage.documents import read_text
from vqgen.storage.files import atomic_path
from vqgen.storage.refusals import copy_folder
from vqgen.storage.tensors import load_tensors, save_tensors

HISTOGRAMS = "histograms.safetensors"
"""File in `codes/`, beside the store: level -> number of occurrences of each code in the training images."""


def write_pipeline(
    context: RunContext, label_map: LabelMap, split: dict[str, list[int]], finished: StageRecord
) -> None:
    """Writes `pipeline/` from the models that belong together. Only the main process calls this function.

    Args:
        context: The run.
        label_map: Names of the labels.
        split: Split name -> indices of its images in the source.
        finished: Record of the stage that is being completed. Its folder contains an unfinished record until then.
    """
    records = records_that_belong(context, finished)
    if context.first_stage not in records:
        return
    # All or nothing: a run that is killed in here leaves the old pipeline folder as it was.
    with atomic_path(context.folder / "pipeline") as temporary:
        temporary.mkdir()
        hashes = _write_models(context, records, temporary)
        _write_frequencies(context, records, temporary)
        card = write_card(context.recipe, label_map, list(records.values()))
        write_description(
            temporary,
            BASELINE_CLASS if context.is_baseline else CODES_CLASS,
            name=context.recipe.name,
            data=_data_as_read(context, records[context.first_stage]),
            label_map=label_map,
            hashes=hashes,
            levels=None if context.is_baseline else list(context.recipe_with_codes.levels),
            split=split,
            texts={"README.md": card, "recipe.toml": read_text(context.folder / "recipe.toml")},
        )


def _data_as_read(context: RunContext, first: StageRecord) -> DataConfig:
    """Returns the images of the run, with the range that was measured when they were read."""
    data = context.recipe.data
    measured = data.measured_range or first.measured_range
    return data if measured is None else data.model_copy(update={"measured_range": measured})


def records_that_belong(context: RunContext, finished: StageRecord) -> dict[str, StageRecord]:
    """Selects the complete stages that belong to the first one.

    A prior belongs to the VQ-VAE whose codes it was trained on. A classifier belongs to any model of the same images.
    Results of an earlier first model are left out until they are made again.

    Args:
        context: The run.
        finished: Record of the stage that is being completed.

    Returns:
        Stage -> record, in the order of the run.
    """
    found: dict[str, StageRecord] = {}
    for stage in [*context.recipe.generator_stages, "classifier"]:
        record = finished if stage == finished.stage else read_record(context.folder / stage)
        if record is None or not _has_model(context, record):
            continue
        first = found.get(context.first_stage, record)
        of_images = stage == "classifier" and record.inputs.get("images") == first.inputs.get("images")
        if record is first or of_images or record.inputs.get(context.first_stage) == first.output:
            found[stage] = record
    return found


def _has_model(context: RunContext, record: StageRecord) -> bool:
    """Returns True if a stage is complete, or was and gets more steps: its folder has the old model until then."""
    if record.complete or not record.output:
        return record.complete
    model = context.folder / record.stage / "model"
    return model.is_dir() and hash_model(model) == record.output


def _write_models(context: RunContext, records: Mapping[str, StageRecord], target: Path) -> dict[str, str]:
    """Copies the models of the stages, and the guides of the priors.

    Returns:
        Name of each model's folder -> SHA-256 of the model.
    """
    old = context.folder / "pipeline"
    hashes: dict[str, str] = {}
    for stage, record in records.items():
        if stage == "codes":  # is not a model
            continue
        _copy_model(context.folder / stage / "model", target / stage, old / stage)
        hashes[stage] = record.output
        source = context.folder / stage / "guide"
        if source.is_dir():
            guide = stage.replace("prior-", "guide-")
            _copy_model(source, target / guide, old / guide)
            hashes[guide] = hash_model(source)  # the record has the hash of the prior only
    return hashes


def _copy_model(source: Path, target: Path, old: Path) -> None:
    """Copies a model folder. A file that has the same bytes in the old pipeline folder is linked to that file.

    The bytes decide, not the hashes in pipeline.json: the hash of a model leaves out the inputs that it was made from,
    and the old folder may have been damaged.
    """

    def copy(from_path: str, to_path: str) -> None:
        known = old / Path(from_path).name
        is_known = known.is_file() and filecmp.cmp(from_path, known, shallow=False)
        if not (is_known and _try_link(known, to_path)):
            with atomic_path(Path(to_path)) as temporary:  # flushes the copy to the disk
                shutil.copyfile(from_path, temporary)

    copy_folder(source, target, copy)


def _try_link(known: Path, target: str) -> bool:
    """Makes a hard link to a file of the old pipeline folder; False if the file system does not support links."""
    # The old folder is removed afterwards, so the file has one name again. A link to the file of the stage would stay,
    # and an edit in one of the two folders would change the other.
    try:
        os.link(known, target)
    except OSError:
        return False
    return True


def _write_frequencies(context: RunContext, records: Mapping[str, StageRecord], folder: Path) -> None:
    """Writes the integer frequencies of the static coder, if the codes of this VQ-VAE have been extracted."""
    path = context.folder / "codes" / HISTOGRAMS
    if "codes" not in records or not path.is_file():
        return
    frequencies: dict[str, Tensor] = {
        level: frequencies_of_counts(counts).to(torch.int32) for level, counts in load_tensors(path)[0].items()
    }
    save_tensors(folder / FREQUENCIES, frequencies)
