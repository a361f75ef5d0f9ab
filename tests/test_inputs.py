"""What people hand over: frames, tensors, masked and sparse arrays, labels of all kinds."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import fastmlp as fm

X = np.array([[1, 1, 1], [2, 0, 2]], "f4")


@pytest.fixture
def model() -> fm.Sequential:
    return fm.MLP([3, 2], seed=0)


def test_arrays_of_any_kind(model: fm.Sequential) -> None:
    want = model.predict(X)
    buffer = bytearray(X.nbytes + 1)
    buffer[1:] = X.tobytes()
    record = np.zeros(2, [("pad", "i1"), ("x", "f4", 3)])
    record["x"] = X
    for x in (
        X.tolist(),
        X.astype("f2"),
        X.astype("g"),
        X.astype("u1"),
        X.astype(">f4"),
        X.astype(object),
        np.array([[Decimal(1), Fraction(1), True], [2, 0, 2.0]], dtype=object),
        np.asfortranarray(X),
        X[::-1][::-1],
        np.frombuffer(buffer, "f4", 6, 1).reshape(2, 3),  # not aligned
        record["x"],
        np.asmatrix(X),
        fm.tensor(X),
    ):
        np.testing.assert_allclose(model.predict(x), want, rtol=1e-6)
        np.testing.assert_allclose(model(x), want, rtol=1e-6)
    one = np.broadcast_to(np.float32(1), (5, 3))
    np.testing.assert_array_equal(model.predict(one), model.predict(np.ones((5, 3))))


def test_an_output_that_is_not_aligned_is_refused(model: fm.Sequential) -> None:
    out = np.frombuffer(bytearray(17), "f4", 4, 1).reshape(2, 2)
    with pytest.raises(ValueError, match="out: expected an array aligned"):
        model.predict(X, out=out)


def test_no_rows(model: fm.Sequential) -> None:
    x = np.zeros((0, 3), "f4")
    assert model.predict(x).shape == model(x).shape == (0, 2)
    assert model.predict(x, out=np.zeros((0, 2), "f4")).shape == (0, 2)
    for loss_fn in (fm.MSELoss(), fm.MSELoss("sum")):
        loss = loss_fn(model(x), np.zeros((0, 2)))
        loss.backward()
        assert loss.item() == 0 if loss_fn.reduction == "sum" else np.isnan(loss.item())
        assert np.asarray(model[0].weight.grad).tolist() == [[0] * 3] * 2
    with pytest.raises(ValueError, match="x: expected at least one row"):
        fm.Trainer(model, fm.SGD(model.parameters()), fm.MSELoss()).fit(x, np.zeros((0, 2)))


def test_what_is_no_array_of_numbers(model: fm.Sequential) -> None:
    masked = np.ma.masked_array(X, X > 1)
    for x, error, match in (
        (masked, TypeError, "mask"),
        (None, TypeError, "None"),
        ("text", TypeError, "text"),
        ({"a": 1}, TypeError, "dict"),
        ([[1, 2, 3], [4, 5]], (TypeError, ValueError), "length"),
        (np.array([["a", "b", "c"]]), TypeError, "text"),
        (np.array([["2020", "2021", "2022"]], "M8[Y]"), TypeError, "date"),
        (X + 1j, TypeError, "complex"),
        (np.array([[1, None, 2]]), TypeError, "None"),
        (np.float32(3), ValueError, "shape"),
    ):
        for call in (model.predict, model):
            with pytest.raises(error, match=f"(?i)x: .*{match}"):  # type: ignore[arg-type]
                call(x)
    with pytest.raises(TypeError, match=r"t: .*mask"):
        fm.MSELoss()(model(X), np.ma.masked_array(np.zeros((2, 2))))
    with pytest.raises(TypeError, match="mask"):
        model[0].bias = np.ma.masked_array(np.zeros(2))


def test_sparse_matrices(model: fm.Sequential) -> None:
    sparse = pytest.importorskip("scipy.sparse")
    for x in (sparse.csr_matrix(X), sparse.coo_array(X)):
        with pytest.raises(TypeError, match=r"\.toarray\(\)"):
            model(x)


def test_torch_tensors(model: fm.Sequential, torch: Any) -> None:
    x, want = torch.from_numpy(X), model.predict(X)
    for same in (x, x.double(), x.int(), x.bfloat16(), x.half(), x.t().contiguous().t()):
        np.testing.assert_array_equal(model.predict(same), want)
    for wrong, hint in (
        (x.clone().requires_grad_(), ".detach()"),
        (x.to_sparse(), ".to_dense()"),
        (x.to("meta"), ".cpu()"),
        (torch.complex(x, x), "complex"),
    ):
        with pytest.raises(TypeError, match=f"x: .*{hint}".replace("(", r"\(").replace(")", r"\)")):
            model.predict(wrong)


def test_frames(model: fm.Sequential) -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"a": [1.0, 2], "b": [True, False], "c": pd.array([1, 2], dtype="Int64")})
    np.testing.assert_allclose(model.predict(frame), model.predict(X), rtol=1e-6)
    np.testing.assert_allclose(model.predict(frame.astype("f8")), model.predict(X), rtol=1e-6)
    trainer = fm.Trainer(model, fm.SGD(model.parameters()))
    trainer.fit(frame, pd.Series([0, 1]), max_epoch=1)
    missing = frame.assign(c=pd.array([1, None], dtype="Int64"))
    assert np.isnan(model.predict(missing)[1]).all()
    with pytest.raises(ValueError, match=r"missing value in column 'c', row 1"):
        trainer.fit(missing, [0, 1], max_epoch=1)
    for values in (
        ["x", "y"],
        pd.Categorical(["x", "y"]),
        pd.to_datetime(["2020-01-01", "2020-01-02"]),
        pd.array(["x", None], dtype="string"),
    ):
        with pytest.raises(TypeError, match=r"x: .*'city'"):
            model.predict(frame[["a", "b"]].assign(city=values))
    with pytest.raises(TypeError, match=r"t: .*categories"):
        trainer.fit(frame, pd.Series(["a", "b"], dtype="category"), max_epoch=1)


def test_labels(model: fm.Sequential) -> None:
    loss_fn = fm.CrossEntropyLoss()
    want = loss_fn(model(X), np.array([0, 1])).item()
    for t in (
        [0, 1],
        np.array([0, 1], "u1"),
        np.array([False, True]),
        np.eye(2),
        np.eye(2, dtype=int),
    ):
        assert loss_fn(model(X), t).item() == pytest.approx(want)
    for t, match in (
        (np.array([[0], [1]]), r"write t\[:, 0\]"),
        (np.array([0.0, 1.0]), r"astype\(int\).*MSELoss"),
        (np.array(["a", "b"]), "text"),
        (np.array([0, 2]), "0 to 1"),
        (np.array([0, -1]), "0 to 1"),
        ([[0.0, 255.0]] * 2, "probabilities"),
        ([[-0.5, 1.5]] * 2, "probabilities"),
        ([[0.5, 0.1]] * 2, "sum to 1"),
        ([[np.nan, 1.0]] * 2, "NaN"),
    ):
        with pytest.raises((TypeError, ValueError), match=match):
            loss_fn(model(X), t)
        with pytest.raises((TypeError, ValueError), match=match):
            fm.Trainer(model, fm.SGD(model.parameters())).fit(X, t)


def test_a_single_output_has_no_classes() -> None:
    model = fm.MLP([3, 1])
    trainer = fm.Trainer(model, fm.SGD(model.parameters()))
    for t in (np.zeros((2, 1)), np.zeros(2, int)):
        with pytest.raises(ValueError, match=r"MSELoss.*BCEWithLogitsLoss"):
            trainer.fit(X, t, max_epoch=1)
        with pytest.raises(ValueError, match=r"MSELoss.*BCEWithLogitsLoss"):
            fm.CrossEntropyLoss()(model(X), t)


@pytest.mark.parametrize("where", ["x", "t", "validation_data x", "validation_data t"])
@pytest.mark.parametrize(("bad", "name"), [(np.nan, "NaN"), (np.inf, "inf"), (-np.inf, "-inf")])
def test_data_that_are_no_numbers(where: str, bad: float, name: str) -> None:
    data = {part: np.zeros((30, 2), "f4") for part in ("x", "validation_data x")}
    data |= {part: np.zeros((30, 1), "f4") for part in ("t", "validation_data t")}
    data[where][17, -1] = bad
    model = fm.MLP([2, 3, 1], seed=0)
    before = model.state_dict()
    trainer = fm.Trainer(model, fm.SGD(model.parameters()), fm.MSELoss())
    validation = data["validation_data x"], data["validation_data t"]
    with pytest.raises(ValueError, match=f"{where}: expected .*numbers, got {name}.*17"):
        trainer.fit(data["x"], data["t"], validation_data=validation)
    for key, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[key])
    assert len(trainer.history.loss) == 0


def test_infinite_data_on_request() -> None:
    model = fm.MLP([1, 1], seed=0)
    trainer = fm.Trainer(model, fm.SGD(model.parameters()), fm.MSELoss(), on_nonfinite="ignore")
    trainer.fit(np.full((4, 1), np.inf), np.zeros((4, 1)), max_epoch=1, allow_nonfinite=True)
    with np.errstate(over="ignore"), pytest.raises(ValueError, match="infinity in row 2"):
        trainer.fit(np.array([[0.0], [0], [1e300]]), np.zeros((3, 1)))  # too large for float32


# --- what the loss has become


def _diverging(on_nonfinite: str) -> fm.Trainer:
    model = fm.MLP([2, 8, 1], seed=0)
    optimizer = fm.SGD(model.parameters(), lr=1e6)
    return fm.Trainer(model, optimizer, fm.MSELoss(), on_nonfinite=on_nonfinite)


@pytest.mark.parametrize("batch_size", [None, 8])
def test_a_loss_that_is_no_number(batch_size: int | None) -> None:
    x = np.random.default_rng(0).normal(size=(64, 2)).astype("f4")
    t = np.ones((64, 1), "f4")
    with pytest.warns(RuntimeWarning, match=r"epoch \d+; a smaller learning rate") as caught:
        _diverging("warn").fit(x, t, max_epoch=50, batch_size=batch_size)
    assert caught[0].filename == __file__
    _diverging("ignore").fit(x, t, max_epoch=50, batch_size=batch_size)
    trainer = _diverging("raise")
    with pytest.raises(FloatingPointError, match=r"epoch \d+"):
        trainer.fit(x, t, max_epoch=500, batch_size=1)
    assert len(trainer.history.loss) < 100
    with pytest.raises(ValueError, match="on_nonfinite"):
        _diverging("stop")
