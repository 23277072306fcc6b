"""The VQ-VAE at work on some levels alone, a copy for each choice of levels."""

from collections.abc import Sequence

from vqgen.codec.entropy_models import CodecParts
from vqgen.codec.image_coder import ImageCoder
from vqgen.codes import Codes
from vqgen.models.levels_alone import as_levels, filled_codes, with_levels_alone
from vqgen.runtime.compute import Compute


class LevelCoders:
    """Keeps a VQ-VAE for each choice of levels that is decoded alone; see `vqgen.models.levels_alone`.

    Args:
        parts: The pipeline, with its VQ-VAE in evaluation mode, on the device of `compute`.
        compute: Device and dtype.
    """

    def __init__(self, parts: CodecParts, compute: Compute) -> None:
        self._parts = parts
        self._compute = compute
        self._coders: dict[tuple[str, ...], ImageCoder] = {}

    def of(self, levels: Sequence[str]) -> ImageCoder:
        """Returns the image coder that decodes some levels alone; that of all levels encodes, too.

        Raises:
            ConfigError: The VQ-VAE has no such level.
        """
        vqvae = self._parts.vqvae
        chosen = as_levels(levels, vqvae.config)
        if chosen not in self._coders:
            is_all = chosen == vqvae.levels
            model = vqvae if is_all else with_levels_alone(vqvae, chosen, self._parts.frequencies)
            self._coders[chosen] = ImageCoder(model, self._compute)
        return self._coders[chosen]

    def filled(self, codes: Codes) -> Codes:
        """Returns codes of all levels, with any code in place of those that are missing; see `filled_codes`.

        Raises:
            DataError: A grid belongs to no image.
        """
        vqvae = self._parts.vqvae
        return codes if codes.levels == vqvae.levels else filled_codes(codes, codes.levels, vqvae.config)
