"""Fits by methods that look at all rows: native steps, Ctrl-C within them, options, devices."""

import _thread
import pickle
import sys
import threading
from typing import Any

import numpy as np
import pytest

import fastmlp as fm
from fastmlp.nn.utils import parameters_to_vector
from test_second_order import T, X, layers, network


def test_a_step_of_a_fit_calls_no_python() -> None:
    counts = []
    for iterations in (2, 2, 60):  # the first one may import something
        model = network()
        options = {"line_search_fn": "strong_wolfe", "max_iter": iterations}
        trainer = fm.Trainer(model, fm.LBFGS(model.parameters(), **options), fm.MSELoss())
        calls: list[Any] = []
        sys.setprofile(lambda *event, calls=calls: calls.append(event))
        try:
            trainer.fit(X, T, max_epoch=5, progress=False)
        finally:
            sys.setprofile(None)
        counts.append(len(calls))
        if iterations == 60:
            evaluations = trainer.optimizer.state_dict()["state"][0]["func_evals"]
            assert evaluations > 100
    assert counts[1] == counts[2]


def test_ctrl_c_within_a_step_undoes_it() -> None:
    model = network()
    endless = {"max_iter": 10**9, "max_eval": 10**9, "tolerance_grad": 0, "tolerance_change": 0}
    optimizer = fm.LBFGS(model.parameters(), lr=1e-6, history_size=1)
    trainer = fm.Trainer(model, optimizer, fm.MSELoss())
    trainer.fit(X, T, 2)
    values = np.array(parameters_to_vector(model.parameters()))
    state = pickle.dumps(optimizer.state_dict()["state"])
    optimizer.param_groups[0].update(endless)
    # Its thread gets to run, for the fit computes without the GIL.
    threading.Timer(0.3, _thread.interrupt_main).start()
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(X, T, 1)
    assert len(trainer.history.loss) == 2
    np.testing.assert_array_equal(values, np.array(parameters_to_vector(model.parameters())))
    assert pickle.dumps(optimizer.state_dict()["state"]) == state
    optimizer.max_iter = 20
    trainer.fit(X, T, 1)
    assert len(trainer.history.loss) == 3


def test_options_that_a_callback_sets_hold_for_the_next_step() -> None:
    model = network()
    optimizer = fm.LBFGS(model.parameters(), max_iter=5, lr=0.1)
    counts = []

    def change(info: fm.EpochInfo) -> None:
        counts.append(optimizer.state_dict()["state"][0]["n_iter"])
        optimizer.max_iter = 1
        optimizer.param_groups[0]["lr"] = 0.05

    history = fm.Trainer(model, optimizer, fm.MSELoss()).fit(X, T, 3, callbacks=change)
    assert counts == [5, 6, 7]
    assert history.learning_rate.tolist() == [0.1, 0.05, 0.05]


def test_rows_that_are_converted_by_the_batch() -> None:
    rows = np.random.default_rng(0).integers(0, 256, (100_000, 3), dtype=np.uint8)
    targets = np.sin(rows.sum(1, keepdims=True) / 100)
    losses = []
    for x in (rows, rows.astype("float32")):
        model = fm.MLP([3, 2, 1], activation="tanh", seed=0)
        trainer = fm.Trainer(model, fm.LBFGS(model.parameters(), lr=0.1, max_iter=2), fm.MSELoss())
        losses.append(trainer.fit(x, targets, 2).loss.tolist())
    assert losses[0] == losses[1]


@pytest.mark.parametrize("kind", ["batch norm", "frozen", "prelu"])
def test_a_fit_equals_steps_with_a_closure(kind: str) -> None:
    """Where layers see the whole batch, or parameters do not move."""
    results = []
    for fits in (True, False):
        fm.manual_seed(1)
        other = fm.PReLU(dtype="float64") if kind == "prelu" else fm.BatchNorm1d(4, dtype="float64")
        model = layers(other, fm.Tanh())
        if kind == "frozen":
            next(model.parameters()).requires_grad = False
        optimizer = fm.LBFGS(model.parameters(), line_search_fn="strong_wolfe", max_iter=4)

        def closure(model: Any = model, optimizer: Any = optimizer) -> Any:
            optimizer.zero_grad()
            loss = fm.MSELoss()(model(X), T)
            loss.backward()
            return loss

        if fits:
            fm.Trainer(model, optimizer, fm.MSELoss()).fit(X, T, 3)
        else:
            for _ in range(3):
                optimizer.step(closure)
        results.append({name: np.array(value) for name, value in model.state_dict().items()})
    assert set(results[0]) == set(results[1])
    for name, value in results[0].items():
        np.testing.assert_allclose(value, results[1][name], rtol=1e-9, atol=1e-10, err_msg=name)


def test_levenberg_marquardt_on_a_device(device: str) -> None:
    losses, jacobians = [], []
    for place in ("cpu", device):
        fm.manual_seed(0)
        model = layers(fm.LayerNorm(4, dtype="float64"), fm.Tanh()).to(place)
        jacobians.append(model.weight_jacobian(X))
        optimizer = fm.LevenbergMarquardt(model.parameters())
        losses.append(fm.Trainer(model, optimizer, fm.MSELoss()).fit(X, T, 5).loss)
        assert all(parameter.device == place for parameter in model.parameters())
    np.testing.assert_allclose(*jacobians, rtol=1e-12)
    np.testing.assert_allclose(*losses, rtol=1e-8)
