"""`fastmlp train`: what it learns from a CSV file, what it says, and what it refuses."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastmlp as fm
from fastmlp import cli
from fastmlp.shell import reading
from fastmlp.shell.saved import KEY, load_table_model

pd = pytest.importorskip("pandas")
pytest.importorskip("sklearn")

ROWS = 120


def houses(seed: int = 0, rows: int = ROWS) -> Any:
    """A table with everything in it, whose target follows from it."""
    random = np.random.RandomState(seed)
    city = random.choice(["Seoul", "Busan", "Daegu, old"], rows)
    area = random.normal(80, 20, rows).round(2)
    frame = pd.DataFrame(
        {
            "area": area,
            "floor": random.randint(1, 9, rows),
            "city": city,
            "name": [f"house {i}" for i in range(rows)],
            "built": pd.date_range("2001-02-03", periods=rows).astype(str),
            "country": "Korea",
            "nothing": "",
        }
    )
    frame["price"] = area + 30.0 * (city == "Seoul") + frame.floor
    frame["kind"] = np.where(city == "Seoul", "dear", "cheap")
    frame.loc[3:8, "area"] = np.nan
    frame.loc[9:12, "city"] = np.nan
    return frame


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    houses().to_csv("houses.csv", index=False)
    return tmp_path


def run(*arguments: str) -> int:
    return cli.main(["train", *arguments])


def test_regression(folder: Path, capsys: Any) -> None:
    """The file has all that a prediction needs, and the network is the one of `load`."""
    options = ["houses.csv", "--target", "price", "--drop", "kind", "--epochs", "150"]
    assert run(*options, "--save", "m.safetensors", "--hidden", "20,10", "--seed", "3") == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "houses.csv: 120 rows" in out
    assert "2 of numbers, 1 of categories" in out
    assert "network   7-20-10-1" in out
    assert "96 rows, 150 epochs" in out
    for reason in (
        "'name' is left out: it has text that differs",
        "'built' is left out: it has dates",
        "'country' is left out: it has one value",
        "'nothing' is left out: it is empty",
    ):
        assert reason in out
    error, plain = map(float, out.split("RMSE")[1].split()[:2])
    assert error < plain / 2

    model = load_table_model("m.safetensors")
    assert [column.name for column in model.columns] == ["area", "floor", "city"]
    assert model.target == "price"
    network = fm.load("m.safetensors")
    frame = pd.read_csv("houses.csv", dtype=str)
    x = np.zeros((ROWS, 7))
    area, floor = model.columns[:2]
    missing = frame.area.isna()
    x[:, 0] = ((frame.area.astype(float) - area.mean) / area.scale).fillna(0)
    x[:, 1] = missing
    x[:, 2] = (frame.floor.astype(float) - floor.mean) / floor.scale
    for place, name in enumerate(("Busan", "Daegu, old", "Seoul"), 3):
        x[:, place] = frame.city == name
    x[:, 6] = frame.city.isna()
    want = network.predict(x.astype("f4"))[:, 0].astype(float) * model.scale + model.mean
    np.testing.assert_allclose(model.values(frame, ""), want, rtol=1e-6)


def test_moments_are_those_of_the_training_rows(folder: Path) -> None:
    run("houses.csv", "--target", "price", "--epochs", "1", "--save", "a", "--test-fraction", "0")
    run("houses.csv", "--target", "price", "--epochs", "1", "--save", "b")
    frame = houses()
    a, b = load_table_model("a").columns[0], load_table_model("b").columns[0]
    assert a.mean == pytest.approx(frame.area.mean())
    assert a.scale == pytest.approx(frame.area.std(ddof=0))
    assert a.mean != b.mean


def test_classes(folder: Path, capsys: Any) -> None:
    assert run("houses.csv", "--target", "kind", "--save", "m", "--epochs", "30") == 0
    out = capsys.readouterr().out
    assert "'kind': 2 classes" in out
    assert "always 'cheap'" in out
    accuracy, plain = map(float, out.split("accuracy")[1].split()[:2])
    assert accuracy > plain
    assert load_table_model("m").classes == ["cheap", "dear"]


@pytest.mark.parametrize(
    ("values", "task", "classes"),
    [
        ("0 1", "auto", ["0", "1"]),
        ("10 9 2", "auto", ["2", "9", "10"]),
        ("10 9 2", "regression", None),
        ("0.5 1 2", "auto", None),
        ("no yes", "auto", ["no", "yes"]),
        ("1 2 3 4 5 6 7 8 9 10 11", "auto", None),
        ("1 2 3 4 5 6 7 8 9 10 11", "classification", [str(i) for i in range(1, 12)]),
    ],
)
def test_the_task(folder: Path, values: str, task: str, classes: Any) -> None:
    frame = houses()
    frame["t"] = (values.split() * ROWS)[:ROWS]
    frame.to_csv("t.csv", index=False)
    assert run("t.csv", "--target", "t", "--task", task, "--epochs", "1", "--save", "m") == 0
    assert load_table_model("m").classes == classes


def test_one_seed_one_model(folder: Path) -> None:
    files = []
    for seed in ("1", "1", "2"):
        run("houses.csv", "--target", "price", "--seed", seed, "--epochs", "2", "--save", "m")
        files.append(Path("m").read_bytes())
    assert files[0] == files[1] != files[2]


def test_categories_on_demand(folder: Path, capsys: Any) -> None:
    options = ["houses.csv", "--target", "price", "--epochs", "1", "--save", "m"]
    assert run(*options, "--category", "floor", "--category", "name") == 0
    found = {column.name: column for column in load_table_model("m").columns}
    assert found["floor"].values == [str(i) for i in range(1, 9)]
    assert "name" not in found  # which the training rows share no value of


def test_many_values(folder: Path, capsys: Any) -> None:
    """The most frequent ones of many have columns."""
    frame = houses(rows=1500)
    random = np.random.RandomState(0)
    frame["street"] = [f"street {i}" for i in np.minimum(random.geometric(0.01, 1500), 400)]
    frame.to_csv("many.csv", index=False)
    assert run("many.csv", "--target", "price", "--epochs", "1", "--save", "m") == 0
    assert "'street' has" in capsys.readouterr().out
    street = {c.name: c for c in load_table_model("m").columns}["street"]
    assert len(street.values) == 100
    assert "street 1" in street.values


def test_many_rows_stop_early(folder: Path, capsys: Any) -> None:
    frame = houses(rows=14_000)[["area", "price"]]
    frame.to_csv("many.csv", index=False)
    assert run("many.csv", "--target", "price", "--epochs", "2", "--hidden", "4") == 0
    assert "11200 rows, 2 epochs" in capsys.readouterr().out


def test_unusual_files(folder: Path, capsys: Any) -> None:
    """Semicolons, a byte order mark, spaces, "?" for nothing, an index, blank lines."""
    frame = houses()[["area", "city", "price"]]
    text = frame.to_csv(sep=";", na_rep="?").replace(";", "; ").replace("\n", "\n\n", 1)
    Path("odd.csv").write_text("\ufeff" + text, encoding="utf-8")
    assert run("odd.csv", "--target", "price", "--epochs", "1", "--save", "m") == 0
    assert "column without a name" in capsys.readouterr().out
    model = load_table_model("m")
    assert [column.name for column in model.columns] == ["area", "city"]
    assert model.columns[0].missing
    frame.to_csv("plain.csv", index=False)
    run("plain.csv", "--target", "price", "--epochs", "1", "--save", "plain")
    assert load_table_model("plain").columns == model.columns


def test_rows_without_a_target(folder: Path, capsys: Any) -> None:
    frame = houses()
    frame.loc[::4, "price"] = np.nan
    frame.to_csv("some.csv", index=False)
    assert run("some.csv", "--target", "price", "--epochs", "1") == 0
    assert "30 rows without 'price' left out" in capsys.readouterr().out


def test_from_standard_input(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    data = io.TextIOWrapper(io.BytesIO(Path("houses.csv").read_bytes()))
    monkeypatch.setattr(sys, "stdin", data)
    assert run("-", "--target", "price", "--epochs", "1") == 0
    assert not data.buffer.closed


@pytest.mark.parametrize("target", ["price", "kind"])
def test_picture(folder: Path, target: str) -> None:
    pytest.importorskip("matplotlib")
    for fraction in ("0", "0.3"):
        name = f"{fraction}.png"
        options = ["--epochs", "3", "--picture", name, "--test-fraction", fraction]
        assert run("houses.csv", "--target", target, *options) == 0
        assert Path(name).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("form", ["{:.1f}%", "1,{:06.2f}", "\u2212{}", "{:.2f} %", "1'{:05.1f}"])
def test_numbers_in_another_form_are_named(folder: Path, form: str, capsys: Any) -> None:
    table = houses()[["area", "price"]]
    table["share"] = [form.format(i / 3) for i in range(len(table))]
    table.to_csv("other.csv", index=False)
    assert run("other.csv", "--target", "price", "--epochs", "1") == 0
    first = repr(table["share"][0])
    said = (
        f"'share' is left out: it has numbers such as {first}, which have to be written like 1234.5"
    )
    assert said in capsys.readouterr().out


GOOD = houses()[["area", "city", "price"]].to_csv(index=False)
NUMBERS = "".join(f"{i % 7},{i * 0.37}\n" for i in range(40))


@pytest.mark.parametrize(
    ("data", "options", "says"),
    [
        (b"", [], "expected a line with the columns' names, got an empty file"),
        (b"\n \n", [], "got an empty file"),
        (b"area,price\n", [], "expected rows below the columns' names, got none"),
        (b"area,price\n1,2\n", [], "expected at least 10 rows with 'price', got 1"),
        (b"\x89PNG\r\n\x1a\n\0\xff", [], "expected a CSV file in UTF-8, got one with the byte"),
        (b"a\0,price\n1,2\n", [], "got a binary one"),
        ("price,ü\n".encode("latin-1"), [], "expected a CSV file in UTF-8"),
        ("가격,price\n".encode("cp949"), [], "0xb0; save it as UTF-8, or convert it: iconv"),
        ("a,price\n".encode("utf-16"), [], "iconv -f FROM -t UTF-8"),
        (b"price\n" + b"1\xff\n" * 20, [], "expected a CSV file in UTF-8"),
        (b"area,area,price\n", [], "'area' twice"),
        (b"1,2,3\n" * 20, [], "the first line should have the columns' names"),
        (b"area,Price\n", [], "no column 'price' to predict; did you mean 'Price'?"),
        (b"area,prices\n", [], "no column 'price' to predict; did you mean prices?"),
        (b"a,b,c,d,e,f,g,h,i,j\n", [], "; there are 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h' and 2"),
        (GOOD + "1,2,3,4\n", [], "expected 3 values in line 122, got 4"),
        ("a,price\n" + "1,2,3\n" * 20, [], "expected 2 values a line"),
        (GOOD + '"1,2,3\n', [], "a quote that is not closed"),
        (GOOD, ["--drop", "price"], "--drop price: that is the target"),
        (GOOD, ["--drop", "aera"], "no column 'aera'; did you mean area?"),
        (GOOD, ["--drop", "area", "--drop", "city"], "no column beside 'price' is of use"),
        ("a,price\n" + "7,1\n7,2\n" * 20, [], "('a' is left out: it has one value alone)"),
        ("a,price\n" + "1,u\n2,u\n" * 20, [], "expected different values, got 'u' alone"),
        ("a,price\n" + "1,1\n2,1.0\n" * 20, ["--task", "regression"], "different numbers, got 1"),
        ("a,price\n" + NUMBERS, ["--task", "classification"], "expected classes, got 40 different"),
        ("a,price\n" + NUMBERS.replace(",", ",n"), [], "expected classes, got 40 different values"),
        (
            "a;price\n" + NUMBERS.replace(",", ";").replace(".", ","),
            [],
            "like 1234.5, or classes, got",
        ),
        ("a,price\n" + NUMBERS + "1,inf\n", [], "expected numbers, got 'inf' in row 41"),
        ("a,price\n" + NUMBERS + "1,x\n", [], "expected numbers, got 'x' in row 41"),
        ("a,price\n" + "1,2020-01-02\n2,2020-01-03\n" * 9, [], "or classes, got dates"),
        (GOOD, ["--save", "nowhere/m"], "nowhere/m: there is no folder nowhere"),
        (GOOD, ["--save", "."], ".: expected a file, got a folder"),
        (GOOD, ["--picture", "p.xyz"], "expected a name such as out.png"),
    ],
)
def test_refused(folder: Path, data: Any, options: list[str], says: str, capsys: Any) -> None:
    """An error is one line, and leaves nothing behind."""
    Path("bad.csv").write_bytes(data if isinstance(data, bytes) else data.encode())
    before = sorted(folder.iterdir())
    assert run("bad.csv", "--target", "price", "--epochs", "1", *options) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("fastmlp: error: ")
    assert err.count("\n") == 1
    assert says in err
    assert sorted(folder.iterdir()) == before


def test_no_such_file(folder: Path, capsys: Any) -> None:
    assert run("none.csv", "--target", "price") == 1
    assert "No such file or directory: 'none.csv'" in capsys.readouterr().err
    assert run(".", "--target", "price") == 1
    assert "Is a directory" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--target"],
        ["--target", "price", "--hidden", "0"],
        ["--target", "price", "--hidden", "ten"],
        ["--target", "price", "--epochs", "0"],
        ["--target", "price", "--test-fraction", "1"],
        ["--target", "price", "--test-fraction", "some"],
        ["--target", "price", "--task", "guess"],
    ],
)
def test_wrong_usage(folder: Path, options: list[str], capsys: Any) -> None:
    with pytest.raises(SystemExit) as stopped:
        run("houses.csv", *options)
    assert stopped.value.code == 2
    assert "fastmlp train: error" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("module", "options", "extra"),
    [
        ("pandas", [], "fastmlp[table]"),
        ("sklearn", [], "fastmlp[table]"),
        ("matplotlib", ["--picture", "p.png"], "fastmlp[plot]"),
    ],
)
def test_what_is_missing_is_named(
    folder: Path,
    module: str,
    options: list[str],
    extra: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    assert run("houses.csv", "--target", "price", *options) == 1
    assert f'pip install "{extra}"' in capsys.readouterr().err


def test_wide_tables(folder: Path, capsys: Any) -> None:
    """A thousand columns, in a file of the size of their names; and names that are no good."""
    random = np.random.RandomState(0)
    names = [f"column {i}" for i in range(999)] + ["red\x1b[31m"]
    frame = pd.DataFrame(random.normal(size=(40, 1000)), columns=names)
    frame["price"] = frame["column 3"]
    frame["red\x1b[32m"] = 1
    frame.to_csv("wide.csv", index=False)
    options = ["--epochs", "1", "--hidden", "2", "--save", "m"]
    assert run("wide.csv", "--target", "price", *options) == 0
    assert "\x1b" not in capsys.readouterr().out
    assert len(load_table_model("m").columns) == 1000
    assert Path("m").stat().st_size < 200_000


def test_interrupted(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """There is no model then."""
    from fastmlp.shell import training

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(training._Shown, "on_epoch_end", interrupt)
    assert run("houses.csv", "--target", "price", "--save", "m") == 130
    assert capsys.readouterr().err == "\nfastmlp: interrupted\n"
    assert not Path("m").exists()


@pytest.mark.parametrize("command", ["train", "predict", "info", "export", "demo"])
def test_help_fits_and_has_an_example(
    command: str, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    out = capsys.readouterr().out
    assert f"fastmlp {command} " in out.split("example", 1)[1]
    assert max(map(len, out.splitlines())) <= 80


def test_help_teaches(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for columns in ("80", "20"):
        monkeypatch.setenv("COLUMNS", columns)
        with pytest.raises(SystemExit) as stopped:
            cli.main(["train", "--help"])
        assert stopped.value.code == 0
        out = capsys.readouterr().out
        assert "fastmlp train houses.csv --target price --drop id" in out
        assert "--test-fraction" in out


def test_the_table_in_the_file_is_plain(folder: Path) -> None:
    run("houses.csv", "--target", "kind", "--epochs", "1", "--save", "m")
    safetensors = pytest.importorskip("safetensors")
    with safetensors.safe_open("m", "numpy") as file:
        table = json.loads(file.metadata()[KEY])
    assert table["format"] == 1
    assert table["classes"] == ["cheap", "dear"]
    assert [column["name"] for column in table["columns"]] == ["area", "floor", "city", "price"]
    assert table["columns"][2]["values"] == ["Busan", "Daegu, old", "Seoul"]


def test_lines_are_told_as_they_are(folder: Path) -> None:
    assert reading.count(1, "row") == "1 row"
    assert reading.short("x" * 100).endswith("...'")
