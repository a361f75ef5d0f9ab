"""The command ``fastmlp``: every demo, its printed lines, its pictures, its errors."""

import re
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastmlp as fm
from fastmlp import cli, datasets, demo, plot
from fastmlp.demo.session import marks

PICTURES = {
    "xor": {"loss": (720, 480), "contour": (640, 540), "network": (640, 320)},
    "xor-deep": {"loss": (720, 480), "contour": (640, 540)},
    "circles": {"loss": (720, 480), "contour": (680, 620)},
    "boston": {"loss": (720, 480), "scatter": (960, 520)},
    "spiral": {"loss": (720, 480), "regions": (640, 660)},
    "temperature": {"loss": (1150, 420), "fit": (720, 480)},
    "cifar2": {
        "loss": (720, 480),
        "images": (1120, 520),
        "confusion": (520, 440),
        "weights": (560, 590),
    },
    "activations": {"gallery": (1020, 540), "units": (1360, 540)},
}
PRINTED = {
    "xor": [r"step 0  loss 0\.\d{7}", r"final loss 0\.", r"1 xor 1 = 0: output", r"accuracy "],
    "xor-deep": [r"step 0  loss 0\.\d{7}", r"final loss 0\.", r"accuracy "],
    "circles": [r"epoch 0  loss 0\.\d", r"final loss 0\.", r"accuracy 0\.\d"],
    "boston": [r"epoch 0  loss \d{3}\.", r"final loss with ReLU", r"final loss with leaky ReLU"],
    "spiral": [r"iteration 10  loss 1\.", r"iteration 30  loss", r"final loss", r"accuracy"],
    "temperature": [
        r"epoch 1, training loss \d+\.\d+, validation loss \d",
        r"weight -?\d+\.\d+, bias -?\d",
        r"0\.weight \(13, 1\)",
        r"hidden_linear\.bias \(8,\)",
        r"gradient of hidden_linear\.weight \[",
    ],
    "cifar2": [
        r"1574402 parameters: \[1572864, 512, 1024, 2\]",
        r"epoch 0  loss \d\.",
        r"accuracy \d\.\d+ on 4 test images",
    ],
    "activations": [r"tanh +-1 ", r"leaky ReLU, slope 0\.1 +-1 "],
}
TRAINED = [name for name in PICTURES if name != "activations"]

needs_matplotlib = pytest.mark.skipif(
    not plot.is_available(), reason="matplotlib (the extra plot) is not installed"
)


def _png_size(path: Path) -> tuple[int, int]:
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    assert len(content) > 5000  # an empty figure of these sizes is smaller
    return struct.unpack(">II", content[16:24])


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cifar") / "cifar2.npz"
    random = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {}
    for part, rows in (("train", 20), ("test", 4)):
        arrays[f"x_{part}"] = random.integers(0, 256, (rows, 3072), dtype=np.uint8)
        arrays[f"y_{part}"] = np.arange(rows, dtype=np.uint8) % 2
    np.savez(path, **arrays)
    return path


def _arguments(name: str, images: Path) -> list[str]:
    return ["demo", name, *(["--data", str(images)] if name == "cifar2" else [])]


def test_every_demo_is_tested() -> None:
    assert list(demo.DEMOS) == list(PICTURES) == list(PRINTED)


