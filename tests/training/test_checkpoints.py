import numpy as np
import pytest
import torch
from helpers import tiny_model

from basicsr_entropy.training.checkpoints import (
    Checkpoints,
    check_whole,
    fingerprint,
    first_not_finite,
    load_resume_state,
)


@pytest.fixture
def saved(tmp_path):
    """A model with one weight, saved at iterations 2, 4 and 6, and options to resume it."""
    model = tiny_model(tmp_path, 1.0)
    checkpoints = Checkpoints(model, {**model.opt, 'rank': 0})
    for iteration in (2, 4, 6):
        checkpoints.save(0, iteration, {'note': iteration})
    return model, checkpoints, {'auto_resume': True, 'network_g': {}, 'path': {**model.opt['path']}}


def overwrite(path, position, content):
    data = bytearray(path.read_bytes())
    data[position : position + len(content)] = content
    path.write_bytes(data)


def change_a_number(path):
    data = path.read_bytes()
    overwrite(path, data.index(np.float32(1.0).tobytes()), np.float32(2.0).tobytes())


@pytest.mark.parametrize(
    ('damage', 'message'),
    [
        (lambda path: overwrite(path, 100, bytes(path.stat().st_size - 300)), 'damaged'),
        (lambda path: path.write_bytes(path.read_bytes()[:-100]), 'net_g_6.pth is truncated or damaged'),
        (change_a_number, 'net_g_6.pth is damaged: the checksum of its record net_g_6/data/0 is wrong'),
        (lambda path: path.unlink(), 'no weights .*net_g_6.pth'),
        (lambda path: torch.save({'params': {'weight': torch.zeros(1, 1)}}, path), 'written by another run'),
    ],
    ids=['zeros', 'truncated', 'changed', 'missing', 'foreign'],
)
def test_falls_back_to_the_newest_whole_pair(saved, tmp_path, capfd, damage, message):
    damage(tmp_path / 'models/net_g_6.pth')
    opt = saved[2]
    assert load_resume_state(opt)['note'] == 4
    assert opt['path']['pretrain_network_g'] == str(tmp_path / 'models/net_g_4.pth')
    error = capfd.readouterr().err
    assert 'Not resuming from' in error
    with pytest.raises(ValueError, match=f'path.resume_state: cannot resume from .*6.state: .*{message}'):
        load_resume_state(
            {**opt, 'auto_resume': False, 'path': {**opt['path'], 'resume_state': f'{tmp_path}/states/6.state'}}
        )


def test_weights_of_a_run_are_taken_by_their_key_whatever_those_before_had(saved):
    opt = saved[2] | {'network_d': {}}
    opt['path'] |= {'param_key_g': None, 'param_key_d': 'params_ema', 'ignore_resume_networks': ['network_d']}
    load_resume_state(opt)
    assert (opt['path']['param_key_g'], opt['path']['param_key_d']) == ('params', 'params_ema')


def test_a_changed_state_is_not_taken_either(saved, tmp_path, capfd):
    overwrite(tmp_path / 'states/6.state', 400, b'\0' * 40)
    assert load_resume_state(saved[2])['note'] == 4


def test_weights_that_are_not_finite_are_not_resumed(saved, tmp_path, capfd):
    model, checkpoints, opt = saved
    path = tmp_path / 'models/net_g_8.pth'
    model.save(0, 8)
    torch.save({'params': {'weight': torch.tensor([[torch.inf]])}}, path)
    state = tmp_path / 'states/8.state'
    content = torch.load(state)
    torch.save({**content, 'fingerprints': {path.name: fingerprint(path)}}, state)
    assert load_resume_state(opt)['note'] == 6
    assert 'net_g_8.pth: params.weight is not finite' in capfd.readouterr().err


def test_nothing_that_is_not_finite_is_written(saved, tmp_path):
    model, checkpoints, _ = saved
    before = sorted(tmp_path.rglob('*'))
    model.net_g.weight.data.fill_(torch.nan)
    with pytest.raises(ValueError, match='net_g: weight is not finite; no checkpoint is written'):
        checkpoints.save(0, 8)
    model.net_g.weight.data.fill_(1)
    model.optimizers[0].state[model.net_g.weight]['exp_avg'] = torch.full((1, 1), torch.inf)
    with pytest.raises(ValueError, match='optimizer 0: .*exp_avg is not finite'):
        checkpoints.save(0, 8)
    assert sorted(tmp_path.rglob('*')) == before


def test_keeps_the_newest_and_the_named_ones(tmp_path):
    model = tiny_model(tmp_path, 1.0)
    checkpoints = Checkpoints(model, {**model.opt, 'rank': 0}, keep=2)
    for iteration in (9, 10, 'best', 11, -1):
        checkpoints.save(0, iteration)
    assert {path.name for path in (tmp_path / 'models').iterdir()} == {
        'net_g_10.pth',
        'net_g_11.pth',
        'net_g_best.pth',
        'net_g_latest.pth',
    }
    assert {path.name for path in (tmp_path / 'states').iterdir()} == {'10.state', '11.state'}


def test_a_full_disk_is_named_and_leaves_nothing(saved, tmp_path, monkeypatch):
    save = torch.save

    def full(content, path):
        if 'optimizers' in content:
            raise RuntimeError('PytorchStreamWriter failed writing file data/0: file write failed')
        save(content, path)

    monkeypatch.setattr(torch, 'save', full)
    with pytest.raises(OSError, match='could not write .*states/8.state; is the disk full'):
        saved[1].save(0, 8)
    assert not list(tmp_path.rglob('.writing'))
    assert load_resume_state(saved[2])['note'] == 6


def test_checks_files(tmp_path):
    torch.save([1], tmp_path / 'a.pth')
    check_whole(tmp_path / 'a.pth')
    (tmp_path / 'a.pth').write_bytes(b'')
    with pytest.raises(ValueError, match='a.pth is truncated or damaged'):
        check_whole(tmp_path / 'a.pth')
    nested = {'a': [torch.zeros(2), {'b': torch.tensor([0, torch.nan])}], 'c': torch.tensor([1])}
    assert first_not_finite(nested) == 'a.1.b'
    assert first_not_finite({'a': [torch.zeros(2)]}) is None


def test_never_removes_what_it_has_just_saved(tmp_path):
    model = tiny_model(tmp_path, 1.0)
    for iteration in (4, 6):
        Checkpoints(model, {**model.opt, 'rank': 0}, keep=None).save(0, iteration)
    (tmp_path / 'models/net_g_6.pth').write_bytes(b'damaged')  # so the run is resumed from 4
    Checkpoints(model, {**model.opt, 'rank': 0}, keep=1).save(0, 5)
    assert {path.name for path in (tmp_path / 'states').iterdir()} == {'5.state', '6.state'}
    assert (tmp_path / 'models/net_g_5.pth').is_file()
