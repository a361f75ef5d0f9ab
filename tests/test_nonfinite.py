"""Values that nobody wanted: in the data an error, in the loss a warning that names the epoch."""

import io
import sys
import warnings
from typing import Any

import numpy as np
import pytest

import fastmlp as fm
from device_arrays import CudaArray
from training import weights_of

X = np.random.default_rng(0).normal(size=(40, 3))
T = X[:, :1] ** 2


def new_trainer(lr: float = 0.01, device: str = "cpu", **options: Any) -> fm.Trainer:
    model = fm.MLP([3, 8, 1], device=device, seed=0)
    return fm.Trainer(model, fm.SGD(model.parameters(), lr=lr), fm.MSELoss(), **options)


def with_value(array: Any, row: int, value: float) -> Any:
    changed = array.astype("f8")
    changed[row, -1] = value
    return changed


BAD = [(np.nan, "NaN"), (np.inf, "infinity"), (-np.inf, "-infinity")]


@pytest.mark.parametrize(("value", "called"), BAD)
@pytest.mark.parametrize("name", ["x", "t", "validation_data x", "validation_data t"])
def test_data_are_refused_before_anything_changes(
    name: str, value: float, called: str, device: str
) -> None:
    trainer = new_trainer(device=device)
    before = weights_of(trainer.model)
    data = {"x": X, "t": T, "validation_data x": X, "validation_data t": T}
    data[name] = with_value(data[name], 17, value)
    validation = data["validation_data x"], data["validation_data t"]
    with pytest.raises(ValueError, match=f"^{name}: expected .*{called} in row 17"):
        trainer.fit(data["x"], data["t"], validation_data=validation, progress=False)
    for a, b in zip(before, weights_of(trainer.model), strict=True):
        np.testing.assert_array_equal(a, b)
    assert len(trainer.history.loss) == 0
    assert trainer.model.training


@pytest.mark.parametrize("row", [0, 1023, 1024, 4999])
def test_the_first_row_is_named_wherever_it_is(row: int) -> None:
    x = np.zeros((5000, 3), "f4")
    x[row:, 1] = np.nan
    with pytest.raises(ValueError, match=f"x: .* row {row}, column 1"):
        new_trainer().fit(x, x[:, :1], progress=False)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_data_are_let_pass_on_request(value: float) -> None:
    for x, t in ((with_value(X, 3, value), T), (X, with_value(T, 3, value))):
        trainer = new_trainer(on_nonfinite="ignore")
        history = trainer.fit(x, t, max_epoch=1, allow_nonfinite=True, progress=False)
        assert not np.isfinite(history.loss[0])


def test_values_beyond_float32() -> None:
    """NumPy warns of the conversion, too."""
    with (
        np.errstate(all="ignore"),
        pytest.raises(ValueError, match=r"x: .*infinity in row 5"),
    ):
        new_trainer().fit(with_value(X, 5, 1e300), T, progress=False)


@pytest.mark.cuda
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_data_on_a_device(value: float) -> None:
    x, t = X.astype("f4"), T.astype("f4")
    for name, bad in (("x", x), ("t", t)):
        bad = with_value(bad, 17, value).astype("f4")
        arrays = {"x": CudaArray(x), "t": CudaArray(t), name: CudaArray(bad)}
        with pytest.raises(ValueError, match=f"{name}: .* row 17"):
            new_trainer(device="cuda").fit(**arrays, progress=False)
    large = CudaArray(np.full((40, 3), 3e38, "f4"))  # finite, though their squares are not
    trainer = new_trainer(device="cuda", on_nonfinite="ignore")
    trainer.fit(large, CudaArray(t), max_epoch=1, progress=False)
    assert len(trainer.history.loss) == 1


@pytest.mark.parametrize("batch_size", [None, 8])
def test_divergence_is_told(batch_size: int | None, device: str) -> None:
    trainer = new_trainer(lr=1e6, device=device)
    with pytest.warns(RuntimeWarning, match="smaller learning rate") as seen:
        history = trainer.fit(X, T, max_epoch=50, batch_size=batch_size, progress=False)
    epoch = int(np.argmin(np.isfinite(history.loss)))
    assert f"in epoch {epoch};" in str(seen[0].message)
    assert (len(seen), seen[0].filename, len(history.loss)) == (1, __file__, 50)
    with pytest.warns(RuntimeWarning, match="in epoch 50;"):
        trainer.fit(X, T, max_epoch=2, batch_size=batch_size, progress=False)


def test_divergence_that_only_the_validation_shows() -> None:
    trainer = new_trainer(lr=1e30)
    with pytest.warns(RuntimeWarning, match="the validation loss became .* in epoch 0"):
        trainer.fit(X, T, max_epoch=1, batch_size=None, validation_data=(X, T), progress=False)


@pytest.mark.parametrize("batch_size", [None, 8])
def test_divergence_may_end_the_training(batch_size: int | None, device: str) -> None:
    trainer = new_trainer(lr=1e6, device=device, on_nonfinite="raise")
    with pytest.raises(FloatingPointError, match=r"epoch \d+"):
        trainer.fit(X, T, max_epoch=5000, batch_size=batch_size, progress=False)
    loss = trainer.history.loss
    assert not np.isfinite(loss[-1])
    assert len(loss) < 5000


def test_divergence_may_be_ignored_and_a_warning_may_be_an_error() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        history = new_trainer(1e6, on_nonfinite="ignore").fit(X, T, max_epoch=50, progress=False)
        assert len(history.loss) == 50
        trainer = new_trainer(1e6)
        with pytest.raises(RuntimeWarning, match="epoch"):
            trainer.fit(X, T, max_epoch=50, progress=False)
        assert len(trainer.history.loss) == 50
    with pytest.raises(ValueError, match="on_nonfinite: expected one of warn, raise, ignore"):
        new_trainer(on_nonfinite="shout")


class Logger:
    """A stream in place of stderr that is a logger's."""

    def write(self, text: str) -> int:
        return len(text)


class Broken(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError

    def isatty(self) -> bool:
        return True


class Odd(Logger):
    def isatty(self) -> bool:
        raise OSError("gone")


def closed() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


STREAMS = [Logger(), Broken(), Odd(), closed(), None, object()]


@pytest.mark.parametrize("stream", STREAMS, ids=lambda stream: type(stream).__name__)
@pytest.mark.parametrize("progress", ["auto", True, False])
def test_a_training_needs_no_stderr(
    stream: Any, progress: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does the warning."""
    monkeypatch.setattr(sys, "stderr", stream)
    assert len(new_trainer().fit(X, T, max_epoch=12, progress=progress).loss) == 12
    trainer = new_trainer(1e6)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda *a, **k: stream.write("")  # as where nobody collects them
        assert len(trainer.fit(X, T, max_epoch=50, progress=progress).loss) == 50


class Notebook(Logger):
    """As ipykernel's stream: no terminal, and yet a line there may change."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return False


Notebook.__module__ = "ipykernel.iostream"


def test_progress_in_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Notebook()
    monkeypatch.setattr(sys, "stderr", stream)
    new_trainer().fit(X, T, max_epoch=2)
    assert stream.text.startswith("\repoch 2/2  loss")
    assert stream.text.endswith("\n")
