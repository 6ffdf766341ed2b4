import os
import pickle
import shutil
import time
from pathlib import Path

import pytest
import torch
from basicsr import train
from basicsr.models.base_model import BaseModel
from basicsr.utils import misc

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


@pytest.mark.parametrize('replaced', [False, True], ids=['removed', 'replaced'])
def test_an_output_folder_that_was_removed_or_replaced_is_noticed(tmp_path, replaced):
    for name in ('models', 'states'):
        (tmp_path / name).mkdir()
    model = Model(tmp_path, 1.0)
    model.save(0, 3)
    shutil.move(tmp_path / 'models', tmp_path / 'kept')
    if replaced:
        (tmp_path / 'models').mkdir()
    with pytest.raises(FileNotFoundError, match='models was removed or replaced since the run began'):
        model.save(0, 6)
    assert [path.name for path in (tmp_path / 'kept').iterdir()] == ['net_g_3.pth']
    assert not list(tmp_path.glob('models/*'))


def test_two_archives_of_one_second_have_names_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr(time, 'strftime', lambda *_: '20260101_000000')
    for number in range(4):
        misc.mkdir_and_rename(str(tmp_path / 'run'))
        (tmp_path / f'run/{number}').touch()
    kept = {path.name: [each.name for each in path.iterdir()] for path in tmp_path.iterdir()}
    assert kept == {
        'run_archived_20260101_000000': ['0'],
        'run_archived_20260101_000000_2': ['1'],
        'run_archived_20260101_000000_3': ['2'],
        'run': ['3'],
    }


def test_two_runs_that_start_at_once_do_not_share_a_folder(tmp_path, monkeypatch):
    def beaten(folder):
        Path(folder).mkdir()  # the other run, between the look and the making

    monkeypatch.setattr(_compat, 'archive', beaten)
    with pytest.raises(FileExistsError, match='run: another run has just made this folder'):
        misc.mkdir_and_rename(str(tmp_path / 'run'))


@pytest.mark.skipif(not Path('/dev/full').exists(), reason='a disk that is always full')
@pytest.mark.filterwarnings('ignore::pytest.PytestUnhandledThreadExceptionWarning')
def test_a_full_disk_of_tensorboard_is_named(tmp_path):
    writer = train.init_tb_logger(str(tmp_path / 'tb'))
    writer.add_scalar('losses/l_pix', 1.0, 1)
    writer.flush()
    (file,) = (tmp_path / 'tb').iterdir()
    file.unlink()
    file.symlink_to('/dev/full')
    writer.add_scalar('losses/l_pix', 1.0, 2)
    writer._get_file_writer().event_writer._async_writer._worker.join()  # it fails, and the next call tells
    with pytest.raises(OSError, match=r'logger.use_tb_logger: cannot write to .*tb: No space left on device; free'):
        writer.add_scalar('losses/l_pix', 1.0, 3)


def with_optimizer(folder: Path, name: str, **arguments) -> Model:
    model = Model(folder, 1.0)
    model.optimizers = [getattr(torch.optim, name)(model.net.parameters(), lr=0.1, **arguments)]
    model.schedulers = [torch.optim.lr_scheduler.MultiStepLR(model.optimizers[0], [3])]
    model.net(torch.ones(1, 1)).sum().backward()
    model.optimizers[0].step()
    return model


def state_of(folder: Path, model: Model) -> dict:
    model.save(0, 3)
    return torch.load(folder / 'states/3.state')


def test_resumes_its_own_optimizer_and_schedule(tmp_path):
    state = state_of(tmp_path, with_optimizer(tmp_path, 'Adam'))
    del state['optimizers'][0]['param_groups'][0]['foreach']  # as a version without this argument writes it
    model = with_optimizer(tmp_path, 'Adam')
    model.resume_training(state)
    model.optimizers[0].step()


def test_what_a_resumed_state_lacks_is_traced_to_the_option(tmp_path):
    state = state_of(tmp_path, with_optimizer(tmp_path, 'Adam'))
    with pytest.raises(ValueError, match=r'^path.resume_state: .*: its optimizer has no dampening, .* which SGD needs'):
        with_optimizer(tmp_path, 'SGD').resume_training(state)
    model = with_optimizer(tmp_path, 'Adam')
    model.schedulers = [torch.optim.lr_scheduler.CosineAnnealingLR(model.optimizers[0], 5)]
    with pytest.raises(ValueError, match='its schedule has no T_max, eta_min, which CosineAnnealingLR needs'):
        model.resume_training(state)
    model.schedulers = []
    with pytest.raises(ValueError, match='it holds 1 schedulers, and this run has 0'):
        model.resume_training(state)
    model = with_optimizer(tmp_path, 'Adam')
    model.optimizers[0].add_param_group({'params': [torch.nn.Parameter(torch.zeros(1))]})
    with pytest.raises(ValueError, match=r'path.resume_state: .*: loaded state dict has a different number of param'):
        model.resume_training(state)


class RunsCode:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_code_in_a_checkpoint_is_not_run_by_stock_models(tmp_path):
    torch.save({'params': RunsCode(tmp_path / 'ran')}, tmp_path / 'net.pth')
    with pytest.raises(pickle.UnpicklingError):
        Model(tmp_path, 1.0).load_network(torch.nn.Linear(1, 1), str(tmp_path / 'net.pth'))
    assert not (tmp_path / 'ran').exists()
