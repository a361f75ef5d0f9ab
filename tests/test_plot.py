"""The pictures: what is drawn."""

import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

mpl = pytest.importorskip("matplotlib", reason="matplotlib (the extra plot) is not installed")

import fastmlp as fm  # noqa: E402
from fastmlp import plot  # noqa: E402 - after the check that there is anything to test


class _Half:
    """Predicts the sign of the first column, as one probability or as two scores."""

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self.largest = 0

    def predict(self, x: np.ndarray) -> np.ndarray:
        self.largest = max(self.largest, len(x))
        right = (x[:, :1] > 0).astype(np.float32)
        return right if self.columns == 1 else np.hstack([1 - right, right])


X = np.array([[-1.0, 0.0], [1.0, 0.0], [-0.5, 1.0], [0.5, -1.0]])
LABELS = np.array([0, 1, 0, 1])


def _axes(rows: int = 1, columns: int = 1) -> Any:
    return plot.figure(rows, columns)[1][0]


def _legend(ax: Any) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_loss() -> None:
    ax = _axes()
    history = SimpleNamespace(loss=np.array([3.0, 2.0, 1.0]), validation_loss=np.array([]))
    assert plot.loss(history, ax, log=True) is ax
    (line,) = ax.lines
    np.testing.assert_array_equal(line.get_xydata(), [[1, 3], [2, 2], [3, 1]])
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_yscale()) == ("epoch", "loss", "log")
    assert ax.get_legend() is None


def test_loss_with_the_best_epoch_and_metrics() -> None:
    ax = _axes()
    history = SimpleNamespace(
        loss=np.arange(3.0, 0, -1),
        validation_loss=np.array([2.0, 1, 4]),
        best_epoch=1,
        metrics={"mae": np.array([3.0, np.nan, 4]), "r2": np.ones(3)},
    )
    plot.loss(history, ax)
    training, validation, best = ax.lines
    assert best.get_xydata().tolist() == [[2, 1]], "epoch 2 on the axis, at its validation loss"
    (second,) = [other for other in ax.figure.axes if other is not ax]
    assert second.get_ylabel() == "mae, r2"
    assert [line.get_label() for line in second.lines] == ["mae", "r2"]
    assert ax.get_legend() is None, "one legend for both"
    assert _legend(second) == ["training", "validation", "best epoch, 2", "mae", "r2"]
    looks = {(line.get_color(), line.get_linestyle()) for line in (training, validation)}
    looks |= {(line.get_color(), line.get_linestyle()) for line in second.lines}
    assert len({colour for colour, _ in looks}) == len({dash for _, dash in looks}) == 4
    ax = _axes()
    plot.loss(history, ax, metrics=False)
    assert len(ax.figure.axes) == 1


def test_loss_of_whatever_has_one() -> None:
    model = fm.MLP([1, 1])
    trainer = fm.Trainer(model, fm.SGD(model.parameters()), fm.MSELoss())
    trainer.fit(np.ones((4, 1)), np.ones((4, 1)), max_epoch=3)
    ax = plot.loss({"one": trainer, "other": trainer.history, "numbers": [1.0, 2.0]}, _axes())
    assert _legend(ax) == ["one", "other", "numbers"]
    assert [len(line.get_xdata()) for line in ax.lines] == [3, 3, 2]
    markers = {line.get_marker() for line in ax.lines}
    assert len(markers) == 3, "told apart without colours"


