"""The base of all pipelines: answers requests for images, prepares pictures, and reads and writes pipeline folders.

Legend: `b` images, `c` channels, `H W` image, `d` dimensions of a latent vector.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Generic, SupportsIndex, TypeVar

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from vqgen.arguments import as_count, as_function, as_instance, as_path
from vqgen.data import LabelMap, Reading, evaluation_transform
from vqgen.data.checking import Pictures, as_pictures, each_picture
from vqgen.data.label_map import Labels
from vqgen.pipeline.folder import CommonParts, check_replaceable
from vqgen.pipeline.gathering import as_processes, chosen_parts
from vqgen.pipeline.hub import upload
from vqgen.pipeline.locating import locate_pipeline
from vqgen.pipeline.request import GeneratedImages, GenerationRequest, Progress, count_candidates, resolve_labels
from vqgen.pipeline.scoring import score_images
from vqgen.runtime.collective import Processes
from vqgen.runtime.compute import Compute
from vqgen.runtime.plain_torch import plain_methods
from vqgen.sampling import PerLevel, SamplingParams

Parts = TypeVar("Parts", bound=CommonParts)
Output = TypeVar("Output", bound=GeneratedImages)
Pipeline = TypeVar("Pipeline", bound="ImagePipeline")


class ImagePipeline(ABC, Generic[Parts, Output]):
    """Models that generate and reconstruct images, with their labels and the description of their data.

    Args:
        parts: Models, labels and data.
        compute: Device and dtype; None for the accelerator, if there is one, and float32.

    Attributes:
        has_codes: True if the model encodes images to codes.
        has_bound: True if the model bounds the likelihood of an image.
        parts_class: The class of the parts.
    """

    parts_class: type[CommonParts] = CommonParts
    has_codes: bool = False
    has_bound: bool = False

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        plain_methods(cls)

    def __init__(self, parts: Parts, compute: Compute | None = None) -> None:
        self.parts: Parts = as_instance("parts", parts, self.parts_class)  # type: ignore[assignment]
        self.compute = Compute.resolve() if compute is None else as_instance("compute", compute, Compute)
        self._place()

    @classmethod
    def from_pretrained(
        cls: type[Pipeline], name_or_path: str | Path, *, device: str = "auto", dtype: str = "float32"
    ) -> Pipeline:
        """Opens a pipeline.

        Args:
            name_or_path: A run folder, a pipeline folder, or a repository on the Hub: `hf:user/name` or
                `hf:user/name@revision`.
            device: auto, cpu, cuda, cuda:N or mps.
            dtype: float32, bfloat16, float16 or float64.

        Raises:
            CheckpointError: There is no pipeline, it is damaged, or its parts do not belong together.
            ConfigError: The device or the dtype is unknown, or is not available here.
        """
        compute = Compute.resolve(device, dtype)  # first: a wrong device should not cost a download
        return cls(cls.load(locate_pipeline(name_or_path)), compute)

    def __call__(
        self,
        labels: Labels = None,
        images_per_label: SupportsIndex = 1,
        *,
        seed: SupportsIndex | None = 0,
        temperature: PerLevel = 1.0,
        top_k: SupportsIndex | None = None,
        top_p: float | None = None,
        guidance_scale: PerLevel = 1.0,
        autoguidance_scale: PerLevel = 1.0,
        keep: float = 1.0,
        batch_size: SupportsIndex = 100,
        max_memory: SupportsIndex | None = None,
        progress: Progress | None = None,
    ) -> Output:
        """Generates `images_per_label` images of each label, all images of the first label first.

        Args:
            labels: Names or indices, or one of them. None alone stands for every label of the label map, or for no
                label if the model has none. None in a list stands for an image without a label.
            images_per_label: Images of each label, at least 1.
            seed: Image i of the request draws from (seed, i); at least 0. None takes a new seed.
            temperature: At least 0, one number or one per level, coarse to fine; 0 takes the most likely codes. A
                baseline multiplies the deviation of its latents by it.
            top_k: Sample among this number of most likely codes.
            top_p: Sample among the most likely codes that together have this probability.
            guidance_scale: Classifier-free guidance, one number or one per level. Above 1 images fit their label more
                surely and are less varied, for twice the work; 1 samples the model.
            autoguidance_scale: Autoguidance, one number or one per level. Above 1 the logits move away from those of
                the prior early in its training, for the work of one more prior; 1 samples the model.
            keep: Share of the samples to keep: the ones of each label that the classifier is surest of. Below 1 more
                images are sampled, so that `images_per_label` remain.
            batch_size: Images sampled at a time, at most. It changes images only by rounding.
            max_memory: Bytes that sampling may take; None for the free memory of the device.
            progress: Called with the number of images of each finished batch.

        Raises:
            DataError: A label is unknown.
            ConfigError: A number is out of its range or of a wrong type, or does not apply to the model.
            CheckpointError: A prior is missing, or the classifier for `keep` is missing.
        """
        params = SamplingParams(temperature, top_k, top_p, guidance_scale, autoguidance_scale)  # type: ignore[arg-type]
        asked = GenerationRequest(labels, images_per_label, seed, params, keep, batch_size, max_memory)  # type: ignore
        return self.generate(asked, progress=progress)

    def generate(
        self, request: GenerationRequest, *, processes: Processes | None = None, progress: Progress | None = None
    ) -> Output:
        """Generates the images of a request; errors as in `__call__`. Each candidate is drawn and scored once.

        Args:
            request: The request.
            processes: Those that share the request; all call this with the same seed. None for this process alone.
            progress: Called with the number of images of each finished batch.
        """
        (images,) = self.generate_parts(request, self.count(request), processes, progress)
        return images

    def generate_parts(
        self,
        request: GenerationRequest,
        size: int,
        processes: Processes | None = None,
        progress: Progress | None = None,
    ) -> Iterator[Output]:
        """Yields the images of a request in its order, about `size` candidates at a time; the rest as in `generate`."""
        candidates = self.check_request(request)
        progress = None if progress is None else as_function("progress", progress)
        request = request.seeded()

        def draw(labels: list[int | None], indices: range) -> Output:
            images = replace(self._draw(labels, indices, request, progress), label_map=self.label_map)
            if candidates == request.images_per_label or self.parts.classifier is None:
                return images
            sureness = score_images(self.parts.classifier, images.pixels, images.labels, self.compute)
            return replace(images, label_probability=sureness)

        row = (request.images_per_label, candidates)
        shared = as_processes(processes, self.compute.device)
        yield from chosen_parts(self.resolve_labels(request.labels), row, as_count("size", size), draw, shared)

    def check_request(self, request: GenerationRequest) -> int:
        """Checks a request before sampling, and counts the candidates of each label; errors as in `__call__`.

        Of the candidates of a label `images_per_label` remain.
        """
        self.check_sampling(as_instance("request", request, GenerationRequest).params)
        return count_candidates(request, has_classifier=self.parts.classifier is not None, name=self.parts.name)

    def count(self, request: GenerationRequest) -> int:
        """Counts the candidates of a request, rejected ones included."""
        return self.check_request(request) * len(self.resolve_labels(request.labels))

    @staticmethod
    @abstractmethod
    def load(folder: Path) -> Parts:
        """Reads a pipeline folder."""

    @abstractmethod
    def write(self, folder: Path) -> None:
        """Writes the pipeline folder, all or nothing. An existing folder is replaced."""

    @abstractmethod
    def _draw(
        self, labels: list[int | None], image_indices: range, request: GenerationRequest, progress: Progress | None
    ) -> Output:
        """Draws and decodes the images at `image_indices` of a request."""

    @property
    @abstractmethod
    def models(self) -> list[nn.Module]:
        """The models, without the classifier."""

    @property
    @abstractmethod
    def model_hash(self) -> str:
        """SHA-256 of the model that decodes images; empty until the pipeline has been saved and loaded."""

    @property
    @abstractmethod
    def takes_labels(self) -> bool:
        """True if images of a label can be generated."""

    @property
    def takes_none(self) -> bool:
        """True if images without a label can be generated."""
        return True

    @property
    def raw_bpp(self) -> float | None:
        """Bits of the codes per pixel of the image, with a whole number of bits for each code; None without codes."""
        return None

    @property
    @abstractmethod
    def num_parameters(self) -> int:
        """Trained numbers of the generator, without the classifier and the guides (earlier states of priors)."""

    def foreign_metrics(self) -> frozenset[str]:
        """Returns the groups of metrics of `vqgen evaluate` that do not apply to this model."""
        return frozenset()

    @abstractmethod
    def summary(self) -> list[str]:
        """Returns the lines of `vqgen info` that describe the models."""

    def check_generates(self) -> None:
        """Checks that the pipeline can generate; raises a `CheckpointError` if it has no prior yet."""

    @abstractmethod
    def check_sampling(self, params: SamplingParams) -> None:
        """Checks the parameters of sampling.

        Raises:
            ConfigError: A parameter is out of its range, or does not apply to the model.
        """

    @abstractmethod
    def reconstruct_tensor(
        self, images: UInt8[Tensor, "b c H W"], labels: Int64[Tensor, " b"]
    ) -> UInt8[Tensor, "b c H W"]:
        """Encodes and decodes preprocessed images, on the CPU; label -1 stands for an unknown label."""

    @abstractmethod
    def to_latents(self, images: UInt8[Tensor, "b c H W"], labels: Int64[Tensor, " b"]) -> Float[Tensor, "b d"]:
        """Encodes each preprocessed image to one vector, on the CPU. Means of such vectors can be decoded."""

    @abstractmethod
    def from_latents(self, latents: Float[Tensor, "b d"], labels: Int64[Tensor, " b"]) -> UInt8[Tensor, "b c H W"]:
        """Decodes vectors to images, on the CPU; label -1 stands for an unknown label."""

    def known_labels(self, images: UInt8[Tensor, "b c H W"], labels: Int64[Tensor, " b"]) -> Int64[Tensor, " b"]:
        """Returns the labels. A model that decodes by label replaces an unknown label, -1, by the likeliest one."""
        return labels

    @property
    def label_map(self) -> LabelMap:
        """The names of the labels; empty for images without labels."""
        return self.parts.label_map

    @property
    def reading(self) -> Reading:
        """The rules by which the models read pictures."""
        return Reading.of(self.parts.data)

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes a pipeline folder, all or nothing.

        Args:
            folder: A new folder, an empty one, or a pipeline folder, which is replaced.

        Raises:
            CheckpointError: The folder contains something else, which would be lost.
        """
        check_replaceable(path := as_path("folder", folder))
        self.write(path)

    def push_to_hub(self, repository: str, *, private: bool = False, token: str | None = None) -> str:
        """Uploads the pipeline to the Hub and returns its address.

        Args:
            repository: Name of the repository, `user/name`. A missing repository is created.
            private: True if a new repository should be private.
            token: Access token; None for the one that `hf auth login` stored.
        """
        return upload(self.save_pretrained, repository, private=private, token=token)

    def to(self: Pipeline, device: str | torch.device = "auto", dtype: str | torch.dtype = "float32") -> Pipeline:
        """Moves the models to a device and a dtype, and returns the pipeline."""
        self.compute = Compute.resolve(device, dtype)
        self._place()
        return self

    def resolve_labels(self, labels: Labels) -> list[int | None]:
        """Returns the indices of labels; arguments and errors as in `__call__`."""
        return resolve_labels(labels, self.label_map, self.parts.name, self.takes_labels, self.takes_none)

    def preprocess(self, images: Pictures) -> UInt8[Tensor, "b c H W"]:
        """Applies the evaluation transform to pictures: grey or RGB, resized, cropped at the centre.

        Args:
            images: One or several of any size and mode: PIL images, or uint8 arrays `(h, w)` or `(h, w, 1 | 3 | 4)`.

        Raises:
            DataError: There is no picture, or one is of a wrong type or cannot be decoded.
        """
        return torch.stack(each_picture(as_pictures("images", images), evaluation_transform(self.parts.data)))

    def _place(self) -> None:
        """Moves all models to the device and the dtype, in evaluation mode."""
        classifier = [] if self.parts.classifier is None else [self.parts.classifier]
        for module in [*self.models, *classifier]:
            self.compute.place(module).eval()


plain_methods(ImagePipeline)  # not as a decorator, which would hide the kinds of its parts from a type checker

AnyPipeline = ImagePipeline[Any, Any]
"""A pipeline of any kind of models."""
