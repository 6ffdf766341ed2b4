"""Enhances a photograph with a model in an ONNX file, with numpy, Pillow and onnxruntime: no torch, no basicsr.

basicsr-entropy export --model night_small -o night_small.onnx
python scripts/sample_onnx.py night_small.onnx night.jpg bright.png
"""

import argparse
import json
from collections.abc import Callable

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

# network(x_t, mu, t) -> prediction, arrays (1, 3, H, W) and (1,)
Network = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def sample(network: Network, process: dict, mu: np.ndarray, draw_noise: Callable[[], np.ndarray]) -> np.ndarray:
    """Posterior sampling of IR-SDE (Luo et al., ICML 2023, proposition 3.2), at the timesteps of the model.

    Args:
        network: One evaluation of the network.
        process: The numbers in the metadata of the file: prediction, max_sigma, decay, timesteps.
        mu: Degraded image, float32 (1, 3, H, W), range [0, 1].
        draw_noise: Returns standard normal noise of mu's shape.

    Returns:
        Restored image, shape of mu, not clamped.
    """
    times = np.array(process['timesteps'])
    decay = np.interp(times, np.arange(len(process['decay'])), process['decay'])
    alpha = np.exp(-decay)
    x = mu + process['max_sigma'] * draw_noise()
    for i in range(len(times) - 1):
        prediction = network(x.astype(np.float32), mu, times[i : i + 1].astype(np.float32))
        if process['prediction'] == 'noise':
            x0 = (x - mu - process['max_sigma'] * np.sqrt(1 - alpha[i] ** 2) * prediction) / alpha[i] + mu
        else:
            x0 = prediction if process['prediction'] == 'x0' else mu + prediction
        # A = alpha_t/alpha_s, B = alpha_t, C = alpha_s; 1 - A^2 and so on without cancellation
        a2, b2, c2 = (-np.expm1(-2 * d) for d in (decay[i] - decay[i + 1], decay[i], decay[i + 1]))
        state_weight, x0_weight = alpha[i] / alpha[i + 1] * c2 / b2, alpha[i + 1] * a2 / b2
        std = process['max_sigma'] * np.sqrt(a2 * c2 / b2)
        x = mu + state_weight * (x - mu) + x0_weight * (x0 - mu) + std * draw_noise()
    return x


def condition(image: np.ndarray, options: dict) -> np.ndarray:
    """mu of a degraded image: lifted by a gamma curve, if the model was trained so; see `Condition`."""
    if options['lift'] == 'none':
        return image
    exponent = options['gamma']
    if options['lift'] == 'auto':  # the mean falls with the exponent
        low, high = 0.2, 1.0
        shares = np.bincount((image * 255).round().astype(np.int64).ravel(), minlength=256) / image.size
        for _ in range(30):
            exponent = (low + high) / 2
            bright = (shares * np.linspace(0, 1, 256) ** exponent).sum() > options['mean']
            low, high = (exponent, high) if bright else (low, exponent)
    return (image**exponent).astype(np.float32)


def load(path: str) -> tuple[Network, dict]:
    """The network of a model file, and the numbers of its process."""
    session = onnxruntime.InferenceSession(path, providers=onnxruntime.get_available_providers())
    process = json.loads(session.get_modelmeta().custom_metadata_map['basicsr_entropy'])
    if process['sampler'] != 'posterior':
        raise SystemExit(f'{path}: its sampler is {process["sampler"]}, and this script has only posterior')

    def network(x_t: np.ndarray, mu: np.ndarray, t: np.ndarray) -> np.ndarray:
        return session.run(None, {'x_t': x_t, 'mu': mu, 't': t})[0]

    return network, process


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.partition('\n')[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument('model', help='file that `basicsr-entropy export -o FILE.onnx` wrote')
    parser.add_argument('photograph')
    parser.add_argument('out', help='file to write')
    parser.add_argument('--seed', type=int, default=0, help='seed of the noise')
    args = parser.parse_args()

    network, process = load(args.model)
    with Image.open(args.photograph) as image:
        pixels = np.asarray(ImageOps.exif_transpose(image).convert('RGB'))
    mu = condition(pixels.transpose(2, 0, 1)[None].astype(np.float32) / 255, process['condition'])
    generator = np.random.default_rng(args.seed)
    restored = sample(network, process, mu, lambda: generator.standard_normal(mu.shape, dtype=np.float32))
    Image.fromarray((restored[0].transpose(1, 2, 0).clip(0, 1) * 255).round().astype(np.uint8)).save(args.out)


if __name__ == '__main__':
    main()
