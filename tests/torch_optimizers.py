"""torch's optimizers as the tests compare with them, by their names."""

from collections.abc import Callable
from typing import Any


def torch_class(torch: Any, name: str) -> Any:
    """The class of torch.optim; of NAdam one that keeps all digits, and a Lion, which has none."""
    special: dict[str, Callable[[Any], Any]] = {"NAdam": _exact_nadam, "Lion": _lion}
    return special[name](torch) if name in special else getattr(torch.optim, name)


def _exact_nadam(torch: Any) -> Any:
    class NAdam(torch.optim.NAdam):  # type: ignore[misc]
        """Its product of momenta is made in the default dtype, at the first step."""

        def step(self, closure: Any = None) -> Any:
            default = torch.get_default_dtype()
            torch.set_default_dtype(torch.float64)
            try:
                return super().step(closure)
            finally:
                torch.set_default_dtype(default)

    return NAdam


def _lion(torch: Any) -> Any:
    class Lion(torch.optim.Optimizer):  # type: ignore[misc]
        """Algorithm 2 of arXiv 2302.06675."""

        def __init__(
            self,
            params: Any,
            lr: float = 1e-4,
            betas: tuple[float, float] = (0.9, 0.99),
            weight_decay: float = 0.0,
            maximize: bool = False,
        ) -> None:
            options = {"lr": lr, "betas": betas, "weight_decay": weight_decay, "maximize": maximize}
            super().__init__(params, options)

        @torch.no_grad()  # type: ignore[untyped-decorator]
        def step(self, closure: Any = None) -> None:
            for group in self.param_groups:
                for p in group["params"]:
                    self._change(p, group)

        def _change(self, p: Any, group: dict[str, Any]) -> None:
            if p.grad is None:
                return
            g = -p.grad if group["maximize"] else p.grad
            mean = self.state[p].setdefault("exp_avg", torch.zeros_like(p))
            first, second = group["betas"]
            direction = torch.sign(first * mean + (1 - first) * g)
            p.sub_(group["lr"] * (direction + group["weight_decay"] * p))
            mean.mul_(second).add_((1 - second) * g)

    return Lion
