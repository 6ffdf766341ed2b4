"""Atomic, durable file writes: after a crash a file holds either its old content or the whole new content.

And folders: renaming one to make room, and noticing that one was removed.
"""

import errno
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

# file systems that cannot sync a folder refuse with one of these
_FOLDER_SYNC_UNSUPPORTED = (errno.EACCES, errno.EBADF, errno.EINVAL)


def read_list(path: str | Path, option: str) -> list[str]:
    """Lines of a list that an option names: UTF-8, with or without a byte order mark.

    Raises:
        FileNotFoundError: If there is no such file; the message begins with the option, as does the next.
        ValueError: If it is not UTF-8 text.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f'{option}: no file {path}')
    try:
        return path.read_text(encoding='utf-8-sig').splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f'{option}: {path} is not UTF-8 text: {error.reason} at byte {error.start}') from error


def check_not_empty(path: str | Path, option: str) -> None:
    """Refuses an empty path, as an unset shell variable gives it: `Path` takes it for the current folder.

    Raises:
        ValueError: If the path is empty; the message begins with the option.
    """
    if not str(path):
        raise ValueError(f'{option}: the path is empty; write . for the current folder')


def check_folder_writable(folder: Path, option: str) -> None:
    """Creates a folder, and a file in it for a moment: a full disk or a wrong path shows before hours of work.

    Raises:
        OSError: If that fails; the message begins with the option.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(f'{option}: cannot write to {folder}: {error.strerror}; give another folder') from error


def check_file_writable(path: str | Path, option: str) -> None:
    """Notices before hours of work that a file cannot be written; creates its folder.

    Raises:
        IsADirectoryError: If the path is that of a folder; the message begins with the option, as does the next.
        OSError: If the folder of the file cannot be written to.
    """
    file = Path(os.path.realpath(path))
    if file.is_dir():
        raise IsADirectoryError(f'{option}: {path} is a folder; give a file')
    if file.is_file() or not file.exists():  # others, such as /dev/null, are not replaced
        check_folder_writable(file.parent, option)


def check_report_writable(path: str | Path, option: str, image_suffixes: Collection[str]) -> None:
    """`check_file_writable` for a report, which replaces an older one but no image.

    Where the file of the option was forgotten, the next word of the command line, a photograph, stands for it.

    Raises:
        ValueError: If the path, or the file that it is a link to, has one of the suffixes; the message begins with the
            option.
        OSError: As in `check_file_writable`.
    """
    if any(Path(each).suffix.lower() in image_suffixes for each in (path, os.path.realpath(path))):
        raise ValueError(f'{option}: {path} is the name of an image; give the report another, such as report.json')
    check_file_writable(path, option)


@contextmanager
def atomic_write(path: str | Path, replace: bool = True) -> Iterator[Path]:
    """Yields a temporary path in the same folder; leaving the context renames it to `path`.

    Missing folders are created. After an error the temporary file is removed and `path` is unchanged. A link is
    followed. What is no regular file, such as /dev/null, is written to and not replaced.

    Args:
        path: Final path. The temporary path has the same suffix.
        replace: Replace a file that exists.

    Raises:
        FileExistsError: If the file exists and is not to be replaced.
        OSError: If the file cannot be written or renamed.
    """
    given = Path(path)
    special = given.exists() and not given.is_file() and not given.is_dir()
    path = Path(tempfile.gettempdir(), given.name) if special else Path(os.path.realpath(given))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f'.writing-{uuid.uuid4().hex}{path.suffix}')
    try:
        yield temporary
        if special:
            given.write_bytes(temporary.read_bytes())
        else:
            replace_durably(temporary, path, replace)
    finally:
        temporary.unlink(missing_ok=True)


def atomic_write_bytes(path: str | Path, content: bytes, replace: bool = True) -> None:
    """Writes bytes with `atomic_write`."""
    with atomic_write(path, replace) as temporary:
        temporary.write_bytes(content)


def atomic_write_text(path: str | Path, text: str) -> None:
    """Writes text, encoded as UTF-8, with `atomic_write`."""
    atomic_write_bytes(path, text.encode('utf-8'))


@contextmanager
def files_into(folder: Path, check: Callable[[Path], object]) -> Iterator[Path]:
    """Yields a private folder inside `folder`; leaving the context checks its files and renames them into `folder`.

    After an error the private folder is removed and `folder` is unchanged. One that a killed process left is removed.

    Args:
        folder: Where the files are to be; created if missing.
        check: Raises an error for a file that is not whole.

    Raises:
        OSError: If a file is not whole, or cannot be renamed.
    """
    private = folder / '.writing'
    shutil.rmtree(private, ignore_errors=True)
    private.mkdir(parents=True)
    try:
        yield private
        for path in private.iterdir():
            try:
                check(path)
            except Exception as error:
                raise OSError(f'could not write {folder / path.name}; is the disk full?') from error
            replace_durably(path, folder / path.name)
    finally:
        shutil.rmtree(private, ignore_errors=True)


def replace_durably(temporary: Path, final: Path, replace: bool = True) -> None:
    """Renames a file or a folder to its final path, on the same file system, so that the rename survives a crash.

    The content is synced to disk before the rename, and the folder that holds the final path after it. Of a folder,
    only its list of files is synced: its files must be on disk already.

    Args:
        temporary: What to rename.
        final: New path.
        replace: Replace a file that exists there.

    Raises:
        FileExistsError: If there is a file that is not to be replaced.
        OSError: If syncing or renaming fails.
    """
    _sync(temporary)
    if replace:
        os.replace(temporary, final)
    else:
        _rename_new(temporary, final)
    try:
        _sync(final.parent)
    except OSError as error:
        if error.errno not in _FOLDER_SYNC_UNSUPPORTED:
            raise


def _rename_new(temporary: Path, final: Path) -> None:
    """Renames a file unless the final path exists, also if another process writes it at this moment."""
    try:
        os.link(temporary, final)
        temporary.unlink()
        return
    except FileExistsError:
        pass
    except OSError:  # a file system without links, as on memory cards
        if not final.exists():
            os.replace(temporary, final)
            return
    raise FileExistsError(f'{final} exists')


def archive(folder: str | Path) -> Path | None:
    """Renames a folder to NAME_archived_TIME, as BasicSR does, or to NAME_archived_TIME_2 ... where that is taken.

    Args:
        folder: The folder; may be missing.

    Returns:
        Its new path; None if there was no such folder.

    Raises:
        OSError: If it cannot be renamed.
    """
    folder = Path(folder)
    if not folder.exists():
        return None
    name = first = folder.with_name(f'{folder.name}_archived_{time.strftime("%Y%m%d_%H%M%S")}')
    number = 1
    while True:
        try:
            name.mkdir()  # takes the name, which another process may want at this moment
            break
        except FileExistsError:
            number += 1
            name = first.with_name(f'{first.name}_{number}')
    try:
        os.replace(folder, name)  # onto the empty folder
    except OSError as error:
        name.rmdir()
        if isinstance(error, FileNotFoundError):  # another process was faster
            return None
        raise
    return name


def folder_identity(folder: str | Path) -> tuple[int, int] | None:
    """What tells a folder from another one that has taken its place; None if there is no such folder."""
    try:
        status = os.stat(folder)
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
