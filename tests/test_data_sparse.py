"""Sparse tables: the bits of dense ones, without a dense copy of all rows."""

from typing import Any

import numpy as np
import pytest

import fastmlp as fm
from subprocesses import output_of
from test_data_narrow import classes, same, trained

sparse = pytest.importorskip("scipy.sparse")

ROWS, FEATURES = 1_300, 500
SIZES = (FEATURES, 8, 3)


def table(rows: int = ROWS, dtype: str = "float32", density: float = 0.05) -> Any:
    x = sparse.random_array(
        (rows, FEATURES), density=density, format="csr", rng=np.random.default_rng(2)
    )
    if dtype == "bool":
        return x.astype(bool)
    return (x * 100).astype(dtype)


@pytest.mark.parametrize("rows", [ROWS, 40])  # small tables become dense ones
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint8", "bool"])
def test_fit_and_predict(rows: int, dtype: str) -> None:
    x, t = table(rows, dtype), classes(rows)
    dense = x.toarray()
    same(trained(x, t, SIZES), trained(dense, t, SIZES))
    model = fm.MLP(SIZES, seed=1)
    np.testing.assert_array_equal(model.predict(x), model.predict(dense))
    trainer = fm.Trainer(model, fm.optim.SGD(model.parameters(), lr=0.1))
    assert trainer.evaluate(x, t, "accuracy") == trainer.evaluate(dense, t, "accuracy")


