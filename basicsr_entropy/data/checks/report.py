"""Reports of a check: tables for the terminal, a contact sheet, and an exclusion list."""

import json
from collections import defaultdict
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any, TextIO

import cv2
import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from basicsr_entropy._files import atomic_write_text
from basicsr_entropy._images import atomic_write_image, to_float
from basicsr_entropy.data.checks.check import SEVERITIES, CheckResult, Finding
from basicsr_entropy.data.checks.measure import MeasuredPair
from basicsr_entropy.data.sets.pairing import ROLES
from basicsr_entropy.data.sets.splits import Split

STYLES = {'error': 'bold red', 'warning': 'yellow', 'note': 'cyan'}
MAX_PRINTED = 8  # findings per kind in the terminal
PERCENTILES = (0, 5, 25, 50, 75, 95, 100)
MAX_TILES = 12  # of the contact sheet
TILES_PER_KIND = 3  # at most, as long as there are findings of other kinds
COLUMNS = 2
CELL = (300, 200)  # width and height of an image in pixels; a tile holds two
CAPTION = 40  # height in pixels
MARGIN = 10  # pixels
COLORS = {'error': (60, 60, 200), 'warning': (20, 140, 220), 'note': (170, 120, 40), '': (120, 120, 120)}  # BGR


_Tile = tuple[tuple[MeasuredPair, ...], str, str, str]  # pairs, severity, title, text


def print_report(result: CheckResult, most: int | None = MAX_PRINTED, file: TextIO | None = None) -> None:
    """Prints the number of pairs, sizes and brightness of each split, and the findings.

    Args:
        result: Result of `check_datasets`.
        most: Largest number of findings of a kind to list; None lists all.
        file: Where to print; standard output by default.
    """
    console = Console(file=file, highlight=False)
    console.print(_brightness(result))
    by_kind = defaultdict(list)
    for finding in result.findings:
        by_kind[finding.kind].append(finding)
    for found in by_kind.values():
        _print_kind(console, found, most)
    console.print(', '.join(_counted(number, name) for name, number in _counts(result).items()))


def as_json(result: CheckResult) -> str:
    """Everything that was found, as JSON.

    An object with

    - `splits`: one object per split: `root`, `split`, `pairs` (their number), `unreadable` (pairs with an image that
      cannot be read), `smallest` and `largest` ([width, height] of the ground truth in pixels, or null), and `luma`:
      for `lq`, `gt` and `ratio` (gt / lq, without pairs whose lq is below 1) the percentiles of the mean luma of the
      images, range [0, 255], keyed by percentage ('0' is the minimum, '50' the median); empty without a readable pair;
    - `findings`: one object per finding, in the order of the report: `kind`, `severity` (error, warning or note),
      `title` (of the kind), `files`, `text`, and `exclude` (the names that `write_exclusion_list` writes for it);
    - `counts`: the number of findings of each severity.
    """
    splits = [_split_statistics(result, split) for split in result.splits]
    findings = [
        {
            'kind': finding.kind,
            'severity': finding.severity,
            'title': finding.title,
            'files': list(finding.files),
            'text': finding.text,
            'exclude': list(finding.exclude),
        }
        for finding in result.findings
    ]
    return json.dumps({'splits': splits, 'findings': findings, 'counts': _counts(result)}, indent=1)


def write_json(result: CheckResult, path: str | Path) -> None:
    """Writes `as_json` to a file, atomically; an existing file is replaced."""
    atomic_write_text(path, as_json(result) + '\n')


def _split_statistics(result: CheckResult, split: Split) -> dict[str, Any]:
    own = [each for each in result.measured if each.split is split]
    sizes = _sizes(own)
    return {
        'root': str(split.root),
        'split': split.name,
        'pairs': len(own),
        'unreadable': sum(bool(each.lq.error or each.gt.error) for each in own),
        'smallest': list(sizes[0]) if sizes else None,
        'largest': list(sizes[-1]) if sizes else None,
        'luma': {
            name: {str(percent): round(float(np.percentile(values, percent)), 2) for percent in PERCENTILES}
            for name, values in _lumas(own).items()
            if len(values)
        },
    }


def _counts(result: CheckResult) -> dict[str, int]:
    """Number of findings of each severity."""
    return {name: sum(each.severity == name for each in result.findings) for name in SEVERITIES}