def test_gradient_norm_of_a_training() -> None:
    model = fm.MLP([2, 3, 1], seed=0)
    norms = fm.callbacks.GradientNorm()
    trainer = fm.Trainer(model, fm.SGD(model.parameters(), lr=0.01), fm.MSELoss())
    by_hand: list[float] = []

    def measure(info: fm.EpochInfo) -> None:
        squares = [float(np.sum(np.asarray(p.grad, float) ** 2)) for p in model.parameters()]
        by_hand.append(sum(squares) ** 0.5)

    for _ in range(2):
        trainer.fit(X, np.ones((4, 1)), max_epoch=3, batch_size=2, callbacks=[norms, measure])
    np.testing.assert_allclose(norms.norms, by_hand, rtol=1e-6)
    assert norms.epochs == [0, 1, 2, 3, 4, 5]
    assert min(by_hand) > 0
    ax = plot.gradient_norm(norms, _axes())
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), norms.norms)
    trainer.fit(X, 9 * np.ones((4, 1)), max_epoch=1, max_grad=0.125, callbacks=norms)
    assert norms.norms[-1] == pytest.approx(0.125, rel=1e-4)


@pytest.mark.parametrize("columns", [1, 2])
@pytest.mark.parametrize("labels", [LABELS, LABELS[:, None] * 1.0, np.eye(2)[LABELS]])
def test_decision_regions(columns: int, labels: np.ndarray) -> None:
    ax = _axes()
    plot.decision_regions(
        _Half(columns), X, labels, ax=ax, step=0.01, class_names=["left", "right"]
    )
    (image,) = ax.images
    colours = np.asarray(image.get_array())
    assert colours.shape == (241, 241, 3)
    assert len(np.unique(colours.reshape(-1, 3), axis=0)) == 2
    assert (colours[:, 0] == colours[0, 0]).all()
    assert (colours[0, 0] != colours[0, -1]).any()
    assert _legend(ax) == ["left", "right"]
    assert len(ax.collections) == 3, "a border, and the points of two classes"


def test_a_fine_grid_is_predicted_in_parts() -> None:
    ax, model = _axes(), _Half(2)
    plot.decision_regions(model, X, LABELS, ax=ax, step=0.002)
    assert np.asarray(ax.images[0].get_array()).shape[0] >= 1200
    assert model.largest <= 1 << 17


class _Watch:
    """Remembers the rows that it is to predict."""

    def predict(self, x: Any) -> np.ndarray:
        self.seen = x
        return np.zeros((len(x), 2))


def test_other_features_stay_at_their_medians() -> None:
    x = np.array([[0.0, 5, 1, 7], [1, 6, 2, 8], [2, 9, 3, 30]])
    model, ax = _Watch(), _axes()
    plot.decision_regions(model, x, [0, 1, 1], features=(2, 0), ax=ax, fixed={3: -1})
    assert np.unique(model.seen[:, 1]).tolist() == [6]
    assert np.unique(model.seen[:, 3]).tolist() == [-1]
    assert model.seen[:, 2].min() == pytest.approx(0.8)
    assert model.seen[:, 0].max() == pytest.approx(2.2)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("$x_{3}$", "$x_{1}$")


