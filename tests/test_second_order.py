"""Methods that look at all rows: L-BFGS beside torch's, and how `Trainer` works with them."""

import copy
import pickle
import re
from typing import Any

import numpy as np
import pytest

import fastmlp as fm
from fastmlp.nn.utils import parameters_to_vector, to_torch, vector_to_parameters

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3))
T = np.stack([np.sin(X.sum(1)), X[:, 0] * X[:, 1]], 1)
WEIGHTS = RNG.uniform(0.2, 2, 40)
# Options, and how many steps agree to 1e-10 before rounding errors have grown.
LBFGS: list[tuple[dict[str, Any], int]] = [
    ({"lr": 0.5}, 3),
    ({"lr": 0.3, "history_size": 3, "max_iter": 7}, 5),
    ({"line_search_fn": "strong_wolfe"}, 2),
    ({"lr": 30.0, "line_search_fn": "strong_wolfe", "max_iter": 5}, 3),
    ({"lr": 1e-3, "line_search_fn": "strong_wolfe", "max_iter": 2}, 4),
    ({"line_search_fn": "strong_wolfe", "max_iter": 4, "history_size": 2, "max_eval": 6}, 6),
    ({"line_search_fn": "strong_wolfe", "max_iter": 1, "max_eval": 1, "lr": 9.0}, 3),
    ({"lr": 0.1, "tolerance_grad": 0.3}, 3),
    ({"lr": 0.1, "tolerance_change": 0.02}, 3),
    ({"max_iter": 1, "lr": 0.2}, 6),
]
EACH = pytest.mark.parametrize(("options", "steps"), LBFGS)


def network(*sizes: int, dtype: str = "float64", seed: int = 0) -> fm.MLP:
    return fm.MLP([*(sizes or (3, 5, 2))], activation="tanh", seed=seed, dtype=dtype)


class Ours:
    """A model with its optimizer, and a step of it."""

    def __init__(self, **options: Any) -> None:
        self.model = network()
        self.optimizer = fm.LBFGS(self.model.parameters(), **options)
        self.calls = 0

    def closure(self) -> Any:
        self.calls += 1
        self.optimizer.zero_grad()
        loss = fm.MSELoss()(self.model(X), T)
        loss.backward()
        return loss

    def step(self) -> float:
        return float(self.optimizer.step(self.closure))

    @property
    def values(self) -> Any:
        return np.array(parameters_to_vector(self.model.parameters()))


class Torch(Ours):
    """The same in torch."""

    def __init__(self, torch: Any, **options: Any) -> None:
        self.torch, self.calls = torch, 0
        model = network()
        layers = torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, 2)
        self.model = torch.nn.Sequential(*layers).double()
        for own, other in zip(self.model.parameters(), model.parameters(), strict=True):
            own.data = torch.tensor(np.array(other))
        self.optimizer = torch.optim.LBFGS(self.model.parameters(), **options)

    def closure(self) -> Any:
        self.calls += 1
        self.optimizer.zero_grad()
        y = self.model(self.torch.tensor(X))
        loss = self.torch.nn.functional.mse_loss(y, self.torch.tensor(T))
        loss.backward()
        return loss

    def step(self) -> float:
        return float(self.optimizer.step(self.closure).detach())

    @property
    def values(self) -> Any:
        vector = self.torch.nn.utils.parameters_to_vector(self.model.parameters())
        return vector.detach().numpy()


@EACH
def test_steps_are_those_of_torch(torch: Any, options: dict[str, Any], steps: int) -> None:
    ours, theirs = Ours(**options), Torch(torch, **options)
    before = ours.values
    for _ in range(steps):
        assert ours.step() == pytest.approx(theirs.step(), abs=1e-10)
        np.testing.assert_allclose(ours.values, theirs.values, rtol=0, atol=1e-10)
        assert ours.calls == theirs.calls
    assert np.abs(ours.values - before).max() > 1e-4 or "max_eval" in options


