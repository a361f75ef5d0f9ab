"""A trainer of several processes: what one process would do with the rows of all of them."""

import os
from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.distributed as dist

from fastmlp import _checks, seeds
from fastmlp._fit import Fit
from fastmlp._fitting import tell
from fastmlp._whole_fit import ALL_ROWS_OR_32
from fastmlp.callbacks import CSVLogger, MLflow, ModelCheckpoint, TensorBoard
from fastmlp.distributed import state
from fastmlp.distributed.exchange import Exchange
from fastmlp.distributed.messages import Messages
from fastmlp.early_stopping import EarlyStopping
from fastmlp.history import History
from fastmlp.metrics import Metric
from fastmlp.trainer import Trainer
from fastmlp.whole_batch import WholeBatchOptimizer

# What writes, and does so on rank 0 alone.
_WRITERS = (CSVLogger, MLflow, ModelCheckpoint, TensorBoard)


class DistributedTrainer:
    """Trains a model by several processes, each of which has a part of the rows.

    Each process makes the same model, optimizer and trainer, and wraps the trainer. In each step of
    `fit` it takes a batch of its own rows; the gradients are added up while the backward pass goes
    on, and each process takes the same step: that of one process with all these batches as one. So
    the losses are the same to rounding, and the bits are the same from run to run.

    What `trainer` is on rank 0 when `fit` begins (parameters, the optimizer's states, schedule,
    history, seed) it becomes on all ranks.

    Parameters
    ----------
    trainer : Trainer
        On the CPU with gloo, or on a CUDA device of each process's own with NCCL.
    process_group : torch.distributed.ProcessGroup, optional
        Those who train; by default all, as `torch.distributed.init_process_group` has made them.
    bucket_bytes : int
        How many bytes of gradients are sent together. Gradients of a quarter of that, or more, are
        sent one by one, from where they are.

    Attributes
    ----------
    rank, world_size : int
        This process's number in the group, and how many there are.
    traffic : dict of str to number
        Of the last fit: "rounds", the "bytes" of gradients that this process has handed over in
        them, and the seconds that it "waited" for the others' at the ends of rounds (on CPUs).

    Raises
    ------
    TypeError
        If an argument is of another kind.
    ValueError
        If the group is not one that this process is in, or its backend does not fit the device.
    """

    def __init__(
        self,
        trainer: Trainer,
        process_group: Any = None,
        *,
        bucket_bytes: int = 25 << 20,
        **unknown: Any,
    ) -> None:
        _checks.refuse_unknown("DistributedTrainer", unknown, DistributedTrainer.__init__)
        if not isinstance(trainer, Trainer):
            raise TypeError(f"trainer: expected a Trainer, got {_checks.show(trainer)}")
        if not dist.is_initialized():
            raise ValueError(
                "process_group: expected torch.distributed to have one, got none; call"
                " torch.distributed.init_process_group() first, in a script that torchrun starts"
            )
        if process_group is not None and not isinstance(process_group, dist.ProcessGroup):
            if process_group == dist.GroupMember.NON_GROUP_MEMBER:
                raise ValueError("process_group: expected one that this process is in")
            raise TypeError(
                "process_group: expected one of torch.distributed, got"
                f" {_checks.show(process_group)}"
            )
        self.trainer = trainer
        self.bucket_bytes = _checks.integer("bucket_bytes", bucket_bytes, at_least=1)
        self.process_group = process_group
        self._check_device()
        messages = Messages(process_group)
        self.rank, self.world_size = messages.rank, messages.size
        self.traffic: dict[str, float] = {"rounds": 0, "bytes": 0, "waited": 0.0}

    def __repr__(self) -> str:
        trainer = repr(self.trainer).replace("\n", "\n  ")
        return f"DistributedTrainer(\n  {trainer},\n  rank={self.rank} of {self.world_size}\n)"

    @property
    def history(self) -> History:
        """What was measured so far, of all processes together."""
        return self.trainer.history

    def fit(
        self,
        x: Any,
        t: Any = None,
        max_epoch: int = 10,
        batch_size: int | None = ALL_ROWS_OR_32,
        max_grad: float | None = None,
        eval_interval: int = 20,
        validation_data: Any = None,
        shuffle: bool = True,
        seed: int | None = None,
        callbacks: Any = (),
        progress: bool | str = "auto",
        allow_nonfinite: bool = False,
        sample_weight: Any = None,
        *,
        validation_split: float | None = None,
        early_stopping: EarlyStopping | None = None,
        accumulate: int = 1,
        metrics: Iterable[Metric] | Metric = (),
        **unknown: Any,
    ) -> History:
        """Train for a number of epochs, all processes together: each calls this.

        The arguments are those of `Trainer.fit`, and the data are this process's part. What else is
        given is to be the same on all; what is not is said here.

        Parameters
        ----------
        x, t : array_like, or batches
            This process's rows, at least one. An epoch ends when all have used up theirs: who has
            fewer batches takes part in the last steps without rows. A mean loss divides by what the
            rows of all batches of a step count.
        max_epoch : int
        batch_size : int or None
            Of this process's rows in a step, so that a step has up to the sum over all processes.
        max_grad : float, optional
            Limits the gradient over all rows.
        eval_interval : int
        validation_data : tuple of 2 or 3 array_like, or an iterable of batches, optional
            This process's part of them; if one has some, all have. The loss is that over all rows.
        shuffle : bool
            Whether to draw this process's rows in a new order each epoch.
        seed : int, optional
            Rank 0's counts; the others' orders and dropout depend on it and on their ranks.
        callbacks : iterable of callables and objects, or one
            They run on all processes. What they change is to be the same on all. If one ends the
            training on any process, it ends on all. `ModelCheckpoint` with a path, `CSVLogger`,
            `TensorBoard` and `MLflow` run on rank 0 alone.
        progress : {"auto", "plot", True, False}
            Shown by rank 0.
        allow_nonfinite : bool
        sample_weight : array_like, shape (rows,), optional
        validation_split : float, optional
            Of this process's rows.
        early_stopping : EarlyStopping, optional
            It sees the losses over all rows, and decides alike on all processes.
        accumulate : int
            Batches of each process in a step.
        metrics : iterable of str or callable, or one
            Each is that of this process's rows, and they are averaged by what the rows count, which
            is exact for all that are means over rows (and for "rmse"). "r2" is not among them.

        Returns
        -------
        History
            The same on all processes, but for `epoch_time`.

        Raises
        ------
        RankError
            If another process has raised an error, or is gone. The steps up to then are done.
        TypeError, ValueError
            If an argument is wrong, or not the same on all processes. Nothing has changed then.
        RuntimeError, FloatingPointError, KeyboardInterrupt
            As `Trainer.fit`; the other processes get a RankError.

        Notes
        -----
        `BatchNorm1d` normalises each process's batch by itself, as in torch's
        DistributedDataParallel, so that losses differ from those of one process; running statistics
        are those of rank 0. A process that waits for one that neither goes on nor ends waits as
        long as the process group's timeout says.
        """
        messages = Messages(self.process_group)
        trainer = self.trainer

        def make() -> Fit:
            _checks.refuse_unknown("fit", unknown, DistributedTrainer.fit)
            self._check_device()
            if isinstance(trainer.optimizer, WholeBatchOptimizer):
                raise ValueError(
                    "optimizer: expected one that takes steps by the batch, got a"
                    f" {type(trainer.optimizer).__name__}"
                )
            fit = Fit(
                trainer,
                x,
                t,
                max_epoch=max_epoch,
                batch_size=batch_size,
                max_grad=max_grad,
                eval_interval=eval_interval,
                validation_data=validation_data,
                shuffle=shuffle,
                seed=seed,
                callbacks=self._own_callbacks(callbacks),
                progress=progress if self.rank == 0 else False,
                allow_nonfinite=allow_nonfinite,
                sample_weight=sample_weight,
                validation_split=validation_split,
                early_stopping=early_stopping,
                accumulate=accumulate,
                metrics=metrics,
            )
            if "r2" in fit.metrics:
                raise ValueError(
                    "metrics: expected means over rows, got 'r2', which is none; take 'mse'"
                )
            return fit

        error: BaseException | None = None
        fit: Fit | None = None
        found: dict[str, Any] = {}
        try:
            fit = make()
            fit.check()
            found |= {"facts": self._facts(fit), "state": state.digest(trainer)}
            found |= {"batches": fit.batches, "seed": fit.seed, "own_seed": trainer._seed}
        except BaseException as own:
            error = own
            raise
        finally:
            everyone = messages.agree(error, found)
        assert fit is not None
        _check_same([one["facts"] for one in everyone])
        if len({one["state"] for one in everyone}) > 1:
            fit = self._share_state(messages, make)
        trainer._seed = everyone[0]["own_seed"]
        fit.seed = _seed_of(everyone[0]["seed"], self.rank)
        counts = [one["batches"] for one in everyone]
        batches = None if None in counts else max(counts)
        exchange = Exchange(messages, trainer, batches, self.bucket_bytes, fit.metrics)
        fit.exchange = exchange
        try:
            history = fit.run()
            exchange.end()
        except BaseException as own:
            exchange.fail(own)
            raise
        finally:
            self.traffic = {
                "rounds": exchange.rounds,
                "bytes": exchange.sent_bytes,
                "waited": exchange.waited,
            }
        if fit.problem is not None:
            tell(trainer, fit.problem)
        return history

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the trainer to one file, from which any number of processes goes on.

        All processes call this; rank 0 writes, as `Trainer.save` does, and the others wait. Where
        the training goes on, each process makes a `DistributedTrainer` of `Trainer.load(path)`.

        Raises
        ------
        RankError
            If rank 0 cannot write it.
        TypeError, ValueError, RuntimeError, OSError
            On rank 0, as `Trainer.save`.
        """
        messages = Messages(self.process_group)
        error = None
        try:
            if self.rank == 0:
                self.trainer.save(path)
        except BaseException as own:
            error = own
            raise
        finally:
            messages.agree(error)

    def _share_state(self, messages: Messages, make: Callable[[], Fit]) -> Fit:
        error = None
        try:
            state.share(self.trainer, messages)
            return make()
        except BaseException as own:
            error = own
            raise
        finally:
            messages.agree(error)

    def _own_callbacks(self, callbacks: Any) -> Any:
        if self.rank == 0:
            return callbacks
        if isinstance(callbacks, _WRITERS):
            callbacks = [callbacks]
        if not isinstance(callbacks, Iterable):
            return callbacks
        return [callback for callback in callbacks if not _writes(callback)]

    def _check_device(self) -> None:
        device = self.trainer.optimizer.parameters[0].device
        backend = dist.get_backend(self.process_group)
        if device == "cpu" and backend == "nccl":
            raise ValueError(
                "process_group: expected the backend gloo for a model on the CPU, got nccl"
            )
        if device != "cpu" and not torch.cuda.is_available():
            raise ValueError(
                "trainer: expected a model on the CPU with a torch that has no CUDA, got one on"
                f" {device}"
            )

    def _facts(self, fit: Fit) -> dict[str, Any]:
        """What has to be the same on all processes, by the names of arguments."""
        trainer = self.trainer
        optimizer, loss_fn, scheduler = trainer.optimizer, trainer.loss_fn, trainer.scheduler
        return {
            "trainer's model": [
                (name, parameter.shape, str(parameter.dtype), parameter.requires_grad)
                for name, parameter in trainer.model.named_parameters()
            ],
            "trainer's optimizer": (type(optimizer).__name__, len(optimizer.param_groups)),
            "trainer's loss_fn": (type(loss_fn).__name__, loss_fn.reduction),
            "trainer's scheduler": (type(scheduler).__name__, trainer.scheduler_interval),
            "trainer's on_nonfinite": trainer.on_nonfinite,
            "bucket_bytes": self.bucket_bytes,
            **fit.facts(),
        }


def _writes(callback: Any) -> bool:
    in_memory = isinstance(callback, ModelCheckpoint) and callback.path is None
    return isinstance(callback, _WRITERS) and not in_memory


def _seed_of(seed: int, rank: int) -> int:
    """Of a process; that of rank 0 is the one of a training by one process."""
    return seed if rank == 0 else seeds.Generator(seed, rank).next_seed()


def _check_same(facts: list[dict[str, Any]]) -> None:
    for rank, own in enumerate(facts):
        for name, value in own.items():
            if value != facts[0][name]:
                raise ValueError(
                    f"{name}: expected the same on all ranks, got {_short(facts[0][name])} on rank"
                    f" 0 and {_short(value)} on rank {rank}"
                )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}..."
