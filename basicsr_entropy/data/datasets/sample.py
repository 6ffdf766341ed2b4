"""A small set of pairs without a download: photographs that scikit-image carries, darkened."""

from pathlib import Path

import cv2
import numpy as np

from basicsr_entropy.data.datasets.degradation import LowLightDegradation

TRAIN_PHOTOGRAPHS = ('astronaut', 'rocket', 'motorcycle_left', 'motorcycle_right')
TEST_PHOTOGRAPHS = ('chelsea', 'coffee')
TILE = 256  # pixels to a side of a pair
NIGHTS = 2  # dark versions of each training tile


def write_sample(out: str | Path, seed: int = 0) -> dict[str, int]:
    """Writes `out/{Train,Test}/{input,target}`, a layout that `basicsr-entropy prepare` knows.

    Training photographs are cut into tiles, each darkened twice; test photographs give their centre.

    Args:
        out: Folder to write into; made if need be.
        seed: Of the degradation.

    Returns:
        Number of pairs of each split.

    Raises:
        FileExistsError: If a split's folder exists.
    """
    out, degrade, rng = Path(out), LowLightDegradation(), np.random.default_rng(seed)
    for folder in ('Train', 'Test'):
        if (out / folder).exists():
            raise FileExistsError(f'{out / folder} exists; remove it, or write somewhere else')
    counts = {'Train': 0, 'Test': 0}

    def write(folder: str, name: str, image: np.ndarray) -> None:
        for role, values in (('target', image), ('input', degrade(image / 255, rng) * 255)):
            path = out / folder / role / f'{name}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            if not cv2.imwrite(str(path), np.round(values).astype(np.uint8)):
                raise OSError(f'could not write {path}')
        counts[folder] += 1

    for name in TRAIN_PHOTOGRAPHS:
        for index, tile in enumerate(_tiles(read_photograph(name))):
            for night in range(NIGHTS):
                write('Train', f'{name}_{index}_{night}', tile)
    for name in TEST_PHOTOGRAPHS:
        image = read_photograph(name)
        top, left = (image.shape[0] - TILE) // 2, (image.shape[1] - TILE) // 2
        write('Test', name, image[top : top + TILE, left : left + TILE])
    return {folder.lower(): count for folder, count in counts.items()}


def read_photograph(name: str) -> np.ndarray:
    """uint8 BGR; read from the package's files, since skimage.data would fetch what its cache lacks."""
    import skimage

    for suffix in ('.png', '.jpg'):
        path = Path(skimage.__file__).parent / 'data' / f'{name}{suffix}'
        if path.is_file():
            return cv2.imread(str(path), cv2.IMREAD_COLOR)
    raise FileNotFoundError(f'this version of scikit-image carries no photograph {name}')


def _tiles(image: np.ndarray) -> list[np.ndarray]:
    """Tiles that cover the image evenly, overlapping where it is no multiple of their size."""
    starts = [np.linspace(0, size - TILE, -(-size // TILE)).round().astype(int) for size in image.shape[:2]]
    return [image[top : top + TILE, left : left + TILE] for top in starts[0] for left in starts[1]]
