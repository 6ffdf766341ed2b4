"""What `check` found: tables for the terminal, a contact sheet, and a list of what to leave out."""

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
from basicsr_entropy._images import to_float
from basicsr_entropy.data.checks.check import KINDS, SEVERITIES, Checked, Finding
from basicsr_entropy.data.checks.measure import Measured, SplitSource
from basicsr_entropy.data.sets.pairing import ROLES

STYLES = {'error': 'bold red', 'warning': 'yellow', 'note': 'cyan'}
SHOWN = 8  # findings of a kind in the terminal
PERCENTILES = (0, 5, 25, 50, 75, 95, 100)
TILES = 12  # of the contact sheet
A_KIND = 3  # of them at most, while other kinds wait
COLUMNS = 2
CELL = (300, 200)  # pixels; each tile is two cells
CAPTION = 40
MARGIN = 10
COLOURS = {'error': (60, 60, 200), 'warning': (20, 140, 220), 'note': (170, 120, 40), '': (120, 120, 120)}  # BGR


def print_report(checked: Checked, most: int | None = SHOWN, file: TextIO | None = None) -> None:
    """Prints what the sets hold, how bright they are, and what was found.

    Args:
        checked: Result of `check_sets`.
        most: Largest number of findings of a kind to list; None lists all.
        file: Where to print; standard output by default.
    """
    console = Console(file=file, highlight=False)
    console.print(_brightness(checked))
    by_kind = defaultdict(list)
    for finding in checked.findings:
        by_kind[finding.kind].append(finding)
    for kind, found in by_kind.items():
        _print_kind(console, kind, found, most)
    console.print(', '.join(_counted(number, name) for name, number in _counts(checked).items()))


def as_json(checked: Checked) -> str:
    """Everything that was found, as JSON.

    An object with

    - `splits`: one object per split: `root`, `split`, `pairs` (their number), `unreadable` (pairs with an image that
      cannot be read), `smallest` and `largest` ([width, height] of the ground truth in pixels, or null), and `luma`:
      for `lq`, `gt` and `ratio` (gt / lq, without pairs whose lq is below 1) the percentiles of the mean luma of the
      images, range [0, 255], keyed by percentage ('0' is the minimum, '50' the median); empty without a readable pair;
    - `findings`: one object per finding, in the order of the report: `kind`, `severity` (error, warning or note),
      `title` (of the kind), `files`, `text`, and `exclude` (the names that `write_fix_list` writes for it);
    - `counts`: the number of findings of each severity.
    """
    splits = [_split_statistics(checked, source) for source in checked.sources]
    findings = [
        {
            'kind': finding.kind,
            'severity': finding.severity,
            'title': KINDS[finding.kind][1],
            'files': list(finding.files),
            'text': finding.text,
            'exclude': list(finding.drop),
        }
        for finding in checked.findings
    ]
    return json.dumps({'splits': splits, 'findings': findings, 'counts': _counts(checked)}, indent=1)


def write_json(checked: Checked, path: str | Path) -> None:
    """Writes `as_json` to a file, atomically; an existing file is replaced."""
    atomic_write_text(path, as_json(checked) + '\n')


def _split_statistics(checked: Checked, source: SplitSource) -> dict[str, Any]:
    own = [each for each in checked.measured if each.source is source]
    sizes = _sizes(own)
    return {
        'root': str(source.root),
        'split': source.split,
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


def _counts(checked: Checked) -> dict[str, int]:
    """Number of findings of each severity."""
    return {name: sum(each.severity == name for each in checked.findings) for name in SEVERITIES}


def _lumas(own: Sequence[Measured]) -> dict[str, np.ndarray]:
    """Mean luma of the lq and gt images of readable pairs, range [0, 255], and the ratios gt / lq."""
    read = [each for each in own if not each.lq.error and not each.gt.error]
    lq, gt = (255 * np.array([getattr(each, role).luma for each in read]) for role in ROLES)
    lit = lq >= 1  # a ratio to less than one level means nothing
    return {'lq': lq, 'gt': gt, 'ratio': gt[lit] / lq[lit]}


def _sizes(own: Sequence[Measured]) -> list[tuple[int, int]]:
    """Sizes (width, height) of the ground truth, by area."""
    return sorted({each.gt.size for each in own if not each.gt.error}, key=lambda size: size[0] * size[1])


def _brightness(checked: Checked) -> Table:
    table = Table(title='mean luma, of 255', title_justify='left')
    table.add_column('')
    for percent in PERCENTILES:
        table.add_column({0: 'least', 50: 'median', 100: 'most'}.get(percent, f'{percent} %'), justify='right')
    for source in checked.sources:
        own = [each for each in checked.measured if each.source is source]
        table.add_section()
        table.add_row(f'[bold]{escape(source.root.name)}, {source.split}[/]\n{_held(own)}')
        for name, values in zip(('input', 'truth', 'ratio'), _lumas(own).values()):
            if len(values):
                table.add_row('  ' + name, *(f'{number:.1f}' for number in np.percentile(values, PERCENTILES)))
    return table


def _held(own: Sequence[Measured]) -> str:
    """How many pairs, and of what sizes."""
    sizes = _sizes(own)
    shown = ' to '.join('{}x{}'.format(*size) for size in (sizes if len(sizes) < 2 else (sizes[0], sizes[-1])))
    return f'{_counted(len(own), "pair")}{", " if shown else ""}{shown}'


def _print_kind(console: Console, kind: str, found: Sequence[Finding], most: int | None) -> None:
    severity, title = KINDS[kind]
    console.print(f'[{STYLES[severity]}]{severity}[/]: {title} ({len(found)})', soft_wrap=True)
    for finding in found[:most]:
        console.print(f'    {_caption(finding)}', markup=False, soft_wrap=True)
    if most is not None and len(found) > most:
        console.print(f'    and {len(found) - most} more')


def _counted(number: int, what: str) -> str:
    return f'{number} {what}' if number == 1 else f'{number} {what}s'


def write_fix_list(checked: Checked, path: str | Path) -> int:
    """Writes what to leave out, a name a line, and after a tab why; the datasets read it as `exclude`.

    Returns:
        Number of names.

    Raises:
        FileExistsError: If the file exists.
    """
    reasons = defaultdict(list)
    for finding in checked.findings:
        for name in finding.drop:
            reasons[name].append(f'{KINDS[finding.kind][1]}: {finding.text}')
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with open(path, 'x', encoding='utf-8') as file:
        file.writelines(f'{name}\t{"; ".join(reasons[name])}\n' for name in sorted(reasons))
    return len(reasons)


def unused_path(path: str | Path) -> Path:
    """The path itself, or with the first number behind its name that no file has."""
    path = Path(path)
    numbered = (path.with_stem(f'{path.stem}_{number}') for number in count(2))
    return path if not path.exists() else next(each for each in numbered if not each.exists())


def write_picture(checked: Checked, path: str | Path) -> Path | None:
    """Writes a contact sheet: the findings, the worst first, and then the darkest of the other pairs.

    A tile shows input and truth, or a training image and the one it is like.

    Returns:
        Where it lies, which is another name if the file exists; None if there is no pair to show.

    Raises:
        OSError: If it cannot be written.
    """
    chosen = _chosen(checked)
    if not chosen:
        return None
    tiles = [_tile(*each) for each in chosen]
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % COLUMNS)
    sheet = np.vstack([np.hstack(tiles[start : start + COLUMNS]) for start in range(0, len(tiles), COLUMNS)])
    path = unused_path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), sheet):
        raise OSError(f'could not write {path}')
    return path


