import numpy as np
import pytest
import torch
from basicsr.metrics import calculate_metric, calculate_psnr

from basicsr_entropy.metrics import calculate_psnr_gt_mean, calculate_ssim_gt_mean, scale_to_gt_mean


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    gt = rng.integers(0, 200, (24, 24, 3), dtype=np.uint8)
    noisy = np.clip(gt + rng.normal(0, 5, gt.shape), 0, 255)
    return (noisy * 0.5).astype(np.uint8), gt


def test_ignores_a_global_exposure_error_only(pair):
    dark, gt = pair
    assert calculate_psnr_gt_mean(dark, gt) > calculate_psnr(dark, gt, 0) + 10
    assert calculate_ssim_gt_mean(dark, gt) > calculate_metric(
        {'img': dark, 'img2': gt}, {'type': 'calculate_ssim', 'crop_border': 0}
    )
    right = (dark * 2.0).clip(0, 255)
    assert calculate_psnr_gt_mean(dark, gt) == pytest.approx(calculate_psnr(right, gt, 0), abs=0.1)


def test_scales_to_the_mean_luma(pair):
    dark, gt = pair
    luma = np.array([0.114, 0.587, 0.299])
    assert (scale_to_gt_mean(dark, gt) @ luma).mean() == pytest.approx((gt @ luma).mean(), rel=0.01)
    assert scale_to_gt_mean(dark, gt * 0 + 255).max() == 255
    black = np.zeros_like(gt)
    assert (scale_to_gt_mean(black, gt) == 0).all()


def test_input_order_and_crop_border(pair):
    dark, gt = pair
    expected = calculate_psnr_gt_mean(dark, gt, crop_border=4)
    channels_first = [image.transpose(2, 0, 1) for image in pair]
    assert calculate_psnr_gt_mean(*channels_first, crop_border=4, input_order='CHW') == pytest.approx(expected)
    metric = {'type': 'calculate_psnr_gt_mean', 'crop_border': 4}
    assert calculate_metric({'img': dark, 'img2': gt}, metric) == pytest.approx(expected)


@pytest.mark.parametrize('metric', [calculate_psnr_gt_mean, calculate_ssim_gt_mean])
@pytest.mark.parametrize('input_order', ['HWC', 'CHW'])
def test_images_without_channels_have_one(pair, metric, input_order):
    gray = [image[..., 0] for image in pair]
    expected = metric(*(image[..., None] for image in gray), crop_border=4)
    assert np.isfinite(expected)
    assert metric(*gray, crop_border=4, input_order=input_order) == expected


def test_identical_images_are_perfect(pair):
    _, gt = pair
    assert calculate_psnr_gt_mean(gt, gt) == float('inf')
    assert calculate_ssim_gt_mean(gt, gt) == pytest.approx(1)


def test_lpips_reads_a_trunk_from_a_file(pair, tmp_path):
    lpips = pytest.importorskip('lpips')
    network = lpips.LPIPS(net='alex', pnet_rand=True, verbose=False)
    trunk = {f'features.{key.partition(".")[2]}': value for key, value in network.net.state_dict().items()}
    torch.save(trunk, tmp_path / 'alexnet.pth')
    metric = {'type': 'calculate_lpips', 'crop_border': 0, 'trunk': str(tmp_path / 'alexnet.pth')}
    large = [np.kron(image, np.ones((4, 4, 1), np.uint8)) for image in pair]
    tensors = [torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1)[None] / 127.5 - 1 for image in large]
    with torch.no_grad():
        expected = network(*tensors).item()
    value = calculate_metric({'img': large[0], 'img2': large[1]}, metric)
    assert value == pytest.approx(expected, rel=1e-5)
    assert calculate_metric({'img': large[1], 'img2': large[1]}, metric) == 0
    with pytest.raises(FileNotFoundError, match='^trunk: there is no file'):
        calculate_metric({'img': large[0], 'img2': large[1]}, {**metric, 'trunk': str(tmp_path / 'other.pth')})
    torch.save({}, tmp_path / 'empty.pth')
    with pytest.raises(ValueError, match='features.0.weight is missing'):
        calculate_metric({'img': large[0], 'img2': large[1]}, {**metric, 'trunk': str(tmp_path / 'empty.pth')})


def test_rejects_images_of_different_shapes(pair):
    with pytest.raises(ValueError, match='^img: must have the shape of img2'):
        calculate_psnr_gt_mean(pair[0][:8], pair[1])
