"""Checks paired datasets for faults that break a training run or distort an evaluation, and for notable properties."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from basicsr_entropy.data.checks.measure import MeasuredImage, MeasuredPair, measure_all
from basicsr_entropy.data.checks.scenes import RELATED_RESPONSE, SAME_SCENE, similar_pairs
from basicsr_entropy.data.lmdb import lmdb_key
from basicsr_entropy.data.sets.exclusion import read_exclusion
from basicsr_entropy.data.sets.layouts import check_splits
from basicsr_entropy.data.sets.pairing import ROLES
from basicsr_entropy.data.sets.splits import Split, find_splits

SEVERITIES = ('error', 'warning', 'note')
# kind: (severity, title)
KINDS = {
    'unreadable': ('error', 'unreadable images'),
    'unpaired': ('error', 'unpaired images'),
    'name_clash': ('error', 'images that share a name, so that pairs are ambiguous'),
    'size_mismatch': ('error', 'pairs whose images differ in size'),
    'swapped': ('error', 'pairs whose ground truth is darker than the low-light image; they may be swapped'),
    'identical': ('error', 'pairs of two identical images'),
    'leak': ('warning', 'training images that are also test images'),
    'near_duplicate': ('warning', 'training images that are near-duplicates of test images'),
    'unrelated': ('warning', 'pairs whose images seem to show different scenes'),
    'misaligned': ('warning', 'misaligned pairs'),
    'barely_different': ('warning', 'pairs whose images hardly differ'),
    'black': ('warning', 'nearly black images'),
    'damaged': ('warning', 'images whose decoder reports damage'),
    'key_clash': ('warning', 'names that get the same LMDB key'),
    'no_key': ('warning', 'names that cannot be LMDB keys'),
    'duplicate': ('note', 'duplicate pairs'),
    'shared_gt': ('note', 'ground truths shared by several low-light images'),
    'shared_lq': ('note', 'low-light images shared by several ground truths'),
    'shared_by_splits': ('note', 'images in two splits that are both for training or both for testing'),
    'similar': ('note', 'training images that resemble test images; look at them'),
    'bit_depth': ('note', 'images with more than 8 bits per channel'),
    'gray': ('note', 'gray images'),
    'alpha': ('note', 'images with an alpha channel'),
}
MAX_SHIFT = 1.2  # pixels; docs/data.md has the rates of detection, by scripts/measure_check.py
MIN_DIFFERENCE = 2 / 255  # mean absolute difference of luma
MIN_LUMA = {'lq': 2 / 255, 'gt': 10 / 255}  # the minima over 205 pairs of LOL v1 are 2.5/255 and 53/255
MIN_HIGHLIGHT = 10 / 255  # 99th percentile of luma; the minimum over those low-light images is 14/255
_MIN_SIMILARITY = 0.4  # the minimum over the pairs of LOL v1 is 0.48
_MIN_TEXTURE = 3  # standard deviation of a thumbnail in levels; without texture no image can be told from another


@dataclass(frozen=True)
class Finding:
    """A finding about one or several images.

    Attributes:
        kind: One of `KINDS`.
        files: The files or LMDB keys it is about.
        text: Details, to be shown after the files.
        weight: Rank within its kind; larger is worse.
        pairs: The pairs it is about: one, or a training and a test pair.
        exclude: Names of the pairs whose exclusion resolves it; see `exclusion`.
    """

    kind: str
    files: tuple[str, ...]
    text: str
    weight: float = 0.0
    pairs: tuple[MeasuredPair, ...] = ()
    exclude: tuple[str, ...] = ()

    @property
    def severity(self) -> str:
        """One of `SEVERITIES`."""
        return KINDS[self.kind][0]

    @property
    def title(self) -> str:
        """Title of the kind."""
        return KINDS[self.kind][1]


@dataclass(frozen=True)
class CheckResult:
    """Result of a check.

    Attributes:
        splits: The splits that were checked.
        measured: Measurements of their pairs.
        findings: Findings, the most severe first.
    """

    splits: list[Split]
    measured: list[MeasuredPair]
    findings: list[Finding]

    @property
    def clean(self) -> bool:
        """Whether there are no findings but notes."""
        return all(finding.severity == 'note' for finding in self.findings)


def check_datasets(
    roots: Sequence[str | Path],
    layout: str = 'auto',
    splits: Sequence[str] | None = None,
    workers: int = 0,
    exclude: str | Path | None = None,
) -> CheckResult:
    """Checks one or several paired datasets; every image is read once.

    Args:
        roots: Data roots: folders of published datasets, or of LMDB databases.
        layout: Layout of the folders, one of `LAYOUTS`. 'auto' detects it, and checks databases if there are any.
        splits: Splits to check; all by default.
        workers: Number of processes that read; 0 reads in this process.
        exclude: Path of an exclusion list.

    Raises:
        FileNotFoundError: If a dataset, a requested split or the list does not exist.
        ValueError: If the layout is unknown, or folders of several layouts lie under a root.
    """
    names = read_exclusion(exclude) if exclude else frozenset()
    chosen = []
    for root in dict.fromkeys(Path(root).expanduser().resolve() for root in roots):
        found = find_splits(root, layout, None if layout == 'auto' else 'disk')
        check_splits(splits, [split.name for split in found], root)
        wanted = [split for split in found if not splits or split.name in splits]
        chosen += [split.without(names) for split in wanted] if names else wanted
    measured = measure_all(chosen, workers)
    judge = _Judge(_labels([_root(split) for split in chosen]))
    findings = [finding for split in chosen for finding in judge.names(split)]
    findings += [finding for each in measured for finding in judge.pair(each)]
    findings += judge.copies(measured)
    # a leaked pair resembles a training image by definition; it is not also reported as a shared scene
    leaked = {id(finding.pairs[0]) for finding in findings if finding.kind == 'leak'}
    findings += judge.scenes([each for each in measured if id(each) not in leaked])
    order = list(KINDS)
    findings.sort(key=lambda finding: (order.index(finding.kind), -finding.weight, finding.files))
    return CheckResult(chosen, measured, findings)


def _is_training(split: Split) -> bool:
    return split.name == 'train'


class _Judge:
    """Turns measurements into findings.

    Args:
        labels: What names and paths begin with, by data root; see `_labels`.
    """

    def __init__(self, labels: Mapping[Path, str]) -> None:
        self.labels = labels

    def name(self, split: Split, key: str) -> str:
        """Name of a pair in an exclusion list."""
        return f'{self.labels[_root(split)]}{split.name}/{key}'

    def shown(self, split: Split, path: str) -> str:
        """A path relative to the data root, after the label of the root."""
        root = _root(split)
        return f'{self.labels[root]}{Path(path).relative_to(root).as_posix()}'

    def file(self, each: MeasuredPair, role: str) -> str:
        """The 'lq' or 'gt' file of a pair, as reports show it."""
        return self.shown(each.split, each.split.path(role, each.name(role)))

    def names(self, split: Split) -> Iterator[Finding]:
        """Findings about names: images that could not be paired, and names that get the same LMDB key or none."""
        for fault in split.pairing.unpaired:
            file, other = self.shown(split, split.path(fault.role, fault.name)), self.shown(split, fault.other)
            yield Finding(
                'unpaired', (file,), f'no image of its name in {other}', exclude=(self.name(split, fault.key),)
            )
        for fault in split.pairing.clashing:
            file, other = (self.shown(split, split.path(fault.role, name)) for name in (fault.name, fault.other))
            yield Finding(
                'name_clash', (file,), f'shares its name with {other}', exclude=(self.name(split, fault.key),)
            )
        by_lmdb_key: dict[str, list[str]] = defaultdict(list)
        for pair in split.pairing.pairs:
            try:
                by_lmdb_key[lmdb_key(pair.key)].append(pair.key)
            except ValueError as error:
                yield Finding('no_key', (repr(pair.key),), str(error))
        for key, clashing in by_lmdb_key.items():
            if len(clashing) > 1:
                kept = key if key in clashing else min(clashing)  # prefers the name that needs no change
                exclude = tuple(self.name(split, each) for each in sorted(clashing) if each != kept)
                yield Finding('key_clash', tuple(clashing), f"all would become '{key}'", exclude=exclude)

    def pair(self, each: MeasuredPair) -> Iterator[Finding]:
        """Findings about one pair."""
        lq, gt = each.lq, each.gt
        swapped = not lq.error and not gt.error and gt.luma < lq.luma
        for role in ROLES:
            image = each.image(role)
            if image.error:
                yield self._found(each, 'unreadable', image.error, roles=(role,))
                continue
            if image.bits > 8:
                yield self._found(each, 'bit_depth', f'{image.bits} bits', roles=(role,))
            if image.damage:
                yield self._found(each, 'damaged', image.damage, roles=(role,))
            if image.channels < 3:
                yield self._found(each, 'gray', 'gray', roles=(role,))
            elif image.channels == 4:
                yield self._found(each, 'alpha', 'alpha', roles=(role,))
            if _black(image, role) and not swapped:
                text = f'mean luma {255 * image.luma:.1f} of 255, 99 % of it at most {255 * image.highlight:.0f}'
                yield self._found(each, 'black', text, 1 - image.luma, (role,))
        if lq.error or gt.error:
            return
        if each.difference is None:
            yield self._found(each, 'size_mismatch', '{}x{} and {}x{}'.format(*lq.size, *gt.size), roles=ROLES)
        elif lq.digest == gt.digest:
            yield self._found(each, 'identical', 'all pixels are equal', roles=ROLES)
        elif each.difference < MIN_DIFFERENCE:
            text = f'mean difference {255 * each.difference:.1f} of 255'
            yield self._found(each, 'barely_different', text, -each.difference, ROLES)
        else:
            yield from self._contents(each)

    def _contents(self, each: MeasuredPair) -> Iterator[Finding]:
        """Findings about the contents of two readable images of the same size that are not (nearly) equal."""
        if each.gt.luma < each.lq.luma:
            text = f'mean luma {255 * each.lq.luma:.0f}, ground truth {255 * each.gt.luma:.0f}'
            yield self._found(each, 'swapped', text, each.lq.luma - each.gt.luma)
        dark = any(_black(each.image(role), role) for role in ROLES)
        textured = each.thumbnail is not None and each.thumbnail.std() >= _MIN_TEXTURE
        dx, dy = each.shift
        distance = float(np.hypot(dx, dy))
        if each.response >= RELATED_RESPONSE:
            if distance > MAX_SHIFT:
                text = f'shifted by {distance:.1f} pixels ({dx:+.1f} horizontally, {dy:+.1f} vertically)'
                yield self._found(each, 'misaligned', text, distance)
        elif each.similarity < _MIN_SIMILARITY and textured and not dark:
            yield self._found(each, 'unrelated', f'similarity {each.similarity:.2f}', -each.similarity, ROLES)

    def _found(
        self, each: MeasuredPair, kind: str, text: str, weight: float = 0.0, roles: Sequence[str] = ('lq',)
    ) -> Finding:
        files = tuple(self.file(each, role) for role in roles)
        exclude = () if KINDS[kind][0] == 'note' else (self.name(each.split, each.pair.key),)
        return Finding(kind, files, text, weight, (each,), exclude)

    def copies(self, measured: Sequence[MeasuredPair]) -> Iterator[Finding]:
        """Findings about images with equal pixels in several pairs."""
        reported = set()
        for role in ROLES:
            groups = defaultdict(list)
            for each in measured:
                if not each.image(role).error:
                    groups[each.image(role).digest].append(each)
            for group in groups.values():
                # a test pair is kept, else the first one
                kept = next((each for each in group if not _is_training(each.split)), group[0])
                for each in group:
                    kind = _kind_of_copy(each, kept, role)
                    if each is kept or (id(each), kind) in reported:
                        continue
                    reported.add((id(each), kind))
                    excludable = kind in ('leak', 'duplicate') and _is_training(each.split)
                    yield Finding(
                        kind,
                        (self.file(each, role),),
                        f'identical to {self.file(kept, role)}',
                        pairs=(each, kept),
                        exclude=(self.name(each.split, each.pair.key),) if excludable else (),
                    )

    def scenes(self, measured: Sequence[MeasuredPair]) -> Iterator[Finding]:
        """Findings about training pairs that show scenes of test pairs."""
        readable = [(each, each.thumbnail) for each in measured if each.thumbnail is not None]
        thumbnails = [thumbnail for _, thumbnail in readable]
        for i, j, score in similar_pairs(thumbnails, [_is_training(each.split) for each, _ in readable]):
            first, second = readable[i][0], readable[j][0]
            train, test = (first, second) if _is_training(first.split) else (second, first)
            same = score >= SAME_SCENE
            yield Finding(
                'near_duplicate' if same else 'similar',
                (self.file(train, 'gt'),),
                f'like {self.file(test, "gt")}, similarity {score:.2f}',
                score,
                (train, test),
                (self.name(train.split, train.pair.key),) if same else (),
            )


def _labels(roots: Iterable[Path]) -> dict[Path, str]:
    """The end of each data root's path that tells it from the others, with a slash; nothing for a single root."""
    parts = {root: root.parts[1:] for root in roots}
    if len(parts) < 2:
        return dict.fromkeys(parts, '')
    longest = max(map(len, parts.values()))
    depth = next(n for n in range(1, longest + 1) if len({part[-n:] for part in parts.values()}) == len(parts))
    return {root: f'{"/".join(part[-depth:])}/' for root, part in parts.items()}


def _root(split: Split) -> Path:
    if split.root is None:
        raise ValueError(f'{split.title}: the split has no data root')
    return split.root


def _black(image: MeasuredImage, role: str) -> bool:
    return image.luma < MIN_LUMA[role] or image.highlight < MIN_HIGHLIGHT


def _kind_of_copy(each: MeasuredPair, kept: MeasuredPair, role: str) -> str:
    if _is_training(each.split) != _is_training(kept.split):
        return 'leak'
    if each.split is not kept.split:
        return 'shared_by_splits'
    if (each.lq.digest, each.gt.digest) == (kept.lq.digest, kept.gt.digest):
        return 'duplicate'
    return 'shared_lq' if role == 'lq' else 'shared_gt'
