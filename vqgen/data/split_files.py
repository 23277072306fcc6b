"""The files of a folder's splits: the check that they can be read, and their fingerprint."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from vqgen.config import DataConfig
from vqgen.data.content import contents_of
from vqgen.data.exclusions import Exclusion
from vqgen.data.image_set import FileReader, ImageSet, fingerprint
from vqgen.data.label_map import LabelMap
from vqgen.data.pictures import Reading
from vqgen.data.readable import Checked, check_readable
from vqgen.data.verdicts import Verdicts
from vqgen.errors import DataError


class SplitFiles:
    """The files of all splits in a row, train first. Their bytes are hashed, or the hashes come from the cache.

    Args:
        sets: Split -> its images.
        paths: Split -> the file of each image.

    Attributes:
        names: Names of the files.

    Raises:
        ReadError: The system failed to read a file.
    """

    def __init__(self, sets: Mapping[str, ImageSet], paths: Mapping[str, Sequence[Path]]) -> None:
        order = sorted(sets, key=lambda split: split != "train")
        self._sets = sets
        self._labels = np.concatenate([sets[split].labels for split in order])
        self._paths = [path for split in order for path in paths[split]]
        ends = np.cumsum([0, *(len(sets[split]) for split in order)]).tolist()
        self._begins = dict(zip(order, ends, strict=False))
        self._contents = contents_of(self._paths)
        self.names = tuple(name for split in order for name in sets[split].names)

    def checked(self, config: DataConfig, exclusions: Mapping[str, Exclusion]) -> Checked:
        """Decodes the images of all splits in one pass, because `max_unreadable` is a share of the whole folder.

        Images that an earlier start has decoded are not decoded again.

        Args:
            config: The reading rules, and the share of unreadable images.
            exclusions: Name of each file that earlier starts of the run left out -> the verdict on it. It is left out
                again, unless its bytes have changed.

        Raises:
            DataError: Too many of the images cannot be read.
            ReadError: The system failed to read an image.
        """
        reading = Reading.of(config)
        every = ImageSet(self.names, self._labels, FileReader(self._paths, reading=reading))
        left_out = {
            index: listed.reason
            for index, (name, sha) in enumerate(zip(self.names, self._contents.hashes, strict=True))
            if sha is not None and (listed := exclusions.get(name)) is not None and listed.sha256 == sha
        }
        verdicts = Verdicts(self._contents, reading.rules)
        known = {index: extent for index, extent in verdicts.known.items() if index not in left_out}
        checked = check_readable(every, config.max_unreadable, known=known, left_out=left_out)
        verdicts.keep(checked.extents)
        return checked

    def exclusion(self, index: int, reason: str) -> Exclusion:
        """Returns the verdict on an unreadable file, for the list of the run."""
        return Exclusion(self._contents.hashes[index], reason)

    def fingerprints(self, label_map: LabelMap, indices: Mapping[str, Sequence[int]]) -> tuple[str, str]:
        """Computes the fingerprint of the images by the bytes of their files, and the earlier one by their sizes.

        Args:
            label_map: Names of the labels.
            indices: Split -> indices of its readable images.
        """
        by_content = []
        by_size = []
        for split in sorted(indices):
            images = self._sets[split].subset(indices[split])
            places = [self._begins[split] + index for index in indices[split]]
            digests = bytes.fromhex("".join(self._hash(place) for place in places))
            by_content.append((images, np.frombuffer(digests, dtype=np.uint8).reshape(len(places), 32)))
            by_size.append((images, np.array([self._contents.sizes[place] for place in places], dtype=np.int64)))
        return fingerprint(label_map, by_content), fingerprint(label_map, by_size)

    def _hash(self, place: int) -> str:
        found = self._contents.hashes[place]
        if found is None:  # it was decoded, so it came just now
            raise DataError(f"{str(self._paths[place])!r}: has changed while the folder was opened; run again")
        return found
