"""A plain network in NumPy: in float64 the yardstick for every peer, in float32 a peer itself."""

import numpy as np

from problems import Problem, Weights

ADAM_BETAS = (0.9, 0.999)
ADAM_EPS = 1e-8


def _sigmoid(z):
    return 1 / (1 + np.exp(-z))


# name: (value of z, derivative from the value)
ACTIVATIONS = {
    "sigmoid": (_sigmoid, lambda a: a * (1 - a)),
    "tanh": (np.tanh, lambda a: 1 - a * a),
    "relu": (lambda z: np.maximum(z, 0), lambda a: a > 0),
}


def _mse(z, t):
    error = z - t
    return np.vdot(error, error) / error.size, error * (2 / error.size)


def _bce(z, t):
    """Sigmoid and binary cross entropy; the logarithms end at -100."""
    a = _sigmoid(z)
    with np.errstate(divide="ignore"):
        log_a, log_rest = np.maximum(np.log(a), -100), np.maximum(np.log(1 - a), -100)
    return -(t * log_a + (1 - t) * log_rest).mean(), (a - t) / a.size


def _cross_entropy(z, t):
    """Softmax and cross entropy with class indices; the same as log-softmax and NLL."""
    rows = np.arange(len(z))
    z = z - z.max(1, keepdims=True)
    p = np.exp(z)
    total = p.sum(1, keepdims=True)
    loss = (np.log(total[:, 0]) - z[rows, t]).mean()
    p /= total
    p[rows, t] -= 1
    return loss, p / len(z)


# (output, loss): (loss, its gradient with respect to z), of the last layer's z and the targets
LOSSES = {
    ("linear", "mse"): _mse,
    ("sigmoid", "bce"): _bce,
    ("linear", "cross_entropy"): _cross_entropy,
    ("log_softmax", "nll"): _cross_entropy,
}


class Network:
    """Forward, backward and update of a problem's network, in `dtype`."""

    def __init__(self, problem: Problem, dtype: type, weights: Weights | None = None):
        w = self.workload = problem.workload
        self.params = [p.astype(dtype) for layer in weights or problem.weights for p in layer]
        self.x = problem.x.astype(dtype, copy=False)
        self.t = problem.t
        if self.t is not None and self.t.dtype == np.float32:
            self.t = self.t.astype(dtype, copy=False)
        self.activation, self.derivative = ACTIVATIONS[w.activation]
        self.updates = 0
        if problem.t is not None:
            self.loss_and_gradient = LOSSES[w.output, w.loss]
            self.update = {"sgd": self._sgd, "adam": self._adam}[w.optimizer]
            if w.optimizer == "adam":
                self.moments = [(np.zeros_like(p), np.zeros_like(p)) for p in self.params]

    def forward(self, x):
        """The input of each layer, and the last layer's result before its activation."""
        inputs, last = [x], len(self.params) - 2
        for k in range(0, len(self.params), 2):
            z = inputs[-1] @ self.params[k] + self.params[k + 1]
            inputs.append(z if k == last else self.activation(z))
        return inputs

    def loss(self) -> float:
        """Over all rows."""
        return float(self.loss_and_gradient(self.forward(self.x)[-1], self.t)[0])

    def step(self, x, t):
        """One update from one batch; the loss before it."""
        inputs = self.forward(x)
        loss, dz = self.loss_and_gradient(inputs[-1], t)
        grads = []
        for k in range(len(inputs) - 2, -1, -1):
            grads[:0] = inputs[k].T @ dz, dz.sum(0)
            if k:
                dz = (dz @ self.params[2 * k].T) * self.derivative(inputs[k])
        self.update(grads)
        return loss

    def train(self, steps: int) -> None:
        """That many updates, going round the rows in order."""
        b, epoch = self.workload.batch, self.workload.steps_per_epoch
        for _ in range(steps):
            at = b * (self.updates % epoch)
            self.updates += 1
            self.step(self.x[at : at + b], self.t[at : at + b])

    def _sgd(self, grads):
        for p, g in zip(self.params, grads, strict=True):
            p -= self.workload.lr * g

    def _adam(self, grads):
        b1, b2 = ADAM_BETAS
        size = self.workload.lr / (1 - b1**self.updates)
        root = (1 - b2**self.updates) ** 0.5
        for p, g, (m, v) in zip(self.params, grads, self.moments, strict=True):
            m += (1 - b1) * (g - m)
            v += (1 - b2) * (g * g - v)
            p -= size * m / (np.sqrt(v) / root + ADAM_EPS)

    @property
    def weights(self) -> Weights:
        return list(zip(self.params[::2], self.params[1::2], strict=True))
