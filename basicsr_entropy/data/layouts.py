"""Where published low-light sets keep their images, and which belong together.

Folder names are matched without regard to case. Images pair by their base name without its extension; where a set
prefixes its names with `low` and `normal`, without that prefix.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

IMAGE_SUFFIXES = ('.png', '.jpg', '.jpeg', '.bmp', '.tif', '.tiff', '.webp')
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
class Pair:
    """Two images of one scene: a key that is theirs alone in the set, and the files (or keys of a store)."""

    key: str
    lq: str
    gt: str


@dataclass(frozen=True)
class FoundSplit:
    """A split of a layout on disk."""

    layout: str
    split: str
    lq_folder: Path
    gt_folder: Path


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


def images_in(folder: Path) -> Iterator[Path]:
    """Image files of a folder and of the folders in it, sorted; hidden ones left out."""
    for path in sorted(folder.rglob('*')):
        hidden = any(part.startswith('.') for part in path.relative_to(folder).parts)
        if path.suffix.lower() in IMAGE_SUFFIXES and not hidden and path.is_file():
            yield path


@dataclass(frozen=True)
class Matched:
    """Images of two folders by their names.

    Attributes:
        pairs: Sorted by key; the key is the path below the folder without extension and prefix.
        alone: (key, file, folder that holds nothing of its name) of images without a partner.
        clashing: (key, file, other file) of images of one folder that share a name.
    """

    pairs: list[Pair]
    alone: list[tuple[str, Path, Path]]
    clashing: list[tuple[str, Path, Path]]


def match_folders(lq_folder: str | Path, gt_folder: str | Path, where: str) -> Matched:
    """Matches the images of two folders; see `pair_folders`, which wants a match without fault.

    Raises:
        FileNotFoundError: If a folder is missing or holds no image.
    """
    lq_folder, gt_folder, names = Path(lq_folder), Path(gt_folder), []
    for role, folder in (('low-light', lq_folder), ('normal-light', gt_folder)):
        if not folder.is_dir():
            raise FileNotFoundError(f'{where}: no folder {folder} for the {role} images')
        paths = list(images_in(folder))
        if not paths:
            raise FileNotFoundError(f'{where}: no image in the {role} folder {folder}')
        names.append({path: path.relative_to(folder).with_suffix('').as_posix() for path in paths})
    lq_names, gt_names = names
    if set(lq_names.values()) != set(gt_names.values()):
        without = _without_prefix(lq_names, 'low'), _without_prefix(gt_names, 'normal')
        if set(without[0].values()) == set(without[1].values()) or not set(lq_names.values()) & set(gt_names.values()):
            lq_names, gt_names = without
    clashing: list[tuple[str, Path, Path]] = []
    lq_paths, gt_paths = _by_name(lq_names, clashing), _by_name(gt_names, clashing)
    alone = [
        (name, own[name], folder)
        for own, other, folder in ((lq_paths, gt_paths, gt_folder), (gt_paths, lq_paths, lq_folder))
        for name in sorted(own.keys() - other.keys())
    ]
    shared = sorted(lq_paths.keys() & gt_paths.keys())
    return Matched([Pair(name, str(lq_paths[name]), str(gt_paths[name])) for name in shared], alone, clashing)


def pair_folders(
    lq_folder: str | Path, gt_folder: str | Path, where: str, excluded: Callable[[str], bool] = lambda key: False
) -> list[Pair]:
    """Pairs the images of two folders.

    Args:
        lq_folder: Folder of the low-light images.
        gt_folder: Folder of the normal-light images.
        where: What the folders are, for errors, e.g. "split 'train'".
        excluded: Whether the images of a key are left out, whatever is wrong with them.

    Returns:
        Pairs as in `Matched`.

    Raises:
        FileNotFoundError: If a folder is missing or holds no image.
        ValueError: If images are left without a partner or share a name; names the first such file.
    """
    matched = match_folders(lq_folder, gt_folder, where)
    for key, path, other in matched.clashing:
        if not excluded(key):
            raise ValueError(f'{where}: {path} and {other} share a name; pairs could not tell them apart')
    alone = [entry for entry in matched.alone if not excluded(entry[0])]
    if alone:
        _, path, folder = alone[0]
        without_gt = sum(folder == Path(gt_folder) for _, _, folder in alone)
        lq_count, gt_count = len(matched.pairs) + without_gt, len(matched.pairs) + len(alone) - without_gt
        raise ValueError(
            f'{where}: {lq_count} low-light and {gt_count} normal-light images do not pair; the first '
            f'without a partner is {path}, nothing of its name is in {folder}'
        )
    return [pair for pair in matched.pairs if not excluded(pair.key)]


def _without_prefix(names: dict[Path, str], prefix: str) -> dict[Path, str]:
    """Takes the prefix off base names only: a folder may be called low-light."""
    pattern = re.compile(rf'(?P<parents>(?:.*/)?){prefix}[_-]?(?=[^/])(?P<rest>[^/]+)', re.IGNORECASE)
    return {path: pattern.sub(r'\g<parents>\g<rest>', name, count=1) for path, name in names.items()}


def _by_name(names: dict[Path, str], clashing: list[tuple[str, Path, Path]]) -> dict[str, Path]:
    """The first path of each name; later ones of the same name go to `clashing`."""
    paths: dict[str, Path] = {}
    for path, name in names.items():
        if name in paths:
            clashing.append((name, paths[name], path))
        else:
            paths[name] = path
    return paths


def shared_images(layouts_and_splits: set[tuple[str, str]]) -> str | None:
    """A warning if splits that one run trains and tests on share images; None if no two are known to."""
    if {('lolv1', 'train'), ('lolv2_real', 'test')} <= layouts_and_splits:
        return 'LOL v1 training images reappear in the LOL v2 real test set: its results would not be of unseen images'
    return None
