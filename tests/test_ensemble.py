"""`Ensemble`: mean and spread of the predictions of many models, in one native call."""

import copy
import pickle
import threading
from typing import Any

import numpy as np
import pytest

import fastmlp as fm

RNG = np.random.default_rng(0)


def _models(count: int, sizes: list[int] | None = None, **options: Any) -> list[fm.Module]:
    kinds = ["tanh", "relu", "sigmoid"]
    return [
        fm.MLP(sizes or [2, 10, 3], activation=kinds[i % 3], seed=i, **options)
        for i in range(count)
    ]


def _expected(models: Any, x: Any) -> tuple[Any, Any]:
    each = np.stack([np.asarray(model.predict(x)) for model in models]).astype(np.float64)
    return each.mean(axis=0), each.std(axis=0)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rows", [0, 1, 3, 64, 65, 1000])
@pytest.mark.parametrize("count", [1, 7, 150])
def test_mean_and_deviation(count: int, rows: int, dtype: str, threads: int) -> None:
    models = _models(count, dtype=dtype)
    ensemble = fm.Ensemble(models)
    x = RNG.normal(size=(rows, 2))
    tolerance = (
        {"rtol": 1e-6, "atol": 1e-6} if dtype == "float32" else {"rtol": 1e-12, "atol": 1e-14}
    )
    mean, std = _expected(models, x)
    with fm.threads(threads):
        for _ in range(2):  # with the runners of the call before, too
            ours, spread = ensemble.predict(x, return_std=True)
            np.testing.assert_allclose(ours, mean, **tolerance)
            np.testing.assert_allclose(spread, std, **tolerance)
            assert ours.dtype == spread.dtype == dtype
            np.testing.assert_array_equal(ensemble.predict(x), ours)
            each = ensemble.predict_each(x)
            expected = np.stack([model.predict(x) for model in models])
            np.testing.assert_array_equal(each, expected)


def test_a_row_and_wider_rows_in_turns() -> None:
    models = _models(5)
    ensemble = fm.Ensemble(models)
    row = [0.1, -0.4]
    mean, std = ensemble.predict(row, return_std=True)
    assert mean.shape == std.shape == (3,)
    np.testing.assert_array_equal(mean, ensemble.predict([row])[0])
    assert ensemble.predict_each(row).shape == (5, 3)
    for rows in (1, 8, 1, 300, 8):
        x = RNG.normal(size=(rows, 2))
        np.testing.assert_allclose(ensemble.predict(x), _expected(models, x)[0], rtol=1e-5)


def test_results_do_not_depend_on_threads() -> None:
    ensemble = fm.Ensemble(_models(300, [3, 40, 40, 2]))
    x = RNG.normal(size=(50, 3))
    results = []
    for threads in (1, 2, 5):
        with fm.threads(threads):
            results.append(ensemble.predict(x, return_std=True))
    for mean, std in results[1:]:
        np.testing.assert_array_equal(mean, results[0][0])
        np.testing.assert_array_equal(std, results[0][1])


