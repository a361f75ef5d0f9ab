"""Writing a file whole or not at all: beside it, then in its place.

Where the file system can do that, the new contents have no name before they are on the disk. So a
process that is killed leaves the old file or the new one, and nothing else, but for the moment
between two system calls, whose leftover the next save removes. On Windows, which has neither that
nor folders that can be held open, they have a name from the beginning.
"""

import contextlib
import os
import stat
import sys
import time
from collections.abc import Iterator
from typing import Any, TextIO

from fastmlp import _checks

if sys.platform != "win32":
    import fcntl

_PATIENCE = 60.0  # seconds, after which nobody is still about to lock a file that it has made


def file_path(path: Any) -> str:
    """A path as a string; TypeError for anything else."""
    if isinstance(path, str | os.PathLike) and isinstance(found := os.fspath(path), str):
        return found
    raise TypeError(f"path: expected a file's path, got {_checks.show(path)}")


def replace_file(path: str, data: bytes) -> None:
    """Give a file these contents; whatever happens, it has the old ones or these.

    Raises
    ------
    OSError
        If that is impossible: a full disk, a folder that is missing or cannot be written. The old
        file is there then, and nothing else.
    ValueError
        If there is something else of that name, such as a folder or a device.
    """
    with _replaced(path) as file:
        _write(file, data)


@contextlib.contextmanager
def replacing(path: str) -> Iterator[TextIO]:
    """A file of text to write to, which takes the place of the old one if no error comes.

    Raises
    ------
    OSError, ValueError
        As `replace_file` does.
    """
    with (
        _replaced(path) as file,
        os.fdopen(os.dup(file), "w", encoding="utf-8", newline="") as text,
    ):
        yield text


@contextlib.contextmanager
def _replaced(path: str) -> Iterator[int]:
    """A file to write to, which has the old one's place afterwards, but for an error."""
    target = os.path.realpath(path)  # the file that a link points to
    if os.path.exists(target) and not os.path.isfile(target):
        raise ValueError(f"path: expected the name of a file, got {path!r}, which is none")
    folder, name = os.path.split(target)
    begin = "." + os.fsdecode(os.fsencode(name)[:200]) + "."
    beside = f"{begin}{os.urandom(8).hex()}.tmp"
    if sys.platform == "win32":
        with _replaced_by_name(target, os.path.join(folder, beside)) as file:
            yield file
        return
    place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with _unlinked_on_error(place, beside), _new_file(place, beside) as (file, named):
            _remove_leftovers(place, begin, _PATIENCE if named else -1.0)
            yield file
            with contextlib.suppress(FileNotFoundError):  # the old one's permissions
                os.fchmod(file, stat.S_IMODE(os.stat(name, dir_fd=place).st_mode))
            os.fsync(file)
            if not named:
                os.link(f"/proc/self/fd/{file}", beside, dst_dir_fd=place, follow_symlinks=True)
            os.replace(beside, name, src_dir_fd=place, dst_dir_fd=place)
        os.fsync(place)
    finally:
        os.close(place)


@contextlib.contextmanager
def _replaced_by_name(target: str, beside: str) -> Iterator[int]:
    """The same through paths alone, for Windows."""
    file = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        try:
            yield file
            os.fsync(file)
        finally:
            os.close(file)
        os.replace(beside, target)
    except BaseException:  # Ctrl-C, too
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise


@contextlib.contextmanager
def _new_file(place: int, name: str) -> Iterator[tuple[int, bool]]:
    """A locked file to write to, and whether it has that name already."""
    named = False
    try:
        if sys.platform != "linux":
            raise OSError
        file = os.open(".", os.O_WRONLY | os.O_TMPFILE, 0o666, dir_fd=place)
    except OSError:  # a file system without files without names, or no permission, which shows now
        named = True
        file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666, dir_fd=place)
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield file, named
    finally:
        os.close(file)


@contextlib.contextmanager
def _unlinked_on_error(place: int, name: str) -> Iterator[None]:
    try:
        yield
    except BaseException:  # Ctrl-C, too
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=place)
        raise


def _write(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def _remove_leftovers(place: int, begin: str, age: float) -> None:
    """Of processes that were killed while they saved this file: what is locked by nobody."""
    end = ".tmp"
    for other in os.listdir(place):
        ours = other.startswith(begin) and other.endswith(end)
        if not ours or len(other) != len(begin) + 16 + len(end):
            continue
        with contextlib.suppress(OSError):
            file = os.open(other, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=place)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if time.time() - os.stat(file).st_mtime > age:
                    os.unlink(other, dir_fd=place)
            finally:
                os.close(file)
