"""Every public name in a typed script, for type checkers; Python runs it, too."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import fastmlp as fm
from fastmlp import callbacks, datasets, lr_scheduler, nn, ops, optim
from fastmlp.nn import functional, init, utils

Floats = npt.NDArray[np.floating[Any]]


class Net(fm.Module):
    """A model of one's own."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.hidden = fm.Linear(2, width)
        self.block = fm.Residual(fm.Linear(width, width), fm.Tanh())
        self.out = fm.Linear(width, 1, bias=False)

    def forward(self, x: Any) -> Any:
        return self.out(self.block(fm.relu(self.hidden(x))))


class Stop:
    """A callback with one event."""

    def on_epoch_end(self, info: fm.EpochInfo) -> bool:
        return info.epoch == 3 and info.loss >= 0


def activations() -> list[fm.Module]:
    """As layers."""
    return [
        fm.CELU(), fm.ELU(1.0), fm.GELU(), fm.SELU(), fm.Hardsigmoid(), fm.Hardswish(),
        fm.Hardtanh(-1.0, 1.0), fm.Identity(), fm.LeakyReLU(0.1), fm.LogSigmoid(),
        fm.LogSoftmax(dim=1), fm.Mish(), fm.PReLU(), fm.ReLU(), fm.ReLU6(), fm.Sigmoid(), fm.SiLU(),
        fm.Softmax(dim=1), fm.Softplus(), fm.Softsign(), fm.Tanh(),
    ]  # fmt: skip


def activations_of_values(x: Floats) -> list[Any]:
    """As functions."""
    plain: list[Callable[[Any], Any]] = [
        fm.celu, fm.elu, fm.gelu, fm.hardsigmoid, fm.hardswish, fm.hardtanh, fm.leaky_relu,
        fm.logsigmoid, fm.mish, fm.relu, fm.relu6, fm.selu, fm.sigmoid, fm.silu, fm.softplus,
        fm.softsign, fm.tanh,
    ]  # fmt: skip
    results = [function(x) for function in plain]
    results += [fm.softmax(x, dim=1), fm.log_softmax(x, dim=1)]
    return [*results, functional.relu(x), fm.cat([x, x], dim=1), fm.stack([x, x])]


def layers() -> fm.Sequential:
    """Containers, and what is in them."""
    blocks = fm.ModuleList([fm.Linear(3, 3), fm.Dropout(0.5)])
    by_name = fm.ModuleDict({"norm": fm.BatchNorm1d(3), "layer": fm.LayerNorm(3)})
    own = nn.ParameterList([fm.Parameter(np.zeros(3))]), nn.ParameterDict({})
    fixed: fm.Buffer = fm.Buffer(np.zeros(2))
    assert len(own) == len(fixed)
    return fm.Sequential(fm.Flatten(), fm.Standardize(3), *blocks, by_name["norm"], nn.Identity())


def losses() -> list[Any]:
    """Of every kind."""
    return [
        fm.BCELoss(), fm.BCEWithLogitsLoss(), fm.CrossEntropyLoss(label_smoothing=0.1),
        fm.GaussianNLLLoss(), fm.HuberLoss(delta=1.0), fm.KLDivLoss(), fm.L1Loss(), fm.MSELoss(),
        fm.NLLLoss(), fm.PoissonNLLLoss(), fm.QuantileLoss([0.1, 0.9]), fm.SmoothL1Loss(beta=1.0),
        fm.FunctionLoss(lambda y, t: (float(((y - t) ** 2).sum()), 2 * (y - t))),
    ]  # fmt: skip


def optimizers(model: fm.Module) -> list[optim.Optimizer]:
    """With options, and parameter groups."""
    groups = [{"params": list(model.parameters()), "lr": 0.1}]
    return [
        fm.SGD(model.parameters(), lr=0.1, momentum=0.9), fm.Adam(groups), fm.AdamW(groups),
        fm.NAdam(groups), fm.RMSprop(groups), fm.Adagrad(groups), fm.Lion(groups),
    ]  # fmt: skip


def whole_batch(x: Floats, t: Floats) -> list[float]:
    """Steps that look at all rows."""
    losses = []
    for kind in (optim.LBFGS, optim.LevenbergMarquardt):
        model = fm.MLP([2, 3, 1], "tanh", seed=0)
        trainer = fm.Trainer(model, kind(model.parameters()), fm.MSELoss())
        losses.append(float(trainer.fit(x, t, 3, batch_size=None).loss[-1]))
    assert fm.LBFGS is optim.LBFGS and fm.LevenbergMarquardt is optim.LevenbergMarquardt  # noqa: PT018
    return losses