def test_models_of_every_kind() -> None:
    def norm(i: int) -> fm.Module:
        model = fm.Sequential(
            fm.Linear(4, 8), fm.BatchNorm1d(8), fm.ReLU(), fm.Dropout(0.5), fm.Linear(8, 2)
        )
        model(RNG.normal(size=(20, 4)))
        return model

    class Gated(fm.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = fm.Linear(4, 2)
            self.scale = 2.0

        def forward(self, x: Any) -> Any:
            return fm.tanh(self.a(x)) * self.scale

    big = fm.MLP([4, 300, 300, 2], seed=0)
    models = [norm(0), Gated(), big, fm.Sequential(fm.Flatten(), fm.Linear(4, 2)), norm(1)]
    x = RNG.normal(size=(9, 4))
    for some in (models[:3], models, [models[1], *models]):
        ensemble = fm.Ensemble(some)
        mean, std = ensemble.predict(x, return_std=True)
        np.testing.assert_allclose(mean, _expected(some, x)[0], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(std, _expected(some, x)[1], rtol=1e-4, atol=1e-6)


def test_it_follows_its_models() -> None:
    models = _models(4)
    ensemble = fm.Ensemble(models)
    x = RNG.normal(size=(6, 2))
    for step in range(4):
        np.testing.assert_allclose(ensemble.predict(x), _expected(models, x)[0], rtol=1e-5)
        if step == 0:
            models[0][0].weight[...] = 0.25
        elif step == 1:
            models[1][0].weight = fm.Parameter(np.ones((10, 2), "float32"))
        else:
            fm.fit_many(
                [fm.Trainer(m, fm.SGD(m.parameters(), lr=0.1)) for m in models],
                x,
                [0, 1, 2, 0, 1, 2],
                2,
            )
    models[2].double()
    with pytest.raises(TypeError, match="models: expected all of one dtype"):
        ensemble.predict(x)


def test_from_several_threads() -> None:
    ensemble = fm.Ensemble(_models(100))
    x = RNG.normal(size=(5, 2))
    expected = ensemble.predict(x)
    wrong: list[int] = []

    def ask() -> None:
        for _ in range(200):
            if not np.array_equal(ensemble.predict(x), expected):
                wrong.append(1)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_one_file(tmp_path: Any) -> None:
    ensemble = fm.Ensemble([*_models(5), fm.Sequential(fm.Linear(2, 3), fm.Softmax(1))])
    fm.save(ensemble, tmp_path / "all.safetensors")
    loaded = fm.load(tmp_path / "all.safetensors")
    assert isinstance(loaded, fm.Ensemble)
    assert len(loaded) == 6
    x = RNG.normal(size=(7, 2))
    np.testing.assert_array_equal(loaded.predict_each(x), ensemble.predict_each(x))
    other = fm.Ensemble([*_models(5), fm.Sequential(fm.Linear(2, 3), fm.Softmax(1))])
    for model in other:
        for parameter in model.parameters():
            parameter[...] = 0
    assert fm.load(tmp_path / "all.safetensors", into=other) is other
    np.testing.assert_array_equal(other.predict_each(x), ensemble.predict_each(x))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e))])
def test_copies(copied: Any) -> None:
    ensemble = fm.Ensemble(_models(3))
    x = RNG.normal(size=(7, 2))
    before = ensemble.predict(x)
    other = copied(ensemble)
    ensemble[0][0].weight[...] = 0
    np.testing.assert_array_equal(other.predict(x), before)
    assert len(other) == 3
    assert "3 models" in repr(other)


def test_sparse_tables_and_files(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sparse = pytest.importorskip("scipy.sparse")
    monkeypatch.setattr("fastmlp._rows.AT_ONCE", 40)
    ensemble = fm.Ensemble(_models(3))
    x = RNG.normal(size=(90, 2)) * (RNG.random((90, 2)) > 0.5)
    mean, std = ensemble.predict(x, return_std=True)
    ours, spread = ensemble.predict(sparse.csr_array(x), return_std=True)
    np.testing.assert_allclose(ours, mean, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(spread, std, rtol=1e-5, atol=1e-7)
    each = ensemble.predict_each(sparse.csr_array(x))
    np.testing.assert_allclose(each, ensemble.predict_each(x), rtol=1e-5, atol=1e-6)
    large = np.memmap(tmp_path / "x", np.float32, "w+", shape=(1 << 21, 2))
    large[::1000] = 1
    monkeypatch.undo()
    np.testing.assert_array_equal(ensemble.predict(large), ensemble.predict(np.array(large)))


BAD: list[tuple[Any, type[Exception], str]] = [
    ([], ValueError, "models: expected at least one, got none"),
    (3, TypeError, "models: expected a list of modules, got"),
    (fm.MLP([2, 3]), TypeError, "models: expected a list of modules, got"),
    ([fm.MLP([2, 3]), 3], TypeError, r"models\[1\]: expected a Module, got"),
    ([fm.MLP([2, 3]), fm.MLP([3, 3])], ValueError, r"models\[1\]: expected 2 inputs, .*got 3"),
    ([fm.MLP([2, 3]), fm.MLP([2, 4])], ValueError, r"models\[1\]: expected 3 outputs, .*got 4"),
    ([fm.MLP([2, 3]), fm.MLP([2, 3], dtype="float64")], TypeError, "models: expected all of one"),
]


@pytest.mark.parametrize(("models", "error", "message"), BAD)
def test_wrong_models(models: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        fm.Ensemble(models)


def test_wrong_inputs() -> None:
    ensemble = fm.Ensemble(_models(2))
    with pytest.raises(ValueError, match="x has 3 features, but each of the models takes 2"):
        ensemble.predict(np.zeros((4, 3)))
    with pytest.raises(TypeError, match="x: expected"):
        ensemble.predict([["a", "b"]])
    with pytest.raises(TypeError, match="return_std"):
        ensemble.predict(np.zeros((4, 2)), return_std=3)
