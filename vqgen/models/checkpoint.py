"""Models on disk: a folder of JSON and safetensors, never a pickle.

<model>/config.json          format_version, class, config, made_from
<model>/model.safetensors    the state dict

`class` is the name of the Python class. `config` has the fields of the configuration, under the names that they had
first (`Config.stored`). `made_from` has the SHA-256 of everything that the model was trained on, by name.

A pickle could run code when it is opened, so a model of a stranger could not be opened safely.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from vqgen.config import Config
from vqgen.errors import CheckpointError
from vqgen.models.registry import CONFIGS
from vqgen.models.without_weights import without_weights
from vqgen.runtime.plain_torch import computes_plainly, kept_random_state
from vqgen.storage.documents import FORMAT_VERSION, check_format, read_json
from vqgen.storage.files import atomic_path, sha256_of_file, sha256_of_json, write_json
from vqgen.storage.tensors import load_tensors, read_shapes, save_tensors

Model = TypeVar("Model", bound=nn.Module)

_Shape = tuple[int, ...]

_SHOWN = 8
"""Problems that a message lists."""


def save_model(
    model: nn.Module, folder: Path, made_from: Mapping[str, str] | None = None, dtype: torch.dtype | None = None
) -> str:
    """Writes the portable folder of a model, all or nothing.

    Args:
        model: The model.
        folder: Folder to write or replace.
        made_from: Name -> SHA-256 of everything that the model was trained on.
        dtype: Dtype of the weights in the file; None keeps their own. A model is loaded from 16 bits to float32.

    Returns:
        The hash of the model; see `hash_model`.

    Raises:
        CheckpointError: A weight is too large for the dtype.
    """
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        write_json(
            temporary / "config.json",
            {
                "format_version": FORMAT_VERSION,
                "class": type(model).__name__,
                # Validated again, so that nothing is written that could not be read.
                "config": CONFIGS[type(model)].model_validate(model.config).stored(),
                "made_from": dict(made_from or {}),
            },
        )
        weights = model.state_dict() if dtype is None else _rounded(model.state_dict(), dtype, folder)
        save_tensors(temporary / "model.safetensors", weights)
        return hash_model(temporary)


def _rounded(weights: Mapping[str, Tensor], dtype: torch.dtype, folder: Path) -> dict[str, Tensor]:
    rounded = {name: each.to(dtype) if each.is_floating_point() else each for name, each in weights.items()}
    for name, each in rounded.items():
        if not bool(each.isfinite().all()) and bool(weights[name].isfinite().all()):
            raise CheckpointError(
                f"{folder.name}: {name} should be at most {torch.finfo(dtype).max:g} in {str(dtype)[6:]}, found "
                f"{float(weights[name].abs().max()):g}; use bfloat16, or keep the weights as they are"
            )
    return rounded


def hash_model(folder: Path) -> str:
    """Computes the SHA-256 over the class, the configuration and the weights of a model, in hex.

    `made_from` is not covered: the same weights are the same model. The configuration is hashed as it stands in the
    file, so an old model keeps its hash when configurations gain fields.

    Raises:
        CheckpointError: A file is missing.
    """
    weights = folder / "model.safetensors"
    document = read_json(folder / "config.json")
    if not weights.is_file():
        raise CheckpointError(
            f"{weights}: there is no such file, so {folder} is not a complete model; restore the file"
        )
    # The same weights with another class or configuration, such as another slope, are another model.
    return sha256_of_json([document.get("class"), document.get("config"), sha256_of_file(weights)])


@computes_plainly
def load_model(folder: Path, model_class: type[Model], device: torch.device | str = "cpu") -> Model:
    """Rebuilds a model from its portable folder, in evaluation mode.

    Args:
        folder: Folder that `save_model` wrote.
        model_class: Class that the model should have.
        device: Device to put the weights on.

    Returns:
        The model, with weights of the stored dtype.

    Raises:
        CheckpointError: A file is missing or damaged, the model has another class, or the weights do not fit. Nothing
            of the size of the model has been allocated then.
    """
    path = folder / "model.safetensors"
    document = read_json(folder / "config.json")
    check_format(document, folder / "config.json")
    if document.get("class") != model_class.__name__:
        raise CheckpointError(f"{folder}: should hold a {model_class.__name__}, found a {document.get('class')}")
    try:
        config = CONFIGS[model_class].model_validate(document.get("config"))
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()[:_SHOWN])
        raise CheckpointError(_no_configuration(folder, model_class, problems)) from error
    _check_weights(_expected_shapes(model_class, config, folder), read_shapes(path), origin=path)
    weights, _ = load_tensors(path, device)
    with kept_random_state():  # a new model draws its weights, which are not used
        model = model_class(config)
    # Copying the weights would round them to the dtype of the new model, which is float32.
    if any(tensor.dtype == torch.float64 for tensor in weights.values()):
        model = model.double()
    load_weights(model, weights, origin=path)
    return model.to(device).eval()


def load_weights(model: nn.Module, weights: Mapping[str, Tensor], *, origin: Path) -> None:
    """Copies weights into a model.

    Args:
        model: The model. It keeps its dtype and device.
        weights: Name -> tensor, as in the model's state dict.
        origin: File that the weights come from, for the message.

    Raises:
        CheckpointError: Names or shapes differ. The message lists the first eight, with both shapes.
    """
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    _check_weights(expected, {name: tuple(tensor.shape) for name, tensor in weights.items()}, origin=origin)
    model.load_state_dict(dict(weights))


def _expected_shapes(model_class: type[nn.Module], config: Config, folder: Path) -> dict[str, _Shape]:
    """Returns the shapes of the weights of a model. It is built without memory, so it may be of any size."""
    try:
        model = without_weights(lambda: model_class(config))
    except (ValueError, RuntimeError) as error:
        raise CheckpointError(_no_configuration(folder, model_class, str(error).partition("\n")[0])) from error
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def _no_configuration(folder: Path, model_class: type[nn.Module], reason: str) -> str:
    return f"{folder / 'config.json'}: is not a configuration of a {model_class.__name__} ({reason}); restore the file"


def _check_weights(expected: Mapping[str, _Shape], weights: Mapping[str, _Shape], *, origin: Path) -> None:
    problems = [f"{name}: is missing" for name in expected.keys() - weights.keys()]
    problems += [f"{name}: is not a part of this model" for name in weights.keys() - expected.keys()]
    problems += [
        f"{name}: should have shape {expected[name]}, found {weights[name]}"
        for name in expected.keys() & weights.keys()
        if expected[name] != weights[name]
    ]
    if problems:
        # Sets have no order. Sorted, the message is the same at every run.
        rest = len(problems) - _SHOWN
        shown = sorted(problems)[:_SHOWN] + ([f"and {rest} more"] if rest > 0 else [])
        raise CheckpointError("\n  ".join([f"{origin}: holds another model's weights:", *shown]))


def made_from(folder: Path) -> dict[str, str]:
    """Reads the SHA-256 of everything that the model in `folder` was trained on, by name.

    The hash of a model does not cover it: it is a note, by which a message can say what is wrong with a model. The
    models that belong together are those whose hashes pipeline.json has.

    Raises:
        CheckpointError: The note is damaged.
    """
    found = read_json(folder / "config.json").get("made_from", {})
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise CheckpointError(f"{folder / 'config.json'}: made_from: should be names with hashes; restore the file")
    return found
