"""What all pipelines have in common: labels to ask for, pictures to read, a classifier to choose by, a folder to write.

Legend: `b` images, `c` channels, `H W` image.
"""

import re
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Generic, Protocol, Self, TypeVar

import torch
from jaxtyping import Float, Float64, Int64, UInt8
from PIL import Image
from torch import Tensor, nn

from vqgen.data import LabelMap, evaluation_transform, normalize_mode, to_float
from vqgen.errors import CheckpointError, ConfigError, DataError
from vqgen.pipeline.folder import CommonParts, locate_pipeline
from vqgen.runtime.compute import Compute
from vqgen.sampling.rejection import candidates_for, label_probability

Label = str | int | None
"""A name (exact) or else an index; None asks for an image of no label in particular."""

_IMAGES_AT_ONCE = 100
"""Images that the classifier sees at once."""

_PIPELINE_ENTRY = re.compile(
    r"pipeline\.json|split\.json|frequencies\.safetensors|README\.md|recipe\.toml|vqvae|autoencoder|"
    r"(?:prior|guide)-\w+|classifier"
)


class Generated(Protocol):
    """What a request for images returns, image by image in the order of the request; see `GenerationOutput`."""

    @property
    def images(self) -> list[Image.Image]:
        """The pictures."""
        ...

    @property
    def labels(self) -> list[int | None]:
        """Index of each image's label, None without one."""
        ...

    @property
    def seed(self) -> int:
        """The seed used."""
        ...

    @property
    def log_likelihood(self) -> Float64[Tensor, " b"] | None:
        """Of each image, in nats, where it is known."""
        ...

    @property
    def label_probability(self) -> Float64[Tensor, " b"] | None:
        """How sure the classifier is of each image, where it chose the images."""
        ...


Parts = TypeVar("Parts", bound=CommonParts)