@EACH
def test_states_are_those_of_torch(torch: Any, options: dict[str, Any], steps: int) -> None:
    ours, theirs = Ours(**options), Torch(torch, **options)
    assert ours.optimizer.state_dict() == theirs.optimizer.state_dict()
    ours.step(), theirs.step()
    state, other = ours.optimizer.state_dict(), theirs.optimizer.state_dict()
    assert state["param_groups"] == other["param_groups"]
    assert {*state["state"][0]} == {*other["state"][0]} - {"al"}
    for name, value in state["state"][0].items():
        for a, b in zip(np.atleast_1d(value), np.atleast_1d(other["state"][0][name]), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10)
    crossed, back = Torch(torch, **options), Ours(**options)
    vector_to_parameters(ours.values, back.model.parameters())
    torch.nn.utils.vector_to_parameters(torch.tensor(ours.values), crossed.model.parameters())
    crossed.optimizer.load_state_dict(to_torch(state))
    back.optimizer.load_state_dict(other)
    ours.step(), crossed.step(), back.step()
    np.testing.assert_allclose(crossed.values, ours.values, rtol=0, atol=1e-10)
    np.testing.assert_allclose(back.values, ours.values, rtol=0, atol=1e-10)


@pytest.mark.parametrize("how", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
@pytest.mark.parametrize("kind", ["LBFGS", "LevenbergMarquardt"])
def test_copies_go_on_alike(kind: str, how: Any) -> None:
    model = network()
    trainer = fm.Trainer(model, getattr(fm, kind)(model.parameters()), fm.MSELoss())
    trainer.fit(X, T, max_epoch=3)
    twin, other = how(trainer), fm.Trainer(model := network(seed=3), type(trainer.optimizer)(
        model.parameters()), fm.MSELoss())  # fmt: skip
    other.load_state_dict(trainer.state_dict())
    for each in (trainer, twin, other):
        each.fit(X, T, max_epoch=3)
        assert each.history.loss.tolist() == trainer.history.loss.tolist()
        assert len(each.history.loss) == 6
    assert trainer.optimizer.state_dict()["param_groups"] == repr_free(twin)["param_groups"]


def repr_free(trainer: fm.Trainer) -> dict[str, Any]:
    return trainer.optimizer.state_dict()


def test_a_step_that_fails_changes_nothing() -> None:
    ours = Ours(line_search_fn="strong_wolfe")
    ours.step()
    before, state = ours.values, pickle.dumps(ours.optimizer.state_dict())

    def closure() -> Any:
        if ours.calls > 25:
            raise KeyboardInterrupt
        return ours.closure()

    with pytest.raises(KeyboardInterrupt):
        ours.optimizer.step(closure)
    assert ours.calls > 22
    np.testing.assert_array_equal(ours.values, before)
    assert pickle.dumps(ours.optimizer.state_dict()) == state


def test_a_loss_that_is_no_number_comes_to_an_end() -> None:
    ours = Ours(lr=1e200)
    with np.errstate(all="ignore"):
        for _ in range(3):
            ours.step()
    searched = Ours(lr=1e300, line_search_fn="strong_wolfe")
    assert searched.step() >= searched.step()
    assert np.isfinite(searched.values).all()


@pytest.mark.parametrize("kind", ["LBFGS", "LevenbergMarquardt"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_fit_is_a_step_an_epoch(kind: str, dtype: str, weights: Any) -> None:
    models = [network(dtype=dtype) for _ in range(2)]
    optimizers = [getattr(fm, kind)(model.parameters()) for model in models]
    loss_fn = fm.MSELoss()
    trainer = fm.Trainer(models[0], optimizers[0], loss_fn)
    history = trainer.fit(X, T, max_epoch=4, sample_weight=weights, validation_data=(X[:9], T[:9]))
    model, optimizer = models[1], optimizers[1]
    losses, validated = [], []
    w = np.ones(40) if weights is None else weights
    root = np.sqrt(w / w.sum() / 2)[:, None]

    def closure() -> Any:
        optimizer.zero_grad()
        loss = loss_fn(model(X), T, sample_weight=weights)
        loss.backward()
        return loss

    for _ in range(4):
        if kind == "LBFGS":
            losses.append(float(optimizer.step(closure)))
        else:
            losses.append(
                optimizer.step(
                    lambda: (model.predict(X) - T) * root,
                    lambda: model.weight_jacobian(X) * root[:, :, None],
                )
            )
        validated.append(float(loss_fn(model(X[:9]), T[:9])))
    tolerance = 1e-10 if dtype == "float64" else 2e-3
    np.testing.assert_allclose(history.loss, losses, rtol=tolerance)
    np.testing.assert_allclose(history.validation_loss, validated, rtol=tolerance)
    assert history.report_step.tolist() == []
    assert history.loss[3] < history.loss[0]


def test_a_fit_has_all_that_other_fits_have() -> None:
    model = network()
    trainer = fm.Trainer(model, fm.LBFGS(model.parameters(), max_iter=3), fm.MSELoss())
    seen = []
    early = fm.EarlyStopping(patience=2, monitor="loss", min_delta=0.05)
    history = trainer.fit(
        X, T, 50, validation_split=0.25, metrics="r2", callbacks=seen.append, early_stopping=early
    )
    assert len(history.loss) == len(seen) < 50
    assert early.stopped_epoch == len(seen) - 1
    assert [info.loss for info in seen] == history.loss.tolist()
    assert len(history.metrics["r2"]) == len(history.validation_loss) == len(seen)
    loss = float(fm.MSELoss()(model(X[30:]), T[30:]))
    assert loss == pytest.approx(history.validation_loss[history.best_epoch], rel=1e-9)
    # From one method to another, in a callback.
    model = network()
    trainer = fm.Trainer(model, fm.Adam(model.parameters(), lr=0.01), fm.MSELoss())

    def change(info: fm.EpochInfo) -> None:
        if info.epoch == 2:
            info.trainer.optimizer = fm.LevenbergMarquardt(model.parameters())

    history = trainer.fit(X, T, 30, callbacks=change)
    assert history.loss[29] < 0.1 * history.loss[2] < history.loss[0]


def test_an_interrupted_fit_has_whole_epochs() -> None:
    model = network()
    trainer = fm.Trainer(model, fm.LBFGS(model.parameters(), max_iter=3), fm.MSELoss())
    values = []

    def stop(info: fm.EpochInfo) -> None:
        values.append(np.array(parameters_to_vector(model.parameters())))
        if info.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainer.fit(X, T, 9, callbacks=stop)
    assert len(trainer.history.loss) == 3
    np.testing.assert_array_equal(values[-1], np.array(parameters_to_vector(model.parameters())))
    trainer.fit(X, T, 2)
    assert len(trainer.history.loss) == 5


def test_classes_and_functions_as_losses() -> None:
    classes = (X[:, 0] > 0).astype(int)
    for loss_fn in (
        fm.CrossEntropyLoss(),
        fm.FunctionLoss(lambda y, t: (y[:, 0] - t).square().mean()),
    ):
        model = network(dtype="float32")
        optimizer = fm.LBFGS(model.parameters(), line_search_fn="strong_wolfe")
        history = fm.Trainer(model, optimizer, loss_fn).fit(X, classes, 5)
        assert history.loss[-1] < 0.05 * history.loss[0]


def test_many_fits_at_once() -> None:
    def trainers() -> list[fm.Trainer]:
        models = [network(seed=i) for i in range(4)]
        kinds = [fm.LBFGS, fm.LevenbergMarquardt, fm.Adam, fm.LBFGS]
        return [
            fm.Trainer(model, kind(model.parameters()), fm.MSELoss())
            for model, kind in zip(models, kinds, strict=True)
        ]

    together, alone = trainers(), trainers()
    with fm.threads(2):
        fm.fit_many(together, X, T, max_epoch=4)
    for a, b in zip(together, alone, strict=True):
        b.fit(X, T, max_epoch=4)
        np.testing.assert_allclose(a.history.loss, b.history.loss, rtol=1e-9)
    with pytest.raises(ValueError, match=r"trainers\[0\]: batch_size: .*LBFGS.* 40 rows"):
        fm.fit_many(together, X, T, batch_size=8)


@pytest.mark.parametrize("options", [{"lr": 0.1}, {"line_search_fn": "strong_wolfe"}])
def test_on_a_device(device: str, options: dict[str, Any]) -> None:
    losses = []
    for place in ("cpu", device):
        model = network().to(place)
        optimizer = fm.LBFGS(model.parameters(), **options)
        losses.append(fm.Trainer(model, optimizer, fm.MSELoss()).fit(X, T, 3).loss)
        assert all(parameter.device == place for parameter in model.parameters())
    np.testing.assert_allclose(*losses, rtol=1e-8)


# Wrong calls


def fit(kind: str = "LBFGS", model: Any = None, loss_fn: Any = None, **options: Any) -> Any:
    model = model or network()
    optimizer = getattr(fm, kind)(model.parameters())
    own = {name: options.pop(name) for name in ("scheduler",) if name in options}
    if own:
        own = {"scheduler": fm.lr_scheduler.StepLR(optimizer, 3)}
    trainer = fm.Trainer(model, optimizer, loss_fn or fm.MSELoss(), **own)
    return trainer.fit(**{"x": X, "t": T, "max_epoch": 1, **options})


def layers(*others: fm.Module) -> fm.Sequential:
    return fm.Sequential(
        fm.Linear(3, 4, dtype="float64"), *others, fm.Linear(4, 2, dtype="float64")
    )


WRONG: list[tuple[Any, type[Exception], str]] = [
    (lambda: fit(batch_size=39), ValueError, "batch_size: .*LBFGS.*40 rows, got 39"),
    (lambda: fit("LevenbergMarquardt", batch_size=8), ValueError, "batch_size: .*got 8"),
    (lambda: fit(accumulate=2), ValueError, "accumulate: expected 1 .* got 2"),
    (lambda: fit(max_grad=1.0), ValueError, "max_grad: expected None"),
    (lambda: fit(scheduler=True), ValueError, "scheduler: expected None .* StepLR"),
    (lambda: fit(x=[(X, T)], t=None), ValueError, "x: expected all rows"),
    (lambda: fit(model=layers(fm.Dropout(0.1))), ValueError, "model: expected no Dropout"),
    (
        lambda: fit("LevenbergMarquardt", loss_fn=fm.L1Loss()),
        ValueError,
        "loss_fn: expected MSELoss .* L1Loss",
    ),
    (
        lambda: fit("LevenbergMarquardt", layers(fm.BatchNorm1d(4, dtype="float64"))),
        ValueError,
        "model: .*BatchNorm1d",
    ),
    (lambda: fit(x=X[:3]), ValueError, r"\bt\b|\bx\b"),
    (lambda: fit(x=np.where(X > 2, np.nan, X)), ValueError, "NaN"),
    (lambda: fm.LBFGS([]), ValueError, "params"),
    (lambda: fm.LBFGS(network()), TypeError, r"parameters\(\)"),
    (lambda: fm.LBFGS([{"params": p} for p in network().parameters()]), ValueError, "one group"),
    (lambda: fm.LBFGS(network().parameters(), lr=-1), ValueError, "lr.*-1"),
    (lambda: fm.LBFGS(network().parameters(), max_iter=0), ValueError, "max_iter.*0"),
    (lambda: fm.LBFGS(network().parameters(), history_size=1.5), TypeError, "history_size"),
    (lambda: fm.LBFGS(network().parameters(), line_search_fn="wolfe"), ValueError, "'wolfe'"),
    (lambda: fm.LBFGS(network().parameters(), momentum=1), TypeError, "momentum"),
    (lambda: Ours().optimizer.step(), TypeError, "closure"),
    (lambda: Ours().optimizer.step(3), TypeError, "closure: expected a function"),
    (lambda: Ours().optimizer.add_param_group({"params": []}), ValueError, "one group"),
    (lambda: Ours().optimizer.load_state_dict({}), TypeError, "state_dict"),
    (lambda: setattr(Ours().optimizer, "max_itr", 3), AttributeError, "max_iter"),
    (lambda: fm.LevenbergMarquardt(network().parameters(), 0), ValueError, "damping"),
    (lambda: fm.LevenbergMarquardt(network().parameters(), scaling="no"), ValueError, "'no'"),
    (
        lambda: fm.LevenbergMarquardt(network().parameters()).step(lambda: X, lambda: X),
        ValueError,
        r"jacobian: expected 120 x 32 numbers.* \(40, 3\)",
    ),
    (lambda: fm.LevenbergMarquardt(network().parameters()).step(X, X), TypeError, "residuals"),
    (lambda: network().weight_jacobian(X[:, :2]), ValueError, r"\bx\b.*2"),
    (lambda: network().weight_jacobian(X, network().parameters), TypeError, "brackets"),
]


@pytest.mark.parametrize(("call", "error", "message"), WRONG)
def test_wrong_calls(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        call()
    assert re.search(message, str(caught.value)), str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s["state"][0].pop("d"),
        lambda s: s["state"][0].update(d=np.zeros(3)),
        lambda s: s["state"][0].update(n_iter=-1),
        lambda s: s["state"][0].update(ro=[]),
        lambda s: s["state"][0].update(exp_avg=np.zeros(3)),
        lambda s: s["state"].update({1: {}}),
        lambda s: s["param_groups"][0].update(lr=-1),
        lambda s: s["param_groups"][0].update(params=[0]),
        lambda s: s["param_groups"][0].update(momentum=0.5),
    ],
)
def test_wrong_states_change_nothing(change: Any) -> None:
    ours, other = Ours(), Ours()
    ours.step(), other.step()
    state, before = ours.optimizer.state_dict(), pickle.dumps(other.optimizer.state_dict())
    change(state)
    with pytest.raises((TypeError, ValueError), match=r"state_dict|lr"):
        other.optimizer.load_state_dict(state)
    assert pickle.dumps(other.optimizer.state_dict()) == before