def _lumas(own: Sequence[MeasuredPair]) -> dict[str, np.ndarray]:
    """Mean luma of the lq and gt images of readable pairs, range [0, 255], and the ratios gt / lq."""
    read = [each for each in own if not each.lq.error and not each.gt.error]
    lq, gt = (255 * np.array([each.image(role).luma for each in read]) for role in ROLES)
    lit = lq >= 1  # a ratio to less than one level means nothing
    return {'lq': lq, 'gt': gt, 'ratio': gt[lit] / lq[lit]}


def _sizes(own: Sequence[MeasuredPair]) -> list[tuple[int, int]]:
    """Sizes (width, height) of the ground truth, by area."""
    return sorted({each.gt.size for each in own if not each.gt.error}, key=lambda size: size[0] * size[1])


def _brightness(result: CheckResult) -> Table:
    table = Table(title='mean luma, 0 to 255', title_justify='left')
    table.add_column('')
    for percent in PERCENTILES:
        table.add_column({0: 'min', 50: 'median', 100: 'max'}.get(percent, f'{percent} %'), justify='right')
    for split in result.splits:
        own = [each for each in result.measured if each.split is split]
        table.add_section()
        table.add_row(f'[bold]{escape(_title(split))}[/]\n{_size(own)}')
        for name, values in zip(('low-light', 'ground truth', 'ratio'), _lumas(own).values()):
            if len(values):
                table.add_row('  ' + name, *(f'{number:.1f}' for number in np.percentile(values, PERCENTILES)))
    return table


def _title(split: Split) -> str:
    return f'{split.root.name}, {split.name}' if split.root else split.title


def _size(own: Sequence[MeasuredPair]) -> str:
    """Number of pairs, and the smallest and largest size of the ground truths."""
    sizes = _sizes(own)
    shown = ' to '.join('{}x{}'.format(*size) for size in (sizes if len(sizes) < 2 else (sizes[0], sizes[-1])))
    return f'{_counted(len(own), "pair")}{", " if shown else ""}{shown}'


def _print_kind(console: Console, found: Sequence[Finding], most: int | None) -> None:
    severity = found[0].severity
    console.print(f'[{STYLES[severity]}]{severity}[/]: {found[0].title} ({len(found)})', soft_wrap=True)
    for finding in found[:most]:
        console.print(f'    {_caption(finding)}', markup=False, soft_wrap=True)
    if most is not None and len(found) > most:
        console.print(f'    and {len(found) - most} more')


def _counted(number: int, what: str) -> str:
    return f'{number} {what}' if number == 1 else f'{number} {what}s'


def write_exclusion_list(result: CheckResult, path: str | Path) -> int:
    """Writes the pairs whose exclusion resolves the findings, for the option `exclude` of the dataset classes.

    A line holds the name of a pair and, after a tab, the reasons.

    Args:
        result: Result of the check.
        path: File to write; must not exist.

    Returns:
        Number of pairs.

    Raises:
        FileExistsError: If the file exists.
    """
    if Path(path).exists():
        raise FileExistsError(f'{path} exists; remove it, or choose another file')
    reasons = defaultdict(list)
    for finding in result.findings:
        for name in finding.exclude:
            reasons[name].append(f'{finding.title}: {finding.text}')
    atomic_write_text(path, ''.join(f'{name}\t{"; ".join(reasons[name])}\n' for name in sorted(reasons)))
    return len(reasons)


def unused_path(path: str | Path) -> Path:
    """The path, or, if it exists, the first of name_2, name_3, ... that does not."""
    path = Path(path)
    numbered = (path.with_stem(f'{path.stem}_{number}') for number in count(2))
    return path if not path.exists() else next(each for each in numbered if not each.exists())


def write_picture(result: CheckResult, path: str | Path) -> Path | None:
    """Writes a contact sheet of the findings, the most severe first, and of the darkest other pairs.

    A tile shows the low-light image and the ground truth, or a training image and the test image that it resembles.

    Args:
        result: Result of the check.
        path: Image file to write. An existing file is not overwritten: a number is added to the name.

    Returns:
        Path of the written file; None if there is no pair to show.

    Raises:
        OSError: If it cannot be written.
    """
    chosen = _chosen(result)
    if not chosen:
        return None
    tiles = [_tile(*each) for each in chosen]
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % COLUMNS)
    sheet = np.vstack([np.hstack(tiles[start : start + COLUMNS]) for start in range(0, len(tiles), COLUMNS)])
    path = unused_path(path)
    atomic_write_image(path, sheet)
    return path


