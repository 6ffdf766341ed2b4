"""`basicsr-entropy export` and `enhance` on small real files."""

import numpy as np
import pytest
import torch
from basicsr.utils.registry import ARCH_REGISTRY
from helpers import photograph, train_options
from PIL import Image

from basicsr_entropy.config import build
from basicsr_entropy.inference.files import Photograph, read_photograph, write_photograph


@pytest.fixture
def model(run, workdir, write_options):
    options = train_options(workdir)
    net = build(ARCH_REGISTRY, options['network_g'], 'network_g')
    torch.save({'params': net.state_dict()}, workdir / 'net.pth')
    code, out, err = run('export', '-opt', write_options(), '--weights', 'net.pth', '-o', 'model.safetensors')
    assert code == 0, err
    assert 'model: model.safetensors' in out
    return 'model.safetensors'


@pytest.fixture
def night(workdir):
    """A folder with an 8-bit JPEG, a 16-bit PNG and a gray PNG with alpha."""
    folder = workdir / 'night'
    image = photograph(1) // 8
    tags = Image.Exif()
    tags[0x0112], tags[0x010F] = 6, 'Maker'
    (folder / 'deep').mkdir(parents=True)
    Image.fromarray(image).save(folder / 'a.jpg', exif=tags.tobytes())
    write_photograph(folder / 'deep/b.png', Photograph(image.astype(np.uint16) * 257, 'PNG'))
    Image.fromarray(image[..., :2]).save(folder / 'c.png')
    return folder


def files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob('*') if path.is_file()}


def test_enhances_a_folder(run, workdir, model, night):
    code, _, err = run('enhance', 'night', '-o', 'out', '--model', model)
    assert code == 0, err
    assert files(workdir / 'out') == {'a.jpg', 'deep/b.png', 'c.png'}
    for name in files(workdir / 'out'):
        before, after = (read_photograph(folder / name) for folder in (night, workdir / 'out'))
        assert after.pixels.shape == before.pixels.shape
        assert after.pixels.dtype == before.pixels.dtype
        assert (after.exif, after.orientation) == (before.exif, before.orientation)
        assert not np.array_equal(after.pixels, before.pixels)
    gray = [read_photograph(folder / 'c.png').pixels for folder in (night, workdir / 'out')]
    assert np.array_equal(gray[0][..., 1], gray[1][..., 1])  # alpha


def test_writes_comparison_and_filmstrip(run, workdir, model, night):
    options = ('--compare', '--filmstrip', '--steps', '3', '--sampler', 'ode', '--seed', '5', '--self-ensemble')
    code, _, err = run('enhance', 'night/a.jpg', '-o', 'out', '--model', model, *options)
    assert code == 0, err
    assert files(workdir / 'out') == {'a.jpg', 'a_compare.jpg', 'a_filmstrip.png'}
    before = read_photograph(night / 'a.jpg')
    compared = read_photograph(workdir / 'out/a_compare.jpg')
    height, width = before.pixels.shape[:2]
    assert compared.pixels.shape == (height, 2 * width, 3)
    assert compared.orientation == 1  # upright pixels, marked as such
    np.testing.assert_allclose(compared.pixels[:, : width - 8].astype(int), before.pixels[:, : width - 8], atol=8)
    strip = read_photograph(workdir / 'out/a_filmstrip.png').pixels
    assert strip.shape[0] == 256
    frames = np.split(strip, 4, axis=1)  # the start and three steps
    assert frames[0].std() > frames[-1].std()  # from noise to image


def test_damaged_file_is_named_and_the_others_are_enhanced(run, workdir, model, night):
    (night / 'b.jpg').write_bytes((night / 'a.jpg').read_bytes()[:400])
    code, _, err = run('enhance', 'night', '-o', 'out', '--model', model, '--tile', '24', '--tile-overlap', '8')
    assert code == 1
    assert 'basicsr-entropy: error: night/b.jpg cannot be read as an image' in err
    assert files(workdir / 'out') == {'a.jpg', 'deep/b.png', 'c.png'}


def test_existing_files_are_replaced_on_request_only(run, workdir, model, night):
    enhance = ('enhance', 'night/a.jpg', 'night/c.png', '--model', model)
    (workdir / 'out').mkdir()
    (workdir / 'out/c.png').write_text('mine')
    code, _, err = run(*enhance, '-o', 'out')
    assert code == 1
    assert '-o: out/c.png exists; give another folder, or --overwrite' in err
    assert files(workdir / 'out') == {'c.png'}  # checked before the first file is enhanced
    code, _, err = run(*enhance, '-o', 'out', '--overwrite')
    assert code == 0, err
    assert read_photograph(workdir / 'out/c.png').pixels.ndim == 3
    original = (night / 'a.jpg').read_bytes()
    code, _, err = run(*enhance, '-o', 'night', '--overwrite')
    assert code == 1
    assert '-o: night/a.jpg is one of the photographs; write to another folder' in err
    assert (night / 'a.jpg').read_bytes() == original


def test_two_photographs_with_the_same_result_are_refused(run, workdir, model, night):
    (night / 'deep/a.jpg').write_bytes((night / 'a.jpg').read_bytes())
    code, _, err = run('enhance', 'night/a.jpg', 'night/deep/a.jpg', '-o', 'out', '--model', model)
    assert code == 1
    assert 'night/a.jpg and night/deep/a.jpg would both become out/a.jpg' in err
    assert not (workdir / 'out').exists()


def test_weights_without_options_take_an_option_file(run, workdir, model, night):
    code, _, err = run('enhance', 'night/a.jpg', '-o', 'out', '--model', 'net.pth')
    assert code == 1
    assert 'net.pth holds weights without their options' in err
    code, _, err = run('enhance', 'night/a.jpg', '-o', 'out', '--model', 'net.pth', '-opt', 'tiny.yml')
    assert code == 0, err


def test_export_never_replaces_a_file(run, workdir, model):
    before = (workdir / model).read_bytes()
    code, _, err = run('export', '-opt', 'tiny.yml', '--weights', 'net.pth', '-o', model)
    assert code == 1
    assert '-o: model.safetensors exists' in err
    assert (workdir / model).read_bytes() == before
