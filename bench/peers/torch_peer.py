"""PyTorch: eager with each implementation of its optimizers, or compiled, a step in one graph."""

from itertools import cycle, islice

import torch
from torch import nn

from problems import Problem, Weights
from reference import ADAM_BETAS, ADAM_EPS

ACTIVATIONS = {"sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "relu": nn.ReLU}
OUTPUTS = {"linear": [], "sigmoid": [nn.Sigmoid], "log_softmax": [lambda: nn.LogSoftmax(dim=1)]}
LOSSES = {
    "mse": nn.MSELoss,
    "bce": nn.BCELoss,
    "cross_entropy": nn.CrossEntropyLoss,
    "nll": nn.NLLLoss,
}
OPTIMIZERS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}
IMPLEMENTATIONS = {
    "plain": {"foreach": False},
    "foreach": {"foreach": True},
    "fused": {"fused": True},
}


def network(problem: Problem) -> nn.Sequential:
    layers: list[nn.Module] = []
    for weight, bias in problem.weights:
        linear = nn.Linear(*weight.shape)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(weight).T)
            linear.bias.copy_(torch.from_numpy(bias))
        layers += [linear, ACTIVATIONS[problem.workload.activation]()]
    del layers[-1]
    layers += [make() for make in OUTPUTS[problem.workload.output]]
    return nn.Sequential(*layers)


def batches(problem: Problem, device: str = "cpu") -> list[tuple[torch.Tensor, torch.Tensor]]:
    tensors = (torch.from_numpy(a).to(device) for a in (problem.x, problem.t))
    return list(zip(*(t.split(problem.workload.batch) for t in tensors), strict=True))


class Training:
    modes = tuple(IMPLEMENTATIONS)

    def __init__(self, problem: Problem):
        self.problem = problem
        self.loss_fn = LOSSES[problem.workload.loss]()
        self.batches = batches(problem)

    def reset(self, mode):
        w = self.problem.workload
        self.model = network(self.problem)
        options = IMPLEMENTATIONS[mode]
        self.optimizer = OPTIMIZERS[w.optimizer](self.model.parameters(), lr=w.lr, **options)
        self.order = cycle(self.batches)

    def run(self, n):
        model, loss_fn, optimizer = self.model, self.loss_fn, self.optimizer
        for x, t in islice(self.order, n):
            loss = loss_fn(model(x), t)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def result(self) -> Weights:
        params = [p.detach().numpy() for p in self.model.parameters()]
        return [(w.T, b) for w, b in zip(params[::2], params[1::2], strict=True)]


class Step:
    """Loss, gradients and update as one function, for a compiler; parameters change in place."""

    def __init__(self, problem: Problem, device: str = "cpu"):
        self.workload = problem.workload
        self.loss_fn = LOSSES[problem.workload.loss]()
        self.model = network(problem).to(device)
        self.updates = torch.zeros((), device=device)  # a tensor: a number would be compiled in
        self.start_from({name: p.detach() for name, p in self.model.named_parameters()})

    def start_from(self, start: dict[str, torch.Tensor]) -> None:
        self.start = {name: p.clone() for name, p in start.items()}
        self.state = {name: p.clone() for name, p in start.items()}
        self.moments = {name: (p * 0, p * 0) for name, p in start.items()}

    @torch.no_grad()
    def reset(self):
        self.updates.zero_()
        for name, p in self.state.items():
            p.copy_(self.start[name])
            for moment in self.moments[name]:
                moment.zero_()

    def loss(self, state, x, t):
        return self.loss_fn(torch.func.functional_call(self.model, state, (x,)), t)

    def gradients(self, x, t):
        return torch.func.grad_and_value(self.loss)(self.state, x, t)

    def update(self, x, t):
        grads, loss = self.gradients(x, t)
        lr = self.workload.lr
        if self.workload.optimizer == "sgd":
            for name, p in self.state.items():
                p.sub_(grads[name], alpha=lr)
            return loss
        b1, b2 = ADAM_BETAS
        self.updates.add_(1)
        size = lr / (1 - b1**self.updates)
        root = torch.sqrt(1 - b2**self.updates)
        for name, p in self.state.items():
            m, v = self.moments[name]
            m.lerp_(grads[name], 1 - b1)
            v.mul_(b2).addcmul_(grads[name], grads[name], value=1 - b2)
            p.sub_(size * m / (torch.sqrt(v) / root + ADAM_EPS))
        return loss

    def result(self) -> Weights:
        params = [p.cpu().numpy() for p in self.state.values()]
        return [(w.swapaxes(-1, -2), b) for w, b in zip(params[::2], params[1::2], strict=True)]


class CompiledTraining:
    """Loss, gradients and update in one compiled graph: faster than three compiled parts."""

    modes = ("one graph",)

    def __init__(self, problem: Problem):
        self.batches = batches(problem)
        self.parts = Step(problem)
        self.step = torch.compile(self.parts.update, fullgraph=True, dynamic=False)
        self.result = self.parts.result

    def reset(self, mode):
        self.order = cycle(self.batches)
        self.parts.reset()

    @torch.no_grad()
    def run(self, n):
        for x, t in islice(self.order, n):
            self.step(x, t)


class Prediction:
    modes = ("eager",)

    def __init__(self, problem: Problem):
        self.model = network(problem).eval()
        self.x = torch.from_numpy(problem.x)

    def reset(self, mode):
        pass

    @torch.inference_mode()
    def run(self, n):
        model, x = self.model, self.x
        for _ in range(n):
            model(x)

    @torch.inference_mode()
    def result(self):
        return self.model(self.x).numpy()


class CompiledPrediction(Prediction):
    modes = ("compiled",)

    def __init__(self, problem: Problem):
        super().__init__(problem)
        self.model = torch.compile(self.model, fullgraph=True, dynamic=False)


def build(problem: Problem, threads: int, name: str):
    torch.set_num_threads(threads)
    compiled = name == "torch-compile"
    if problem.t is None:
        return (CompiledPrediction if compiled else Prediction)(problem)
    return (CompiledTraining if compiled else Training)(problem)