def schedules(optimizer: optim.Optimizer) -> list[lr_scheduler.LRScheduler]:
    """Of the rate."""
    step = lr_scheduler.StepLR(optimizer, step_size=3)
    return [
        step,
        lr_scheduler.MultiStepLR(optimizer, milestones=[2, 4]),
        lr_scheduler.ExponentialLR(optimizer, gamma=0.9),
        lr_scheduler.LinearLR(optimizer),
        lr_scheduler.CosineAnnealingLR(optimizer, T_max=10),
        lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=5),
        lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=10, cycle_momentum=False),
        lr_scheduler.LambdaLR(optimizer, lambda epoch: 0.9**epoch),
        lr_scheduler.SequentialLR(optimizer, [step, lr_scheduler.LinearLR(optimizer)], [3]),
        lr_scheduler.ReduceLROnPlateau(optimizer),
    ]


def tensors() -> list[fm.Tensor]:
    """What makes them."""
    fm.manual_seed(0)
    x = fm.tensor([[1.0, 2.0]], dtype=fm.float32, requires_grad=True)
    host = fm.device("cpu")
    made = [
        x, fm.as_tensor(np.ones(2)), fm.from_numpy(np.ones(2)), fm.arange(3), fm.empty(2),
        fm.empty_like(x), fm.eye(2), fm.full((2,), 1.0), fm.full_like(x, 1.0),
        fm.linspace(0, 1, 3), fm.ones(2, dtype=fm.float64), fm.ones_like(x), fm.rand(2),
        fm.rand_like(x), fm.randint(0, 3, (2,)), fm.randn(2, device=host), fm.randn_like(x),
        fm.randperm(3), fm.zeros(2, dtype=fm.int64), fm.zeros_like(x, dtype=fm.uint8),
    ]  # fmt: skip
    with fm.no_grad():
        made.append(fm.where(x > 1.5, x, x))
    return [tensor for tensor in made if tensor.dtype != fm.int32]


def first_weights(layer: fm.Linear) -> float:
    """How a layer begins."""
    weight = layer.weight
    for function in (
        init.kaiming_normal_, init.kaiming_uniform_, init.normal_, init.ones_, init.orthogonal_,
        init.trunc_normal_, init.uniform_, init.xavier_normal_, init.xavier_uniform_, init.zeros_,
        init.eye_,
    ):  # fmt: skip
        function(weight)
    fm.init.constant_(weight, 0.5)
    return fm.init.calculate_gain("relu")


def loop(model: Net, x: Floats, t: Floats) -> float:
    """Five lines, and what can be done to gradients."""
    optimizer, loss_fn = fm.Adam(model.parameters(), lr=0.01), fm.MSELoss()
    loss, norm = fm.tensor(0.0), 0.0
    for _ in range(3):
        optimizer.zero_grad()
        loss = loss_fn(model(x), t)
        loss.backward()
        norm = fm.clip_grad_norm_(model.parameters(), 1.0)
        fm.clip_grad_value_(model.parameters(), 1.0)
        optimizer.step()
    vector = utils.parameters_to_vector(model.parameters())
    utils.vector_to_parameters(vector, model.parameters())
    assert norm >= 0
    return float(loss)


def train(x: Floats, t: Floats, folder: Path) -> fm.History:
    """Natively, with everything around it."""
    model = fm.MLP([2, 8, 1], activation="tanh", seed=0)
    optimizer = fm.Adam(model.parameters(), lr=0.01)
    schedule = lr_scheduler.StepLR(optimizer, step_size=3)
    trainer = fm.Trainer(model, optimizer, fm.MSELoss(), scheduler=schedule)
    keep = callbacks.ModelCheckpoint(folder / "run.safetensors", keep_best=True)
    rates = callbacks.LearningRateMonitor()
    history: fm.History = trainer.fit(
        x,
        t,
        max_epoch=5,
        validation_split=0.25,
        metrics=("mae", "r2"),
        early_stopping=fm.EarlyStopping(patience=3),
        callbacks=[keep, rates, callbacks.CSVLogger(folder / "log.csv"), Stop()],
        progress=False,
    )
    scores: dict[str, float] = trainer.evaluate(x, t)
    assert scores["loss"] >= 0
    fm.save(model, folder / "model.safetensors")
    loaded: fm.Sequential = fm.load(folder / "model.safetensors", fm.MLP([2, 8, 1], "tanh"))
    fm.export_c(loaded, folder / "net.h")
    resumed: fm.Trainer = fm.Trainer.load(folder / "run.safetensors")
    predicted: Floats = resumed.model.predict(x)
    assert len(predicted) == len(x)
    predictor: fm.Predictor = resumed.model.predictor(rows=1)
    predictor.x[0] = x[0]
    assert predictor() is predictor.y
    print(fm.summary(model))
    return history