def test_frames_have_names_and_keep_their_columns() -> None:
    pd = pytest.importorskip("pandas")
    x = pd.DataFrame(
        {
            "cost in $": [1.0, 2.0, 4.0],
            "kind": pd.Categorical(["a", "b", "b"]),
            "size": [3, 1, 2],
            "text": ["p", "q", "q"],
        }
    )
    model, ax = _Watch(), _axes()
    t = pd.Series(["yes", "no", "no"])
    plot.decision_regions(model, x, t, features=("size", "cost in $"), ax=ax)
    assert list(model.seen.columns) == list(x.columns)
    assert model.seen.kind.dtype == x.kind.dtype
    assert model.seen.kind.unique().tolist() == ["b"]
    assert model.seen.text.unique().tolist() == ["q"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("size", r"cost in \$")
    assert _legend(ax) == ["no", "yes"]
    plot.decision_regions(model, x, t, ("size", "cost in $"), _axes(), fixed={"kind": "a"})
    assert model.seen.kind.unique().tolist() == ["a"]
    with pytest.raises(ValueError, match="column kind can have, got 'c'"):
        plot.decision_regions(model, x, t, ("size", "cost in $"), _axes(), fixed={"kind": "c"})
    with pytest.raises(ValueError, match=r"got 'sise'; did you mean size\?"):
        plot.decision_regions(model, x, t, ("sise", "cost in $"), _axes())


def test_an_estimator_of_scikit_learn() -> None:
    pytest.importorskip("sklearn")
    pd = pytest.importorskip("pandas")
    from sklearn.tree import DecisionTreeClassifier

    from fastmlp.sklearn import MLPClassifier

    random = np.random.default_rng(0)
    x = pd.DataFrame(random.normal(size=(60, 3)), columns=["a", "b", "c"])
    y = np.where(x.a > 0, "up", "down")
    tree = DecisionTreeClassifier(random_state=0).fit(x, y)
    ax = plot.decision_regions(tree, x, y, features=("a", "c"), ax=_axes())
    assert _legend(ax) == ["down", "up"]
    image = np.asarray(ax.images[0].get_array())
    assert len(np.unique(image.reshape(-1, 3), axis=0)) == 2
    ax = plot.class_probabilities(tree, x, y, features=("a", "c"), ax=_axes(), of="down")
    assert ax.figure.axes[-1].get_ylabel() == "probability of down"
    ours = MLPClassifier(hidden_layer_sizes=(4,), max_iter=20, solver="lbfgs", standardize=True)
    with pytest.raises(ValueError, match="history: expected a fitted estimator with loss_curve_"):
        plot.loss(ours.fit(x, y), _axes())
    plot.decision_regions(ours, x, y, ("a", "b"), _axes())
    plot.activations(ours, x, _axes())
    plot.network(ours, _axes(), feature_names=list(x.columns))
    plot.first_layer(ours, (1, 3), _axes())
    sgd = MLPClassifier(hidden_layer_sizes=(4,), max_iter=2, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sgd.fit(x, y)
    assert len(plot.loss(sgd, _axes()).lines[0].get_xdata()) == 2


def test_class_probabilities() -> None:
    ax = _axes()
    plot.class_probabilities(_Half(1), X, LABELS, ax=ax)
    assert [a.get_ylabel() for a in ax.figure.axes] == ["$x_{2}$", "probability of class 1"]
    ax = _axes()
    plot.class_probabilities(_Half(2), X, ax=ax, of=0)
    assert ax.figure.axes[-1].get_ylabel() == "probability of class 0"
    assert ax.get_legend() is None
    ax = _axes()
    plot.class_probabilities(fm.MLP([2, 4, 3], seed=0), X, LABELS, ax=ax)
    assert len(ax.images) == 1, "each class has its colour"


def test_predictions() -> None:
    ax = _axes()
    plot.predictions(np.array([[1.0], [3.0]]), np.array([[2.0], [2.5]]), ax)
    np.testing.assert_array_equal(ax.collections[0].get_offsets(), [[1, 2], [3, 2.5]])
    assert _legend(ax) == ["prediction = target", "$R^2$ 0.375"]
    ax = _axes()
    plot.predictions(np.eye(4), np.eye(4), ax)
    assert len(ax.collections) == 4
    assert len({tuple(map(tuple, c.get_paths()[0].vertices)) for c in ax.collections}) == 4


def test_residuals() -> None:
    pd = pytest.importorskip("pandas")
    ax = _axes()
    plot.residuals(pd.Series([1.0, 3.0], name="price"), [2.0, 2.0], ax)
    np.testing.assert_array_equal(ax.collections[0].get_offsets(), [[2, -1], [2, 1]])
    assert ax.get_xlabel() == "price, predicted"
    assert _legend(ax) == ["root mean square, 1"]


def test_confusion_matrix() -> None:
    ax = _axes()
    plot.confusion_matrix([0, 0, 1, 2], [0, 1, 1, 1], ax)
    np.testing.assert_array_equal(ax.images[0].get_array(), [[1, 1, 0], [0, 1, 0], [0, 1, 0]])
    assert [text.get_text() for text in ax.texts] == list("110010010")
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["0", "1", "2"]
    scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]])
    ax = plot.confusion_matrix(
        [0, 0, 1], scores, _axes(), class_names=["no", "yes"], normalize=True
    )
    np.testing.assert_array_equal(ax.images[0].get_array(), [[0.5, 0.5], [0, 1]])
    ax = plot.confusion_matrix(["b", "a"], ["a", "a"], _axes())
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["a", "b"]
    ax = plot.confusion_matrix(np.arange(100), np.arange(100), _axes())
    assert not ax.texts, "there is no room for numbers"


