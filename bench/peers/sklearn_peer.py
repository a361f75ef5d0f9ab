"""scikit-learn: `fit` with `warm_start`, which checks its input once for many epochs.

`partial_fit` would check it at every step. Its own L2 penalty, shuffling, momentum and stopping
are switched off.
"""

import warnings

import numpy as np

from peers import CannotDo
from problems import Problem

with warnings.catch_warnings():  # of a threadpoolctl that finds two OpenMP runtimes
    warnings.simplefilter("ignore")
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier, MLPRegressor

ACTIVATIONS = {"sigmoid": "logistic", "tanh": "tanh", "relu": "relu"}


def _estimator(problem: Problem, kind: type, t: np.ndarray, **options):
    """An estimator of that kind with the problem's layers; its weights are still its own."""
    w = problem.workload
    warnings.simplefilter("ignore", ConvergenceWarning)
    estimator = kind(
        hidden_layer_sizes=w.sizes[1:-1],
        activation=ACTIVATIONS[w.activation],
        alpha=0.0,
        shuffle=False,
        momentum=0.0,
        nesterovs_momentum=False,
        tol=0.0,
        n_iter_no_change=np.inf,
        max_iter=1,
        warm_start=True,
        **options,
    )
    return estimator.fit(problem.x, t)


def _set_weights(estimator, problem: Problem):
    for layer, (weight, bias) in enumerate(problem.weights):
        estimator.coefs_[layer][:] = weight
        estimator.intercepts_[layer][:] = bias


class Training:
    modes = ("fit",)

    def __init__(self, problem: Problem):
        w = self.workload = problem.workload
        self.problem = problem
        lr = w.lr
        if w.loss == "mse":
            # its gradient is error / rows; that of the mean of squares is 2 error / (rows outputs)
            kind, lr = MLPRegressor, lr * (2 / w.sizes[-1] if w.optimizer == "sgd" else 1)
        elif w.loss != "bce" and w.sizes[-1] == 2:
            raise CannotDo("scikit-learn gives two classes one output")
        else:
            kind = MLPClassifier
        self.t = problem.t.ravel() if problem.t.shape[1:] == (1,) else problem.t
        self.estimator = _estimator(
            problem, kind, self.t, solver=w.optimizer, learning_rate_init=lr, batch_size=w.batch
        )

    def reset(self, mode):
        _set_weights(self.estimator, self.problem)
        self.estimator.loss_curve_ = []

    def run(self, n):
        self.estimator.max_iter = n // self.workload.steps_per_epoch
        self.estimator.fit(self.problem.x, self.t)

    def result(self):
        return list(zip(self.estimator.coefs_, self.estimator.intercepts_, strict=True))


class Prediction:
    modes = ("predict",)

    def __init__(self, problem: Problem):
        self.x = problem.x
        t = np.zeros((len(problem.x), problem.workload.sizes[-1]), np.float32)
        self.estimator = _estimator(problem, MLPRegressor, t, solver="sgd", batch_size=len(t))
        _set_weights(self.estimator, problem)

    def reset(self, mode):
        pass

    def run(self, n):
        predict, x = self.estimator.predict, self.x
        for _ in range(n):
            predict(x)

    def result(self):
        return self.estimator.predict(self.x)


def build(problem: Problem, threads: int, name: str):
    return (Prediction if problem.t is None else Training)(problem)
