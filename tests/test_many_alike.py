"""`fit_many` on networks that are alike, or nearly: each comes to what a fit of its own gives."""

from typing import Any

import numpy as np
import pytest

import fastmlp as fm
from test_many import VALUES, X, same, trainer_of_values


@pytest.fixture(autouse=True, params=[1, 3])
def _threads(request: pytest.FixtureRequest) -> Any:
    with fm.threads(request.param):
        yield


def test_one_that_differs_among_many_alike_is_named() -> None:
    changes: list[tuple[Any, str]] = [
        (lambda one: setattr(one, "loss_fn", fm.MSELoss(reduction="none")), "reduction"),
        (lambda one: setattr(one, "loss_fn", fm.CrossEntropyLoss()), "t"),
        (lambda one: setattr(one.model[0], "bias", None), ""),
        (lambda one: one.model.append(fm.Linear(3, 2)), "t: expected shape"),
    ]
    for change, message in changes:
        many = [trainer_of_values(i) for i in range(9)]
        change(many[7])
        before = [one.model.state_dict() for one in many]
        if not message:
            fm.fit_many(many, X, VALUES, 1)
            continue
        with pytest.raises((TypeError, ValueError), match=rf"trainers\[7\]: .*({message})"):
            fm.fit_many(many, X, VALUES, 1)
        for one, state in zip(many, before, strict=True):
            for name, value in one.model.state_dict().items():
                np.testing.assert_array_equal(value, state[name])


def _layers(order: str, i: int) -> fm.Trainer:
    """Layers 2-2 by their letters, shared where a letter comes again, and one 2-3."""
    made = {name: fm.Linear(2, 2, dtype="float64") for name in sorted(set(order))}
    model = fm.Sequential(*(made[name] for name in order), fm.Linear(2, 3, dtype="float64"))
    for k, parameter in enumerate(model.parameters()):
        parameter[...] = np.random.default_rng((i, k)).normal(size=parameter.shape)
    return fm.Trainer(model, fm.SGD(model.parameters(), lr=0.001 * (1 + i)), fm.MSELoss())


@pytest.mark.parametrize("orders", [["aba", "abb"], ["aab", "abb", "aba"], ["ab", "aa"]], ids=str)
def test_layers_that_come_again_are_another_network(orders: list[str]) -> None:
    many, solo = (
        [_layers(orders[i % len(orders)], i) for i in range(3 * len(orders))] for _ in range(2)
    )
    fm.fit_many(many, X, VALUES, 3, 20, seed=range(len(many)))
    for i, (a, b) in enumerate(zip(many, solo, strict=True)):
        b.fit(X, VALUES, 3, 20, seed=i)
        same(a, b)


def _changed(kind: str, i: int) -> fm.Trainer:
    one = trainer_of_values(i)
    if kind == "precision" and i % 2:
        one.model.to(precision="bf16")
    elif kind == "tied":
        one = _layers("abc", i)
        one.model[0].weight = one.model[1 + i % 2].weight
        one.optimizer = fm.SGD(one.model.parameters(), lr=0.01)
    elif kind == "frozen" and i % 2:
        one.model[0].weight.requires_grad = False
    elif kind == "evaluation":
        one.model.eval()
    elif kind == "trained before":
        one.fit(X, VALUES, 1, seed=5)
    elif kind == "part":
        parameters = list(one.model.parameters())
        one.optimizer = fm.SGD(parameters[:2] if i % 2 else parameters[2:], lr=0.1)
    return one


@pytest.mark.parametrize(
    "kind", ["precision", "tied", "frozen", "evaluation", "trained before", "part"]
)
def test_what_is_nearly_alike(kind: str) -> None:
    many, solo = ([_changed(kind, i) for i in range(6)] for _ in range(2))
    fm.fit_many(many, X, VALUES, 3, 20, seed=range(6))
    for i, (a, b) in enumerate(zip(many, solo, strict=True)):
        b.fit(X, VALUES, 3, 20, seed=i)
        same(a, b)
        assert a.model.training == b.model.training
        np.testing.assert_array_equal(a.model.predict(X), b.model.predict(X))


def test_plans_that_were_taken_over_are_made_anew_after_a_change() -> None:
    many, solo = ([trainer_of_values(i) for i in range(4)] for _ in range(2))
    for group in (many, solo):
        for i, one in enumerate(group):
            if group is solo:
                one.fit(X, VALUES, 2, seed=i)
        if group is many:
            fm.fit_many(many, X, VALUES, 2, seed=range(4))
        for one in group:
            one.model[1] = fm.ReLU()
            one.fit(X, VALUES, 2, seed=9)
    for a, b in zip(many, solo, strict=True):
        same(a, b)
        for p, q in zip(a.model.parameters(), b.model.parameters(), strict=True):
            np.testing.assert_array_equal(p.grad, q.grad)


