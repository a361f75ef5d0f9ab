"""`fastmlp predict`: predictions of CSV files, block by block, and files that are no good."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastmlp as fm
from fastmlp import cli
from fastmlp.shell import reading
from fastmlp.shell.saved import KEY, load_table_model
from test_cli_train import houses

pd = pytest.importorskip("pandas")
pytest.importorskip("sklearn")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a table, and a model of a regression, of two and of three classes."""
    folder = tmp_path_factory.mktemp("models")
    data = folder / "houses.csv"
    frame = houses()
    frame["size"] = np.where(frame.area > 90, "big", np.where(frame.area > 70, "mid", "small"))
    frame.to_csv(data, index=False)
    for target in ("price", "kind", "size"):
        path = str(folder / target)
        options = ["--epochs", "3", "--hidden", "8", "--save", path]
        assert cli.main(["train", str(data), "--target", target, *options]) == 0
    return folder


@pytest.fixture(autouse=True)
def _there(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in models.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.chdir(tmp_path)


def run(*arguments: str) -> int:
    return cli.main(["predict", *arguments])


def rows_of(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text)))


def test_values(capsys: Any) -> None:
    assert run("price", "houses.csv") == 0
    out, err = capsys.readouterr()
    (header, *rows) = rows_of(out)
    assert header == ["price"]
    assert err == ""
    want = load_table_model("price").values(pd.read_csv("houses.csv", dtype=str), "")
    np.testing.assert_allclose([float(row[0]) for row in rows], want, rtol=1e-6)


@pytest.mark.parametrize("target", ["kind", "size"])
def test_classes(target: str, capsys: Any) -> None:
    assert run(target, "houses.csv", "--probabilities", "--keep", "name", "--keep", target) == 0
    (header, *rows) = rows_of(capsys.readouterr().out)
    model = load_table_model(target)
    assert model.classes is not None
    assert header[:3] == ["name", target, f"predicted {target}"]
    assert header[3:] == [f"probability of {name}" for name in model.classes]
    assert [row[0] for row in rows] == [f"house {i}" for i in range(120)]
    p = np.array([[float(value) for value in row[3:]] for row in rows])
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-5)
    assert [row[2] for row in rows] == [model.classes[i] for i in p.argmax(axis=1)]
    logits = fm.load(target).predict(_encoded(model, "houses.csv")).astype(float)
    if len(model.classes) == 2:
        want = 1 / (1 + np.exp(-logits))
        np.testing.assert_allclose(p[:, 1:], want, rtol=1e-5)
    else:
        want = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(p, want, rtol=1e-5)


def _encoded(model: Any, path: str) -> Any:
    from fastmlp.shell.columns import encode

    return encode(model.columns, pd.read_csv(path, dtype=str), path)


