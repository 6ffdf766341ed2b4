"""`basicsr-entropy test`, on small real files."""

import subprocess
import sys

import yaml
from helpers import assert_one_line, train_options


def test_missing_weights_are_one_line_that_names_them(run, workdir, lolv1):
    options = train_options(lolv1, train=None, logger=None, datasets__train=None)
    options['datasets'] = {'test_1': options['datasets'].pop('val')}
    options['path']['pretrain_network_g'] = 'absent.pth'
    (workdir / 'test.yml').write_text(yaml.safe_dump(options))
    code, _, err = run('test', '-opt', 'test.yml')
    assert_one_line(code, err, 'path.pretrain_network_g: no file absent.pth')


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