def test_callbacks_of_some() -> None:
    seen: list[int] = []
    many = [trainer_of_values(i) for i in range(4)]
    own = [[], [lambda info: seen.append(info.epoch)], [], [lambda info: True]]
    fm.fit_many(many, X, VALUES, 3, callbacks=own, seed=0)
    assert seen == [0, 1, 2]
    assert [len(one.history.loss) for one in many] == [3, 3, 3, 1]
    for wrong in ([[], [5], [], []], [[print], [5], [], []]):
        with pytest.raises(TypeError, match=r"trainers\[1\]: callbacks: expected functions"):
            fm.fit_many(many, X, VALUES, 3, callbacks=wrong)
    assert [len(one.history.loss) for one in many] == [3, 3, 3, 1]


@pytest.mark.parametrize("dtypes", [("float64", "float32"), ("float64",)], ids="-".join)
def test_an_optimizer_of_former_parameters_is_named(dtypes: tuple[str, ...]) -> None:
    many = [trainer_of_values(i) for i in range(5)]
    if len(dtypes) == 1:
        for i in (0, 1, 2, 4):
            model = many[i].model.to(dtype="float64")
            many[i] = fm.Trainer(model, fm.SGD(model.parameters(), lr=0.1), fm.MSELoss())
    for dtype in dtypes:
        many[3].model.to(dtype=dtype)
    with pytest.raises((RuntimeError, TypeError), match=r"trainers\[3\]: optimizer: "):
        fm.fit_many(many, X, VALUES, 2)
    assert all(len(one.history.loss) == 0 for one in many)


def test_a_metric_that_changes_what_it_gets() -> None:
    def worse(y: Any, t: Any) -> float:
        t *= 2
        return float(t.sum())

    many, solo = ([trainer_of_values(i) for i in range(4)] for _ in range(2))
    options: dict[str, Any] = {"validation_split": 0.2, "metrics": worse, "seed": 1}
    fm.fit_many(many, X, VALUES, 2, **options)
    for a, b in zip(many, solo, strict=True):
        b.fit(X, VALUES, 2, **options)
        same(a, b)


def test_functions_see_targets_as_they_were_given() -> None:
    def dtype_of(y: Any, t: Any) -> float:
        return float(t.dtype.itemsize)

    for t, rows in ((VALUES, None), (VALUES.tolist(), [range(9, 80), range(70), None])):
        many = [trainer_of_values(i) for i in range(3)]
        options: dict[str, Any] = {"validation_split": 0.2, "metrics": [dtype_of, "mae"]}
        fm.fit_many(many, X, t, 2, rows=rows and [r and list(r) for r in rows], seed=1, **options)
        for one in many:
            assert one.history.metrics["dtype_of"].tolist() == [8, 8]


def test_metrics_that_pass_by_once() -> None:
    many = [trainer_of_values(i) for i in range(3)]
    fm.fit_many(many, X, VALUES, 2, validation_split=0.2, metrics=iter(["mae", "mse"]), seed=1)
    assert all(list(one.history.metrics) == ["mae", "mse"] for one in many)


def test_zeros_of_another_sign() -> None:
    def group() -> list[fm.Trainer]:
        made = []
        for i, slope in enumerate((0.0, -0.0)):
            model = fm.Sequential(*fm.MLP([2, 3], seed=i), fm.LeakyReLU(slope))
            made.append(fm.Trainer(model, fm.SGD(model.parameters(), lr=0.01), fm.MSELoss()))
        return made

    many, solo = group(), group()
    fm.fit_many(many, X, VALUES, 2, seed=0)
    for a, b in zip(many, solo, strict=True):
        b.fit(X, VALUES, 2, seed=0)
        assert a.model.predict(X).tobytes() == b.model.predict(X).tobytes()


def test_a_buffer_in_the_place_of_a_parameter() -> None:
    many = [trainer_of_values(i) for i in range(3)]
    for i, one in enumerate(many):
        if i == 2:
            one.model[0].weight = fm.Buffer(np.array(one.model[0].weight), requires_grad=True)
        one.optimizer = fm.SGD([one.model[0].weight], lr=0.1)
    with pytest.raises(ValueError, match=r"trainers\[2\]: optimizer: expected parameters of"):
        fm.fit_many(many, X, VALUES, 2)


def test_a_tuple_is_no_early_stopping() -> None:
    many = [trainer_of_values(i) for i in range(3)]
    search = fm.EarlyStopping(patience=2)
    given = [search, search, tuple(search.options.values())]
    with pytest.raises(TypeError, match=r"trainers\[2\]: early_stopping: expected an Early"):
        fm.fit_many(many, X, VALUES, 2, validation_split=0.2, early_stopping=given)
    assert all(len(one.history.loss) == 0 for one in many)
