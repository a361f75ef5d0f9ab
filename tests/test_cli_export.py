"""`fastmlp export`: what it writes, and what it says where it cannot."""

from pathlib import Path
from typing import Any

import pytest

import fastmlp as fm
from fastmlp import cli


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that holds a model, as far as `load` is concerned."""
    path = tmp_path / "model.safetensors"
    path.write_text("a model")

    def load(given: Any) -> fm.Module:
        if Path(given).read_text() != "a model":
            raise ValueError(f"path: expected a file of fastmlp.save, got {given}")
        return fm.MLP([3, 4, 2], activation="tanh", seed=0)

    def to_onnx(model: fm.Module, given: Any) -> None:
        Path(given).write_text(f"onnx of {len(list(model.parameters()))} parameters")

    monkeypatch.setattr(fm, "load", load, raising=False)
    monkeypatch.setattr(fm, "to_onnx", to_onnx, raising=False)
    return path


def _run(saved: Path, to: str, output: str, *more: str) -> int:
    out = str(saved.parent / output)
    return cli.main(["export", str(saved), "--to", to, "--output", out, *more])


def test_to_c(saved: Path) -> None:
    assert _run(saved, "c", "net.h") == 0
    fm.export_c(fm.load(saved), saved.parent / "want.h")
    assert (saved.parent / "net.h").read_text() == (saved.parent / "want.h").read_text()
    assert _run(saved, "c", "net.h", "--name", "policy", "--weights", "float16") == 0
    fm.export_c(fm.load(saved), saved.parent / "want.h", "policy", weights="float16")
    assert (saved.parent / "net.h").read_text() == (saved.parent / "want.h").read_text()


def test_to_onnx(saved: Path) -> None:
    assert _run(saved, "onnx", "net.onnx") == 0
    assert (saved.parent / "net.onnx").read_text() == "onnx of 4 parameters"


@pytest.mark.parametrize(
    ("to", "output", "more", "says"),
    [
        (
            "c",
            "net.h",
            ["--name", "int"],
            "got the keyword 'int'",
        ),
        ("c", "nowhere/net.h", [], "No such file or directory"),
        ("onnx", "net.onnx", ["--name", "net"], "--name is for --to c"),
        ("onnx", "net.onnx", ["--weights", "float16"], "--weights is for --to c"),
    ],
)
def test_errors_are_a_line(
    saved: Path, to: str, output: str, more: list[str], says: str, capsys: Any
) -> None:
    before = sorted(saved.parent.iterdir())
    assert _run(saved, to, output, *more) == 1
    printed = capsys.readouterr().err
    assert printed.startswith("fastmlp: error: ")
    assert says in printed
    assert printed.count("\n") == 1
    assert sorted(saved.parent.iterdir()) == before


def test_files_that_hold_no_model(saved: Path, capsys: Any) -> None:
    saved.write_text("something else")
    assert _run(saved, "c", "net.h") == 1
    assert "path: expected a file of fastmlp.save" in capsys.readouterr().err
    saved.unlink()
    assert _run(saved, "c", "net.h") == 1
    assert "No such file or directory" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [[], ["model"], ["model", "--to", "c"], ["model", "--to", "pdf"]]
)
def test_wrong_usage(arguments: list[str], capsys: Any) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["export", *arguments])
    assert stopped.value.code == 2
    assert "fastmlp export: error" in capsys.readouterr().err
