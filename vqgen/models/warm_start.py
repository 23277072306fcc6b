"""A start from another model: the weights that two models share, and their copy from one into the other.

    weight of the model --> same place in the other one? --> same shape, read the same way? --> taken
                                                             differs in its labels only?    --> rows of common labels
                                                             anything else                  --> keeps its random start

Names alone do not tell places: the first encoder of a VQ-VAE belongs to its coarsest level, which another VQ-VAE may
not have.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from vqgen.config import level_names
from vqgen.models.autoencoders.latent_model import LatentModel
from vqgen.models.classifier import Classifier, PreActivationBlock
from vqgen.models.image_classifier import ImageClassifier
from vqgen.models.pixelcnn import PixelCNN
from vqgen.models.vqvae import VQVAE
from vqgen.nn.masked_conv import MaskedConv2d
from vqgen.nn.quantizers.base import Quantizer

_OF_ONE_LEVEL = ("encoders", "to_latents")
"""Lists of a VQ-VAE with an entry for each level. Its quantizers have one for each grid of codes."""

_BETWEEN_LEVELS = ("expanders", "upsamplers")
"""Lists of a VQ-VAE with an entry for each level but the finest, which leads to the next finer one."""


@dataclass(frozen=True)
class _Labels:
    """The part of a weight that belongs to labels.

    Attributes:
        axis: The axis that counts labels.
        first: Place of the first label on this axis.
        count: Number of labels.
    """

    axis: int
    first: int
    count: int

    def shape_without(self, weight: Tensor) -> tuple[int, ...]:
        """Returns the shape that the weight would have in a model without labels."""
        return tuple(size - self.count * (axis == self.axis) for axis, size in enumerate(weight.shape))


@dataclass(frozen=True)
class SharedWeights:
    """The weights that a model can take from another one. Names are those of their state dicts.

    Attributes:
        whole: Name -> name in the other model, for weights that are taken as they are.
        by_label: The same for weights of which the rows of common labels are taken, and all that belongs to no label.
        rest: Name -> the reason why the weight is not taken.
    """

    whole: dict[str, str] = field(default_factory=dict)
    by_label: dict[str, str] = field(default_factory=dict)
    rest: dict[str, str] = field(default_factory=dict)

    def fit(self, model: nn.Module) -> bool:
        """Returns True if the model can take a whole matrix. A vector, such as a bias, fits models of any sizes."""
        state = model.state_dict()
        return any(state[name].ndim >= 2 for name in self.whole)

    def share(self, model: nn.Module) -> float:
        """Returns the share of the model's numbers that are in shared weights, in [0, 1]."""
        sizes = {name: weight.numel() for name, weight in model.state_dict().items()}
        return sum(sizes[name] for name in [*self.whole, *self.by_label]) / sum(sizes.values())


def shared_weights(model: nn.Module, source: nn.Module) -> SharedWeights:
    """Compares two models of one class, weight by weight. Only shapes are read, so `model` may have no numbers.

    Args:
        model: The model that is to start.
        source: The other model.
    """
    shared = SharedWeights()
    own_places = _places(model)
    there = {place: name for name, place in _places(source).items()}
    theirs = source.state_dict()
    own_labels, their_labels = _label_parts(model), _label_parts(source)
    own_taps, their_taps = _taps(model), _taps(source)
    for name, weight in model.state_dict().items():
        other = there.get(own_places[name])
        if other is None:
            shared.rest[name] = "has no counterpart"
        elif name in own_labels:
            shape = own_labels[name].shape_without(weight)
            if shape == their_labels[other].shape_without(theirs[other]):
                shared.by_label[name] = other
            else:
                shared.rest[name] = _shapes(weight, theirs[other])
        elif weight.shape != theirs[other].shape:
            shared.rest[name] = _shapes(weight, theirs[other])
        elif own_taps.get(name) != their_taps.get(other):
            # Kernels of the same number of taps may read other positions: 7 wide, those of slopes 2 and 3.
            shared.rest[name] = "reads other positions: another slope or kernel_size"
        else:
            shared.whole[name] = other
    _leave_foreign_quantizers(model, source, shared)
    return shared