def test_calibration() -> None:
    ax = _axes()
    plot.calibration([0, 1, 1, 1], [0.25, 0.25, 0.75, 1.0], ax, bins=2)
    _, curve = ax.lines
    np.testing.assert_allclose(curve.get_xydata(), [[0.25, 0.5], [0.875, 1.0]])
    (bars,) = [other for other in ax.figure.axes if other is not ax]
    assert [bar.get_height() for bar in bars.patches] == [2, 2]
    assert "0.188" in _legend(ax)[1], "(2 x 0.25 + 2 x 0.125) / 4"
    ax = plot.calibration([2, 0], [[0.1, 0.2, 0.7], [0.1, 0.8, 0.1]], _axes(), bins=10)
    np.testing.assert_allclose(ax.lines[1].get_xydata(), [[0.7, 1], [0.8, 0]])


@pytest.mark.parametrize(
    ("features", "shape", "size"),
    [
        (12, (3, 4), (3, 4)),
        (12, (3, 2, 2), (2, 2, 3)),
        (12, (2, 2, 3), (2, 2, 3)),
        (9, None, (3, 3)),
    ],
)
def test_first_layer(features: int, shape: Any, size: tuple[int, ...]) -> None:
    model = fm.MLP([features, 5, 2], seed=0)
    ax = plot.first_layer(model, shape, _axes(), units=[3])
    image = np.ma.filled(ax.images[0].get_array(), np.nan)
    assert image.shape == size
    weights = np.asarray(model[0].weight)[3]
    if len(size) == 2:
        np.testing.assert_allclose(image.ravel(), weights)
    elif shape == (2, 2, 3):
        np.testing.assert_allclose(image.ravel(), 0.5 + 0.5 * weights / abs(weights).max(), 1e-6)
    assert "1 of 5 units" in ax.get_xlabel()


def test_activations() -> None:
    model = fm.MLP([2, 3, 4, 1], activation="relu", output_activation="sigmoid")
    for parameter in model.parameters():
        parameter[...] = 1
    model[0].bias[0] = -100.0  # never reached
    model[4].bias[...] = 100.0
    ax = plot.activations(model, X, _axes())
    notes = [text.get_text() for text in ax.texts]
    assert notes == ["33% dead", "0% dead", "100% saturated\n100% dead"]
    names = [tick.get_text() for tick in ax.get_yticklabels()]
    assert names == ["1: relu\n3 units", "2: relu\n4 units", "3: sigmoid\n1 unit"]


def test_activations_are_those_of_predict() -> None:
    model = fm.Sequential(fm.Linear(2, 8), fm.BatchNorm1d(8), fm.Tanh(), fm.Dropout(0.5)).eval()
    layers = list(plot.units._hidden(model, X))
    np.testing.assert_array_equal(layers[0].values, model.predict(X))


def test_activation_gallery() -> None:
    ax = plot.activation_gallery(["tanh", fm.LeakyReLU(0.1)], _axes(), limits=(-1, 1))
    titles = [small.get_title(loc="left") for small in ax.child_axes]
    assert titles == ["Tanh", "LeakyReLU(0.1)"]
    value, slope = (line for line in ax.child_axes[0].lines if len(line.get_xdata()) > 2)
    x = np.linspace(-1, 1, 401)
    np.testing.assert_allclose(value.get_ydata(), np.tanh(x), rtol=1e-12)
    np.testing.assert_allclose(slope.get_ydata(), 1 - np.tanh(x) ** 2, rtol=1e-12)
    assert len(plot.activation_gallery(ax=_axes()).child_axes) == 18


