"""`basicsr-entropy export` and `enhance` on small real files."""

import json

import numpy as np
import pytest
import torch
from basicsr.utils.registry import ARCH_REGISTRY
from helpers import assert_one_line, photograph, train_options
from PIL import Image

from basicsr_entropy.config import build
from basicsr_entropy.inference.batch import enhance_files
from basicsr_entropy.inference.enhancer import Enhancer
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


def test_closing_line_and_report_name_every_file(run, workdir, model, night):
    (night / 'bad.jpg').write_text('no image')
    (night / 'moving.gif').touch()
    code, out, err = run('enhance', 'night', '-o', 'out', '--model', model, '--json', 'report.json', '--exposure', '1')
    assert code == 1
    assert out.splitlines()[-1] == '3 done, 1 failed: bad.jpg, 1 skipped: moving.gif'
    assert 'basicsr-entropy: skipped: night/moving.gif: GIF is not supported' in err
    report = json.loads((workdir / 'report.json').read_text())
    assert report['settings']['exposure'] == 1
    assert report['settings']['steps'] == 2
    by_source = {each.pop('source'): each for each in report['files']}
    assert {source: each['status'] for source, each in by_source.items()} == {
        'night/a.jpg': 'done',
        'night/bad.jpg': 'failed',
        'night/c.png': 'done',
        'night/deep/b.png': 'done',
        'night/moving.gif': 'skipped',
    }
    done = by_source['night/a.jpg']
    upright = read_photograph(workdir / 'out/a.jpg').pixels
    assert (done['output'], done['height'], done['width']) == ('out/a.jpg', *upright.shape[:2])
    assert done['clipped_before'] == 0
    assert done['clipped_after'] == pytest.approx(np.mean(upright == 255), abs=0.02)  # JPEG changes values a little
    assert 'cannot be read as an image' in by_source['night/bad.jpg']['reason']

    code, out, err = run('enhance', 'night/c.png', '-o', 'out2', '--model', model, '--json', '-')
    assert code == 0
    assert [each['status'] for each in json.loads(out)['files']] == ['done']
    assert err.splitlines()[-1] == '1 done'


def test_controls_apply_to_the_result(run, workdir, model, night):
    enhance = ('enhance', 'night/c.png', 'night/deep/b.png', '--model', model)
    assert run(*enhance, '-o', 'none', '--strength', '0', '--exposure', '2', '--protect-highlights', '1')[0] == 0
    for name, source in (('c.png', 'c.png'), ('b.png', 'deep/b.png')):  # 8 and 16 bits
        before, after = read_photograph(night / source).pixels, read_photograph(workdir / 'none' / name).pixels
        assert np.array_equal(before, after)
    means = []
    for stops in ('-1', '0', '1'):
        assert run(*enhance, '-o', f'out{stops}', '--exposure', stops)[0] == 0
        means.append(read_photograph(workdir / f'out{stops}' / 'b.png').pixels.mean())
    assert means == sorted(set(means))
    assert run(*enhance, '-o', 'mean', '--brightness', '0.15')[0] == 0
    mean = read_photograph(workdir / 'mean/b.png').pixels.mean() / 65535
    assert mean == pytest.approx(0.15, abs=0.005)


def test_folder_is_tried_before_computing(run, workdir, model, night, monkeypatch):
    monkeypatch.setattr(Enhancer, '__call__', lambda *_, **__: pytest.fail('computed'))
    (workdir / 'taken').touch()
    code, _, err = run('enhance', 'night', '-o', 'taken/out', '--model', model)
    assert_one_line(code, err, r'error: -o: cannot write to taken/out: Not a directory; give another folder')


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


def test_a_result_that_appears_meanwhile_is_kept(workdir, night):
    def other_run(image, **options):
        (workdir / 'out/c.png').write_bytes(b'of another run')
        return image

    other_run.steps = 1
    outcomes = enhance_files(other_run, [str(night / 'c.png')], 'out')
    assert [each.status for each in outcomes] == ['failed']
    assert 'out/c.png exists' in outcomes[0].reason
    assert (workdir / 'out/c.png').read_bytes() == b'of another run'
    outcomes = enhance_files(other_run, [str(night / 'c.png')], 'out', overwrite=True)
    assert [each.status for each in outcomes] == ['done']


@pytest.mark.parametrize(('width', 'compared'), [(8191, 16382), (9001, 9000)])
def test_a_comparison_that_is_too_wide_for_its_format_is_half_as_large(workdir, width, compared):
    def unchanged(image, **options):
        return image

    unchanged.steps = 1
    (workdir / 'night').mkdir()
    write_photograph(workdir / 'night/wide.webp', Photograph(photograph(1, 6, width), 'WEBP'))
    outcomes = enhance_files(unchanged, ['night'], 'out', compare=True)
    assert [(each.status, each.reason) for each in outcomes] == [('done', '')]
    height = 6 if compared > width else 3
    assert read_photograph(workdir / 'out/wide_compare.webp').pixels.shape == (height, compared, 3)
