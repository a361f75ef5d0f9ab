"""fastmlp: `Trainer.fit`, the five-line loop with one Python call a line, and `predict`."""

from itertools import cycle, islice

import numpy as np

import fastmlp as fm
from problems import Problem, Weights

LOSSES = {
    "mse": fm.MSELoss,
    "bce": fm.BCELoss,
    "cross_entropy": fm.CrossEntropyLoss,
    "nll": fm.NLLLoss,
}
OPTIMIZERS = {"sgd": fm.SGD, "adam": fm.Adam}


def network(problem: Problem, **options) -> fm.Sequential:
    w = problem.workload
    output = None if w.output == "linear" else w.output
    model = fm.MLP(w.sizes, activation=w.activation, output_activation=output, seed=0, **options)
    set_weights(model, problem.weights)
    return model


def set_weights(model: fm.Sequential, weights: Weights) -> None:
    params = model.parameters()
    for weight, bias in weights:
        next(params)[...] = weight.T
        next(params)[...] = bias


class Training:
    modes = ("fit",)

    def __init__(self, problem: Problem):
        self.problem = problem
        self.x, self.t = problem.x, problem.t
        self.model = network(problem)

    def reset(self, mode):
        w = self.problem.workload
        set_weights(self.model, self.problem.weights)
        self.loss_fn = LOSSES[w.loss]()
        self.optimizer = OPTIMIZERS[w.optimizer](self.model.parameters(), lr=w.lr)
        self.trainer = fm.Trainer(self.model, self.optimizer, self.loss_fn)

    def run(self, n):
        p = self.problem
        self.trainer.fit(
            self.x,
            self.t,
            max_epoch=n // p.workload.steps_per_epoch,
            batch_size=p.workload.batch,
            shuffle=False,
            progress=False,
        )

    def result(self) -> Weights:
        params = [np.asarray(p) for p in self.model.parameters()]
        return [(w.T, b) for w, b in zip(params[::2], params[1::2], strict=True)]


class LoopTraining(Training):
    modes = ("loop",)

    def __init__(self, problem: Problem):
        super().__init__(problem)
        starts = range(0, problem.workload.rows, problem.workload.batch)
        slices = [slice(at, at + problem.workload.batch) for at in starts]
        self.batches = [(problem.x[rows], problem.t[rows]) for rows in slices]

    def reset(self, mode):
        super().reset(mode)
        self.order = cycle(self.batches)

    def run(self, n):
        model, loss_fn, optimizer = self.model, self.loss_fn, self.optimizer
        for x, t in islice(self.order, n):
            loss = loss_fn(model(x), t)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


class Prediction:
    modes = ("out=",)

    def __init__(self, problem: Problem):
        self.model = network(problem)
        self.x = problem.x
        self.out = np.empty((problem.workload.rows, problem.workload.sizes[-1]), np.float32)

    def reset(self, mode):
        pass

    def run(self, n):
        predict, x, out = self.model.predict, self.x, self.out
        for _ in range(n):
            predict(x, out=out)

    def result(self):
        return self.model.predict(self.x, out=self.out)


def build(problem: Problem, threads: int, name: str):
    if problem.t is None:
        return Prediction(problem)
    return (LoopTraining if name == "fastmlp-loop" else Training)(problem)