@torch.no_grad()
def take_weights(
    model: nn.Module, source: nn.Module, shared: SharedWeights, same_labels: Mapping[int, int]
) -> dict[str, int]:
    """Copies the shared weights of another model. All other weights of the model stay as they are.

    Args:
        model: The model that is to start. It keeps its dtype and device.
        source: The other model, of any dtype.
        shared: The result of `shared_weights`.
        same_labels: Index of a label -> index of the same label in the other model, for the labels that both have.

    Returns:
        Name -> number of elements that were copied.
    """
    state = model.state_dict()
    theirs = source.state_dict()
    copied: dict[str, int] = {}
    for name, other in shared.whole.items():
        state[name] = theirs[other]
        copied[name] = state[name].numel()
    own_labels, their_labels = _label_parts(model), _label_parts(source)
    for name, other in shared.by_label.items():
        weight = state[name]
        axis = own_labels[name].axis
        pairs = _index_pairs(own_labels[name], their_labels[other], weight, same_labels)
        own, there = torch.tensor(pairs, dtype=torch.int64, device=weight.device).reshape(-1, 2).T
        rows = theirs[other].to(weight).index_select(axis, there)
        state[name] = weight.index_copy(axis, own, rows)
        copied[name] = rows.numel()
    for name, quantizer in _quantizers(model).items():
        if f"quantizers.{_grids_before(model, name)[0]}.steps" in shared.whole:
            # The entries are in use: latents must not pass unquantized again, however few steps it had. The same holds
            # for what they leave to a new quantizer. More steps would be those of another training, and the moving
            # average of the codebook would not warm up beside that of the weights.
            state[f"{name}.steps"] = torch.full_like(state[f"{name}.steps"], quantizer.quantize_after)
    model.load_state_dict(state)
    return copied


def _index_pairs(own: _Labels, there: _Labels, weight: Tensor, same_labels: Mapping[int, int]) -> list[tuple[int, int]]:
    """Returns the places on the axis of the labels that are copied: in the model, and in the other one."""
    before = [(place, place) for place in range(own.first)]
    labels = [
        (own.first + label, there.first + other)
        for label, other in same_labels.items()
        if label < own.count and other < there.count  # a baseline may have labels and make no use of them
    ]
    # What stands behind the labels, such as the null label, stands behind those of the other model, too.
    behind = [
        (place, place - own.count + there.count) for place in range(own.first + own.count, weight.shape[own.axis])
    ]
    return [*before, *labels, *behind]


def _places(model: nn.Module) -> dict[str, str]:
    """Returns, for each weight, a name of its place that it shares with the weights in this place of other models."""
    names = model.state_dict().keys()
    if isinstance(model, VQVAE):
        return {name: _place_in_vqvae(name, model) for name in names}
    if isinstance(model, Classifier):
        # The stem of a larger image is longer, so the blocks have other numbers.
        first = next(number for number, part in enumerate(model.body) if isinstance(part, PreActivationBlock))
        return {name: _place_in_classifier(name, first) for name in names}
    return {name: name for name in names}


def _place_in_vqvae(name: str, model: VQVAE) -> str:
    part, _, inner = name.partition(".")
    if part not in (*_OF_ONE_LEVEL, *_BETWEEN_LEVELS, "quantizers"):
        return name
    number, _, rest = inner.partition(".")
    index = int(number)
    levels = model.levels if part == "quantizers" else level_names(len(model.config.downsample))
    to = f"-{levels[index + 1]}" if part in _BETWEEN_LEVELS else ""
    return f"{part}.{levels[index]}{to}.{rest}"


def _place_in_classifier(name: str, first_block: int) -> str:
    part, _, inner = name.partition(".")
    if part != "body":
        return name
    number, _, rest = inner.partition(".")
    return f"{part}.{int(number) - first_block}.{rest}"


