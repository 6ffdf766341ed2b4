"""What is wrong with a set of pairs: what would break a training, spoil a measurement, or is worth knowing."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from basicsr_entropy.data.checks.measure import Measured, SplitSource, measure_all, split_sources
from basicsr_entropy.data.checks.scenes import RELATED_RESPONSE, SAME_SCENE, similar_pairs
from basicsr_entropy.data.lmdb.reader import store_key
from basicsr_entropy.data.sets.exclusion import read_exclusion
from basicsr_entropy.data.sets.pairing import ROLES

SEVERITIES = ('error', 'warning', 'note')
# kind: (severity, what is found)
KINDS = {
    'unreadable': ('error', 'images that cannot be read'),
    'alone': ('error', 'images without a partner'),
    'clash': ('error', 'images that share a name'),
    'size': ('error', 'pairs of two sizes'),
    'swapped': ('error', 'truths darker than their inputs; the sides may be swapped'),
    'same': ('error', 'pairs of one and the same image'),
    'leak': ('warning', 'training images that are tested on'),
    'scene': ('warning', 'training images of a tested scene, in another exposure or nearly so'),
    'unrelated': ('warning', 'pairs that seem to show different things'),
    'shift': ('warning', 'pairs that are moved against each other'),
    'alike': ('warning', 'pairs that hardly differ'),
    'black': ('warning', 'images that are nearly black'),
    'key': ('warning', 'names that stores could not tell apart'),
    'twice': ('note', 'pairs that are there twice'),
    'exposures': ('note', 'truths that several inputs share'),
    'truths': ('note', 'inputs that several truths share'),
    'shared': ('note', 'images that two splits share, both for training or both for testing'),
    'similar': ('note', 'training images that resemble a tested one; have a look'),
    'bits': ('note', 'images of more than 8 bits'),
    'gray': ('note', 'gray images'),
    'alpha': ('note', 'images with an alpha channel'),
}
# LOL v1: no pair of 165 is moved by more than 1.4 pixels, and 96 % of moves by 2 are found, all of those by 2.5
MOST_SHIFT = 1.5
LEAST_DIFFERENCE = 2 / 255
DARKEST = {'lq': 1 / 255, 'gt': 10 / 255}  # LOL v1: 2.5 and 53 levels at least
_LEAST_LIKENESS = 0.4  # LOL v1: an input and its truth 0.48 at least
_LEAST_TEXTURE = 3  # levels; deviation of a thumbnail below which a pair is too plain to be told from another


@dataclass(frozen=True)
class Finding:
    """Something found.

    Attributes:
        kind: One of `KINDS`.
        files: The files or keys it is about.
        text: What is the matter with them.
        weight: The larger the worse, within its kind.
        pairs: The pairs it is about: one, or a training pair and a tested one.
        drop: Names of what to leave out to be rid of it; see `exclusion`.
    """

    kind: str
    files: tuple[str, ...]
    text: str
    weight: float = 0.0
    pairs: tuple[Measured, ...] = ()
    drop: tuple[str, ...] = ()

    @property
    def severity(self) -> str:
        return KINDS[self.kind][0]


@dataclass(frozen=True)
class Checked:
    """Splits, what was measured of their pairs, and what was found, the worst first."""

    sources: list[SplitSource]
    measured: list[Measured]
    findings: list[Finding]

    @property
    def clean(self) -> bool:
        """Whether there is nothing but notes."""
        return all(finding.severity == 'note' for finding in self.findings)


def check_sets(
    roots: Sequence[str | Path],
    layout: str = 'auto',
    splits: Sequence[str] | None = None,
    workers: int = 0,
    exclude: str | Path | None = None,
) -> Checked:
    """Reads every pair of one or several sets once, and looks for what is wrong with them.

    Args:
        roots: Data roots: folders of published sets, or of stores.
        layout: Layout of the sets, or 'auto'.
        splits: Splits to look at; all by default.
        workers: Processes that read; 0 reads in this one.
        exclude: List of pairs to leave out.

    Raises:
        FileNotFoundError: If a set, an asked split or the list is not there.
        ValueError: If folders of several layouts lie under a root.
    """
    names = read_exclusion(exclude) if exclude else frozenset()
    roots = dict.fromkeys(Path(root).expanduser().resolve() for root in roots)
    sources = [source for root in roots for source in split_sources(root, layout, splits, names)]
    measured = measure_all(sources, workers)
    judge = _Judge(several=len({source.root for source in sources}) > 1)
    findings = [finding for source in sources for finding in judge.names(source)]
    findings += [finding for each in measured for finding in judge.pair(each)]
    findings += judge.copies(measured)
    # once a pair is known to leak, its likeness to others is no news
    leaked = {id(finding.pairs[0]) for finding in findings if finding.kind == 'leak'}
    findings += judge.scenes([each for each in measured if id(each) not in leaked])
    order = list(KINDS)
    findings.sort(key=lambda finding: (order.index(finding.kind), -finding.weight, finding.files))
    return Checked(sources, measured, findings)


class _Judge:
    """Turns measurements into findings.

    Args:
        several: Whether names need their root before them.
    """

    def __init__(self, several: bool) -> None:
        self.several = several

    def name(self, source: SplitSource, key: str) -> str:
        """Name of a pair in a list to leave out."""
        name = f'{source.split}/{key}'
        return f'{source.root.name}/{name}' if self.several else name

    def shown(self, source: SplitSource, path: str | Path) -> str:
        """A path as reports have it: from the root on."""
        return Path(path).relative_to(source.root.parent if self.several else source.root).as_posix()

    def file(self, each: Measured, role: str) -> str:
        return self.shown(each.source, each.source.path(role, getattr(each.pair, role)))

    def names(self, source: SplitSource) -> Iterator[Finding]:
        """Of images that do not pair."""
        for kind, text, odd_ones in (
            ('alone', 'nothing of its name in {}', source.matched.alone),
            ('clash', '{} is there too', source.matched.clashing),
        ):
            for odd in odd_ones:
                file = self.shown(source, source.path(odd.role, odd.file))
                drop = (self.name(source, odd.key),)
                yield Finding(kind, (file,), text.format(self.shown(source, odd.other)), drop=drop)
        keys = defaultdict(list)
        for pair in source.matched.pairs:
            keys[store_key(pair.key)].append(pair.key)
        for key, several in keys.items():
            # the name that is a key as it stands stays
            spare = sorted(several, key=lambda each, key=key: (each != key, each))[1:]
            if spare:
                drop = tuple(self.name(source, each) for each in spare)
                yield Finding('key', tuple(several), f"all would be '{key}'", drop=drop)

    def pair(self, each: Measured) -> Iterator[Finding]:
        """Of one pair."""

        def found(kind: str, text: str, weight: float = 0.0, roles: Sequence[str] = ('lq',)) -> Finding:
            files = tuple(self.file(each, role) for role in roles)
            drop = () if KINDS[kind][0] == 'note' else (self.name(each.source, each.pair.key),)
            return Finding(kind, files, text, weight, (each,), drop)

        lq, gt = each.lq, each.gt
        swapped = not lq.error and not gt.error and gt.luma < lq.luma
        for role, image in zip(ROLES, (lq, gt)):
            if image.error:
                yield found('unreadable', image.error, roles=(role,))
                continue
            if image.bits > 8:
                yield found('bits', f'{image.bits} bits', roles=(role,))
            if image.channels < 3:
                yield found('gray', 'gray', roles=(role,))
            elif image.channels == 4:
                yield found('alpha', 'alpha', roles=(role,))
            if image.luma < DARKEST[role] and not swapped:
                yield found('black', f'mean luma {255 * image.luma:.1f} of 255', 1 - image.luma, (role,))
        if lq.error or gt.error:
            return
        if each.difference is None:
            yield found('size', '{}x{} and {}x{}'.format(*lq.size, *gt.size), roles=ROLES)
        elif lq.digest == gt.digest:
            yield found('same', 'input and truth are equal', roles=ROLES)
        elif each.difference < LEAST_DIFFERENCE:
            yield found('alike', f'{255 * each.difference:.1f} of 255 apart', -each.difference, ROLES)
        else:
            yield from self._contents(each, found)

    def _contents(self, each: Measured, found: Callable[..., Finding]) -> Iterator[Finding]:
        """Of a pair whose two images are there, of one size, and differ."""
        if each.gt.luma < each.lq.luma:
            text = f'mean luma {255 * each.lq.luma:.0f}, truth {255 * each.gt.luma:.0f}'
            yield found('swapped', text, each.lq.luma - each.gt.luma)
        dark = each.lq.luma < DARKEST['lq'] or each.gt.luma < DARKEST['gt']
        plain = each.thumb.std() < _LEAST_TEXTURE
        distance = float(np.hypot(*each.moved))
        if each.response >= RELATED_RESPONSE:
            if distance > MOST_SHIFT:
                text = f'by {distance:.1f} pixels ({each.moved[0]:+.1f} across, {each.moved[1]:+.1f} down)'
                yield found('shift', text, distance)
        elif each.likeness < _LEAST_LIKENESS and not dark and not plain:
            yield found('unrelated', f'similarity {each.likeness:.2f}', -each.likeness, ROLES)

    def copies(self, measured: Sequence[Measured]) -> Iterator[Finding]:
        """Of images with equal pixels in several pairs."""
        told = set()
        for role in ROLES:
            groups = defaultdict(list)
            for each in measured:
                image = getattr(each, role)
                if not image.error:
                    groups[image.digest].append(each)
            for group in groups.values():
                # what is tested on stays; else the first one does
                first = next((each for each in group if not each.source.trained_on), group[0])
                for each in group:
                    kind = _kind_of_copy(each, first, role)
                    if each is first or (id(each), kind) in told:
                        continue
                    told.add((id(each), kind))
                    drops = kind in ('leak', 'twice') and each.source.trained_on
                    yield Finding(
                        kind,
                        (self.file(each, role),),
                        f'is {self.file(first, role)}',
                        pairs=(each, first),
                        drop=(self.name(each.source, each.pair.key),) if drops else (),
                    )

    def scenes(self, measured: Sequence[Measured]) -> Iterator[Finding]:
        """Of training pairs that show what is tested on."""
        seen = [each for each in measured if each.thumb is not None]
        for i, j, score in similar_pairs([each.thumb for each in seen], [each.source.trained_on for each in seen]):
            trained, tested = (seen[i], seen[j]) if seen[i].source.trained_on else (seen[j], seen[i])
            same = score >= SAME_SCENE
            yield Finding(
                'scene' if same else 'similar',
                (self.file(trained, 'gt'),),
                f'like {self.file(tested, "gt")}, similarity {score:.2f}',
                score,
                (trained, tested),
                (self.name(trained.source, trained.pair.key),) if same else (),
            )


def _kind_of_copy(each: Measured, first: Measured, role: str) -> str:
    if each.source.trained_on != first.source.trained_on:
        return 'leak'
    if each.source is not first.source:
        return 'shared'
    if (each.lq.digest, each.gt.digest) == (first.lq.digest, first.gt.digest):
        return 'twice'
    return 'truths' if role == 'lq' else 'exposures'