@needs_matplotlib
@pytest.mark.parametrize("name", PICTURES)
def test_demo(name: str, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "folder"
    assert cli.main([*_arguments(name, images), "--epochs", "3", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    for pattern in PRINTED[name]:
        assert re.search(pattern, printed), pattern
    if name in TRAINED:
        assert re.search(r"3 epochs took \S+ \w+, \S+ \w+ an epoch", printed)

    files = {f"{name}-{what}.png": size for what, size in PICTURES[name].items()}
    assert {path.name for path in out.iterdir()} == set(files)
    for file, size in files.items():
        assert f"saved {out / file}" in printed
        assert _png_size(out / file) == size


@pytest.mark.parametrize("name", PICTURES)
def test_no_plot(
    name: str,
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert cli.main([*_arguments(name, images), "--epochs", "2", "--no-plot"]) == 0
    assert "saved" not in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "loss"), [("xor", 0.0012345), ("xor-deep", 0.00015649), ("circles", 0.1218)]
)
def test_the_default_seed_reaches_the_documents_loss(
    name: str, loss: float, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["demo", name, "--no-plot"]) == 0
    printed = capsys.readouterr().out
    final = re.search(r"final loss (\S+)", printed)
    assert final
    assert float(final[1]) == pytest.approx(loss, rel=0.1)
    accuracy = re.search(r"accuracy (\S+)", printed)
    assert accuracy
    assert float(accuracy[1]) >= (0.94 if name == "circles" else 1.0)


def test_spiral_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo", "spiral", "--no-plot"]) == 0
    printed = capsys.readouterr().out
    assert len(re.findall(r"iteration +\d+  loss", printed)) == 11
    assert float(printed.split("accuracy ")[1].split()[0]) > 0.95


def _lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capsys.readouterr().out.splitlines() if " took " not in line]


def test_seed_and_threads(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["demo", "spiral", "--no-plot", "--epochs", "2"]
    printed = []
    for more in ([], ["--seed", "5"], ["--seed", "5", "--threads", "2"]):
        before = fm.get_num_threads()
        assert cli.main([*command, *more]) == 0
        assert fm.get_num_threads() == before
        printed.append(_lines(capsys))
    assert printed[0] != printed[1]
    assert printed[1] == printed[2]


def test_pictures_are_left_out_without_matplotlib(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert cli.main(["demo", "xor", "--epochs", "2"]) == 0
    assert "pip install matplotlib" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_boston_needs_nothing_more() -> None:
    x, t = datasets.boston()
    assert x.shape == (506, 13)
    assert t.shape == (506, 1)
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-12)
    assert (t[0, 0], t[-1, 0], round(float(t.mean()), 4)) == (24.0, 11.9, 22.5328)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cifar2"], "pass --data"),
        (["cifar2", "--data", "absent"], "absent is neither an npz file nor a folder"),
        (["xor", "--data", "absent"], "--data is for the demo cifar2"),
    ],
)
def test_errors_are_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["demo", *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith("fastmlp: error: ")
    assert message in error
    assert error.count("\n") == 1


@needs_matplotlib
def test_out_is_checked_before_the_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    file.write_text("")
    assert cli.main(["demo", "xor", "--epochs", "2", "--out", str(file)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert str(file) in captured.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["demo", "unknown"],
        ["demo", "xor", "--epochs", "0"],
        ["demo", "xor", "--epochs", "many"],
        ["demo", "xor", "--seed", "-1"],
        ["demo", "xor", "--seed", str(2**32)],
        ["demo", "xor", "--threads", "0"],
        ["unknown"],
    ],
)
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert "usage: fastmlp" in capsys.readouterr().err


def test_the_demos_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo"]) == 0
    listed = capsys.readouterr().out
    for name, entry in demo.DEMOS.items():
        assert re.search(rf"^  {name} +{re.escape(entry.summary)}$", listed, re.MULTILINE)


def test_interruption(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(session: demo.Session) -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(demo.DEMOS, "xor", demo.Demo("", interrupt))
    assert cli.main(["demo", "xor", "--no-plot"]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_info(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["info"]) == 0
    printed = capsys.readouterr().out
    fm.show_config()
    assert printed == capsys.readouterr().out
    assert fm.__version__ in printed


def test_as_a_module() -> None:
    command = [sys.executable, "-m", "fastmlp", "--version"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert printed == f"fastmlp {fm.__version__}\n"


@pytest.mark.parametrize(
    ("count", "every", "first", "expected"),
    [
        (1, 100, 0, [0]),
        (101, 100, 0, [0, 100]),
        (150, 100, 0, [0, 100, 149]),
        (2000, 1000, 1, [1, 1000, 2000]),
        (3, 1000, 1, [1, 3]),
    ],
)
def test_marks(count: int, every: int, first: int, expected: list[int]) -> None:
    assert marks(count, every, first=first) == expected
