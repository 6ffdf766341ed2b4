"""`basicsr-entropy check`, on small real files."""

import json
import subprocess
from pathlib import Path

import cv2
import pytest
from helpers import CLI, assert_one_line, write_image

from basicsr_entropy.data.checks.report import MAX_PRINTED
from basicsr_entropy.data.datasets.demo_photographs import read_photograph


@pytest.fixture
def views(workdir):
    """A set whose images are no smooth colors: two training pairs and a test pair."""
    for split, name, photo in (('our485', 1, 'rocket'), ('our485', 2, 'astronaut'), ('eval15', 3, 'coffee')):
        image = read_photograph(photo)[:256, :256]
        write_image(workdir / f'LOL/{split}/high/{name}.png', image)
        write_image(workdir / f'LOL/{split}/low/{name}.png', image // 6)
    return workdir / 'LOL'


def test_check_of_a_sound_set(run, views, workdir):
    code, out, err = run('check', '--root', 'LOL', '--workers', '0')
    assert code == 0, err
    assert '0 errors, 0 warnings, 0 notes' in out
    assert '2 pairs, 256x256' in out
    assert {path.name for path in workdir.iterdir()} == {'LOL', 'check_LOL.jpg'}


def test_check_reports_lists_and_leaves_out(run, views, workdir):
    for folder in ('low', 'high'):
        write_image(views / f'our485/{folder}/9.png', cv2.imread(str(views / f'eval15/{folder}/3.png')))
    (views / 'our485/low/2.png').write_bytes(b'damaged')
    code, out, err = run('check', '--root', 'LOL', '--fix-list', 'fix.txt', '--picture', 'sheets/a.png')
    assert code == 3, err
    assert 'error: unreadable images (1)\n    our485/low/2.png: cannot be read as an image' in out
    assert (
        'warning: training images that are also test images (1)\n    our485/low/9.png: identical to eval15/low/3.png'
        in out
    )
    assert '1 error, 1 warning, 0 notes' in out
    assert (workdir / 'sheets/a.png').is_file()
    listed = (workdir / 'fix.txt').read_text().splitlines()
    assert [line.partition('\t')[0] for line in listed] == ['train/2', 'train/9']
    assert run('check', '--root', 'LOL', '--exclude', 'fix.txt', '--picture', 'sheets/a.png')[0] == 0
    assert (workdir / 'sheets/a_2.png').is_file()


def test_check_reports_errors_in_one_line(run, views):
    Path('fix.txt').write_text('mine')
    assert_one_line(*run('check', '--root', 'LOL', '--fix-list', 'fix.txt')[::2], '--fix-list: fix.txt exists; remove')
    assert_one_line(*run('check', '--root', 'LOL', '--picture', 'a.xyz')[::2], '--picture: unknown image format: a.xyz')
    assert_one_line(*run('check', '--root', 'absent')[::2], 'error: --root: no folder .*absent')
    for option, name in (('--json', 'a.json'), ('--picture', 'a.png'), ('--fix-list', 'a.txt')):
        code, _, err = run('check', '--root', 'LOL', option, f'fix.txt/{name}')
        assert_one_line(code, err, f'{option}: cannot write to .*fix.txt')
    assert run('check')[0] == 2
    assert Path('fix.txt').read_text() == 'mine'


def test_runs_in_a_process_of_its_own(workdir):
    result = subprocess.run([*CLI, 'check', '--root', 'absent'], capture_output=True, text=True, check=False)
    assert_one_line(result.returncode, result.stderr, 'error: --root: no folder .*absent')


def test_all_findings_are_listed_on_request(run, views):
    names = [f'extra{index}' for index in range(MAX_PRINTED + 2)]
    for name in names:
        write_image(views / f'our485/low/{name}.png', cv2.imread(str(views / 'our485/low/1.png')))
    check = ('check', '--root', 'LOL', '--workers', '0')
    code, out, _ = run(*check)
    assert code == 3
    assert 'and 2 more' in out
    assert sum(f'our485/low/{name}.png:' in out for name in names) == MAX_PRINTED
    code, out, _ = run(*check, '--all')
    assert code == 3
    assert ' more' not in out
    assert all(f'our485/low/{name}.png:' in out for name in names)


def test_findings_are_written_as_json(run, views, workdir):
    for folder in ('low', 'high'):
        write_image(views / f'our485/{folder}/9.png', cv2.imread(str(views / f'eval15/{folder}/3.png')))
    (views / 'our485/low/2.png').write_bytes(b'damaged')
    Path('found.json').write_text('an older one')
    check = ('check', '--root', 'LOL', '--workers', '0', '--json')
    code, out, err = run(*check, 'found.json')
    assert code == 3, err
    assert 'findings: found.json' in out
    assert {path.name for path in workdir.iterdir()} == {'LOL', 'check_LOL.jpg', 'found.json'}
    found = json.loads(Path('found.json').read_text())
    assert found['counts'] == {'error': 1, 'warning': 1, 'note': 0}
    unreadable, leak = found['findings']
    assert unreadable == {
        'kind': 'unreadable',
        'severity': 'error',
        'title': 'unreadable images',
        'files': ['our485/low/2.png'],
        'text': unreadable['text'],
        'exclude': ['train/2'],
    }
    assert unreadable['text'].startswith('cannot be read as an image')
    assert (leak['kind'], leak['files'], leak['exclude']) == ('leak', ['our485/low/9.png'], ['train/9'])
    train, test = found['splits']
    assert (train['split'], train['pairs'], train['unreadable']) == ('train', 3, 1)
    assert (test['split'], test['pairs'], test['unreadable']) == ('test', 1, 0)
    assert Path(train['root']) == views
    assert train['smallest'] == train['largest'] == [256, 256]
    for split in (train, test):
        for values in split['luma'].values():
            assert list(values) == ['0', '5', '25', '50', '75', '95', '100']
            assert list(values.values()) == sorted(values.values())
    gt = cv2.imread(str(views / 'eval15/high/3.png')).mean((0, 1)) @ [0.114, 0.587, 0.299]
    assert test['luma']['gt']['50'] == pytest.approx(gt, abs=0.5)
    assert test['luma']['ratio']['50'] == pytest.approx(6, rel=0.1)


def test_findings_never_replace_an_image(run, views):
    image = views / 'our485/low/1.png'
    before = image.read_bytes()
    code, _, err = run('check', '--root', 'LOL', '--workers', '0', '--json', image)
    assert_one_line(code, err, 'error: --json: .*/1.png is the name of an image; give the report another')
    assert image.read_bytes() == before


def test_json_for_standard_output_is_all_there_is_on_it(run, views):
    code, out, err = run('check', '--root', 'LOL', '--workers', '0', '--json', '-')
    assert code == 0, err
    assert json.loads(out)['counts'] == {'error': 0, 'warning': 0, 'note': 0}
    assert '0 errors, 0 warnings, 0 notes' in err
    assert 'picture: check_LOL.jpg' in err


def test_a_split_without_a_readable_pair_has_no_percentiles(run, views):
    (views / 'eval15/low/3.png').write_bytes(b'damaged')
    (views / 'eval15/high/3.png').write_bytes(b'damaged')
    code, out, _ = run('check', '--root', 'LOL', '--workers', '0', '--json', '-', '--split', 'test')
    assert code == 3
    (split,) = json.loads(out)['splits']
    assert (split['luma'], split['smallest'], split['largest']) == ({}, None, None)


def test_errors_name_the_flags(run, views):
    check = ('check', '--root', 'LOL', '--workers', '0')
    assert_one_line(*run(*check, '--split', 'val')[::2], "error: --split: no 'val' under .*; there are train, test")
    assert_one_line(*run(*check, '--exclude', 'absent.txt')[::2], 'error: --exclude: no file absent.txt')
    assert_one_line(*run(*check, '--json', 'LOL')[::2], 'error: --json: LOL is a folder')


def test_check_does_not_depend_on_a_picture_that_nobody_asked_for(run, views, monkeypatch):
    def no_picture(*args):
        raise OSError('could not write check_LOL.jpg')

    monkeypatch.setattr('basicsr_entropy.data.checks.report.write_picture', no_picture)
    code, out, _ = run('check', '--root', 'LOL')
    assert code == 0
    assert 'no picture: could not write check_LOL.jpg; give another path with --picture' in out
    assert run('check', '--root', 'LOL', '--picture', 'a.png')[0] == 1
