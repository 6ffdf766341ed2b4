import argparse
import copy
import random
import sys

import numpy as np
import pytest
import torch
import yaml
from basicsr.utils import options as basicsr_options
from basicsr.utils import set_random_seed

from basicsr_entropy.config.parse import add_arguments, force, parse_options


@pytest.mark.parametrize(
    'words',
    [
        [],
        ['--auto_resume', '--debug'],
        ['--local_rank', '3'],
        ['--force_yml', 'name=other', 'network_g:width=16', 'val:save_img=false', 'val:suffix=none'],
        [
            '--force_yml',
            'datasets:val:split=test',
            'network_g:enc_blk_nums=[2]',
            'sde:eps=!!float 1e-3',
            'val:metrics=~',
        ],
    ],
    ids=str,
)
@pytest.mark.parametrize('is_train', [True, False])
def test_gives_what_basicsr_gives(write_options, workdir, monkeypatch, words, is_train):
    changes = {} if is_train else {'train': None, 'datasets__train': None, 'val__suffix': 'x'}
    path = write_options(**changes, path__pretrain_network_g='~/net.pth', scale=1)
    monkeypatch.setattr(sys, 'argv', ['basicsr', '-opt', str(path), *words])
    theirs, their_args = basicsr_options.parse_options(str(workdir), is_train)
    ours, our_args = parse_options(str(workdir), is_train)
    assert ours == theirs
    assert our_args == their_args


def test_the_checks_do_not_change_the_random_numbers_of_a_run(write_options, workdir):
    def draw():
        return random.random(), np.random.random_sample(), torch.rand(1).item()  # noqa: NPY002  (seeded by BasicSR)

    def check(options):
        draw()
        return options

    parser = argparse.ArgumentParser()
    add_arguments(parser)
    args = parser.parse_args(['-opt', str(write_options(manual_seed=3))])
    parse_options(str(workdir), True, args, prepare=check)
    drawn = draw()
    set_random_seed(3)
    assert drawn == draw()


def test_a_test_of_a_training_file_tests_its_weights_or_those_of_the_command_line(write_options, workdir):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    path = str(write_options())
    opt, _ = parse_options(str(workdir), False, parser.parse_args(['-opt', path]))
    assert list(opt['datasets']) == ['test_1']
    assert opt['path']['pretrain_network_g'] == 'experiments/tiny/models/net_g_latest.pth'
    words = ['-opt', path, '--force_yml', 'path:pretrain_network_g=other.pth']
    assert parse_options(str(workdir), False, parser.parse_args(words))[0]['path']['pretrain_network_g'] == 'other.pth'


def test_forced_values_are_yaml_and_never_run(workdir):
    options = {'name': 'a', 'train': {'optim_g': {'lr': 1}}}
    marker = workdir / 'ran'
    assert force(options, f'train:periods=[__import__("pathlib").Path({str(marker)!r}).touch()]') == 'train.periods'
    assert not marker.exists()
    force(options, 'train:optim_g:betas=[0.9, 0.99]')
    force(options, 'train:note=a=b')
    assert options['train'] == {
        'optim_g': {'lr': 1, 'betas': [0.9, 0.99]},
        **{k: options['train'][k] for k in ('periods',)},
        'note': 'a=b',
    }


@pytest.mark.parametrize(
    ('change', 'kind', 'message'),
    [
        ('train:total_iter', ValueError, "force_yml: must be KEY:KEY=VALUE, got 'train:total_iter'"),
        ('=3', ValueError, 'force_yml: must be KEY:KEY=VALUE'),
        ('trian:total_iter=3', KeyError, 'force_yml: the option file has no section trian'),
        ('name:a=3', KeyError, 'force_yml: the option file has no section name'),
        ('name=[1', ValueError, r"force_yml: '\[1' in 'name=\[1' is not valid YAML"),
    ],
)
def test_unfit_changes_are_named(change, kind, message):
    options = {'name': 'a', 'train': {'total_iter': 1}}
    before = copy.deepcopy(options)
    with pytest.raises(kind, match=message):
        force(options, change)
    assert options == before


def test_experiments_root_and_results_root_are_respected(write_options, workdir, tmp_path):
    path = write_options(path__experiments_root=str(tmp_path / 'run'))
    args = argparse.Namespace(opt=str(path), launcher='none', auto_resume=False, debug=False, force_yml=None)
    opt, _ = parse_options(str(workdir), True, args)
    assert opt['path']['models'] == str(tmp_path / 'run/models')
    options = yaml.safe_load(path.read_text())
    options['path']['results_root'] = str(tmp_path / 'results')
    path.write_text(yaml.safe_dump(options))
    opt, _ = parse_options(str(workdir), False, args)
    assert opt['path']['visualization'] == str(tmp_path / 'results/visualization')