def _label_parts(model: nn.Module) -> dict[str, _Labels]:
    """Returns the weights that have a part for each label, by name."""
    if isinstance(model, PixelCNN):
        return {"label_embedding.weight": _Labels(0, 0, model.config.num_classes)}
    if isinstance(model, ImageClassifier):
        return dict.fromkeys(("head.weight", "head.bias"), _Labels(0, 0, model.config.num_classes))
    if isinstance(model, LatentModel):
        count = model.config.label_features
        # Labels are the last inputs: see `with_labels`.
        hidden = {"encoder.hidden.weight": model.encoder.hidden, "decoder.hidden.weight": model.decoder.hidden}
        return {name: _Labels(1, layer.in_features - count, count) for name, layer in hidden.items()}
    return {}


def _taps(model: nn.Module) -> dict[str, list[tuple[int, int]]]:
    """Returns the positions that each masked convolution reads, by the name of its weight."""
    convolutions = ((name, part) for name, part in model.named_modules() if isinstance(part, MaskedConv2d))
    return {f"{name}.weight": part.offsets for name, part in convolutions}


def _quantizers(model: nn.Module) -> dict[str, Quantizer]:
    return {name: part for name, part in model.named_modules() if isinstance(part, Quantizer)}


def _leave_foreign_quantizers(model: nn.Module, source: nn.Module, shared: SharedWeights) -> None:
    """Leaves the quantizers that do not belong to the latents: one comes along as a whole, or not at all."""
    there = _quantizers(source)
    for name, quantizer in _quantizers(model).items():
        own = [f"{name}.{each}" for each in quantizer.state_dict()]
        reason = _foreign(model, name, own, there, shared)
        if reason is not None:
            for each in own:
                shared.whole.pop(each, None)
                shared.rest[each] = reason


def _foreign(
    model: nn.Module, name: str, own: list[str], there: dict[str, Quantizer], shared: SharedWeights
) -> str | None:
    """Returns the reason why a quantizer cannot come along; None if it can. Those of coarser grids are decided."""
    # Every quantizer counts its steps, so this number leads to the other one.
    other = there.get(shared.whole.get(f"{name}.steps", "").removesuffix(".steps"))
    if other is None:
        return shared.rest[f"{name}.steps"]
    # The statistics of an entropy loss begin anew, if the other model has none: they hold for few steps.
    missing = [each for each in own if each not in shared.whole and ".entropy." not in each]
    # The layer that makes the latents of this quantizer, and the quantizer that leaves residuals to it. Others make
    # other latents.
    *before, _ = _grids_before(model, name)
    layer = f"to_latents.{_level_of(model, name)}.weight"
    if type(other) is not type(model.get_submodule(name)):
        return "belongs to another kind of quantizer"
    if missing:
        return shared.rest[missing[0]]
    if not bool(getattr(other, "initialized", True)):
        return "is not in use there yet"
    if layer not in shared.whole:
        return f"belongs to latents of another {layer.removesuffix('.weight')}"
    if before and f"quantizers.{before[-1]}.steps" not in shared.whole:
        return f"belongs to residuals of another quantizers.{before[-1]}"
    return None


def _level_of(model: nn.Module, quantizer: str) -> int:
    assert isinstance(model, VQVAE)
    return model.config.levels_of_grids[int(quantizer.removeprefix("quantizers."))]


def _grids_before(model: nn.Module, quantizer: str) -> list[int]:
    """Returns the indices of the grids of a quantizer's level, up to its own."""
    assert isinstance(model, VQVAE)
    grid = int(quantizer.removeprefix("quantizers."))
    owners = model.config.levels_of_grids
    return [index for index in range(grid + 1) if owners[index] == owners[grid]]


def _shapes(own: Tensor, there: Tensor) -> str:
    return f"should have shape {tuple(own.shape)}, found {tuple(there.shape)}"
