"""Where runs write: never outside their folder, and never over what is not theirs."""

import shutil

import pytest
from helpers import assert_one_line

from basicsr_entropy.models.irsde_model import IRSDEModel


def test_two_starts_in_one_second_keep_both(run, write_options, workdir, monkeypatch):
    import time

    stamp = time.strftime('%Y%m%d_%H%M%S')
    monkeypatch.setattr(time, 'strftime', lambda *_: stamp)
    path = write_options(train__total_iter=1, val=None)
    for _ in range(3):
        code, _, log = run('train', '-opt', path)
        assert code == 0, log
    found = sorted(each.name for each in (workdir / 'experiments').iterdir())
    assert found == ['tiny', f'tiny_archived_{stamp}', f'tiny_archived_{stamp}_2']
    for name in found:
        assert (workdir / 'experiments' / name / 'models/net_g_latest.pth').is_file()


def test_experiments_that_are_removed_in_mid_run_end_it(run, write_options, workdir, monkeypatch):
    step = IRSDEModel.optimize_parameters

    def remove(self, current_iter):
        step(self, current_iter)
        if current_iter == 3:
            shutil.rmtree(workdir / 'experiments')

    monkeypatch.setattr(IRSDEModel, 'optimize_parameters', remove)
    code, _, err = run('train', '-opt', write_options())
    assert_one_line(code, err, r'experiments/tiny/models was removed or replaced since the run began')
    assert not list(workdir.glob('experiments/**/*.pth'))


@pytest.mark.parametrize('root', [False, True], ids=['name', 'experiments_root'])
def test_a_folder_of_other_files_is_not_renamed(run, write_options, workdir, tmp_path, root):
    folder = tmp_path / 'mine' if root else workdir / 'experiments/pretrained_models'
    folder.mkdir(parents=True)
    (folder / 'net.pth').touch()
    change = f'path:experiments_root={folder}' if root else f'name={folder.name}'
    code, _, err = run('train', '-opt', write_options(), '--force_yml', change)
    assert_one_line(code, err, 'path.experiments_root: ' if root else 'error: name: ')
    assert 'holds other files than those of a run' in err
    assert [each.name for each in folder.parent.iterdir() if 'archived' in each.name] == []
    assert (folder / 'net.pth').is_file()


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'datasets__val__name': '../../out'}, r"datasets\.val\.name: must be a name and not a path, got '../../out'"),
        ({'val__suffix': 'x/../../../out'}, r"val\.suffix: must be a name and not a path, got 'x/../../../out'"),
        ({'datasets__val__name': 'a\nb'}, r"datasets\.val\.name: must have no control characters, got 'a\\nb'"),
    ],
    ids=str,
)
def test_names_that_lead_out_of_the_folder_are_refused(run, write_options, workdir, changes, message):
    path = write_options('wrong.yml', **changes)
    code, _, err = run('train', '-opt', path)
    assert_one_line(code, err, message)
    assert [each.name for each in workdir.iterdir()] == ['wrong.yml']


def test_a_database_whose_key_leads_out_is_refused(run, write_options, workdir, lolv1):
    code, _, err = run('prepare', '--root', lolv1, '--out', workdir / 'databases')
    assert code == 0, err
    meta = workdir / 'databases/test_lq.lmdb/meta_info.txt'
    meta.write_text(meta.read_text().replace('00011.png', 'a/...png'))
    code, _, err = run('train', '-opt', write_options(datasets__val__dataroot=str(workdir / 'databases')))
    assert_one_line(code, err, r"test_lq.lmdb/meta_info.txt, line 1: the key 'a/\.\.' leads out of its folder")
    assert not (workdir / 'experiments').exists()
