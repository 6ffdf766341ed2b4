"""Splits of paired datasets: finding them under a data root, and opening their images."""

from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from basicsr_entropy.data.lmdb import lmdb_path, lmdb_splits, read_origin
from basicsr_entropy.data.sets.exclusion import is_excluded
from basicsr_entropy.data.sets.image_sources import FolderImages, ImageSource, LmdbImages
from basicsr_entropy.data.sets.layouts import SPLITS, find_folders
from basicsr_entropy.data.sets.pairing import Pair, Pairing, match_keys


@dataclass(frozen=True)
class Split:
    """A split of a paired dataset: two image sources, and the pairs of their images.

    Images are listed and paired when `pairing` or `pairs` is first used.

    Attributes:
        lq: Source of the low-light images.
        gt: Source of the normal-light images.
        name: train, val or test; empty for two sources that were given without a data root.
        root: Data root of the split; None if there is none.
        layout: Published layout of its folders, one of `LAYOUTS`; None for other sources.
        listed: Pairing that is given explicitly; None pairs the images by name.
    """

    lq: ImageSource
    gt: ImageSource
    name: str = ''
    root: Path | None = None
    layout: str | None = None
    listed: Pairing | None = None

    @property
    def title(self) -> str:
        """How error messages name the split."""
        return f"split '{self.name}'" if self.name else 'dataroot_lq and dataroot_gt'

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders that lead to the data root, the outermost first."""
        return self.root.resolve().parts[1:] if self.root else ()

    @property
    def origin(self) -> tuple[str, str] | None:
        """Published layout and split of the images; None if they are unknown. Databases record them in a manifest."""
        if self.layout and self.name:
            return self.layout, self.name
        return read_origin(self.lq.root) if isinstance(self.lq, LmdbImages) else None

    @cached_property
    def pairing(self) -> Pairing:
        """The pairs, and the images that could not be paired.

        Raises:
            FileNotFoundError: If a source does not exist or is empty.
            ValueError: If a source cannot be listed.
        """
        if self.listed is not None:
            return self.listed
        lq, gt = self._keys(self.lq, 'low-light'), self._keys(self.gt, 'normal-light')
        return match_keys(lq, gt, str(self.lq.root), str(self.gt.root))

    @property
    def pairs(self) -> list[Pair]:
        """The pairs, if every image is in one.

        Raises:
            FileNotFoundError: If a source does not exist or is empty.
            ValueError: If images are unpaired, or a source cannot be listed.
        """
        return self.pairing.strict(self.title)

    def without(self, names: frozenset[str]) -> 'Split':
        """The split without the images that an exclusion list names, be they paired or not; errors as in `pairing`."""
        folders = self.folders
        return replace(self, listed=self.pairing.without(lambda key: is_excluded(names, key, self.name, folders)))

    def source(self, role: str) -> ImageSource:
        """The source of the 'lq' or the 'gt' images."""
        return {'lq': self.lq, 'gt': self.gt}[role]

    def path(self, role: str, name: str) -> str:
        """Path or address of an image, for messages; for LMDB, the key below the database."""
        return self.source(role).path(name)

    def open(self, role: str, name: str) -> AbstractContextManager[np.ndarray]:
        """Opens an image as a BGR array (H, W, 3); see `ImageSource.open`."""
        return self.source(role).open(name)

    def _keys(self, source: ImageSource, side: str) -> dict[str, str]:
        try:
            names = source.names()
        except FileNotFoundError as error:
            raise FileNotFoundError(f'{self.title}: {side} images: {error}') from error
        if not names:
            raise FileNotFoundError(f'{self.title}: no {side} images in {source.root}')
        return {name: source.key(name) for name in names}


def find_splits(root: str | Path, layout: str = 'auto', backend: str | None = None) -> list[Split]:
    """Finds the splits under a data root: LMDB databases that `prepare` wrote, or folders of a published dataset.

    Args:
        root: Data root.
        layout: Layout of the folders, one of `LAYOUTS`, or 'auto' to detect it.
        backend: 'lmdb' for databases, 'disk' for folders; by default databases if there are any, else folders.

    Returns:
        The splits; an empty list only where databases are asked for and there are none.

    Raises:
        FileNotFoundError: If the root does not exist or holds no known folders.
        ValueError: If the layout is unknown, or 'auto' finds folders of several layouts.
    """
    root = Path(root).expanduser()
    databases = lmdb_splits(root) if backend != 'disk' else set()
    if databases or backend == 'lmdb':
        return [
            Split(LmdbImages(lmdb_path(root, name, 'lq')), LmdbImages(lmdb_path(root, name, 'gt')), name, root)
            for name in sorted(databases, key=lambda name: (*SPLITS, name).index(name))
        ]
    layout, folders = find_folders(root, layout)
    return [Split(FolderImages(lq), FolderImages(gt), name, root, layout) for name, (lq, gt) in folders.items()]
