"""Frames, columns and iterables of batches: what they may hold, and what is told of the rest."""

import datetime
import decimal
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import fastmlp as fm
from test_data_narrow import same

pandas = pytest.importorskip("pandas")
polars = pytest.importorskip("polars")

A = [1, 2, 3, 4]
T = np.array([0, 1, 2, 0])


def fresh() -> fm.Trainer:
    model = fm.MLP((2, 3), seed=1)
    return fm.Trainer(model, fm.SGD(model.parameters(), lr=0.1))


def frames(column: Any, dtype: str | None = None) -> list[Any]:
    """Of both libraries, with a column b."""
    return [
        pandas.DataFrame({"a": A, "b": pandas.array(column, dtype=dtype) if dtype else column}),
        polars.DataFrame({"a": A, "b": column}),
    ]


@pytest.mark.parametrize(
    ("column", "dtype"),
    [
        ([0.5, 1.5, 2.5, 3.5], None),
        ([True, False, True, True], None),
        ([True, False, True, True], "boolean"),
        ([7, 8, 9, 10], "Int64"),
        ([0.5, 1.5, 2.5, 3.5], "Float32"),
        ([decimal.Decimal(3), decimal.Decimal("0.5")] * 2, None),
    ],
)
def test_numbers_of_any_kind(column: list[Any], dtype: str | None) -> None:
    wide = np.array([A, [float(value) for value in column]]).T
    trainer = fresh()
    want = trainer.fit(wide, T, 3, 2, seed=1).loss, trainer.model.predict(wide)
    for frame in frames(column, dtype):
        for t in (T, pandas.Series(T), polars.Series(T), pandas.Series(T, index=[9, 8, 7, 6])):
            trainer = fresh()
            same([trainer.fit(frame, t, 3, 2, seed=1).loss, trainer.model.predict(frame)], [*want])
            assert trainer.evaluate(frame, t) == trainer.evaluate(wide, T)


@pytest.mark.parametrize(
    ("column", "got"),
    [
        (list("abcd"), "'a'"),
        (["1", "2", "3", "4"], "'1'"),
        ([datetime.datetime(2020, 1, 1)] * 4, "dates"),
        ([datetime.timedelta(1)] * 4, "durations"),
        ([b"a"] * 4, "b'a'"),
        ([[1, 2], [3, 4]] * 2, r"\[1, 2\]"),
    ],
)
def test_what_is_no_number_is_told_by_column(column: list[Any], got: str) -> None:
    for frame in frames(column):
        trainer = fresh()
        calls = (
            lambda f=frame, r=trainer: r.fit(f, T),
            lambda f=frame, r=trainer: r.model.predict(f),
            lambda f=frame, r=trainer: r.evaluate(f, T),
        )
        for call in calls:
            with pytest.raises(TypeError, match=rf"x: expected numbers in column 'b', got .*{got}"):
                call()
        with pytest.raises(TypeError, match=r"validation_data x: expected numbers in column 'b'"):
            trainer.fit(np.zeros((4, 2)), T, validation_data=(frame, T))
        with pytest.raises(TypeError, match=rf"t: expected numbers, got .*{got}"):
            trainer.fit(np.zeros((4, 2)), frame["b"])


def test_kinds_of_one_library() -> None:
    a = pandas.Series(A)
    wrong = {
        "categories": pandas.Categorical(list("abca")),
        "Timestamp": pandas.date_range("2020", periods=4, tz="UTC"),
        "Period": pandas.period_range("2020", periods=4, freq="M"),
        "Interval": pandas.interval_range(0, 4),
        "complex": [1j, 2, 3, 4],
    }
    for got, column in wrong.items():
        with pytest.raises(TypeError, match=rf"x: expected numbers in column 'b', got .*{got}"):
            fresh().fit(pandas.DataFrame({"a": a, "b": column}), T)
    columns = {
        "'a'": polars.Series(list("abca"), dtype=polars.Categorical),
        "'b'": polars.Series(list("babb"), dtype=polars.Enum(["a", "b"])),
        "Struct": polars.Series([{"q": 1}] * 4),
        "Array": polars.Series([[1, 2]] * 4, dtype=polars.Array(polars.Int64, 2)),
    }
    for got, column in columns.items():
        with pytest.raises(TypeError, match=rf"x: expected numbers in column 'b', got .*{got}"):
            fresh().fit(polars.DataFrame({"a": A, "b": column}), T)
    with pytest.raises(TypeError, match=r"x: expected a table in memory.*\.collect\(\)"):
        fresh().fit(polars.DataFrame({"a": A, "b": A}).lazy(), T)
    twice = pandas.DataFrame(np.arange(8).reshape(4, 2), columns=["a", "a"])
    np.testing.assert_array_equal(
        fresh().model.predict(twice), fresh().model.predict(twice.to_numpy())
    )


