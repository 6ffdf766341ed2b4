"""Where published low-light sets keep their images; folder names are matched without regard to case."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from basicsr_entropy._images import images_in

SPLITS = ('train', 'val', 'test')

Folders = tuple[str, str]  # of the low-light images and of the normal-light images


@dataclass(frozen=True)
class Layout:
    """A published arrangement of folders.

    Attributes:
        title: Name to show.
        roots: Folders below the data root that the splits may lie in; '' is the data root itself.
        splits: For each split the pairs of folders it may be kept in.
    """

    title: str
    roots: tuple[str, ...]
    splits: dict[str, tuple[Folders, ...]]


LAYOUTS: dict[str, Layout] = {
    'lolv1': Layout(
        'LOL v1',
        ('', 'LOLdataset', 'LOLv1', 'LOL-v1'),
        {
            'train': (('our485/low', 'our485/high'), ('Train/input', 'Train/target')),
            'test': (('eval15/low', 'eval15/high'), ('Test/input', 'Test/target')),
        },
    ),
    'lolv2_real': Layout(
        'LOL v2 real',
        ('Real_captured', 'LOLv2/Real_captured', 'LOL-v2/Real_captured', ''),
        {'train': (('Train/Low', 'Train/Normal'),), 'test': (('Test/Low', 'Test/Normal'),)},
    ),
    'lolv2_synthetic': Layout(
        'LOL v2 synthetic',
        ('Synthetic', 'LOLv2/Synthetic', 'LOL-v2/Synthetic', ''),
        {'train': (('Train/Low', 'Train/Normal'),), 'test': (('Test/Low', 'Test/Normal'),)},
    ),
    'ntire2024': Layout(
        'NTIRE 2024',
        ('', 'NTIRE2024', 'NTIRE-2024'),
        {
            'train': (('train/input', 'train/target'), ('train/input', 'train/gt')),
            'val': tuple(
                (f'{name}/input', f'{name}/{gt}') for name in ('mini_val', 'minival') for gt in ('target', 'gt')
            ),
        },
    ),
}


@dataclass(frozen=True)
class FoundSplit:
    """A split of a layout on disk."""

    layout: str
    split: str
    lq_folder: Path
    gt_folder: Path


def check_splits(asked: Iterable[str] | None, there: Iterable[str], root: str | Path) -> None:
    """Raises a FileNotFoundError that names the first asked split that is not there."""
    there = tuple(there)
    missing = [split for split in asked or () if split not in there]
    if missing:
        raise FileNotFoundError(f"split: no '{missing[0]}' under {root}; there are {', '.join(there)}")


def find_splits(root: str | Path, layout: str = 'auto') -> list[FoundSplit]:
    """The splits that lie under a data root.

    Args:
        root: Data root.
        layout: One of `LAYOUTS`, or 'auto' to recognise it.

    Returns:
        Splits of one layout.

    Raises:
        FileNotFoundError: If the root does not exist or no known folders lie in it.
        ValueError: If the layout is unknown, or 'auto' finds folders of several.
    """
    root = Path(root).expanduser()
    if layout != 'auto' and layout not in LAYOUTS:
        raise ValueError(f"layout: no layout '{layout}'; known are auto, {', '.join(LAYOUTS)}")
    if not root.is_dir():
        raise FileNotFoundError(f'dataroot: no folder {root}')
    tried = LAYOUTS if layout == 'auto' else [layout]
    found = {name: splits for name in tried if (splits := _splits_of(name, root))}
    if layout == 'auto':
        found = _most_specific(found, root)
    if not found:
        wanted = '; '.join(_folders_of(LAYOUTS[name]) for name in tried)
        raise FileNotFoundError(f'dataroot: no split of a known layout under {root}; looked for {wanted}')
    if len(found) > 1:
        raise ValueError(f'dataroot: {root} holds folders of several layouts; set layout to {" or ".join(found)}')
    return next(iter(found.values()))


def _folders_of(layout: Layout) -> str:
    first = (folders[0] for folders in layout.splits.values())
    return f'{layout.title}: ' + ', '.join(f'{{{lq},{gt}}}' for lq, gt in first)


def _splits_of(name: str, root: Path) -> list[FoundSplit]:
    """The splits of the first of the layout's roots that has any."""
    layout = LAYOUTS[name]
    for below in layout.roots:
        base = _resolve(root, below)
        if base is None:
            continue
        splits = []
        for split, pairs in layout.splits.items():
            for lq, gt in pairs:
                lq_folder, gt_folder = _resolve(base, lq), _resolve(base, gt)
                if lq_folder and gt_folder:
                    splits.append(FoundSplit(name, split, lq_folder, gt_folder))
                    break
        if splits:
            return splits
    return []


def _most_specific(found: dict[str, list[FoundSplit]], root: Path) -> dict[str, list[FoundSplit]]:
    """Drops layouts that only share folder names with the one that is there."""
    found = dict(found)
    if 'ntire2024' in found and 'lolv1' in found:
        # {train}/{input,target} is both; a mini-validation folder is NTIRE's alone
        ntire = any(split.split == 'val' for split in found['ntire2024'])
        del found['lolv1' if ntire else 'ntire2024']
    if (
        'lolv2_real' in found
        and 'lolv2_synthetic' in found
        and found['lolv2_real'][0].lq_folder == (found['lolv2_synthetic'][0].lq_folder)
    ):
        # the root is one of the two sets itself: its own name, or prefixed names, tell which
        real = 'real' in root.name.lower() or any(
            path.stem.lower().startswith('low') for path in images_in(found['lolv2_real'][0].lq_folder)
        )
        del found['lolv2_synthetic' if real else 'lolv2_real']
    return found


def _resolve(base: Path, below: str) -> Path | None:
    """The folder base/below whatever the case of its parts; None if there is none."""
    for part in Path(below).parts:
        if not base.is_dir():
            return None
        folders = [entry for entry in base.iterdir() if entry.name.lower() == part.lower() and entry.is_dir()]
        if not folders:
            return None
        base = next((folder for folder in folders if folder.name == part), folders[0])
    return base if base.is_dir() else None


def shared_images(layouts_and_splits: set[tuple[str, str]]) -> str | None:
    """A warning if splits that one run trains and tests on share images; None if no two are known to."""
    if {('lolv1', 'train'), ('lolv2_real', 'test')} <= layouts_and_splits:
        return 'LOL v1 training images reappear in the LOL v2 real test set: its results would not be of unseen images'
    return None
