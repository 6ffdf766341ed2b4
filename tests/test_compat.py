import os
from pathlib import Path

import pytest
import torch
from basicsr import train
from basicsr.models.base_model import BaseModel

from basicsr_entropy import _compat
from basicsr_entropy.losses import MixedLoss


def test_mending_again_changes_nothing():
    names = [
        (train, 'load_resume_state'),
        (train, 'parse_options'),
        (BaseModel, 'save_network'),
        (BaseModel, 'reduce_loss_dict'),
    ]
    before = [getattr(owner, name) for owner, name in names]
    _compat.before_import()
    _compat.after_import()
    assert before == [getattr(owner, name) for owner, name in names]


def test_torchvision_and_degradations_import():
    from basicsr.data.degradations import rgb_to_grayscale
    from torchvision.ops import nms  # noqa: F401

    assert rgb_to_grayscale(torch.ones(1, 3, 4, 4)).shape == (1, 1, 4, 4)


class Model(BaseModel):
    """A BasicSR model with one weight."""

    def __init__(self, folder: Path, value: float) -> None:
        super().__init__(
            {
                'num_gpu': 0,
                'is_train': True,
                'dist': False,
                'path': {'models': str(folder / 'models'), 'training_states': str(folder / 'states')},
            }
        )
        self.net = torch.nn.Linear(1, 1, bias=False)
        torch.nn.init.constant_(self.net.weight, value)
        for each in self.opt['path'].values():
            os.makedirs(each, exist_ok=True)

    def save(self, epoch, current_iter):
        self.save_network(self.net, 'net_g', current_iter)
        self.save_training_state(epoch, current_iter)


def resume_options(folder: Path, **path) -> dict:
    return {
        'auto_resume': not path,
        'network_g': {},
        'path': {'models': str(folder / 'models'), 'training_states': str(folder / 'states'), **path},
    }


def test_saves_whole_files_only(tmp_path):
    Model(tmp_path, 1.0).save(0, 3)
    Model(tmp_path, 2.0).save(-1, -1)
    files = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob('*') if path.is_file())
    assert files == ['models/net_g_3.pth', 'models/net_g_latest.pth', 'states/3.state']
    assert not list(tmp_path.rglob('.writing'))
    assert torch.load(tmp_path / 'models/net_g_3.pth')['params']['weight'].item() == 1


def test_a_failed_write_is_an_error_and_keeps_the_old_file(tmp_path, monkeypatch):
    model = Model(tmp_path, 1.0)
    model.save(0, 3)

    def torn(content, path):
        Path(path).write_bytes(b'PK\x03\x04 and then the disk was full')

    monkeypatch.setattr(torch, 'save', torn)
    with pytest.raises(OSError, match='could not write .*net_g_3.pth; is the disk full'):
        model.save(0, 3)
    assert torch.load(tmp_path / 'models/net_g_3.pth')['params']['weight'].item() == 1
    assert not list(tmp_path.rglob('.writing'))
    assert model.opt['path']['models'] == str(tmp_path / 'models')


def test_resumes_from_the_newest_whole_state_without_cuda(tmp_path, capfd):
    model = Model(tmp_path, 1.0)
    for iteration in (5, 10, 15, 20):
        model.save(0, iteration)
    state = tmp_path / 'states/20.state'
    state.write_bytes(state.read_bytes()[:-100])
    network = tmp_path / 'models/net_g_15.pth'
    network.write_bytes(network.read_bytes()[:-100])
    opt = resume_options(tmp_path)
    assert train.load_resume_state(opt)['iter'] == 10
    assert opt['path']['pretrain_network_g'] == str(tmp_path / 'models/net_g_10.pth')
    assert opt['path']['resume_state'] == str(tmp_path / 'states/10.state')
    errors = capfd.readouterr().err
    assert 'Not resuming from' in errors
    assert '20.state' in errors


def test_starts_anew_where_there_is_nothing_to_resume(tmp_path):
    assert train.load_resume_state(resume_options(tmp_path)) is None


def test_resumes_from_a_given_state(tmp_path):
    Model(tmp_path, 1.0).save(0, 5)
    state = train.load_resume_state(resume_options(tmp_path, resume_state=str(tmp_path / 'states/5.state')))
    assert state['iter'] == 5
    with pytest.raises(ValueError, match='path.resume_state: cannot resume from absent.state'):
        train.load_resume_state(resume_options(tmp_path, resume_state='absent.state'))


def test_checkpoints_are_on_disk_before_they_are_renamed(tmp_path, monkeypatch):
    steps = []
    for name in ('fsync', 'replace'):
        original = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, name=name, original=original: (steps.append(name), original(*a))[1])
    Model(tmp_path, 1.0).save(0, 3)
    assert steps == ['fsync', 'replace', 'fsync'] * 2  # the network, then the training state


def test_logs_the_terms_of_a_mixed_loss_under_the_name_that_the_model_gives_the_sum(tmp_path):
    model = Model(tmp_path, 1.0)
    model.cri_pix, model.unused = MixedLoss([{'type': 'L1Loss'}, {'type': 'MSELoss'}]), MixedLoss([{'type': 'L1Loss'}])
    value = model.cri_pix(torch.zeros(1, 3, 4, 4, requires_grad=True), torch.full((1, 3, 4, 4), 0.5))
    logged = model.reduce_loss_dict({'l_g_pix': value, 'l_g_gan': value.detach() + 1})
    assert logged == {'l_g_pix': 0.75, 'l_g_pix_L1Loss': 0.5, 'l_g_pix_MSELoss': 0.25, 'l_g_gan': 1.75}
    # a step in which the loss was not evaluated logs none of its terms
    assert model.reduce_loss_dict({'l_d_real': value.detach() + 1}) == {'l_d_real': 1.75}
