"""Selects the split that the options of a paired dataset name."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from basicsr_entropy._files import read_list
from basicsr_entropy.data.lmdb import read_origin
from basicsr_entropy.data.sets.exclusion import read_exclusion, warn_of_unknown
from basicsr_entropy.data.sets.image_sources import FolderImages, ImageSource, LmdbImages, backend_type, image_source
from basicsr_entropy.data.sets.layouts import SPLITS
from basicsr_entropy.data.sets.pairing import Pair, Pairing
from basicsr_entropy.data.sets.splits import Split, find_splits


def select_split(opt: Mapping[str, Any]) -> Split:
    """The split that the options of a LowLightPairedDataset name, without the pairs of `exclude`.

    Names of the list that are meant for this split and match none of its pairs are logged.

    Args:
        opt: Checked options of the dataset: dataroot, layout, split and phase, or dataroot_lq, dataroot_gt,
            meta_info_file and filename_tmpl; io_backend and exclude.

    Raises:
        FileNotFoundError: If a folder, database or list does not exist or is empty.
        ValueError: If images do not pair, or all pairs are excluded.
    """
    names = read_exclusion(opt['exclude']) if opt.get('exclude') else frozenset()
    split = _split_of_two_roots(opt) if opt.get('dataroot') is None else _split_of_dataroot(opt)
    if not names:
        return split
    keys = split.pairing.keys
    if not split.name:
        names = _names_without_split(names, keys, _splits_of_two_roots(opt, split))
    split = split.without(names)
    warn_of_unknown(opt['exclude'], names, keys, split.name, split.folders)
    if not split.pairs:
        raise ValueError(f'exclude: {opt["exclude"]} leaves no pair')
    return split


def _splits_of_two_roots(opt: Mapping[str, Any], split: Split) -> tuple[str, ...]:
    """What two folders are called in exclusion lists: the split of their manifest, or those of the phase."""
    if split.origin:
        return (split.origin[1],)
    return ('train',) if opt.get('phase') == 'train' else ('val', 'test')


def _names_without_split(names: frozenset[str], keys: Collection[str], own: Collection[str]) -> frozenset[str]:
    """The names of a list that are meant for a split without a name, with those of the form SPLIT/KEY as KEY."""
    meant = set()
    for name in names:
        split, _, key = name.partition('/')
        if name in keys or split not in SPLITS:
            meant.add(name)
        elif split in own:
            meant.add(key)
    return frozenset(meant)


def layout_and_split(opt: Mapping[str, Any]) -> tuple[str, str] | None:
    """Published layout and split that a dataset's options point at; None where that cannot be told.

    Databases record it in their manifests, so that it is also known for dataset classes of other packages.

    Args:
        opt: Options of any dataset class with dataroot, dataroot_lq or dataroot_gt.
    """
    try:
        for key in ('dataroot_lq', 'dataroot_gt'):
            if opt.get(key):
                return read_origin(Path(opt[key]).expanduser())
        return _split_of_dataroot(opt).origin if opt.get('dataroot') else None
    except (FileNotFoundError, ValueError):
        return None  # reported when the dataset is built


def _split_of_dataroot(opt: Mapping[str, Any]) -> Split:
    backend = backend_type(opt.get('io_backend'))
    root = Path(opt['dataroot']).expanduser()
    return _choose(find_splits(root, opt.get('layout') or 'auto', backend), opt, root)


def _choose(splits: Sequence[Split], opt: Mapping[str, Any], root: Path) -> Split:
    """The split that the options name, otherwise that of the phase: train, or test and, if there is none, val."""
    asked = opt.get('split')
    wanted = [asked] if asked else ['train'] if opt.get('phase') == 'train' else ['test', 'val']
    found = {split.name: split for split in splits}
    for name in wanted:
        if name in found:
            return found[name]
    listed = ', '.join(sorted(found)) or 'none'
    raise FileNotFoundError(f"split: no '{wanted[0]}' under {root}; splits there: {listed}")


def _split_of_two_roots(opt: Mapping[str, Any]) -> Split:
    lq, gt = (image_source(opt[key], opt.get('io_backend')) for key in ('dataroot_lq', 'dataroot_gt'))
    template, meta_info = opt.get('filename_tmpl', '{}'), opt.get('meta_info_file')
    if isinstance(lq, LmdbImages) or isinstance(gt, LmdbImages):  # the options below name files
        return Split(lq, gt)
    if meta_info is not None:
        return Split(lq, gt, listed=Pairing(_pairs_of_meta_info(meta_info, lq, gt, template), [], []))
    if template == '{}':
        return Split(lq, gt)
    if not isinstance(lq, FolderImages):
        raise ValueError('filename_tmpl: with io_backend.type mmengine it needs a meta_info_file')
    return Split(lq, gt, listed=Pairing(_pairs_of_template(lq, gt, template), [], []))


def _pairs_of_meta_info(meta_info: str, lq: ImageSource, gt: ImageSource, template: str) -> list[Pair]:
    """Pairs of a file with lines `name (h,w,c)`, BasicSR's format, or `lq_name gt_name`.

    A line with tabs is split at the tabs, any other at spaces. Keys are those of the normal-light images.
    """
    pairs = []
    for line in filter(str.strip, read_list(meta_info, 'meta_info_file')):
        first, *rest = line.strip().split('\t' if '\t' in line else None)
        if rest and not rest[0].startswith('('):
            lq_name, gt_name = first, rest[0]
        else:  # BasicSR expects the low-light image directly below its root
            path = PurePosixPath(first)
            lq_name, gt_name = f'{template.format(path.stem)}{path.suffix}', first
        lq_path, gt_path = (f'{str(source.root).rstrip("/")}/{name}' for source, name in ((lq, lq_name), (gt, gt_name)))
        pairs.append(Pair(PurePosixPath(gt_name).with_suffix('').as_posix(), lq_path, gt_path))
    if not pairs:
        raise FileNotFoundError(f'meta_info_file: {meta_info} names no image')
    return pairs


def _pairs_of_template(lq: ImageSource, gt: ImageSource, template: str) -> list[Pair]:
    """Pairs by BasicSR's filename_tmpl. Keys are those of the normal-light images."""
    from basicsr.data.data_util import paired_paths_from_folder

    try:
        paths = paired_paths_from_folder([str(lq.root), str(gt.root)], ['lq', 'gt'], template)
    except AssertionError as error:
        raise ValueError(f'filename_tmpl: {error}') from error
    return [Pair(gt.key(path['gt_path']), path['lq_path'], path['gt_path']) for path in paths]