def _chosen(result: CheckResult) -> list[_Tile]:
    """The tiles of the contact sheet."""
    shown: list[_Tile] = []
    later: list[_Tile] = []
    count_by_kind: dict[str, int] = defaultdict(int)
    for finding in result.findings:
        if finding.pairs:
            count_by_kind[finding.kind] += 1
            entry = finding.pairs, finding.severity, finding.title, _caption(finding)
            (shown if count_by_kind[finding.kind] <= TILES_PER_KIND else later).append(entry)
    order = sorted([*shown, *later][:MAX_TILES], key=lambda entry: SEVERITIES.index(entry[1]))
    with_finding = {id(pair) for pairs, *_ in order for pair in pairs}
    darkest = sorted(
        (each for each in result.measured if id(each) not in with_finding and not each.lq.error),
        key=lambda e: e.lq.luma,
    )
    for each in darkest[: max(0, MAX_TILES - len(order))]:
        text = f'{each.split.name}/{each.pair.key}, mean luma {255 * each.lq.luma:.0f} and {255 * each.gt.luma:.0f}'
        order.append(((each,), '', 'no finding', text))
    return order


def _caption(finding: Finding) -> str:
    return f'{", ".join(finding.files)}: {finding.text}'


def _tile(pairs: tuple[MeasuredPair, ...], severity: str, title: str, text: str) -> np.ndarray:
    """Two images below a caption of two lines.

    The right half of a low-light image is brightened to the mean luma of its ground truth.
    """
    sides = [(pairs[0], 'lq'), (pairs[0], 'gt')] if len(pairs) == 1 else [(each, 'gt') for each in pairs]
    first, second = (_cell(*side) for side in sides)
    if len(pairs) == 1 and pairs[0].lq.luma > 0 and not pairs[0].gt.error:
        half, gain = CELL[0] // 2, max(1, pairs[0].gt.luma / pairs[0].lq.luma)
        first[:, half:] = cv2.convertScaleAbs(first[:, half:], alpha=gain)
    gap = np.full((CELL[1], 4, 3), 255, np.uint8)
    images = np.hstack([first, gap, second])
    caption = np.full((CAPTION, images.shape[1], 3), 255, np.uint8)
    caption[:, :6] = COLORS[severity]
    _write(caption, f'{severity}: {title}' if severity else title, 16, COLORS[severity])
    _write(caption, text, 33, (40, 40, 40))
    tile = np.vstack([caption, images])
    return cv2.copyMakeBorder(tile, MARGIN, 0, MARGIN, MARGIN, cv2.BORDER_CONSTANT, value=(255, 255, 255))


def _write(image: np.ndarray, text: str, baseline: int, color: tuple[int, int, int]) -> None:
    """Draws a line of text, shortened to the width of the image; OpenCV draws ASCII only."""
    text = text.encode('ascii', 'replace').decode()
    room = image.shape[1] - 18
    font = cv2.FONT_HERSHEY_SIMPLEX, 0.42
    while cv2.getTextSize(text, *font, 1)[0][0] > room:
        text = text.removesuffix('...')[:-1] + '...'
    cv2.putText(image, text, (12, baseline), *font, color, 1, cv2.LINE_AA)


def _cell(each: MeasuredPair, role: str) -> np.ndarray:
    """An image fitted into a cell, uint8 BGR, on a gray background; an unreadable image leaves a note there."""
    width, height = CELL
    cell = np.full((height, width, 3), 215, np.uint8)
    if each.image(role).error:
        _write(cell, 'unreadable', height // 2, (90, 90, 90))
        return cell
    with each.split.open(role, each.name(role)) as image:
        scale = min(width / image.shape[1], height / image.shape[0])
        size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    image = np.round(255 * to_float(image)).astype(np.uint8)
    top, left = (height - size[1]) // 2, (width - size[0]) // 2
    cell[top : top + size[1], left : left + size[0]] = image
    return cell
