"""Options of losses, alone and with weights of rows, against torch: values, means and gradients."""

import itertools
import pickle
from typing import Any

import numpy as np
import pytest

import fastmlp as fm
from specs import LOSSES, Loss
from weighting import PLACES, ROWS, WEIGHTS, model_of, targets_of, x_of


def torch_loss(torch: Any, values: Any, shares: Any, reduction: str) -> Any:
    """From each value, times its weights, and what each row counts."""
    if reduction == "none":
        return values
    terms = values.numel() / len(values)
    return values.sum() / (shares.sum() * terms) if reduction == "mean" else values.sum()


def check_against(model: fm.Sequential, x: np.ndarray, ours: Any, theirs: Any, torch: Any) -> None:
    """`ours(output)` and `theirs(output)` have the same values and gradients."""
    got = ours(model(x))
    y = torch.from_numpy(model.predict(x)).requires_grad_()
    want = theirs(y)
    assert got.shape == tuple(want.shape)
    np.testing.assert_allclose(got, want.detach().numpy(), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(ours(model.predict(x)), np.asarray(got), rtol=1e-12, atol=1e-14)
    gradient = np.random.default_rng(7).normal(size=got.shape)
    tensor = fm.tensor(y.detach().numpy(), requires_grad=True)
    for output, parameters in ((model(x), model.parameters()), (fm.Identity()(tensor), ())):
        loss = ours(output)
        loss.backward(gradient) if loss.shape else loss.backward()
        for parameter in parameters:
            assert np.isfinite(parameter.grad).all()
    want.backward(torch.from_numpy(gradient) if got.shape else None)
    scale = max(1e-300, float(y.grad.abs().max()))
    np.testing.assert_allclose(tensor.grad, y.grad.numpy(), rtol=0, atol=1e-12 * scale)
    # The parameters' gradients are those of the output's.
    found = [parameter.grad.copy() for parameter in model.parameters()]
    for parameter in model.parameters():
        parameter.grad = None
    model(x).backward(y.grad.numpy())
    for parameter, gradient_found in zip(model.parameters(), found, strict=True):
        size = max(1e-300, float(np.abs(parameter.grad).max()))
        np.testing.assert_allclose(gradient_found, parameter.grad, rtol=0, atol=1e-12 * size)
        parameter.grad = None


@pytest.mark.parametrize("columns", [3, 21])
@pytest.mark.parametrize("place", PLACES)
def test_losses_of_classes(place: str, columns: int, torch: Any) -> None:
    """All options, with class indices and probabilities, and with weights of rows."""
    rng = np.random.default_rng(columns)
    class_weight = rng.uniform(0.2, 3, size=columns)
    indices = targets_of(LOSSES["cross_entropy"], columns)
    some_ignored = indices.copy()
    some_ignored[[0, 4, 9]] = -100
    probabilities = targets_of(LOSSES["cross_entropy(probabilities)"], columns)
    models = {
        "CrossEntropyLoss": model_of(place, columns),
        "NLLLoss": model_of(place, columns, "log_softmax"),
    }
    x = x_of()
    tried = 0
    for kind, t, weight, smoothing, reduction, rows in itertools.product(
        models,
        (indices, some_ignored, probabilities),
        (None, class_weight),
        (0.0, 0.3),
        ("mean", "sum", "none"),
        (None, WEIGHTS),
    ):
        options: dict[str, Any] = {"label_smoothing": smoothing} if smoothing else {}
        if kind == "NLLLoss" and (smoothing or t is probabilities):
            continue
        theirs_weight = None if weight is None else torch.from_numpy(weight)
        theirs = getattr(torch.nn, kind)(weight=theirs_weight, reduction="none", **options)
        shares = torch.ones(ROWS, dtype=torch.float64)
        if rows is not None:
            shares = shares * torch.from_numpy(rows)
        row_weights = shares.clone()
        if t.ndim == 1:
            shares = torch.where(torch.from_numpy(t) < 0, 0.0, shares)
            if weight is not None:
                shares = shares * theirs_weight[np.maximum(t, 0)]

        def reference(
            y: Any,
            t: Any = t,
            theirs: Any = theirs,
            row_weights: Any = row_weights,
            shares: Any = shares,
            reduction: str = reduction,
        ) -> Any:
            values = theirs(y, torch.from_numpy(t)) * row_weights
            return torch_loss(torch, values, shares, reduction)

        ours = getattr(fm, kind)(weight=weight, reduction=reduction, **options)

        def loss(y: Any, ours: Any = ours, t: Any = t, rows: Any = rows) -> Any:
            return ours(y, t, sample_weight=rows)

        check_against(models[kind], x, loss, reference, torch)
        if rows is None and reduction != "none":  # what torch itself says
            y = models[kind].predict(x)
            whole = getattr(torch.nn, kind)(weight=theirs_weight, reduction=reduction, **options)
            want = whole(torch.from_numpy(y), torch.from_numpy(t)).item()
            assert ours(y, t).item() == pytest.approx(want, rel=1e-12)
        tried += 1
    assert tried == 72 + 24


@pytest.mark.parametrize("place", PLACES)
def test_binary_cross_entropy(place: str, torch: Any) -> None:
    columns = 3
    rng = np.random.default_rng(2)
    weights, t = rng.uniform(0.2, 3, size=(2, columns)), targets_of(LOSSES["bce"], columns)
    x, target = x_of(), torch.from_numpy(t)
    rows = torch.from_numpy(WEIGHTS)
    logits, probabilities = model_of(place, columns), model_of(place, columns, "sigmoid")
    for weight, pos, reduction, weighted in itertools.product(
        (None, weights[0]), (None, weights[1], 2.5), ("mean", "sum", "none"), (False, True)
    ):
        as_torch = [None if v is None else torch.from_numpy(np.array(v)) for v in (weight, pos)]
        sample_weight = WEIGHTS if weighted else None
        shares = rows if weighted else torch.ones_like(rows)
        for kind, model, options, theirs in (
            ("BCEWithLogitsLoss", logits, {"pos_weight": pos}, {"pos_weight": as_torch[1]}),
            ("BCELoss", probabilities, {}, {}),
        ):
            ours = getattr(fm, kind)(weight=weight, reduction=reduction, **options)
            none = getattr(torch.nn, kind)(weight=as_torch[0], reduction="none", **theirs)

            def reference(
                y: Any, none: Any = none, shares: Any = shares, r: str = reduction
            ) -> Any:
                return torch_loss(torch, none(y, target) * shares[:, None], shares, r)

            def loss(y: Any, ours: Any = ours, sample_weight: Any = sample_weight) -> Any:
                return ours(y, t, sample_weight=sample_weight)

            check_against(model, x, loss, reference, torch)


@pytest.mark.parametrize("row", LOSSES.values(), ids=lambda row: row.id)
@pytest.mark.parametrize("place", PLACES)
def test_values_and_weights_of_every_loss(row: Loss, place: str, torch: Any) -> None:
    """`reduction="none"` with a gradient, and means and sums with weights of rows."""
    columns = row.outputs(4)
    model = model_of(place, columns, row.head)
    t = targets_of(row, columns)
    shares = torch.from_numpy(WEIGHTS)
    target = torch.from_numpy(t)
    for reduction, weighted in itertools.product(("mean", "sum", "none"), (False, True)):
        ours = row.module(reduction)

        def values(y: Any) -> Any:
            if row.id == "quantile":  # each row and quantile for itself
                return torch.stack(
                    [
                        torch.stack([_pinball(q, y[r, c], target[r, 0]) for c, q in enumerate(Q)])
                        for r in range(ROWS)
                    ]
                )
            none = row.torch(torch.nn, "none")
            return none(y, target)

        def reference(y: Any, reduction: str = reduction, weighted: bool = weighted) -> Any:
            found = values(y)
            own = shares if weighted else torch.ones_like(shares)
            found = found * (own[:, None] if found.ndim == 2 else own)
            return torch_loss(torch, found, own, reduction)

        def loss(y: Any, ours: Any = ours, weighted: bool = weighted) -> Any:
            return ours(y, t, sample_weight=WEIGHTS if weighted else None)

        check_against(model, x_of(), loss, reference, torch)


Q = LOSSES["quantile"].module("mean").quantiles.tolist()


def _pinball(q: float, y: Any, t: Any) -> Any:
    return q * (t - y).clamp(min=0) + (1 - q) * (y - t).clamp(min=0)


def test_losses_keep_their_arrays() -> None:
    weight = np.array([1.0, 2.0, 3.0])
    for loss_fn in (
        fm.CrossEntropyLoss(weight=weight, ignore_index=2, label_smoothing=0.1),
        fm.BCEWithLogitsLoss(pos_weight=weight),
        fm.QuantileLoss([0.1, 0.5, 0.9], reduction="sum"),
        fm.KLDivLoss("batchmean", log_target=True),
    ):
        copy = pickle.loads(pickle.dumps(loss_fn))
        assert repr(copy) == repr(loss_fn)
        assert type(loss_fn).__name__ in repr(loss_fn)
        y = np.random.default_rng(0).normal(size=(4, 3))
        t = y * 0 if not isinstance(loss_fn, fm.CrossEntropyLoss) else np.array([0, 1, 2, 1])
        t = t[:, 0] if isinstance(loss_fn, fm.QuantileLoss) else t
        assert copy(y, t).item() == loss_fn(y, t).item()
    loss_fn = fm.CrossEntropyLoss(weight=weight)
    before = loss_fn(np.eye(3), [0, 1, 2]).item()
    weight[:] = 9
    assert loss_fn(np.eye(3), [0, 1, 2]).item() == before
    with pytest.raises(ValueError, match="read-only"):
        loss_fn.weight[0] = 5


def test_special_cases(torch: Any) -> None:
    rng = np.random.default_rng(0)
    y, t = rng.normal(size=(2, 5, 3))
    t[0] = y[0]
    tensors = torch.from_numpy(y), torch.from_numpy(t)
    assert fm.SmoothL1Loss(beta=0)(y, t).item() == pytest.approx(np.abs(y - t).mean())
    x = fm.tensor(y, requires_grad=True)
    fm.SmoothL1Loss("sum", beta=0)(x, t).backward()
    np.testing.assert_array_equal(x.grad, np.sign(y - t))
    shares = np.abs(t) / np.abs(t).sum(axis=1, keepdims=True)
    for reduction in ("mean", "batchmean", "sum", "none"):
        want = torch.nn.KLDivLoss(reduction=reduction)(tensors[0], torch.from_numpy(shares)).numpy()
        np.testing.assert_allclose(fm.KLDivLoss(reduction)(y, shares), want, rtol=1e-13)
    w = np.array([1, 2, 0, 0.5, 1])
    none = fm.KLDivLoss("none")(y, shares)
    got = fm.KLDivLoss("batchmean")(y, shares, sample_weight=w).item()
    assert got == pytest.approx((none.sum(axis=1) * w).sum() / w.sum(), rel=1e-13)
    for var in (
        np.full((5, 3), 0.5),
        rng.uniform(0, 2, size=5),
        rng.uniform(0, 2, size=(5, 1)),
        0.3,
    ):
        for reduction in ("mean", "sum", "none"):
            as_tensor = torch.from_numpy(np.asarray(var))
            as_tensor = as_tensor.expand(5, 3) if as_tensor.ndim == 0 else as_tensor
            want = torch.nn.GaussianNLLLoss(reduction=reduction)(*tensors, as_tensor).numpy()
            got_values = fm.GaussianNLLLoss(reduction=reduction)(y, t, var)
            np.testing.assert_allclose(got_values, want, rtol=1e-12)
    np.testing.assert_allclose(
        fm.GaussianNLLLoss()(y[:, 0], t[:, 0], var[0] if np.ndim(var) else var),
        torch.nn.GaussianNLLLoss()(tensors[0][:, 0], tensors[1][:, 0], torch.full((5,), 0.3)),
        rtol=1e-7,
    )


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(
    "apart",
    [
        lambda h, soft: (h[:, :2], soft(h[:, 2:])),
        lambda h, soft: (h[:, 0], soft(h[:, 1])),
        lambda h, soft: (h[:, :2], soft(h[:, 3])),
        lambda h, soft: (h.detach()[:, :2], soft(h[:, 2:])),
        lambda h, soft: (h[:, :2], soft(h[:, :2].detach())),
    ],
)
def test_gradients_of_a_mean_and_a_variance(torch: Any, apart: Any, reduction: str) -> None:
    """Both may be recorded, together or alone."""
    x, t = np.random.default_rng(0).normal(size=(2, 5, 3))
    model, twin = fm.Linear(3, 4, dtype="float64"), torch.nn.Linear(3, 4, dtype=torch.float64)
    twin.load_state_dict(fm.nn.utils.to_torch(model.state_dict()))
    mean, var = apart(model(x), fm.nn.functional.softplus)
    target = t[:, : mean.shape[1]] if mean.ndim == 2 else t[:, 0]
    found = fm.GaussianNLLLoss(reduction=reduction)(mean, target, var)
    mean, var = apart(twin(torch.from_numpy(x)), torch.nn.functional.softplus)
    var = var if var.ndim == mean.ndim else var[:, None]
    want = torch.nn.GaussianNLLLoss(reduction=reduction)(mean, torch.from_numpy(target), var)
    np.testing.assert_allclose(found, want.detach(), rtol=1e-12)
    found.sum().backward()
    want.sum().backward()
    for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        np.testing.assert_allclose(ours.grad, theirs.grad, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none", "batchmean"])
@pytest.mark.parametrize(
    "call",
    [
        "F.kl_div(F.log_softmax(y, 1), F.softmax(z, 1), reduction=reduction)",
        "F.kl_div(F.log_softmax(y, 1), torch.relu(z), reduction=reduction)",
        "F.kl_div(y, F.log_softmax(z, 1), reduction=reduction, log_target=True)",
        "F.cross_entropy(y, F.softmax(z, 1), reduction=reduction)",
        "F.binary_cross_entropy(torch.sigmoid(y), torch.sigmoid(z), reduction=reduction)",
        "F.binary_cross_entropy_with_logits(y, torch.sigmoid(z), reduction=reduction)",
    ],
)
def test_gradients_of_targets(torch: Any, call: str, reduction: str) -> None:
    if reduction == "batchmean" and "kl_div" not in call:
        pytest.skip("kl_div alone has it")
    x = np.random.default_rng(0).normal(size=(5, 2))
    model, twin = fm.Linear(2, 3, dtype="float64"), torch.nn.Linear(2, 3, dtype=torch.float64)
    twin.load_state_dict(fm.nn.utils.to_torch(model.state_dict()))
    scope = {"F": torch.nn.functional, "torch": torch, "reduction": reduction}
    found = eval(call, scope | {"y": model(x), "z": model(2 * x)})
    tensor = torch.from_numpy(x)
    want = eval(call, scope | {"y": twin(tensor), "z": twin(2 * tensor)})
    np.testing.assert_allclose(found, want.detach(), rtol=1e-12, atol=1e-13)
    found.sum().backward()
    want.sum().backward()
    for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        np.testing.assert_allclose(ours.grad, theirs.grad, rtol=1e-11, atol=1e-13)


def test_functional_forms(torch: Any) -> None:
    ours, theirs = fm.nn.functional, torch.nn.functional
    rng = np.random.default_rng(0)
    y, t = rng.normal(size=(6, 3)), rng.uniform(size=(6, 3))
    classes = np.array([0, 1, 2, 0, -100, 1])
    weight = np.array([0.5, 1, 2])
    var = rng.uniform(0.1, 1, size=(6, 3))
    calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
        ("smooth_l1_loss", (y, t), {"beta": 0.3}),
        ("poisson_nll_loss", (y, t), {"full": True}),
        ("gaussian_nll_loss", (y, t, var), {"full": True}),
        ("kl_div", (y, t), {"reduction": "batchmean"}),
        ("cross_entropy", (y, classes, weight), {"label_smoothing": 0.1}),
        ("nll_loss", (y, classes, weight), {"reduction": "none"}),
        ("binary_cross_entropy", (t, t.round(), weight), {}),
        ("binary_cross_entropy_with_logits", (y, t), {"pos_weight": weight}),
        ("binary_cross_entropy", (t, t.round(), var), {}),
        ("binary_cross_entropy", (t, t.round(), var), {"reduction": "none"}),
        ("binary_cross_entropy_with_logits", (y, t, var), {"pos_weight": weight}),
        ("binary_cross_entropy_with_logits", (y, t, var[:, :1]), {"reduction": "sum"}),
    ]
    for name, args, options in calls:
        as_torch = {
            k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in options.items()
        }
        want = getattr(theirs, name)(*map(torch.from_numpy, args), **as_torch)
        np.testing.assert_allclose(
            getattr(ours, name)(*args, **options), want, rtol=1e-12, err_msg=name
        )
