"""Which images of two folders, or of two stores, belong together.

Images pair by their base name without its extension; where a set prefixes its names with `low` and `normal`, without
that prefix.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from basicsr_entropy._images import images_in

ROLES = ('lq', 'gt')


@dataclass(frozen=True)
class Pair:
    """Two images of one scene: a key that is theirs alone in the set, and the files (or keys of a store)."""

    key: str
    lq: str
    gt: str


class Odd(NamedTuple):
    """An image of one side, 'lq' or 'gt', that does not pair, and what it does not go with."""

    key: str
    role: str
    file: str
    other: str


@dataclass(frozen=True)
class Matched:
    """Images of two sides by their names.

    Attributes:
        pairs: Sorted by key; the key is the path below the folder without extension and prefix.
        alone: Images without a partner; the other is the folder or store that holds nothing of the name.
        clashing: Images of one side whose name a later one has too; the other is that one.
    """

    pairs: list[Pair]
    alone: list[Odd]
    clashing: list[Odd]

    def without(self, excluded: Callable[[str], bool]) -> 'Matched':
        """The same less the images of the keys that are left out, whatever is wrong with them."""
        return Matched(*([e for e in each if not excluded(e.key)] for each in (self.pairs, self.alone, self.clashing)))

    def strict(self, where: str) -> list[Pair]:
        """The pairs, if nothing is wrong with the match.

        Raises:
            ValueError: If images are left without a partner or share a name; names the first such file.
        """
        if self.clashing:
            odd = self.clashing[0]
            raise ValueError(f'{where}: {odd.file} and {odd.other} share a name; pairs could not tell them apart')
        if self.alone:
            odd = self.alone[0]
            lq, gt = (len(self.pairs) + sum(each.role == role for each in self.alone) for role in ROLES)
            raise ValueError(
                f'{where}: {lq} low-light and {gt} normal-light images do not pair; the first without a partner is '
                f'{odd.file}, nothing of its name is in {odd.other}'
            )
        return self.pairs


def match_files(
    lq_files: Iterable[str], gt_files: Iterable[str], lq_folder: str, gt_folder: str, where: str
) -> Matched:
    """Matches files by their names below two folders, which need not be local.

    Args:
        lq_files: Low-light images, by their names below their folder.
        gt_files: Normal-light images.
        lq_folder: Folder or address of the low-light images.
        gt_folder: Folder or address of the normal-light images.
        where: What the folders are, for errors, e.g. "split 'train'".

    Raises:
        FileNotFoundError: If a side has no image.
    """
    names = []
    for role, folder, files in (('low-light', lq_folder, lq_files), ('normal-light', gt_folder, gt_files)):
        names.append({f'{folder.rstrip("/")}/{file}': PurePosixPath(file).with_suffix('').as_posix() for file in files})
        if not names[-1]:
            raise FileNotFoundError(f'{where}: no image in the {role} folder {folder}')
    lq_names, gt_names = names
    if set(lq_names.values()) != set(gt_names.values()):
        without = _without_prefix(lq_names, 'low'), _without_prefix(gt_names, 'normal')
        if set(without[0].values()) == set(without[1].values()) or not set(lq_names.values()) & set(gt_names.values()):
            lq_names, gt_names = without
    clashing: list[Odd] = []
    lq_paths, gt_paths = _by_name(lq_names, 'lq', clashing), _by_name(gt_names, 'gt', clashing)
    return _match(lq_paths, gt_paths, lq_folder, gt_folder, clashing)


def match_keys(lq_keys: Iterable[str], gt_keys: Iterable[str], lq_store: str, gt_store: str) -> Matched:
    """Matches the images of two stores by their keys."""
    return _match({key: key for key in lq_keys}, {key: key for key in gt_keys}, lq_store, gt_store, [])


def _match(lq: dict[str, str], gt: dict[str, str], lq_place: str, gt_place: str, clashing: list[Odd]) -> Matched:
    alone = [Odd(key, 'lq', lq[key], gt_place) for key in sorted(lq.keys() - gt.keys())]
    alone += [Odd(key, 'gt', gt[key], lq_place) for key in sorted(gt.keys() - lq.keys())]
    return Matched([Pair(key, lq[key], gt[key]) for key in sorted(lq.keys() & gt.keys())], alone, clashing)


def match_folders(lq_folder: str | Path, gt_folder: str | Path, where: str) -> Matched:
    """Matches the images of two folders; see `match_files`.

    Raises:
        FileNotFoundError: If a folder is missing or holds no image.
    """
    found = []
    for role, folder in (('low-light', Path(lq_folder)), ('normal-light', Path(gt_folder))):
        if not folder.is_dir():
            raise FileNotFoundError(f'{where}: no folder {folder} for the {role} images')
        found.append([path.relative_to(folder).as_posix() for path in images_in(folder)])
    return match_files(*found, str(lq_folder), str(gt_folder), where)


def pair_folders(lq_folder: str | Path, gt_folder: str | Path, where: str) -> list[Pair]:
    """The pairs of two folders, which must match without fault; raises what `match_folders` and `strict` do."""
    return match_folders(lq_folder, gt_folder, where).strict(where)


def _without_prefix(names: dict[str, str], prefix: str) -> dict[str, str]:
    """Takes the prefix off base names only: a folder may be called low-light."""
    pattern = re.compile(rf'(?P<parents>(?:.*/)?){prefix}[_-]?(?=[^/])(?P<rest>[^/]+)', re.IGNORECASE)
    return {path: pattern.sub(r'\g<parents>\g<rest>', name, count=1) for path, name in names.items()}


def _by_name(names: dict[str, str], role: str, clashing: list[Odd]) -> dict[str, str]:
    """The first path of each name; where there are more, they go to `clashing`."""
    paths: dict[str, str] = {}
    for path, name in names.items():
        if paths.setdefault(name, path) != path:
            clashing.append(Odd(name, role, paths[name], path))
    return paths
