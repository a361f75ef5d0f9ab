"""Saves that fail or never end: the old file is whole, and nothing else is there."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fastmlp as fm
from fastmlp import writing
from resuming import CLASSES, X, new_trainer
from subprocesses import output_of


def full_disk(number: int, after: int = 0) -> Callable[..., Any]:
    """In place of a system call that fails, here after a few bytes."""
    written = 0

    def call(file: int, data: Any = b"", **options: Any) -> int:
        nonlocal written
        if written >= after:
            raise OSError(number, os.strerror(number))
        written += (count := min(len(data), 50))
        return original_write(file, data[:count])

    return call


original_write = os.write
FAULTS: dict[str, tuple[str, Callable[..., Any]]] = {
    "write": ("write", full_disk(errno.ENOSPC)),
    "write later": ("write", full_disk(errno.ENOSPC, 200)),
    "quota": ("write", full_disk(errno.EDQUOT, 100)),
    "fsync": ("fsync", full_disk(errno.EIO)),
    "fchmod": ("fchmod", full_disk(errno.EPERM)),
    "link": ("link", full_disk(errno.ENOSPC)),
    "replace": ("replace", full_disk(errno.EACCES)),
}


@pytest.fixture(params=["unnamed", "named"])
def named(request: Any, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the file system has no files without names."""
    if request.param == "unnamed":
        return False
    opened = os.open

    def open_named(path: Any, flags: int, *more: int, **options: Any) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "not supported")
        return opened(path, flags, *more, **options)

    monkeypatch.setattr(os, "open", open_named)
    return True


def make(what: str) -> Callable[[Path], None]:
    trainer = new_trainer()
    trainer.fit(X, CLASSES, 1)
    return trainer.save if what == "trainer" else lambda path: fm.save(trainer.model, path)


@pytest.mark.parametrize("what", ["model", "trainer"])
@pytest.mark.parametrize("fault", FAULTS)
def test_an_error_leaves_the_old_file(
    fault: str, what: str, named: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, save = tmp_path / "file", make(what)
    save(path)
    before = path.read_bytes()
    name, call = FAULTS[fault]
    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, call)
            if named and name == "link":  # which is not called then
                save(path)
            else:
                with pytest.raises(OSError, match=r"\[Errno"):
                    save(path)
        assert os.listdir(tmp_path) == ["file"]
        if not (named and name == "link"):
            assert path.read_bytes() == before
    fm.load(path)
    save(path)


@pytest.mark.parametrize("at", ["write", "fsync", "link", "replace"])
def test_ctrl_c_leaves_the_old_file(
    at: str, named: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, original = make("model"), getattr(os, at)

    def interrupted(*arguments: Any, **options: Any) -> None:
        if at != "replace":
            original(*arguments, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, at, interrupted)
    if named and at == "link":
        return
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path / "file")
    assert os.listdir(tmp_path) == []


def test_short_writes_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "write", lambda file, data: original_write(file, data[:37]))
    make("model")(tmp_path / "file")
    monkeypatch.undo()
    fm.load(tmp_path / "file")


def test_files_of_others_stay(tmp_path: Path, named: bool) -> None:
    """Of names like those of leftovers; and a leftover that somebody still writes to."""
    names = [
        ".file.tmp",
        ".file.x.tmp",
        ".other.0123456789abcdef.tmp",
        ".file.0123456789abcdef.tmpx",
    ]
    for name in names:
        (tmp_path / name).write_text("x")
        os.utime(tmp_path / name, (0, 0))
    fresh, old = tmp_path / f".file.{'0' * 16}.tmp", tmp_path / f".file.{'1' * 16}.tmp"
    for path in (fresh, old):
        path.write_text("x")
    os.utime(old, (0, 0))
    make("model")(tmp_path / "file")
    kept = [*names, "file", *([fresh.name] if named else [])]  # which might be without its lock yet
    assert sorted(os.listdir(tmp_path)) == sorted(kept)
    assert writing._PATIENCE > 10


def test_long_names(tmp_path: Path) -> None:
    name = "ä" * 127 + "x"  # 255 bytes
    make("model")(tmp_path / name)
    assert os.listdir(tmp_path) == [name]
    with pytest.raises(OSError, match="too long"):
        make("model")(tmp_path / (name + "x"))


def test_a_limit_of_the_files_size(tmp_path: Path) -> None:
    """A true one, of the operating system: as on a full disk, the write stops in the middle."""
    code = f"""
        import os, resource, sys
        import fastmlp as fm
        path = os.path.join({str(tmp_path)!r}, "file")
        fm.save(fm.Linear(3, 3), path)
        before = open(path, "rb").read()
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
        try:
            fm.save(fm.Linear(100, 100), path)
        except OSError as error:
            print(error.errno)
        assert open(path, "rb").read() == before
        print(os.listdir({str(tmp_path)!r}))
        fm.save(fm.Linear(4, 4), path)
        print(fm.load(path).in_features)
    """
    assert output_of(code).split("\n")[:3] == [str(errno.EFBIG), "['file']", "4"]


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """For somebody who is not root, whom permissions do not stop."""
    code = """
        import os, shutil, tempfile
        import safetensors.numpy
        import fastmlp as fm
        folder = tempfile.mkdtemp()
        path = os.path.join(folder, "file")
        fm.save(fm.Linear(3, 3), path)
        before = open(path, "rb").read()
        os.chmod(folder, 0o555)
        if os.geteuid() == 0:
            os.seteuid(65534)
        try:
            fm.save(fm.Linear(4, 4), path)
        except PermissionError as error:
            print("error")
        assert open(path, "rb").read() == before
        print(os.listdir(folder))
        if os.getuid() == 0:
            os.seteuid(0)
        os.chmod(folder, 0o755)
        shutil.rmtree(folder)
    """
    assert output_of(code).splitlines() == ["error", "['file']"]


COUNTS = pytest.mark.parametrize("count", [10, pytest.param(200, marks=pytest.mark.slow)])


@COUNTS
@pytest.mark.parametrize("file_system", ["unnamed", "named"])
def test_a_killed_process_leaves_a_whole_file(file_system: str, count: int, tmp_path: Path) -> None:
    code = f"""
        import saving_forever
        saving_forever.main({str(tmp_path)!r}, {count}, {file_system == "named"})
    """
    assert output_of(code).startswith(f"{count} killed")


def test_several_processes_save_one_file(tmp_path: Path) -> None:
    code = f"import saving_forever; saving_forever.together({str(tmp_path)!r}, 1.0)"
    assert "reads" in output_of(code)


def test_replacing_by_name(tmp_path: Path) -> None:
    """As Windows needs it: whole or not at all, and nothing else is left."""
    target, beside = tmp_path / "file", tmp_path / "beside"
    target.write_bytes(b"old")
    with (
        pytest.raises(TypeError, match="bytes-like"),
        writing._replaced_by_name(str(target), str(beside)) as f,
    ):
        writing._write(f, "text")  # type: ignore[arg-type]
    assert target.read_bytes() == b"old"
    with writing._replaced_by_name(str(target), str(beside)) as f:
        writing._write(f, b"new")
    assert target.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [target]