@pytest.mark.parametrize("strategy", ["lanes", "dense"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"shuffle": False, "batch_size": 8},
        {"validation_split": 0.3, "metrics": ["accuracy"]},
        {"callbacks": [lambda info: None]},
    ],
    ids=str,
)
def test_options(strategy: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTMLP_STRATEGY", strategy)
    x, t = table(), classes(ROWS)
    sizes = (FEATURES, 3)
    same(trained(x, t, sizes, **options), trained(x.toarray(), t, sizes, **options))


def test_other_forms() -> None:
    x, t = table(), classes(ROWS)
    want = trained(x.toarray(), t, SIZES)
    for form in ("csc", "coo", "lil", "dok", "bsr"):
        same(trained(x.asformat(form), t, SIZES), want)
        same(
            trained(x.asformat(form), t, SIZES, validation_split=0.1)[:1],
            trained(x.toarray(), t, SIZES, validation_split=0.1)[:1],
        )
    same(trained(sparse.csr_matrix(x), t, SIZES), want)
    wide = x.copy()
    wide.indices, wide.indptr = wide.indices.astype("int64"), wide.indptr.astype("int64")
    same(trained(wide, t, SIZES), want)
    data = (x.toarray()[:900], t[:900])
    same(
        trained(x, t, SIZES, validation_data=(x[:900], t[:900])),
        trained(x.toarray(), t, SIZES, validation_data=data),
    )


def test_values_given_twice_add_up() -> None:
    x = table()
    coo = x.tocoo()
    rows, columns = coo.coords
    doubled = sparse.csr_array(
        (np.tile(coo.data, 2), (np.tile(rows, 2), np.tile(columns, 2))), shape=x.shape
    )
    unsorted = sparse.csr_array((x.data[::-1].copy(), x.indices[::-1].copy(), x.indptr.copy()))
    model = fm.MLP(SIZES, seed=1)
    np.testing.assert_array_equal(model.predict(doubled), model.predict(2 * x.toarray()))
    before = unsorted.data.copy()
    unsorted.resize(x.shape)
    np.testing.assert_array_equal(model.predict(unsorted), model.predict(unsorted.toarray()))
    np.testing.assert_array_equal(before, unsorted.data)  # left as it was


def test_batches_of_sparse_rows() -> None:
    x, t = table(), classes(ROWS)
    pieces = [(x[i : i + 650], t[i : i + 650]) for i in (0, 650)]
    dense = [(x.toarray(), t) for x, t in pieces]
    same(trained(pieces, None, SIZES), trained(dense, None, SIZES))


@pytest.mark.parametrize("rows", [ROWS, 40])
def test_indices_that_lead_nowhere(rows: int) -> None:
    x, t = table(rows), classes(rows)
    for change in ("indices", "low", "indptr", "order", "rows"):
        wrong = x.copy()
        wrong.has_canonical_format = True  # as if nobody had looked
        if change == "indices":
            wrong.indices[-1] = FEATURES
        elif change == "low":
            wrong.indices[3] = -1
        elif change == "indptr":
            wrong.indptr[-1] += 1
        elif change == "order":
            wrong.indptr[5] = wrong.indptr[9] + 1
        else:
            wrong.indptr = wrong.indptr[:-1]
        model = fm.MLP(SIZES)
        with pytest.raises(ValueError, match="x: expected sparse rows whose indices fit"):
            model.predict(wrong)
        before = [np.asarray(p).copy() for p in model.parameters()]
        trainer = fm.Trainer(model, fm.optim.SGD(model.parameters(), lr=0.1))
        with pytest.raises(ValueError, match="x: expected sparse rows whose indices fit"):
            trainer.fit(wrong, t)
        same(before, [np.asarray(p) for p in model.parameters()])


def test_wrong_tables() -> None:
    x, t = table(), classes(ROWS)
    bad = x.copy()
    bad.data[700] = np.nan
    row = int(np.searchsorted(x.indptr, 700, side="right")) - 1
    with pytest.raises(ValueError, match=rf"x: expected finite numbers, got NaN in row {row}, col"):
        trained(bad, t, SIZES)
    with pytest.raises(ValueError, match=r"x has 500 features.*takes 7"):
        trained(x, t, (7, 3))
    with pytest.raises(ValueError, match=r"t: expected shape \(1300,\)"):
        trained(x, t[:-1], SIZES)
    with pytest.raises(ValueError, match="t has 1299 rows, but x has 1300"):
        trained(x, t[:-1], SIZES, validation_split=0.5)
    with pytest.raises(TypeError, match=r"x: .*real numbers.*complex128"):
        trained(x.astype(complex), t, SIZES)
    with pytest.raises(ValueError, match=r"x: expected shape \(rows, features\).*\(1300,\)"):
        trained(sparse.coo_array(np.ones(1300)), t, (1, 3))
    with pytest.raises(TypeError, match=r"t: .*sparse.*toarray"):
        trained(x, sparse.csr_array(t[:, None]), SIZES)
    with pytest.raises(TypeError, match="t: expected targets, got None"):
        trained(x, None, SIZES)
    with pytest.raises(TypeError, match=r"x: .*sparse.*toarray"):
        fm.MLP(SIZES)(x)


def test_there_is_no_dense_copy() -> None:
    """In a process of its own, whose peak of memory is measured."""
    out = output_of(
        """
        import resource
        import numpy as np
        import scipy.sparse
        import fastmlp as fm

        def peak():
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

        x = scipy.sparse.random_array((60_000, 5_000), density=0.001, format="csr",
                                      rng=np.random.default_rng(0)).astype("float32")
        t = np.arange(60_000) % 10
        model = fm.MLP((5_000, 4, 10))
        trainer = fm.Trainer(model, fm.optim.SGD(model.parameters(), lr=1e-3))
        trainer.fit(x[:1_000], t[:1_000], 1, 64)
        before = peak()
        trainer.fit(x, t, 1, 64, validation_split=0.2, metrics="accuracy")
        model.predict(x)
        trainer.evaluate(x, t)
        print(peak() - before)
        """
    )
    assert float(out) < 60  # MiB; as a dense table they would be 1144


def test_large_sparse_tables_of_estimators(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn")
    from fastmlp.sklearn import MLPClassifier, _data

    x, t = table(), classes(ROWS)
    given = {"hidden_layer_sizes": (5,), "max_iter": 4, "random_state": 0, "early_stopping": True}
    dense = MLPClassifier(**given).fit(x.toarray(), t)
    monkeypatch.setattr(_data, "AT_ONCE", 1000)
    kept = MLPClassifier(**given).fit(x, t)
    same(kept.coefs_, dense.coefs_)
    same([kept.predict_proba(x)], [dense.predict_proba(x.toarray())])
