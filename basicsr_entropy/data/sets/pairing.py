"""Pairs low-light and normal-light images by name.

Two images pair if their keys are equal. A key is the image's path below its folder without the extension, or the key
in an LMDB database. Where a dataset prefixes its file names with `low` and `normal`, the prefixes are removed first.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

ROLES = ('lq', 'gt')


@dataclass(frozen=True)
class Pair:
    """A low-light and a normal-light image of one scene.

    Attributes:
        key: Identifies the pair within its split.
        lq, gt: Names of the two images, as `ImageSource.open` takes them: file paths or LMDB keys.
    """

    key: str
    lq: str
    gt: str


class PairingFault(NamedTuple):
    """An image that could not be paired.

    Attributes:
        key: Key of the image.
        role: 'lq' or 'gt'.
        name: Name of the image, as in `Pair`.
        other: Where its counterpart is missing, or the name of the image with the same key.
    """

    key: str
    role: str
    name: str
    other: str


@dataclass(frozen=True)
class Pairing:
    """Result of matching low-light and normal-light images.

    Attributes:
        pairs: The pairs, sorted by key.
        unpaired: Images without a counterpart; `other` is the folder or database that lacks it.
        clashing: Images whose key another image of the same side has, too; `other` is that image.
    """

    pairs: list[Pair]
    unpaired: list[PairingFault]
    clashing: list[PairingFault]

    @property
    def keys(self) -> set[str]:
        """Keys of all images, be they paired or not."""
        return {pair.key for pair in self.pairs} | {fault.key for fault in (*self.unpaired, *self.clashing)}

    def without(self, excluded: Callable[[str], bool]) -> 'Pairing':
        """The pairing without the images whose keys are excluded, be they paired or not."""
        return Pairing(
            [pair for pair in self.pairs if not excluded(pair.key)],
            [fault for fault in self.unpaired if not excluded(fault.key)],
            [fault for fault in self.clashing if not excluded(fault.key)],
        )

    def strict(self, where: str) -> list[Pair]:
        """Returns the pairs if every image is in one.

        Args:
            where: What the images belong to, for the error message, e.g. "split 'train'".

        Raises:
            ValueError: If images are unpaired or their names clash; names the first of them.
        """
        if self.clashing:
            fault = self.clashing[0]
            raise ValueError(f'{where}: {fault.name} and {fault.other} share a name, so that pairs are ambiguous')
        if self.unpaired:
            fault = self.unpaired[0]
            lq, gt = (len(self.pairs) + sum(each.role == role for each in self.unpaired) for role in ROLES)
            raise ValueError(
                f'{where}: {lq} low-light and {gt} normal-light images do not pair; the first without a counterpart is '
                f'{fault.name}, no image of its name is in {fault.other}'
            )
        return self.pairs


def match_keys(lq: Mapping[str, str], gt: Mapping[str, str], lq_place: str, gt_place: str) -> Pairing:
    """Pairs images by their keys, without the prefixes `low` and `normal` where that is what makes them pair.

    Args:
        lq: Keys of the low-light images by name.
        gt: Keys of the normal-light images by name.
        lq_place, gt_place: The folders or databases of the two, for reports.
    """
    if set(lq.values()) != set(gt.values()):
        lq_bare, gt_bare = _without_prefix(lq, 'low'), _without_prefix(gt, 'normal')
        if set(lq_bare.values()) == set(gt_bare.values()) or not set(lq.values()) & set(gt.values()):
            lq, gt = lq_bare, gt_bare
    clashing: list[PairingFault] = []
    lq_names, gt_names = _names_by_key(lq, 'lq', clashing), _names_by_key(gt, 'gt', clashing)
    unpaired = [PairingFault(key, 'lq', lq_names[key], gt_place) for key in sorted(lq_names.keys() - gt_names.keys())]
    unpaired += [PairingFault(key, 'gt', gt_names[key], lq_place) for key in sorted(gt_names.keys() - lq_names.keys())]
    shared = sorted(lq_names.keys() & gt_names.keys())
    return Pairing([Pair(key, lq_names[key], gt_names[key]) for key in shared], unpaired, clashing)


def _without_prefix(keys: Mapping[str, str], prefix: str) -> dict[str, str]:
    """Removes a prefix from base names only: a parent folder may be called low-light."""
    pattern = re.compile(rf'(?P<parents>(?:.*/)?){prefix}[_-]?(?=[^/])(?P<rest>[^/]+)', re.IGNORECASE)
    return {name: pattern.sub(r'\g<parents>\g<rest>', key, count=1) for name, key in keys.items()}


def _names_by_key(keys: Mapping[str, str], role: str, clashing: list[PairingFault]) -> dict[str, str]:
    """The first name of each key; further names with the same key are added to `clashing`."""
    names: dict[str, str] = {}
    for name, key in keys.items():
        if names.setdefault(key, name) != name:
            clashing.append(PairingFault(key, role, names[key], name))
    return names
