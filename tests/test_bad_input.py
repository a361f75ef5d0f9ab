"""Wrong calls raise the right error, which names the argument and what came; nothing changes."""

import re
from typing import Any

import numpy as np
import pytest

import fastmlp as fm
from bad_calls import TABLE, Call
from bad_fit_calls import TRAINING


class TwoPaths(fm.Module):
    """Their widths do not fit together."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = fm.Linear(2, 3)

    def forward(self, x: Any) -> Any:
        return self.layer(x) + x


class WithNumpy(TwoPaths):
    """Calls what cannot be compiled."""

    def forward(self, x: Any) -> Any:
        return np.exp(self.layer(x))


class Spoilt:
    """A callback whose method is none."""

    on_epoch_end = 3


def odd(y: Any, t: Any) -> float:
    """A metric."""
    return 0.0


def world() -> dict[str, Any]:
    """The names that the calls of the table may use: those of fastmlp, and fresh objects."""
    rng = np.random.default_rng(0)
    model = fm.MLP([2, 5, 3], "tanh", seed=1)
    regression = fm.MLP([2, 4, 1], "tanh", output_activation="sigmoid", seed=2)
    x, t = rng.normal(size=(6, 2)).astype("float32"), np.array([0, 1, 2, 0, 1, 2])
    u = rng.uniform(size=(6, 1)).astype("float32")
    trainer = fm.Trainer(model, fm.SGD(model.parameters(), lr=0.1, momentum=0.9))
    mse = fm.MSELoss()

    def fit(x: Any = x, t: Any = t, **options: Any) -> fm.History:
        return trainer.fit(x, t, **{"max_epoch": 2, **options})

    def fit_regression(loss_fn: Any, t: Any) -> fm.History:
        optimizer = fm.SGD(regression.parameters(), lr=0.1)
        return fm.Trainer(regression, optimizer, loss_fn).fit(x, t, max_epoch=2)

    normed = fm.Sequential(fm.Linear(2, 4), fm.BatchNorm1d(4), fm.Linear(4, 3))

    def fit_normed(**options: Any) -> fm.History:
        trainer = fm.Trainer(normed, fm.SGD(normed.parameters(), lr=0.1))
        return trainer.fit(x, t, max_epoch=2, **options)

    read_only = np.zeros((6, 3), "float32")
    read_only.flags.writeable = False
    with fm.no_grad():
        unrecorded_loss = mse(regression(x), u)
    ours = vars(fm) | {name: getattr(fm, name) for name in fm.__all__}  # some come when asked for
    return ours | {
        "np": np,
        "NAN": float("nan"),
        "INF": float("inf"),
        "model": model,
        "regression": regression,
        "trainer": trainer,
        "own": trainer.optimizer,
        "S": fm.lr_scheduler,
        "to_onnx": fm.to_onnx,
        "from_onnx": fm.from_onnx,
        "x": x,
        "t": t,
        "w": np.ones(6),
        "u": u,
        "mse": mse,
        "bce": fm.BCELoss(),
        "nll": fm.NLLLoss(),
        "cross_entropy": fm.CrossEntropyLoss(),
        "fit": fit,
        "fit_regression": fit_regression,
        "fit_normed": fit_normed,
        "norm": fm.BatchNorm1d(2),
        "unsettled": fm.BatchNorm1d(2, track_running_stats=False),
        "scaler": fm.Standardize(2),
        "parameters": list(model.parameters()),
        "weight": model[0].weight,
        "state": model.state_dict(),
        "other_state": {name: value + 1 for name, value in model.state_dict().items()},
        "read_only": read_only,
        "unrecorded_loss": unrecorded_loss,
        "two_paths": TwoPaths(),
        "with_numpy": WithNumpy(),
        "Spoilt": Spoilt,
        "odd": odd,
        "square": fm.Linear(3, 3),
        "memory": np.ones(100, "float32"),
        "a": np.zeros((4, 2)),
        "b": np.zeros((2, 5)),
    }


def _weights(names: dict[str, Any]) -> list[np.ndarray]:
    models = names["model"], names["regression"], names["square"]
    return [np.array(p) for m in models for p in m.parameters()]


@pytest.mark.parametrize("row", [*TABLE, *TRAINING], ids=lambda row: row[0])
def test_bad_call(row: Call) -> None:
    call, error, *patterns = row
    names = world()
    weights, threads = _weights(names), fm.get_num_threads()
    with pytest.raises(error) as caught:
        exec(call, names)
    message = str(caught.value)
    for pattern in patterns:
        assert re.search(pattern, message), f"{pattern!r} does not match {message!r}"
    for value, start in zip(_weights(names), weights, strict=True):
        np.testing.assert_array_equal(value, start)
    assert fm.get_num_threads() == threads
    assert names["trainer"].optimizer.lr == 0.1
    assert len(names["trainer"].history.loss) == 0
    assert len(names["fit"]().loss) == 2, "the model cannot be trained afterwards"
    assert not np.array_equal(np.asarray(names["weight"]), weights[0])


def test_the_table_is_long_and_its_rows_differ() -> None:
    assert len(TABLE) >= 60
    rows = [*TABLE, *TRAINING]
    assert len({row[0] for row in rows}) == len(rows)


@pytest.mark.parametrize(
    "call",
    [
        "model(x)",
        "model(x[0])",
        "model.predict(x, out=np.zeros((6, 3), 'float32'))",
        "mse(regression(x), u[:, 0]).backward()",
        "bce(regression(x), u).backward()",
        "cross_entropy(model(x), t).backward()",
        "cross_entropy(model(x), t.astype('uint8')).backward()",
        "model(x).backward(np.ones((6, 3)))",
        "fit(validation_data=(x, t), max_grad=1.0, batch_size=4, seed=0, callbacks=[])",
        "fit(shuffle=np.bool_(False), max_epoch=np.int64(1))",
        "fit(early_stopping=EarlyStopping(), validation_split=np.float32(0.5), metrics=odd)",
        "fit(callbacks=EarlyStopping(9, 0, 'odd', mode='max'), validation_split=0.5, metrics=odd)",
        "fit([(x, t)], None, accumulate=np.int32(2), callbacks=callbacks.LearningRateMonitor())",
        "trainer.evaluate(x, t, metrics=('accuracy', 'top_3_accuracy', odd))",
        "fit_regression(bce, u)",
        "model.jacobian(x)",
        "model.input_gradient(x, t, cross_entropy)",
        "model.load_state_dict(other_state)",
        "square.predict(memory[:9].reshape(3, 3), memory[9:18].reshape(3, 3))",
        "ops.affine_forward(a, b)",
    ],
)
def test_good_call(call: str) -> None:
    """What the bad calls are made of works."""
    exec(call, world())