def test_network() -> None:
    model = fm.MLP([2, 2, 1])
    model[0].weight = np.array([[1.0, -2.0], [0.0, 0.5]])
    model[2].weight = np.array([[1.0, 1.0]])
    ax = plot.network(model, _axes(), output_names=["price"])
    lines = [c for c in ax.collections if type(c).__name__ == "LineCollection"]
    assert [len(c.get_segments()) for c in lines] == [2, 1, 2], "nothing for a weight of 0"
    (thin, medium), (thick,) = (sorted(c.get_linewidths()) for c in lines[:2])
    assert thin < medium < thick
    assert any(text.get_text() == "price" for text in ax.texts)


class _Fixed:
    """A model of somebody else's: its output is the first coordinate."""

    def predict(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(x)[:, :1]


def _line(*layers: fm.Module, columns: int = 1) -> fm.Sequential:
    """z = 4 (x1 - 1) for class 1."""
    linear = fm.Linear(2, columns)
    linear.weight = np.array([[0.0, 0.0], [4.0, 0.0]])[-columns:]
    linear.bias = np.array([0.0, -4.0])[-columns:]
    return fm.Sequential(linear, *layers)


@pytest.mark.parametrize(
    "model",
    [
        _line(),
        _line(fm.Sigmoid()),
        _line(columns=2),
        _line(fm.Softmax(), columns=2),
        _line(fm.LogSoftmax(), columns=2),
    ],
    ids=["logit", "sigmoid", "logits", "softmax", "log_softmax"],
)
def test_regions_and_contours_of_logits(model: fm.Sequential) -> None:
    x = np.array([[0.0, 0.0], [2.0, 2.0]])
    figure, (regions, contour) = plot.figure(1, 2)
    plot.decision_regions(model, x, [0, 1], ax=regions, step=0.25)
    image = np.asarray(regions.images[0].get_array())
    left, right = image[0, 0], image[0, -1]
    where = np.linspace(-0.2, 2.2, image.shape[1])
    changes = where[1:][(image[0, 1:] != image[0, :-1]).any(axis=1)]
    assert not np.array_equal(left, right)
    assert changes == pytest.approx([1.0], abs=0.3)
    plot.class_probabilities(model, x, [0, 1], ax=contour, step=0.25)
    assert len(figure.axes) == 3  # with its colour bar


def test_regions_of_other_models() -> None:
    x = np.array([[0.0, 0.0], [1.0, 1.0]])
    _, (ax,) = plot.figure()
    plot.decision_regions(_Fixed(), x, [0, 1], ax=ax, step=0.1)
    _, (ax,) = plot.figure()
    plot.decision_regions(_Fixed(), x, [0, 1], ax=ax, step=0.1, logits=True)


def test_the_legend_stays_within_a_subplot() -> None:
    x = np.array([[0.0, 0.0], [2.0, 2.0]])
    figure, axes = plot.figure(2, 1)
    for ax in axes:
        plot.decision_regions(_line(), x, [0, 1], ax=ax, step=0.25)
    figure.canvas.draw()
    box, inside = axes[0].get_legend().get_window_extent(), axes[0].get_window_extent()
    assert inside.y0 - 1 <= box.y0
    assert box.y1 <= inside.y1 + 1


def test_a_plot_goes_to_a_file(tmp_path: Path) -> None:
    model = fm.MLP([1, 1])
    trainer = fm.Trainer(model, fm.SGD(model.parameters()), fm.MSELoss())
    trainer.fit(np.ones((4, 1)), np.ones((4, 1)), max_epoch=3)
    trainer.plot(tmp_path / "a.png")
    trainer.plot(str(tmp_path / "b.png"))
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "b.png"}