def _chosen(checked: Checked) -> list[tuple[tuple[Measured, ...], str, str, str]]:
    """(pairs, severity, title, text) of each tile."""
    shown, later, number = [], [], defaultdict(int)
    for finding in checked.findings:
        if finding.pairs:
            number[finding.kind] += 1
            entry = finding.pairs, finding.severity, KINDS[finding.kind][1], _caption(finding)
            (shown if number[finding.kind] <= A_KIND else later).append(entry)
    order = sorted([*shown, *later][:TILES], key=lambda entry: SEVERITIES.index(entry[1]))
    told = {id(pair) for pairs, *_ in order for pair in pairs}
    darkest = sorted(
        (each for each in checked.measured if id(each) not in told and not each.lq.error), key=lambda e: e.lq.luma
    )
    for each in darkest[: max(0, TILES - len(order))]:
        text = f'{each.source.split}/{each.pair.key}, mean luma {255 * each.lq.luma:.0f} and {255 * each.gt.luma:.0f}'
        order.append(((each,), '', 'nothing found', text))
    return order


def _caption(finding: Finding) -> str:
    return f'{", ".join(finding.files)}: {finding.text}'


def _tile(pairs: tuple[Measured, ...], severity: str, title: str, text: str) -> np.ndarray:
    """Two images under two lines of caption; the right half of an input is brightened to the mean of its truth."""
    sides = [(pairs[0], 'lq'), (pairs[0], 'gt')] if len(pairs) == 1 else [(each, 'gt') for each in pairs]
    first, second = (_cell(*side) for side in sides)
    if len(pairs) == 1 and pairs[0].lq.luma > 0 and not pairs[0].gt.error:
        half, gain = CELL[0] // 2, max(1, pairs[0].gt.luma / pairs[0].lq.luma)
        first[:, half:] = cv2.convertScaleAbs(first[:, half:], alpha=gain)
    gap = np.full((CELL[1], 4, 3), 255, np.uint8)
    images = np.hstack([first, gap, second])
    caption = np.full((CAPTION, images.shape[1], 3), 255, np.uint8)
    caption[:, :6] = COLOURS[severity]
    _write(caption, f'{severity}: {title}' if severity else title, 16, COLOURS[severity])
    _write(caption, text, 33, (40, 40, 40))
    tile = np.vstack([caption, images])
    return cv2.copyMakeBorder(tile, MARGIN, 0, MARGIN, MARGIN, cv2.BORDER_CONSTANT, value=(255, 255, 255))


def _write(image: np.ndarray, text: str, baseline: int, colour: tuple[int, int, int]) -> None:
    """Draws a line, cut where the image ends; cv2's own letters are ASCII."""
    text = text.encode('ascii', 'replace').decode()
    room = image.shape[1] - 18
    font = cv2.FONT_HERSHEY_SIMPLEX, 0.42
    while cv2.getTextSize(text, *font, 1)[0][0] > room:
        text = text.removesuffix('...')[:-1] + '...'
    cv2.putText(image, text, (12, baseline), *font, colour, 1, cv2.LINE_AA)


def _cell(each: Measured, role: str) -> np.ndarray:
    """An image fitted into a cell, uint8 BGR; the cell is gray beside it, and where it cannot be read."""
    width, height = CELL
    cell = np.full((height, width, 3), 215, np.uint8)
    if getattr(each, role).error:
        _write(cell, 'cannot be read', height // 2, (90, 90, 90))
        return cell
    with each.source.image(role, getattr(each.pair, role)) as image:
        scale = min(width / image.shape[1], height / image.shape[0])
        size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    image = np.round(255 * to_float(image)).astype(np.uint8)
    top, left = (height - size[1]) // 2, (width - size[0]) // 2
    cell[top : top + size[1], left : left + size[0]] = image
    return cell
