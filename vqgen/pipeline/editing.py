"""The part of a pipeline that edits images: some of their codes are drawn anew, all others stay.

Legend: `b` images, `h w` grid of a level.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from jaxtyping import Bool, Float64, Int64
from PIL import Image
from torch import Tensor

from vqgen.arguments import as_function, as_number
from vqgen.codes import Codes
from vqgen.data import normalize_mode
from vqgen.data.checking import Pictures, as_pictures, each_picture
from vqgen.data.label_map import Labels
from vqgen.editing import (
    RESCORED,
    EditRequest,
    Redrawn,
    check_redrawn,
    edit_codes,
    is_exact_in_one_pass,
    read_masks,
    redrawn_codes,
    rows_below,
    with_dependent_codes,
)
from vqgen.errors import ConfigError
from vqgen.models.pixelcnn import PixelCNN
from vqgen.pipeline.base import Output
from vqgen.pipeline.coding import CodePipeline
from vqgen.pipeline.request import GeneratedImages, Progress
from vqgen.sampling import LevelParams, Sampler, SamplingParams, images_that_fit

SWEEPS_AGAINST_THE_ORDER = 4
"""Sweeps of `vary` when a finer level stays and a coarser one is drawn: one pass would ignore what stays."""

Edits = TypeVar("Edits", bound="EditOutput")
"""Edits of any kind."""


@dataclass(frozen=True, kw_only=True, repr=False)
class EditOutput(GeneratedImages):
    """Edited images, with their codes before and after.

    Attributes:
        codes: The codes of all levels after the edit.
        log_likelihood: log p(codes | label) of each image in nats, over all levels, by the model without any filter.
        given: The codes before the edit.
        log_likelihood_before: log p(codes | label) of each image before the edit.
        redrawn: Level -> True for each code that was drawn anew; all others are those of `given`.
        one_pass_is_exact: True for each image whose kept codes all come before its redrawn ones: one pass then draws
            from the conditional distribution of the model, and sweeps change nothing about it.
        sweeps: Sweeps after the first pass.
    """

    codes: Codes
    log_likelihood: Float64[Tensor, " b"]
    given: Codes
    log_likelihood_before: Float64[Tensor, " b"]
    redrawn: Mapping[str, Bool[Tensor, "_b _h _w"]]
    one_pass_is_exact: Bool[Tensor, " b"]
    sweeps: int

    def subset(self: Edits, indices: Int64[Tensor, " chosen"]) -> Edits:
        """Returns the images at `indices`, in that order."""
        return replace(super().subset(indices), redrawn={level: grid[indices] for level, grid in self.redrawn.items()})

    @classmethod
    def cat(cls: type[Edits], parts: Sequence[Edits]) -> Edits:
        """Joins parts of one request, in the given order."""
        redrawn = {level: torch.cat([part.redrawn[level] for part in parts]) for level in parts[0].redrawn}
        return replace(super().cat(parts), redrawn=redrawn)  # type: ignore[arg-type]


class EditingPipeline(CodePipeline[Output]):
    """Edits images by their codes: inpaints, completes and varies them.

    Every method takes pictures, as `encode` does, or codes: of samples, or stored ones. Image i draws from (seed, i),
    whatever the batch size. One pass draws the codes in order, each given the codes before it. Sweeps draw each again
    given all others. Of several candidates the likeliest one is kept: that is a choice, and no sample.
    """

    sampler: Sampler

    @property
    @abstractmethod
    def priors(self) -> list[PixelCNN]:
        """The priors, coarse to fine."""

    @abstractmethod
    def level_params(self, params: SamplingParams) -> list[LevelParams]:
        """Returns the parameters of each level, coarse to fine."""

    @abstractmethod
    def _check_scored(self, codes: Codes, labels: Labels) -> Int64[Tensor, " b"]:
        """Checks codes that the priors should score, and returns the indices of their labels."""

    def inpaint(
        self,
        images: Pictures | Codes,
        mask: object,
        *,
        labels: Labels = None,
        seed: int = 0,
        sweeps: int = 0,
        rescored: int = RESCORED,
        candidates: int = 1,
        params: SamplingParams | None = None,
        batch_size: int = 100,
        progress: Progress | None = None,
    ) -> EditOutput:
        """Draws the codes under a mask anew; all others stay.

        Args:
            images: Pictures, or codes.
            mask: One for all images or one for each, each as large as its picture: a picture, or an array or a tensor
                `(h, w)`. A code is drawn anew if any pixel of its cell is white, or True.
            labels: One label for all images, or one for each: names or indices. None stands for no label.
            seed: Image i draws from (seed, i).
            sweeps: Times that every code of the hole is drawn again given all other codes, after the first pass. The
                first pass ignores codes that come later in the order: it does not know the later edge of the hole.
            rescored: Candidates of each step of a sweep, at least 2.
            candidates: Edits to draw of each image; the one with the largest log p of all its codes is kept.
            params: The parameters of the first pass; with sweeps only the defaults.
            batch_size: Images that are edited at a time, at most.
            progress: Called with the number of images of each finished batch.

        Raises:
            DataError: The mask marks nothing or everything, or has another size than its picture; a picture cannot be
                used, the codes do not fit the model, or a label is unknown.
            ConfigError: A number is out of its range, or sweeps are asked for beside parameters of sampling.
            CheckpointError: A level has no prior.
        """
        _ = self.priors  # before the pictures are encoded
        request = EditRequest(seed, sweeps, rescored, candidates, params or SamplingParams(), batch_size)
        side = self.vqvae.config.image_size
        if isinstance(images, Codes):
            sizes = [(side, side)] * len(images)
        else:
            # Upright, before they are measured. A picture that is read is not read again by the transform.
            images = each_picture(as_pictures("images", images), self._read)
            sizes = [image.size for image in images]
        cells = dict(zip(self.levels, self.vqvae.config.grid_factors, strict=True))
        redrawn = redrawn_codes(read_masks(mask, sizes, side), cells)
        check_redrawn(redrawn)
        return self._edit(images, redrawn, labels, request, progress)

    def complete(
        self,
        images: Pictures | Codes,
        *,
        rows: float = 0.5,
        labels: Labels = None,
        seed: int = 0,
        sweeps: int = 0,
        rescored: int = RESCORED,
        candidates: int = 1,
        params: SamplingParams | None = None,
        batch_size: int = 100,
        progress: Progress | None = None,
    ) -> EditOutput:
        """Keeps codes of the upper part of each image, and draws all others given them.

        Without sweeps the draw is exact in one pass. Then those codes of the upper part stay that come before all
        redrawn ones: a code of a later time, or one that is conditioned on a redrawn code of the coarser level, is
        drawn too. With sweeps all codes of the upper part stay. `redrawn` of the result shows the codes.

        Args:
            images: Pictures, or codes.
            rows: Share of the rows to keep codes in, between 0 and 1.
            labels: As in `inpaint`.
            seed: As in `inpaint`.
            sweeps: As in `inpaint`; 0 for codes that one pass can keep.
            rescored: As in `inpaint`.
            candidates: As in `inpaint`.
            params: As in `inpaint`.
            batch_size: As in `inpaint`.
            progress: As in `inpaint`.

        Raises:
            ConfigError: A number is out of its range, or no code would stay.
            DataError: As in `inpaint`.
            CheckpointError: A level has no prior.
        """
        if not 0 < as_number("rows", rows) < 1:
            raise ConfigError(f"rows: should be between 0 and 1, found {rows:g}")
        request = EditRequest(seed, sweeps, rescored, candidates, params or SamplingParams(), batch_size)
        marked = rows_below(rows, self.priors)
        if not sweeps:
            marked = with_dependent_codes(self.priors, marked)
        if all(bool(grid.all()) for grid in marked.values()):
            grids = ", ".join(f"{prior.config.height} ({prior.config.level})" for prior in self.priors)
            remedy = "choose a larger share" + ("" if sweeps else ", or sweeps: they keep every code of the rows")
            raise ConfigError(
                f"rows: should keep at least one code{'' if sweeps else ' that depends on no redrawn one'}, found "
                f"{rows:g}, and levels of this many rows: {grids}; {remedy}"
            )
        codes = images if isinstance(images, Codes) else self.encode(images)
        redrawn = {level: grid.repeat(len(codes), 1, 1) for level, grid in marked.items()}
        return self._edit(codes, redrawn, labels, request, progress)

    def vary(
        self,
        images: Pictures | Codes,
        *,
        keep: str,
        labels: Labels = None,
        seed: int = 0,
        sweeps: int | None = None,
        rescored: int = RESCORED,
        candidates: int = 1,
        params: SamplingParams | None = None,
        batch_size: int = 100,
        progress: Progress | None = None,
    ) -> EditOutput:
        """Keeps one level of each image, and draws all other levels anew.

        Args:
            images: Pictures, or codes.
            keep: Name of the level that stays. Given the coarsest one, one pass is exact.
            labels: As in `inpaint`.
            seed: As in `inpaint`.
            sweeps: As in `inpaint`; None for none if one pass is exact, and 4 if a coarser level is drawn, because one
                pass would ignore the level that stays.
            rescored: As in `inpaint`.
            candidates: As in `inpaint`.
            params: As in `inpaint`.
            batch_size: As in `inpaint`.
            progress: As in `inpaint`.

        Raises:
            ConfigError: A number is out of its range, there is no such level, or there is no other one.
            DataError: As in `inpaint`.
            CheckpointError: A level has no prior.
        """
        if keep not in self.levels or len(self.levels) < 2:
            wanted = f"one of several levels, found {keep!r}; this model has {', '.join(self.levels)}"
            raise ConfigError(f"keep: should be {wanted}")
        if sweeps is None:
            sweeps = 0 if keep == self.levels[0] else SWEEPS_AGAINST_THE_ORDER
        request = EditRequest(seed, sweeps, rescored, candidates, params or SamplingParams(), batch_size)
        _ = self.priors  # before the pictures are encoded
        codes = images if isinstance(images, Codes) else self.encode(images)
        redrawn = {
            level: torch.full(grid.shape, level != keep, dtype=torch.bool) for level, grid in codes.grids.items()
        }
        return self._edit(codes, redrawn, labels, request, progress)

    def _edit(
        self,
        images: Pictures | Codes,
        redrawn: Redrawn,
        labels: Labels,
        request: EditRequest,
        progress: Progress | None,
    ) -> EditOutput:
        params = self.level_params(request.params)
        request.check_params(params)
        codes = (images if isinstance(images, Codes) else self.encode(images)).to("cpu")
        indices = self._check_scored(codes, labels)
        listed = [None if index < 0 else index for index in indices.tolist()]
        if None in listed:
            self.resolve_labels([None])  # refuses a model that never saw an image without its label
        fitting = images_that_fit(
            [prior.config for prior in self.priors],
            self.compute.free_memory,
            self.compute.float_dtype.itemsize,
            copies=max(level.copies for level in params),
            holds_memory=self.sampler.holds_memory,
        )
        with self.compute.autocast():
            edited = edit_codes(
                self.priors,
                codes,
                redrawn,
                indices,
                replace(request, batch_size=min(request.batch_size, fitting)),
                params=params,
                sampler=self.sampler,
                guides=self.parts.guides,
                progress=None if progress is None else as_function("progress", progress),
            )
        after = edited.codes.to("cpu")
        return EditOutput(
            pixels=self.decode_tensor(after),
            labels=listed,
            seed=request.seed,
            codes=after,
            log_likelihood=edited.log_likelihood.cpu(),
            given=codes,
            log_likelihood_before=edited.log_likelihood_before.cpu(),
            redrawn=redrawn,
            one_pass_is_exact=is_exact_in_one_pass(self.priors, redrawn),
            sweeps=request.sweeps,
            label_map=self.label_map,
        )

    def _read(self, picture: Image.Image) -> Image.Image:
        return normalize_mode(picture, reading=self.reading)
