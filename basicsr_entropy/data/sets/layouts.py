"""Folder layouts of published low-light datasets. Folder names are matched case-insensitively."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from basicsr_entropy._images import images_in

SplitName = Literal['train', 'val', 'test']

SPLITS: tuple[SplitName, ...] = get_args(SplitName)

Folders = tuple[str, str]  # low-light and normal-light images, relative to a base folder
FoundFolders = tuple[Path, Path]  # the same, as they lie on disk


@dataclass(frozen=True)
class Layout:
    """Folder layout of a published dataset.

    Attributes:
        title: Name of the dataset.
        roots: Base folders that the splits may lie in, relative to the data root; '' is the data root itself.
        splits: Possible pairs of folders of each split, relative to the base folder.
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

LAYOUT_CHOICES = ('auto', *LAYOUTS)  # values of an option; auto detects the layout


def check_splits(asked: Iterable[str] | None, there: Iterable[str], root: str | Path) -> None:
    """Checks that all requested splits exist.

    Raises:
        FileNotFoundError: If one does not; names the first of them.
    """
    there = tuple(there)
    missing = [split for split in asked or () if split not in there]
    if missing:
        raise FileNotFoundError(f"split: no '{missing[0]}' under {root}; there are {', '.join(there)}")


def find_folders(root: str | Path, layout: str = 'auto') -> tuple[str, dict[str, FoundFolders]]:
    """Finds the folders of a published dataset under a data root.

    Args:
        root: Data root.
        layout: One of `LAYOUTS`, or 'auto' to detect it.

    Returns:
        The layout, and for each split its folders of low-light and of normal-light images.

    Raises:
        FileNotFoundError: If the root does not exist or holds no known folders.
        ValueError: If the layout is unknown, or 'auto' finds folders of several layouts.
    """
    root = Path(root).expanduser()
    if layout != 'auto' and layout not in LAYOUTS:
        raise ValueError(f"layout: no layout '{layout}'; known: auto, {', '.join(LAYOUTS)}")
    if not root.is_dir():
        raise FileNotFoundError(f'dataroot: no folder {root}')
    tried = LAYOUTS if layout == 'auto' else [layout]
    found = {name: folders for name in tried if (folders := _folders_of(name, root))}
    if layout == 'auto':
        found = _most_specific(found, root)
    if not found:
        wanted = '; '.join(_summary(LAYOUTS[name]) for name in tried)
        raise FileNotFoundError(f'dataroot: no split of a known layout under {root}; looked for {wanted}')
    if len(found) > 1:
        raise ValueError(f'dataroot: {root} holds folders of several layouts; set layout to {" or ".join(found)}')
    return next(iter(found.items()))


def _summary(layout: Layout) -> str:
    first = (folders[0] for folders in layout.splits.values())
    return f'{layout.title}: ' + ', '.join(f'{{{lq},{gt}}}' for lq, gt in first)


def _folders_of(name: str, root: Path) -> dict[str, FoundFolders]:
    """Folders of each split, in the first of the layout's base folders that holds any."""
    layout = LAYOUTS[name]
    for below in layout.roots:
        base = _resolve(root, below)
        if base is None:
            continue
        found = {}
        for split, pairs in layout.splits.items():
            for lq, gt in pairs:
                lq_folder, gt_folder = _resolve(base, lq), _resolve(base, gt)
                if lq_folder and gt_folder:
                    found[split] = lq_folder, gt_folder
                    break
        if found:
            return found
    return {}


def _most_specific(found: dict[str, dict[str, FoundFolders]], root: Path) -> dict[str, dict[str, FoundFolders]]:
    """Drops layouts that match only because they share folder names with the actual one."""
    found = dict(found)
    if 'ntire2024' in found and 'lolv1' in found:
        # both have train/{input,target}; only NTIRE has a mini-validation folder
        del found['lolv1' if 'val' in found['ntire2024'] else 'ntire2024']
    if 'lolv2_real' in found and found.get('lolv2_synthetic') == found['lolv2_real']:
        # the root is the folder of one of the two datasets; its name or the prefixes of the file names tell which
        lq_folder, _ = next(iter(found['lolv2_real'].values()))
        real = 'real' in root.name.lower() or any(path.stem.lower().startswith('low') for path in images_in(lq_folder))
        del found['lolv2_synthetic' if real else 'lolv2_real']
    return found


def _resolve(base: Path, below: str) -> Path | None:
    """The folder base/below, matched case-insensitively; None if there is none."""
    for part in Path(below).parts:
        if not base.is_dir():
            return None
        folders = [entry for entry in base.iterdir() if entry.name.lower() == part.lower() and entry.is_dir()]
        if not folders:
            return None
        base = next((folder for folder in folders if folder.name == part), folders[0])
    return base if base.is_dir() else None


def leakage_warning(layouts_and_splits: set[tuple[str, str]]) -> str | None:
    """A warning if published splits that one run uses are known to share images, else None.

    Args:
        layouts_and_splits: Layouts and splits of all datasets of the run, for training and for testing.
    """
    if {('lolv1', 'train'), ('lolv2_real', 'test')} <= layouts_and_splits:
        return 'LOL v1 training images reappear in the LOL v2 real test set: its results are not on unseen images'
    return None
