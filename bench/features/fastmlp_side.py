"""fastmlp: `Trainer.fit`, the five lines, and `jacobian`."""

from typing import Any

import fastmlp as fm
from features.cases import Case, data, rows, schedule_arguments
from features.modules import LOSSES, OPTIMIZERS, Calls, Loop, layers, set_weights, split
from peers import CannotDo


def network(case: Case) -> Any:
    model = fm.Sequential(*layers(case, fm.nn, fm.Residual))

    def assign(parameter: Any, values: Any) -> None:
        parameter[...] = values

    set_weights(case, model, fm.Linear, assign)
    return model


class Fit:
    def __init__(self, case: Case) -> None:
        self.case = case
        x, t = data(case)
        self.x, self.t = x[: case.rows], t[: case.rows]
        self.held_out = x[case.rows :], t[case.rows :]

    def reset(self) -> None:
        case = self.case
        model = network(case)
        kind = getattr(fm, OPTIMIZERS[case.optimizer])
        optimizer = kind(model.parameters(), lr=case.lr)
        options: dict[str, Any] = {}
        if case.schedule:
            made = getattr(fm.lr_scheduler, case.schedule)(optimizer, **schedule_arguments(case))
            options = {"scheduler": made, "scheduler_interval": "step"}
        self.more: dict[str, Any] = {}
        if case.stopping:
            options = {"scheduler": fm.lr_scheduler.ExponentialLR(optimizer, 0.9999)}
            stopping = fm.EarlyStopping(patience=10**6)
            self.more = {"validation_data": self.held_out, "early_stopping": stopping}
        self.model = model
        self.loss_fn = getattr(fm, LOSSES[case.loss])()
        self.trainer = fm.Trainer(model, optimizer, self.loss_fn, **options)

    def run(self, n: int) -> None:
        case = self.case
        self.trainer.fit(
            self.x, self.t, max_epoch=n // case.steps_per_epoch, batch_size=case.batch,
            shuffle=False, progress=False, **self.more,
        )  # fmt: skip

    def loss(self) -> float:
        self.model.eval()
        return float(self.loss_fn(self.model(self.x), self.t))


class FiveLines(Fit):
    def reset(self) -> None:
        super().reset()
        batches, _ = split(self.case, self.x, self.t)
        self.loop = Loop(self.model, self.trainer.optimizer, self.loss_fn, batches)
        self.loop.scheduler = self.trainer.scheduler
        self.run = self.loop.run  # type: ignore[method-assign]


def jacobian(case: Case) -> Calls:
    model, x = network(case), rows(case)
    return Calls(lambda: model.jacobian(x))


def build(case: Case, way: str) -> Any:
    if way == "five lines" and case.stopping:
        raise CannotDo("that is what fit is for")
    return {"fit": Fit, "five lines": FiveLines, "jacobian": jacobian}[way](case)
