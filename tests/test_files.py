"""Atomic writes: order of the steps, and what an error leaves behind."""

import errno
import os

import pytest

from basicsr_entropy._files import (
    atomic_write,
    atomic_write_bytes,
    atomic_write_text,
    check_report_writable,
    replace_durably,
)


@pytest.fixture
def steps(monkeypatch):
    """Calls of os.fsync and os.replace, in order, with the paths they concern."""
    called, fsync, replace = [], os.fsync, os.replace

    def logged_fsync(descriptor):
        called.append(('fsync', os.readlink(f'/proc/self/fd/{descriptor}')))
        fsync(descriptor)

    def logged_replace(source, target):
        called.append(('replace', str(target)))
        replace(source, target)

    monkeypatch.setattr(os, 'fsync', logged_fsync)
    monkeypatch.setattr(os, 'replace', logged_replace)
    return called


def test_syncs_the_file_then_renames_it_then_syncs_the_folder(tmp_path, steps):
    path = tmp_path / 'made/picture.png'
    with atomic_write(path) as temporary:
        assert temporary.parent == path.parent
        assert temporary.suffix == '.png'
        temporary.write_bytes(b'new')
    assert steps == [('fsync', str(temporary)), ('replace', str(path)), ('fsync', str(path.parent))]
    assert path.read_bytes() == b'new'
    assert list(path.parent.iterdir()) == [path]


def test_an_error_keeps_the_old_file_and_leaves_no_temporary_file(tmp_path, steps):
    path = tmp_path / 'weights.pth'
    path.write_bytes(b'old')

    def write_half():
        with atomic_write(path) as temporary:
            temporary.write_bytes(b'half of the n')
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert steps == []
    assert path.read_bytes() == b'old'
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize('call', ['fsync', 'replace'])
def test_a_failing_sync_or_rename_keeps_the_old_file(tmp_path, monkeypatch, call):
    path = tmp_path / 'weights.pth'
    path.write_bytes(b'old')

    def fail(*args):
        raise OSError(errno.EIO, 'input/output error')

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match='input/output error'):
        atomic_write_bytes(path, b'new')
    assert path.read_bytes() == b'old'
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_is_written_where_the_context_wrote_nothing(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / 'a'):
        pass
    assert not list(tmp_path.iterdir())


def test_a_file_system_that_cannot_sync_folders_is_no_error(tmp_path, monkeypatch):
    fsync = os.fsync

    def files_only(descriptor):
        if os.path.isdir(f'/proc/self/fd/{descriptor}'):
            raise OSError(errno.EINVAL, 'invalid argument')
        fsync(descriptor)

    monkeypatch.setattr(os, 'fsync', files_only)
    atomic_write_text(tmp_path / 'a.txt', 'é')
    assert (tmp_path / 'a.txt').read_bytes() == 'é'.encode()


def test_renames_a_folder(tmp_path, steps):
    (tmp_path / 'partial').mkdir()
    (tmp_path / 'partial/data').write_bytes(b'1')
    replace_durably(tmp_path / 'partial', tmp_path / 'final')
    assert [step for step, _ in steps] == ['fsync', 'replace', 'fsync']
    assert (tmp_path / 'final/data').read_bytes() == b'1'


def test_a_file_that_appears_meanwhile_is_kept_if_asked(tmp_path, monkeypatch):
    path = tmp_path / 'result.png'
    for links in (True, False):
        if not links:  # as on a memory card

            def refuse(*paths):
                raise PermissionError(errno.EPERM, 'no links here')

            monkeypatch.setattr(os, 'link', refuse)
        atomic_write_bytes(path, b'first', replace=False)
        with pytest.raises(FileExistsError, match='result.png exists'):
            atomic_write_bytes(path, b'second', replace=False)
        assert path.read_bytes() == b'first'
        assert list(tmp_path.iterdir()) == [path]
        path.unlink()


def test_links_are_followed_and_devices_are_not_replaced(tmp_path):
    (tmp_path / 'link.json').symlink_to('target.json')
    for content in ('old', 'new'):
        atomic_write_text(tmp_path / 'link.json', content)
        assert (tmp_path / 'link.json').is_symlink()
        assert (tmp_path / 'target.json').read_text() == content
    os.mkfifo(tmp_path / 'pipe')
    reader = os.open(tmp_path / 'pipe', os.O_RDONLY | os.O_NONBLOCK)
    try:
        atomic_write_text(tmp_path / 'pipe', 'content')
        assert os.read(reader, 100) == b'content'
        assert (tmp_path / 'pipe').is_fifo()
    finally:
        os.close(reader)


def test_a_report_is_never_written_to_the_name_of_an_image(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'night.JPG').write_bytes(b'pixels')
    (tmp_path / 'by_link.json').symlink_to('night.JPG')
    (tmp_path / 'blob').write_bytes(b'pixels')
    (tmp_path / 'of_a_cache.jpg').symlink_to('blob')
    for name in ('night.JPG', 'by_link.json', 'of_a_cache.jpg', 'absent/new.jpg'):
        with pytest.raises(ValueError, match=f'^--json: {name} is the name of an image; give the report another'):
            check_report_writable(name, '--json', ('.png', '.jpg'))
    assert not (tmp_path / 'absent').exists()
    for name in ('report.json', 'report', '/dev/null'):
        check_report_writable(name, '--json', ('.png', '.jpg'))