@pytest.mark.parametrize(
    ("column", "dtype"),
    [
        ([1.0, None, 2.0, 3.0], None),
        ([1, None, 2, 3], "Int64"),
        ([True, None, True, False], "boolean"),
        ([True, None, True, False], None),
    ],
)
def test_missing_values_are_told_by_column(column: list[Any], dtype: str | None) -> None:
    for frame in frames(column, dtype):
        trainer = fresh()
        before = [np.asarray(parameter).copy() for parameter in trainer.model.parameters()]
        missing = "expected finite numbers, got a missing value in column 'b', row 1; fill it in"
        with pytest.raises(ValueError, match=f"^x: {missing}"):
            trainer.fit(frame, T)
        with pytest.raises(ValueError, match=f"^x: {missing}"):
            trainer.fit(frame, T, validation_split=0.5)
        with pytest.raises(ValueError, match=f"^validation_data x: {missing}"):
            trainer.fit(np.zeros((4, 2)), T, validation_data=(frame, T))
        with pytest.raises(ValueError, match=r"^t: expected finite.*missing value, row 1; fill"):
            trainer.fit(np.zeros((4, 2)), frame["b"])
        same(before, [np.asarray(parameter) for parameter in trainer.model.parameters()])
        assert np.isnan(trainer.model.predict(frame)[1]).all()  # as of an array
        with pytest.warns(RuntimeWarning, match="nan"):
            trainer.fit(frame, T, 1, allow_nonfinite=True)
    infinite = pandas.DataFrame({"a": A, "price": [1, 2, 3, np.inf]})
    with pytest.raises(ValueError, match=r"x: .*an infinite one in column 'price', row 3"):
        fresh().fit(infinite, T)


class Stream:
    """Batches of two rows, with something that happens in one pass, instead of one batch."""

    def __init__(self, at: int, what: Any, passes: int = 1) -> None:
        self.at, self.what, self.passes, self.begun = at, what, passes, 0

    def __iter__(self) -> Iterator[Any]:
        self.begun += 1
        random = np.random.default_rng(2)
        for i in range(4):
            if self.begun == self.passes and i == self.at:
                if isinstance(self.what, Exception):
                    raise self.what
                if self.what is None:
                    return
                yield self.what
            else:
                yield random.normal(size=(2, 2)).astype("float32"), np.array([0, 1])


X2 = np.zeros((2, 2), "float32")


@pytest.mark.parametrize(
    ("what", "error", "message"),
    [
        (KeyError("mine"), KeyError, "mine"),
        (StopIteration(), RuntimeError, "StopIteration"),  # PEP 479
        ((np.zeros((2, 3)), [0, 1]), ValueError, "x has 3 features"),
        ((X2, [0, 1, 2]), ValueError, r"t: expected shape \(2,\)"),
        ((X2, [0, 7]), ValueError, "t: expected class indices"),
        ((X2 * np.nan, [0, 1]), ValueError, "x: expected finite"),
        ((X2[:0], []), ValueError, "x: expected at least one row"),
        ((X2,), TypeError, "x: expected batches"),
        ("batch", TypeError, "x: expected batches"),
        (7, TypeError, "x: expected batches"),
    ],
    ids=str,
)
@pytest.mark.parametrize("passes", [1, 2])
def test_after_a_wrong_batch_the_whole_steps_stand(
    what: Any, error: type[Exception], message: str, passes: int
) -> None:
    trainer, other = fresh(), fresh()
    with pytest.raises(error, match=message) as raised:
        trainer.fit(Stream(2, what, passes), max_epoch=3)
    if isinstance(what, KeyError):
        assert raised.value is what
    if passes > 1:
        other.fit(Stream(4, None), max_epoch=passes - 1)
    whole = [batch for _, batch in zip(range(2), Stream(4, None), strict=False)]
    other.fit(whole, max_epoch=1)
    same(*[[np.asarray(p) for p in t.model.parameters()] for t in (trainer, other)])
    assert len(trainer.history.loss) == passes - 1
    trainer.fit(Stream(4, None), max_epoch=1)  # and it goes on


def test_passes_that_differ() -> None:
    trainer = fresh()
    history = trainer.fit(Stream(2, None, passes=2), max_epoch=3)  # the second has two batches
    assert len(history.loss) == 3
    with pytest.raises(
        ValueError, match="got none in pass 2; what its __iter__ returns has to beg"
    ):
        trainer.fit(Stream(0, None, passes=2), max_epoch=3)
    assert len(trainer.history.loss) == 4
    once = iter(list(Stream(4, None)))
    with pytest.raises(TypeError, match=r"x: .*iterator, which is used up after one epoch"):
        trainer.fit(once, max_epoch=2)
    assert len(trainer.fit(once, max_epoch=1).loss) == 5


def test_batches_beside_targets() -> None:
    batches = fm.batches(X2, [0, 1], 1)
    message = (
        r"^x: expected an array of .*RowBatches; an iterable of batches \(x, t\) goes without t"
    )
    with pytest.raises(TypeError, match=message):
        fresh().fit(batches, [0, 1], max_epoch=1)
    with pytest.raises(TypeError, match="generator; an iterable of batches"):
        fresh().evaluate((batch for batch in batches), [0, 1])


def test_none_among_the_batches_is_not_their_end() -> None:
    class Parts:
        def __iter__(self) -> Iterator[Any]:
            yield from [(X2, [0, 1]), None, (X2, [1, 0])]

    with pytest.raises(TypeError, match=r"x: expected batches \(x, t\).*, got None"):
        fresh().fit(Parts(), max_epoch=1)


def test_a_torch_loader_of_narrow_rows(torch: Any) -> None:
    x, t = torch.randint(0, 255, (40, 2), dtype=torch.uint8), torch.randint(0, 3, (40,))
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, t), batch_size=8)
    trainer, other = fresh(), fresh()
    got = trainer.fit(loader, max_epoch=2)
    want = other.fit(fm.batches(x, t, 8), max_epoch=2)
    same([got.loss], [want.loss])
