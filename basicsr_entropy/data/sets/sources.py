"""Where a paired dataset's options say its images are, and how they are read from there."""

import string
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePath, PurePosixPath
from typing import Any
from urllib.parse import quote

import numpy as np
from mmengine import fileio

from basicsr_entropy._checks import check_choice
from basicsr_entropy._images import image_of_file, is_image
from basicsr_entropy.data.lmdb.reader import StoreReader, read_manifest, store_path
from basicsr_entropy.data.sets.exclusion import is_excluded, read_exclusion
from basicsr_entropy.data.sets.layouts import SPLITS, find_splits
from basicsr_entropy.data.sets.pairing import Pair, match_files, match_folders, match_keys

OpenImage = Callable[[str], AbstractContextManager[np.ndarray]]  # a name to its image, valid inside the context
Excluded = Callable[[str], bool]  # whether the images of a key are left out, whatever is wrong with them
_FOLDERS = 'dataroot_lq and dataroot_gt'


@dataclass(frozen=True)
class Source:
    """Pairs, and how the images of either side are opened."""

    pairs: list[Pair]
    open_lq: OpenImage
    open_gt: OpenImage


def find_source(opt: Mapping[str, Any]) -> Source:
    """What the options of a LowLightPairedDataset point at, less what `exclude` names.

    Raises:
        FileNotFoundError: If a folder, store or list is missing or empty.
        ValueError: If options contradict each other, or images do not pair.
    """
    names = read_exclusion(opt['exclude']) if opt.get('exclude') else frozenset()
    source = _find(opt, names)
    if names and not source.pairs:
        raise ValueError(f'exclude: {opt["exclude"]} leaves no pair')
    return source


def _find(opt: Mapping[str, Any], names: frozenset[str]) -> Source:
    backend = (opt.get('io_backend') or {}).get('type')
    if backend not in (None, 'disk', 'lmdb', 'mmengine'):
        raise ValueError(f"io_backend.type: must be disk, lmdb or mmengine, got '{backend}'")
    roots = opt.get('dataroot_lq'), opt.get('dataroot_gt')
    if opt.get('dataroot') is not None:
        if any(roots):
            raise ValueError('give either dataroot, or dataroot_lq and dataroot_gt, not both')
        if backend == 'mmengine':
            raise ValueError('io_backend.type: mmengine takes dataroot_lq and dataroot_gt in the place of dataroot')
        return _published(Path(opt['dataroot']).expanduser(), opt, backend, names)
    if not all(roots):
        raise ValueError('give dataroot, or dataroot_lq and dataroot_gt')
    excluded = partial(is_excluded, names)
    if backend == 'mmengine':
        return _mmengine(*map(str, roots), opt, excluded)
    lq_root, gt_root = (Path(root).expanduser() for root in roots)
    if backend == 'lmdb' or (backend is None and lq_root.suffix == '.lmdb'):
        return _stores(lq_root, gt_root, excluded)
    return Source(_folders(str(lq_root), str(gt_root), opt, excluded), image_of_file, image_of_file)


def layout_and_split(opt: Mapping[str, Any]) -> tuple[str, str] | None:
    """The published layout and the split that a dataset's options name; None where they do not tell.

    Stores tell by their manifests, also to datasets that are not of this package.
    """
    try:
        for key in ('dataroot_lq', 'dataroot_gt'):
            if opt.get(key):
                manifest = read_manifest(Path(opt[key]).expanduser())
                return (manifest['layout'], manifest['split']) if manifest else None
        if not opt.get('dataroot'):
            return None
        root = Path(opt['dataroot']).expanduser()
        stores = splits_of_stores(root)
        if stores:
            manifest = read_manifest(store_path(root, chosen_split(opt, stores, root), 'lq'))
            return (manifest['layout'], manifest['split']) if manifest else None
        found = find_splits(root, opt.get('layout') or 'auto')
        return found[0].layout, chosen_split(opt, {each.split for each in found}, root)
    except (FileNotFoundError, ValueError):
        return None  # the dataset itself will report it


def chosen_split(opt: Mapping[str, Any], there: set[str], root: Path) -> str:
    """The split asked for, or that of the phase.

    Raises:
        FileNotFoundError: If it is not there.
        ValueError: If there is no such split.
    """
    asked = opt.get('split')
    if asked is not None:
        check_choice('split', asked, SPLITS)
    wanted = [asked] if asked else ['train'] if opt.get('phase') == 'train' else ['test', 'val']
    for split in wanted:
        if split in there:
            return split
    listed = ', '.join(sorted(there)) or 'none'
    raise FileNotFoundError(f"split: no '{wanted[0]}' under {root}; splits there: {listed}")


def splits_of_stores(root: Path) -> set[str]:
    """Splits whose stores lie in a folder."""
    return {path.name.removesuffix('_lq.lmdb') for path in root.glob('*_lq.lmdb')}


def _published(root: Path, opt: Mapping[str, Any], backend: str | None, names: frozenset[str]) -> Source:
    stores = splits_of_stores(root)
    excluded = partial(is_excluded, names, root=root.resolve().name)
    if backend == 'lmdb' or (backend is None and stores):
        split = chosen_split(opt, stores, root)
        return _stores(store_path(root, split, 'lq'), store_path(root, split, 'gt'), partial(excluded, split=split))
    found = {each.split: each for each in find_splits(root, opt.get('layout') or 'auto')}
    split = found[chosen_split(opt, set(found), root)]
    where = f"split '{split.split}'"
    matched = match_folders(split.lq_folder, split.gt_folder, where).without(partial(excluded, split=split.split))
    return Source(matched.strict(where), image_of_file, image_of_file)