class ImagePipeline(ABC, Generic[Parts]):
    """Models that generate images and reconstruct them, with their labels and their data.

    Args:
        parts: Models, labels and data.
        compute: Where and in what to compute.
    """

    def __init__(self, parts: Parts, compute: Compute | None = None) -> None:
        self.parts: Parts = parts
        self.compute = compute or Compute.resolve()
        self._place()

    @classmethod
    def from_pretrained(cls, name_or_path: str | Path, *, device: str = "auto", dtype: str = "float32") -> Self:
        """Opens a pipeline.

        Args:
            name_or_path: A run folder, a pipeline folder or the name of a repository on the Hub.
            device: auto, cpu, cuda, cuda:N or mps.
            dtype: float32, bfloat16, float16 or float64.

        Raises:
            CheckpointError: There is none, it is damaged, or its parts do not belong together.
            ConfigError: There is no such device or number format.
        """
        compute = Compute.resolve(device, dtype)
        return cls(cls.load(locate_pipeline(name_or_path)), compute)

    @staticmethod
    @abstractmethod
    def load(folder: Path) -> Parts:
        """Reads a pipeline folder."""

    @property
    @abstractmethod
    def models(self) -> list[nn.Module]:
        """The models, without the classifier."""

    @property
    @abstractmethod
    def model_hash(self) -> str:
        """SHA-256 of the model that turns latents into images; empty until it has been saved."""

    @property
    @abstractmethod
    def takes_labels(self) -> bool:
        """Whether images of a label can be asked for."""

    @abstractmethod
    def __call__(self, labels: Sequence[Label] | Label = None, images_per_label: int = 1, **options: Any) -> Generated:
        """Generates `images_per_label` images of each label, all images of the first label first."""

    @abstractmethod
    def check_sampling(
        self,
        temperature: float | Sequence[float] = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        guidance_scale: float | Sequence[float] = 1.0,
        autoguidance_scale: float | Sequence[float] = 1.0,
    ) -> None:
        """Refuses options of sampling that this model cannot follow.

        Raises:
            ConfigError: One is out of its range, or says nothing of this model.
        """

    @abstractmethod
    def reconstruct_tensor(
        self, images: UInt8[Tensor, "b c H W"], labels: Int64[Tensor, " b"]
    ) -> UInt8[Tensor, "b c H W"]:
        """Encodes and decodes preprocessed images, on the CPU; label -1 is none that is known."""

    @abstractmethod
    def to_latents(self, images: UInt8[Tensor, "b c H W"], labels: Int64[Tensor, " b"]) -> Float[Tensor, "b d"]:
        """Encodes preprocessed images to one vector each, in which images can be mixed, on the CPU."""

    @abstractmethod
    def from_latents(self, latents: Float[Tensor, "b d"], labels: Int64[Tensor, " b"]) -> UInt8[Tensor, "b c H W"]:
        """Decodes vectors to images, on the CPU; label -1 is none that is known."""

    def known_labels(self, images: UInt8[Tensor, "b c H W"], labels: Int64[Tensor, " b"]) -> Int64[Tensor, " b"]:
        """The labels; a model that decodes by label finds those that are not known (-1) by itself."""
        return labels

    @abstractmethod
    def write(self, folder: Path) -> None:
        """Writes the pipeline folder, whatever is there."""

    @property
    def label_map(self) -> LabelMap:
        """Names of the labels of its images; empty for images without labels."""
        return self.parts.label_map

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes a pipeline folder, all or nothing.

        Args:
            folder: A new folder, an empty one, or a pipeline folder, which is replaced.

        Raises:
            CheckpointError: The folder holds something else, which would be lost.
        """
        folder = Path(folder)
        _check_replaceable(folder)
        self.write(folder)

    def push_to_hub(self, repository: str, *, private: bool = False, token: str | None = None) -> str:
        """Uploads the pipeline to the Hub and returns its address.

        Args:
            repository: Its name, `user/name`; made where it does not exist.
            private: Whether a new repository is private.
            token: Access token; by default the one that `hf auth login` stored.
        """
        from huggingface_hub import HfApi

        api = HfApi(token=token)
        url = api.create_repo(repository, private=private, exist_ok=True)
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "pipeline"
            self.save_pretrained(folder)
            api.upload_folder(repo_id=repository, folder_path=folder)
        return str(url)

    def to(self, device: str = "auto", dtype: str = "float32") -> Self:
        """Moves the models to a device and a number format, and returns the pipeline."""
        self.compute = Compute.resolve(device, dtype)
        self._place()
        return self

    def candidates(self, images_per_label: int, keep: float) -> int:
        """How many images of each label to sample so that `images_per_label` are left when a share `keep` is kept.

        Raises:
            ConfigError: A number is out of its range.
            CheckpointError: There is no classifier to choose by.
        """
        if images_per_label < 1:
            raise ConfigError(f"images_per_label: should be at least 1, found {images_per_label}")
        count = candidates_for(images_per_label, keep)
        if count > images_per_label and self.parts.classifier is None:
            raise CheckpointError(
                f"pipeline {self.parts.name!r}: has no classifier, so it cannot choose among its samples (keep "
                f"{keep:g}); `vqgen train-classifier RECIPE` adds one to a run"
            )
        return count

    def label_probability(
        self, images: UInt8[Tensor, "b c H W"], labels: Sequence[int | None]
    ) -> Float64[Tensor, " b"]:
        """How sure the classifier is that each image is of its label, or of any for images without."""
        classifier = self.parts.classifier
        assert classifier is not None
        logits = []
        for batch in images.split(_IMAGES_AT_ONCE):
            with torch.no_grad(), self.compute.autocast():
                pixels = to_float(batch.to(self.compute.device)).to(self.compute.float_dtype)
                logits.append(classifier(pixels).double().cpu())
        return label_probability(torch.cat(logits).log_softmax(dim=1), labels_as_tensor(labels))

    def resolve_labels(self, labels: Sequence[Label] | Label) -> list[int | None]:
        """Indices of labels, as `__call__` takes them.

        Raises:
            DataError: A label is unknown, or the model has none.
        """
        if labels is None:
            return list(range(len(self.label_map))) if self.takes_labels else [None]
        alone = isinstance(labels, str) or not isinstance(labels, Iterable)
        chosen: list[Label] = [labels] if alone else list(labels)  # type: ignore[list-item]
        if not chosen:
            raise DataError("labels: should be at least one, found none")
        if not self.takes_labels and any(label is not None for label in chosen):
            raise DataError(
                f"labels: pipeline {self.parts.name!r} was trained without labels, found {chosen}; leave them out"
            )
        return [None if label is None else self.label_map.index(label) for label in chosen]

    def preprocess(self, images: Sequence[Image.Image] | Image.Image) -> UInt8[Tensor, "b c H W"]:
        """Applies the evaluation transform.

        Raises:
            DataError: There is no picture.
        """
        pictures = [images] if isinstance(images, Image.Image) else list(images)
        if not pictures:
            raise DataError("images: should be at least one, found none")
        transform = evaluation_transform(self.parts.data)
        return torch.stack([transform(normalize_mode(picture)) for picture in pictures])

    def _place(self) -> None:
        classifier = [] if self.parts.classifier is None else [self.parts.classifier]
        for module in [*self.models, *classifier]:
            self.compute.place(module).eval()


def labels_as_tensor(labels: Sequence[int | None]) -> Int64[Tensor, " b"]:
    """Labels as a tensor, -1 for None."""
    return torch.tensor([-1 if label is None else label for label in labels], dtype=torch.int64)


def _check_replaceable(folder: Path) -> None:
    """A folder is replaced as a whole, so it may hold nothing but a pipeline."""
    if not folder.exists():
        return
    found = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else [folder.name]
    foreign = [name for name in found if not _PIPELINE_ENTRY.fullmatch(name)]
    if foreign or (found and "pipeline.json" not in found):
        raise CheckpointError(
            f"{folder}: should be a new or empty folder or hold nothing but a pipeline, "
            f"found {', '.join((foreign or found)[:6])}; choose another"
        )
