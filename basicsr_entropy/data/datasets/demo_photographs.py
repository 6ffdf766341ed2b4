"""A small paired dataset that needs no download: photographs bundled with scikit-image, synthetically darkened."""

from itertools import cycle
from pathlib import Path

import cv2
import numpy as np

from basicsr_entropy._images import decode_image
from basicsr_entropy.data.datasets.degradation import LowLightDegradation

TRAIN_PHOTOGRAPHS = ('astronaut', 'rocket', 'motorcycle_left', 'motorcycle_right')
TEST_PHOTOGRAPHS = ('chelsea', 'coffee')
TILE = 256  # side length of an image in pixels
PERMUTATIONS = ((1, 2, 0), (2, 0, 1), (0, 2, 1), (2, 1, 0), (1, 0, 2))  # of channels
# one kind of night, which a few hundred iterations can learn
DEGRADATION = LowLightDegradation(
    exposure=(3.0, 4.0), local_exposure=(0.0, 1.0), contrast=(1.0, 1.3), warmth=(0.0, 0.1), jpeg_quality=(90, 100)
)


def write_demo_dataset(out: str | Path, seed: int = 0) -> dict[str, int]:
    """Writes `out/{Train,Test}/{input,target}`, one of the layouts of LOL v1.

    Training photographs are cut into tiles that are darkened twice each, the second time with permuted channels: from
    four photographs that show little green, a network would learn that nothing is. Of test photographs the center is
    taken.

    Args:
        out: Output folder; created if missing.
        seed: Seed of the degradation.

    Returns:
        Number of pairs by split.

    Raises:
        FileExistsError: If the folder of a split exists.
        OSError: If an image cannot be written.
    """
    out, rng = Path(out), np.random.default_rng(seed)
    for folder in ('Train', 'Test'):
        if (out / folder).exists():
            raise FileExistsError(f'{out / folder} exists; remove it, or choose another folder')
    counts = {'Train': 0, 'Test': 0}

    def write(folder: str, name: str, image: np.ndarray) -> None:
        for role, values in (('target', image), ('input', DEGRADATION(image, rng) * 255)):
            path = out / folder / role / f'{name}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            if not cv2.imwrite(str(path), np.round(values).astype(np.uint8)):
                raise OSError(f'could not write {path}')
        counts[folder] += 1

    permutations = cycle(PERMUTATIONS)
    for name in TRAIN_PHOTOGRAPHS:
        for index, tile in enumerate(_tiles(read_photograph(name))):
            write('Train', f'{name}_{index}_0', tile)
            write('Train', f'{name}_{index}_1', tile[..., next(permutations)])
    for name in TEST_PHOTOGRAPHS:
        image = read_photograph(name)
        top, left = (image.shape[0] - TILE) // 2, (image.shape[1] - TILE) // 2
        write('Test', name, image[top : top + TILE, left : left + TILE])
    return {folder.lower(): count for folder, count in counts.items()}


def read_photograph(name: str) -> np.ndarray:
    """Reads a photograph of scikit-image as a BGR array (H, W, 3), uint8.

    It is read from the files of the package: skimage.data would download what its cache lacks.

    Raises:
        FileNotFoundError: If the installed scikit-image does not bundle the photograph.
    """
    import skimage

    for suffix in ('.png', '.jpg'):
        path = Path(skimage.__file__).parent / 'data' / f'{name}{suffix}'
        if path.is_file():
            return decode_image(path.read_bytes(), str(path))
    raise FileNotFoundError(f'the installed scikit-image does not bundle the photograph {name}')


def _tiles(image: np.ndarray) -> list[np.ndarray]:
    """Tiles that cover the image at even distances; they overlap if its size is not a multiple of theirs."""
    starts = [np.linspace(0, size - TILE, -(-size // TILE)).round().astype(int) for size in image.shape[:2]]
    return [image[top : top + TILE, left : left + TILE] for top in starts[0] for left in starts[1]]