def optional(folder: Path) -> list[Any]:
    """What needs a package beside NumPy."""
    import fastmlp.distributed as of_distributed
    import fastmlp.sklearn as of_sklearn
    import fastmlp.torch as of_torch

    model = fm.MLP([2, 3, 1], seed=0)
    fm.to_onnx(model, folder / "model.onnx")
    estimators = [of_sklearn.MLPClassifier(), of_sklearn.MLPRegressor(alpha=0.1)]
    more = [of_sklearn.MLPQuantileRegressor(), of_sklearn.TableEncoder()]
    modules = [of_torch.FusedMLP([2, 3, 1]), of_torch.Standardize, of_torch.Residual]
    back = of_torch.from_torch(of_torch.to_torch(model))
    found = [fm.from_onnx(folder / "model.onnx"), back]
    failed = of_distributed.RankError(1, "ValueError")
    assert failed.rank == 1
    assert callable(of_distributed.DistributedTrainer.fit)
    board = callbacks.TensorBoard(folder), callbacks.MLflow(every=2)
    assert "tabular" in of_sklearn.PRESETS
    return [*estimators, *more, *modules, *found, *board, fm.plot.loss, callbacks.GradientNorm()]


def many(x: Floats, t: Floats) -> Floats:
    """Many networks, and batches."""
    models = [fm.MLP([2, 3, 1], seed=i) for i in range(3)]
    trainers = [fm.Trainer(m, fm.SGD(m.parameters(), lr=0.1), fm.MSELoss()) for m in models]
    histories: list[fm.History] = fm.fit_many(trainers, x, t, 2, seed=range(3))
    for xb, tb in fm.batches(x, t, 10, shuffle=True, seed=0):
        assert len(xb) == len(tb)
    assert len(histories) == 3
    mean, _ = fm.Ensemble(models).predict(x, return_std=True)
    return np.asarray(mean)


def data(folder: Path) -> list[tuple[Any, Any]]:
    """Small data, and files."""
    try:
        datasets.cifar10(folder)
    except datasets.DataError as error:
        print(error)
    readers: list[Callable[..., Any]] = [datasets.cifar2, datasets.mnist, datasets.csv]
    by_piece: list[Callable[..., Any]] = [datasets.parquet_batches, datasets.chunk_batches]
    assert len(by_piece) == 2
    split: type[datasets.Split] = datasets.Split
    assert len(readers) == len(split._fields) - 1 < len(datasets.SURFACES)
    made = [datasets.boston(), datasets.circles(), datasets.moons(), datasets.spiral()]
    return [*made, datasets.surface(), datasets.temperature(), datasets.xor()]


def settings() -> str:
    """Threads, devices, versions."""
    fm.set_num_threads(fm.get_num_threads())
    with fm.threads(1):
        fm.show_config()
    there: bool = fm.cuda.is_available()
    y = ops.affine_forward(np.ones((2, 3)), np.ones((3, 1)))
    return f"{fm.__version__} {there} {y}"


def main(folder: Path) -> None:
    """Run it all but `optional`."""
    x, t = np.random.default_rng(0).normal(size=(20, 2)), np.ones((20, 1))
    assert [len(activations()), len(activations_of_values(x)), len(losses())] == [21, 22, 13]
    print(layers(), tensors(), first_weights(fm.Linear(2, 2)), settings())
    net = Net(4)
    for optimizer in optimizers(net):
        assert len(schedules(optimizer)) == 10
    assert loop(net, x, t) >= 0
    assert train(x, t, folder).best_epoch is not None
    assert len(data(folder)) == 7
    assert many(x, t).shape == (20, 1)
    assert len(whole_batch(x, t)) == 2