def _stores(lq_root: Path, gt_root: Path, excluded: Excluded) -> Source:
    lq, gt = StoreReader(lq_root), StoreReader(gt_root)
    if not lq.shapes:
        raise FileNotFoundError(f'{lq_root} holds no image')
    matched = match_keys(lq.shapes, gt.shapes, lq.path, gt.path).without(excluded)
    if matched.alone:
        first = min(odd.key for odd in matched.alone)
        raise ValueError(f"{lq_root} and {gt_root} do not hold the same keys; the first odd one is '{first}'")
    return Source(matched.pairs, lq.image, gt.image)


def _folders(lq_root: str, gt_root: str, opt: Mapping[str, Any], excluded: Excluded) -> list[Pair]:
    if opt.get('meta_info_file') is None and opt.get('filename_tmpl', '{}') == '{}':
        return match_folders(lq_root, gt_root, _FOLDERS).without(excluded).strict(_FOLDERS)
    return [pair for pair in _named(lq_root, gt_root, opt) if not excluded(pair.key)]


def _named(lq_root: str, gt_root: str, opt: Mapping[str, Any]) -> list[Pair]:
    """Pairs as BasicSR's options name them; their keys are those of the normal-light images."""
    template = opt.get('filename_tmpl', '{}')
    if opt.get('meta_info_file') is not None:
        return _listed(Path(opt['meta_info_file']).expanduser(), lq_root, gt_root, template)
    # imported here, as the import of basicsr imports the datasets, which need this module
    from basicsr.data.data_util import paired_paths_from_folder

    try:
        paths = paired_paths_from_folder([lq_root, gt_root], ['lq', 'gt'], template)
    except AssertionError as error:
        raise ValueError(f'filename_tmpl: {error}') from error
    keys = [PurePath(path['gt_path']).relative_to(gt_root).with_suffix('').as_posix() for path in paths]
    return [Pair(key, path['lq_path'], path['gt_path']) for key, path in zip(keys, paths)]


def _listed(meta_info: Path, lq_root: str, gt_root: str, template: str) -> list[Pair]:
    """Pairs of a file with lines `name (h,w,c)`, as BasicSR has them, or `lq_name gt_name`.

    A line is split at tabs if it has any, else at spaces.
    """
    if not meta_info.is_file():
        raise FileNotFoundError(f'meta_info_file: no file {meta_info}')
    pairs = []
    for line in filter(str.strip, meta_info.read_text(encoding='utf-8').splitlines()):
        first, *rest = line.strip().split('\t' if '\t' in line else None)
        if rest and not rest[0].startswith('('):
            lq_name, gt_name = first, rest[0]
        else:  # BasicSR looks for the low-light image right under its root
            path = PurePosixPath(first)
            lq_name, gt_name = f'{template.format(path.stem)}{path.suffix}', first
        lq, gt = f'{lq_root.rstrip("/")}/{lq_name}', f'{gt_root.rstrip("/")}/{gt_name}'
        pairs.append(Pair(PurePosixPath(gt_name).with_suffix('').as_posix(), lq, gt))
    if not pairs:
        raise FileNotFoundError(f'meta_info_file: {meta_info} names no image')
    return pairs


def _mmengine(lq_root: str, gt_root: str, opt: Mapping[str, Any], excluded: Excluded) -> Source:
    arguments = {key: value for key, value in opt['io_backend'].items() if key != 'type'}
    open_image = partial(image_of_file, read=partial(_read, arguments=arguments))
    if opt.get('meta_info_file') is not None:
        return Source(_folders(lq_root, gt_root, opt, excluded), open_image, open_image)
    if opt.get('filename_tmpl', '{}') != '{}':
        raise ValueError('filename_tmpl: with io_backend.type mmengine it needs a meta_info_file')
    files = [_list(root, arguments) for root in (lq_root, gt_root)]
    matched = match_files(*files, lq_root, gt_root, _FOLDERS).without(excluded)
    return Source(matched.strict(_FOLDERS), open_image, open_image)


def _backend(uri: str, arguments: dict[str, Any]) -> Any:
    """mmengine's backend for a URI; it keeps one of each kind."""
    try:
        return fileio.get_file_backend(uri, backend_args=arguments, enable_singleton=True)
    except KeyError as error:
        raise ValueError(f'io_backend: mmengine has no backend {error} for {uri}') from error
    except TypeError as error:
        raise ValueError(f'io_backend: mmengine cannot make a backend for {uri}: {error}') from error


def _list(root: str, arguments: dict[str, Any]) -> list[str]:
    """Image files below a root, whatever the case of their suffixes; hidden ones are left out."""
    backend = _backend(root, arguments)
    if not hasattr(backend, 'list_dir_or_file'):
        raise ValueError(f'meta_info_file: missing; {type(backend).__name__} cannot list the images of {root}')
    names = map(PurePosixPath, backend.list_dir_or_file(root, list_dir=False, recursive=True))
    return [str(name) for name in names if is_image(name)]


def _read(path: str, arguments: dict[str, Any]) -> bytes:
    url = path.startswith(('http://', 'https://'))
    try:
        # names may hold what a URL may not; what is quoted already stays
        return _backend(path, arguments).get(quote(path, safe=string.punctuation) if url else path)
    except OSError as error:
        raise OSError(f'{path} cannot be read: {error}') from error