def test_blocks_are_as_the_whole(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run("price", "houses.csv", "--keep", "city")
    whole = capsys.readouterr().out
    monkeypatch.setattr(reading, "CELLS", 70)  # of ten columns
    run("price", "houses.csv", "--keep", "city", "--out", "out.csv")
    assert capsys.readouterr().out == ""
    got = Path("out.csv").read_text()
    assert [row[0] for row in rows_of(got)] == [row[0] for row in rows_of(whole)]
    a, b = ([float(row[1]) for row in rows_of(text)[1:]] for text in (got, whole))
    np.testing.assert_allclose(a, b, rtol=1e-5)


def test_other_columns_do_not_matter(capsys: Any) -> None:
    """Their order, others, and a target that is missing."""
    run("price", "houses.csv")
    want = capsys.readouterr().out
    frame = pd.read_csv("houses.csv").drop(columns=["price", "name", "country"])
    frame[frame.columns[::-1]].assign(more="x").to_csv("new.csv", index=False)
    assert run("price", "new.csv") == 0
    assert capsys.readouterr().out == want


def test_new_values(capsys: Any) -> None:
    """A value that the training had not counts as none, with a note."""
    Path("new.csv").write_text(
        "area,floor,city,kind,size\n80,3,Paris,dear,mid\n80,3,Rome,dear,mid\n"
        "80,,Seoul,dear,mid\n80,3,Seoul,dear,mid\n"
    )
    assert run("price", "new.csv") == 0
    out, err = capsys.readouterr()
    assert err == "fastmlp: note: 'city' has values that the training had not, in 2 rows\n"
    rows = rows_of(out)[1:]
    assert rows[0] == rows[1] != rows[3]
    assert len(rows) == 4


@pytest.mark.parametrize(
    ("model", "data", "options", "says"),
    [
        (
            "price",
            "area,floor,City,kind,size\n",
            [],
            "no column 'city', which the model needs",
        ),
        ("price", "", [], "got an empty file"),
        ("price", "area,floor,city,kind,size\n", [], "expected rows below the names, got none"),
        (
            "price",
            "area,floor,city,kind,size\n1,2,Seoul,dear,mid\n1,big,Seoul,dear,mid\n",
            [],
            "column 'floor': expected numbers, got 'big' in row 2",
        ),
        ("price", "area,floor,city,kind,size\n1e300,2,Seoul,dear,mid\n", [], "in row 1"),
        (
            "price",
            None,
            ["--probabilities"],
            "expected a model of classes",
        ),
        ("price", None, ["--keep", "nmae"], "no column 'nmae' to keep; did you mean name?"),
        ("price", None, ["--out", "nowhere/out"], "nowhere"),
        ("price", None, ["--out", "."], "expected a file, got a folder"),
        ("price", None, ["--out", "bad.csv"], "expected another file than the data"),
        ("houses.csv", None, [], "houses.csv: expected a whole safetensors file"),
        ("none", None, [], "No such file or directory: 'none'"),
    ],
)
def test_refused(model: str, data: str | None, options: list[str], says: str, capsys: Any) -> None:
    """An error is one line, and leaves nothing behind."""
    Path("bad.csv").write_text(Path("houses.csv").read_text() if data is None else data)
    before = sorted(Path().iterdir())
    assert run(model, "bad.csv", *options) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("fastmlp: error: ")
    assert err.count("\n") == 1
    assert says in err
    assert sorted(Path().iterdir()) == before


def test_errors_far_below_leave_the_old_file(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """The file is written whole or not at all."""
    monkeypatch.setattr(reading, "CELLS", 50)
    text = Path("houses.csv").read_text()
    Path("bad.csv").write_text(text + ",".join(["x"] * 10) + "\n")
    Path("out.csv").write_text("old")
    assert run("price", "bad.csv", "--out", "out.csv") == 1
    assert "got 'x' in row 121" in capsys.readouterr().err
    assert Path("out.csv").read_text() == "old"
    assert not list(Path().glob(".*"))


def _change(path: str, **changes: Any) -> None:
    """Exchange parts of the table in a file."""
    from safetensors import safe_open
    from safetensors.numpy import load_file, save_file

    with safe_open(path, "numpy") as file:
        metadata = dict(file.metadata())
    if "text" in changes:
        metadata[KEY] = changes["text"]
    else:
        metadata[KEY] = json.dumps({**json.loads(metadata[KEY]), **changes})
    save_file(load_file(path), path, metadata)


COLUMN = {"name": "a", "missing": False, "mean": 0.0, "scale": 1.0}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"text": "[]"}, "expected a JSON object"),
        ({"text": "{"}, "Expecting"),
        ({"text": "[" * 100_000}, ""),
        ({"text": '{"format":1,"x":"' + "x" * 3_000_000 + '"}'}, "expected a shorter table"),
        ({"format": 2}, "expected one of format 1, got one of format 2"),
        ({"format": True}, "format: expected a int"),
        ({"target": 3}, "target: expected a str"),
        ({"target": "area"}, "expected different names"),
        ({"mean": "3"}, "mean: expected a number"),
        ({"scale": 0.0}, "scale: expected a finite number > 0"),
        ({"scale": float("nan")}, "scale: expected a finite number"),
        ({"mean": 10**400}, "mean: expected a finite number"),
        ({"columns": {}}, "columns: expected a list"),
        ({"columns": []}, "columns: expected different names"),
        ({"columns": [3]}, "columns: expected JSON objects"),
        ({"columns": [COLUMN]}, "expected a network of 1 inputs"),
        ({"columns": [COLUMN, COLUMN]}, "expected different names"),
        ({"columns": [{**COLUMN, "missing": 1}]}, "missing: expected a bool"),
        ({"columns": [{**COLUMN, "values": ["u", "u"]}]}, "values: expected different texts"),
        ({"columns": [{**COLUMN, "values": [1]}]}, "values: expected different texts"),
        ({"classes": ["u"]}, "classes: expected at least two"),
        ({"classes": ["u", "v", "w"]}, "expected a network with outputs of shape (1, 3)"),
    ],
)
def test_damaged_files(changes: dict[str, Any], says: str, capsys: Any) -> None:
    _change("price", **changes)
    assert run("price", "houses.csv") == 1
    err = capsys.readouterr().err
    assert err.startswith("fastmlp: error: price: ")
    assert says in err
    assert err.count("\n") == 1
    assert isinstance(fm.load("price"), fm.Sequential)  # which does not look at the table


