"""`basicsr-entropy test`, on small real files."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from helpers import assert_one_line, train_options, write_pairs


def test_missing_weights_are_one_line_that_names_them(run, workdir, lolv1):
    options = train_options(lolv1, train=None, logger=None, datasets__train=None)
    options['datasets'] = {'test_1': options['datasets'].pop('val')}
    options['path']['pretrain_network_g'] = 'absent.pth'
    (workdir / 'test.yml').write_text(yaml.safe_dump(options))
    code, _, err = run('test', '-opt', 'test.yml')
    assert_one_line(code, err, 'path.pretrain_network_g: no file absent.pth')


def test_images_of_one_name_in_two_folders_are_both_kept(run, workdir, write_test):
    for folder in ('a', 'b'):
        write_pairs(workdir / f'night/low/{folder}', workdir / f'night/high/{folder}', 2)
    roots = {'dataroot_lq': 'night/low', 'dataroot_gt': 'night/high'}
    dataset = {'name': 'night', 'type': 'LowLightPairedDataset', **roots, 'io_backend': {'type': 'disk'}}
    test = write_test(datasets={'test_1': dataset})
    code, _, err = run('test', '-opt', test)
    assert code == 0, err
    outputs = [
        each['output']
        for each in json.loads((workdir / 'results/tiny/metrics.json').read_text())['datasets']['test_1']['images']
    ]
    assert len(set(outputs)) == len(outputs) == 4
    assert sorted(Path(each).name[:2] for each in outputs) == ['a_', 'a_', 'b_', 'b_']
    assert all((workdir / 'results/tiny' / each).is_file() for each in outputs)
    assert run('report', '-opt', test)[0] == 0


@pytest.mark.parametrize(('key', 'code'), [('params', 0), ('params_ema', 0), ('param_ema', 1)])
def test_says_which_weights_are_tested(run, write_test, key, code):
    found, _, err = run('test', '-opt', write_test(path__param_key_g=key))
    assert found == code
    if code == 0:
        assert 'Loaded ConditionalNAFNet from net.pth, params' in err
        assert ('net.pth holds no params_ema: its params are used' in err) == (key == 'params_ema')
    else:
        assert "net.pth contains no state dict under 'param_ema', but params" in err


def test_a_border_that_leaves_nothing_of_an_image_is_named(run, write_test):
    code, _, err = run('test', '-opt', write_test(val__metrics__psnr__crop_border=20))
    assert code == 1
    assert 'error: val.metrics.psnr.crop_border: leaves nothing of an image of 48x40' in err


def test_a_missing_option_file_is_named_with_its_flag(run):
    code, _, err = run('test', '-opt', 'absent.yml')
    assert_one_line(code, err, 'error: -opt: no file absent.yml')


def test_the_modules_for_launchers_are_the_commands():
    for name in ('train', 'test'):
        module = [sys.executable, '-m', f'basicsr_entropy.{name}', '--help']
        result = subprocess.run(module, capture_output=True, text=True, check=True)
        assert f'usage: basicsr-entropy {name} ' in result.stdout


def test_one_training_file_serves_every_command(run, write_options, workdir):
    path = write_options()
    for command in ('train', 'test'):
        code, _, log = run(command, '-opt', path)
        assert code == 0, log
    assert '# psnr: ' in log
    outputs = sorted(each.name for each in (workdir / 'results/tiny/visualization/LOLv1').iterdir())
    assert outputs == ['00011_tiny.png', '00012_tiny.png']
    code, out, err = run('report', '-opt', path)
    assert code == 0, err
    assert 'psnr' in out
    assert (workdir / 'results/tiny/comparison.png').is_file()
    weights = workdir / 'experiments/tiny/models/net_g_latest.pth'
    assert run('export', '-opt', path, '--weights', weights, '-o', workdir / 'tiny.safetensors')[0] == 0