def test_a_model_without_a_table(capsys: Any) -> None:
    fm.save(fm.MLP([2, 3, 1]), "plain")
    assert run("plain", "houses.csv") == 1
    assert "expected a model of `fastmlp train`" in capsys.readouterr().err


def test_info(capsys: Any) -> None:
    assert cli.main(["info", "kind"]) == 0
    out = capsys.readouterr().out
    assert "predicts 'kind', one of 2 classes, from 5 columns" in out
    assert "  'city': one of 3 values, or missing" in out
    assert "  'area': numbers, or missing" in out
    _change("kind", format=9)
    assert cli.main(["info", "kind"]) == 1
    assert "format 9" in capsys.readouterr().err


def test_without_scikit_learn() -> None:
    """A prediction needs pandas alone."""
    code = (
        "import sys; sys.modules['sklearn'] = None; from fastmlp import cli;"
        " sys.exit(cli.main(['predict', 'price', 'houses.csv']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.count("\n") == 121


def test_without_pandas(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    assert run("price", "houses.csv") == 1
    assert 'pip install "fastmlp[table]"' in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")
@pytest.mark.parametrize("command", ["predict price -", "info price"])
def test_nobody_reads_to_the_end(command: str) -> None:
    """Quietly, with the status that a shell gives others."""
    text = Path("houses.csv").read_text().splitlines(keepends=True)
    Path("long.csv").write_text(text[0] + "".join(text[1:]) * 300)
    line = f"{sys.executable} -m fastmlp {command} < long.csv; echo $? >&2"
    shell = f"({line}) | true"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=True)
    assert done.stderr in ("141\n", "0\n")  # where all had been written before the reader ended
    if "predict" in command:
        assert done.stderr == "141\n"


def test_a_pipeline_of_processes() -> None:
    """Train and predict as a person would type it."""
    line = (
        f"{sys.executable} -m fastmlp train - --target price --epochs 2 --save m.safetensors"
        f" < houses.csv && {sys.executable} -m fastmlp predict m.safetensors - < houses.csv"
    )
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True)
    assert done.stdout.count("\n") > 121
    assert done.stderr == ""


def test_names_and_values_of_any_sort(capsys: Any) -> None:
    """Quotes, brackets, lines and other scripts, which the file's header has inside of strings."""
    random = np.random.RandomState(0)
    names = ['x": [' + "y" * 150, '"data_offsets"', 'back\\slash"q', "line\nbreak", "한글 열"]
    values = ['u"v', 'w\\"z: [1' + "q" * 120, "é\n2"]
    frame = pd.DataFrame({name: random.choice(values, 60) for name in names})
    frame["t"] = random.normal(size=60)
    frame.to_csv("odd.csv", index=False)
    train = ["train", "odd.csv", "--target", "t", "--epochs", "1", "--hidden", "3"]
    assert cli.main([*train, "--save", "odd"]) == 0
    capsys.readouterr()
    assert run("odd", "odd.csv", "--keep", "line\nbreak") == 0
    rows = rows_of(capsys.readouterr().out)
    assert [row[0] for row in rows] == ["line\nbreak", *frame["line\nbreak"]]
    assert [sorted(column.values) for column in load_table_model("odd").columns] == [
        sorted(values)
    ] * 5
    assert isinstance(fm.load("odd"), fm.Sequential)
    assert cli.main(["info", "odd"]) == 0
