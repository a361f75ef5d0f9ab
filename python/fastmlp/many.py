"""Many trainings at once, one network a thread or, on a device, a block, each as by itself."""

import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from fastmlp import _checks, _core
from fastmlp._alike import Pattern, likeness, loss_key
from fastmlp._fit import Fit, run_together
from fastmlp._many_arguments import Data, Options, named
from fastmlp._whole_fit import ALL_ROWS_OR_32
from fastmlp.history import History
from fastmlp.progress import make_progress, progress_stream
from fastmlp.runtime import get_num_threads
from fastmlp.trainer import Trainer

_STREAMS = 8  # groups that are trained at a time
_AT_ONCE = 1 << 25  # numbers that a group holds on the device, apart from its networks


def fit_many(
    trainers: Iterable[Trainer],
    x: Any,
    t: Any = None,
    max_epoch: Any = 10,
    batch_size: Any = ALL_ROWS_OR_32,
    *,
    rows: Any = None,
    progress: bool | str = "auto",
    **fit_options: Any,
) -> list[History]:
    """Train many networks on the same data: ``[trainer.fit(x, t, ...) for trainer in trainers]``.

    Each comes to the same bits as by itself, in a fraction of the time: every thread (see
    `set_num_threads`) trains one network after another, the longest trainings first. Networks,
    optimizers and losses may be of any kinds.

    On a CUDA device, tiny networks of one shape that differ in their weights, seeds, rates and
    other numbers, or in their rows, share launches, a block each; groups of different shapes run
    side by side. The other networks there are trained one by one: those with layers besides
    `Linear` and activations, too large for a block, with callbacks, functions as metrics,
    `max_grad` or `accumulate`, or on data that lie on the device.

    Parameters
    ----------
    trainers : iterable of Trainer
        Which share no parameters.
    x, t : array_like, or x alone an iterable of batches
        As `Trainer.fit` takes them. They are converted once, not for each trainer.
    max_epoch, batch_size, progress, **fit_options
        All further arguments of `Trainer.fit`. Instead of a number, a flag or an `EarlyStopping`
        there may be a list or 1-D array of one for each trainer, such as ``seed=range(n)``; for
        `callbacks` a list of lists. Callbacks and metrics are called in the threads, one at a time.
    rows : list, optional
        The rows of x, t and sample_weight that each trainer gets: a list with integers, booleans or
        a slice for each of them, or None for all rows. One array of integers or booleans is for
        all trainers. The validation data stay as they are.

    Returns
    -------
    list of History

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong, or trainers share parameters; it names the first trainer that it is
        wrong for. None has begun then. (A wrong batch of an iterable is an error when it comes.)
    FloatingPointError
        At the end, if losses of trainers with `on_nonfinite="raise"` became NaN, which end by
        themselves. A warning tells of those with "warn".
    KeyboardInterrupt
        After Ctrl-C, as after an error in a callback: each network that had begun has taken whole
        steps, and can be trained on.

    Notes
    -----
    Beside the models, a thread needs the memory of one fit; `rows` are copied for those under way
    alone. On a CUDA device that is a group.
    """
    group = list(trainers) if isinstance(trainers, Iterable) else trainers
    _check_trainers(group)
    options = Options(group, {"max_epoch": max_epoch, "batch_size": batch_size, **fit_options})
    weights = options.shared.pop("sample_weight", None)
    data = Data(group, x, t, weights, rows, options.shared["metrics"])
    stream = progress_stream(True if progress == "plot" else progress)

    patterns: dict[Any, Pattern] = {}
    alike: dict[int, tuple[Pattern, list[_core.Parameter]]] = {}

    def make(i: int) -> Fit:
        with named(i):
            fit = None
            if i in alike:
                pattern, parameters = alike[i]
                fit = pattern.fit_of(group[i], parameters, options.of(i))
            return fit or Fit(group[i], **data.of(i), **options.of(i), progress=False)

    on_device: dict[int, Any] = {}  # and which of them may share launches
    for i, trainer in enumerate(group):
        given = options.of(i)
        found = likeness(trainer, given) if rows is None else None
        if found is not None and found.key in patterns:  # of thousands one is checked for all
            alike[i] = patterns[found.key], found.parameters
            with named(i):
                trainer._choose_seed(given["seed"])
            if not _is_on_device(trainer):
                continue  # the threads make it
        fit = make(i)
        if i not in alike:
            with named(i):
                fit.check()
            if found is not None:
                patterns[found.key] = Pattern(fit, found.parameters)
        if _is_on_device(trainer):
            on_device[i] = _launch(fit)
    work = [data.rows_of(i) * options.epochs_of(i) for i in range(len(group))]
    run = _Run(group, make, work, on_device, data.own_size)
    try:
        if stream is None:
            run.all()
        else:
            with make_progress(stream, 0, len(group), unit="network") as line:
                run.all(lambda done: line.poll(done, None))
                line.finish(len(group), None)
    finally:
        options.settle()
    _tell(group, run.problems)
    return [history for history in run.histories if history is not None]


def _check_trainers(group: Any) -> None:
    if not isinstance(group, list) or isinstance(group, Trainer):
        raise TypeError(f"trainers: expected a list of trainers, got {_checks.show(group)}")
    users: dict[int, int] = {}
    for i, trainer in enumerate(group):
        if not isinstance(trainer, Trainer):
            raise TypeError(f"trainers[{i}]: expected a Trainer, got {_checks.show(trainer)}")
        own = {id(p._native) for p in (*trainer.model._stored(), *trainer.optimizer.parameters)}
        for parameter in own:
            other = users.setdefault(parameter, i)
            if other != i:
                raise ValueError(
                    f"trainers[{i}]: expected parameters of its own, got some of"
                    f" trainers[{other}], too"
                )


def _is_on_device(trainer: Trainer) -> bool:
    return trainer.optimizer.parameters[0].device != "cpu"


def _launch(fit: Fit) -> Any:
    """Equal for trainings that may share launches; None: this one runs alone."""
    trainer, key = fit.trainer, fit.group_key()
    if key is None:
        return None
    return key, str(trainer.optimizer.parameters[0].dtype), loss_key(trainer.loss_fn)


class _StoppedError(Exception):
    """Another training has failed, or Ctrl-C has come."""


class _Run:
    """The trainings, and the threads that take one after another."""

    def __init__(
        self,
        group: Sequence[Trainer],
        make: Callable[[int], Fit],
        work: list[int],
        on_device: dict[int, Any],
        own_size: Callable[[int], int],
    ) -> None:
        self.histories: list[History | None] = [None] * len(group)
        self.problems: dict[int, str] = {}
        self._make = make
        self._stop: BaseException | None = None
        self._done = 0
        self._changed = threading.Condition()
        sizes = [sum(p.numel() for p in trainer.optimizer.parameters) for trainer in group]
        order = sorted(range(len(group)), key=lambda i: -sizes[i] * work[i])
        self._order = [[i] for i in order if i not in on_device]
        launches: dict[Any, list[int]] = {}
        for i in order:
            if on_device.get(i) is not None:
                launches.setdefault(on_device[i], []).append(i)
        self._groups = []
        for members in launches.values():
            most = max(1, _AT_ONCE // own_size(members[0]))
            self._groups += [members[n : n + most] for n in range(0, len(members), most)]
        self._groups = [part for part in self._groups if len(part) > 1]
        together = {i for part in self._groups for i in part}
        self._here = [[i] for i in order if i in on_device and i not in together]

    def all(self, tell: Callable[[int], None] = lambda done: None) -> None:
        """Train all of them; the first error ends the others after a whole step."""
        workers = min(get_num_threads(), len(self._order))
        alone = self._here
        if workers <= 1:  # a single network may use all threads
            workers, alone = 0, [*self._order, *self._here]
        threads = self._threads(workers, self._order, 1)
        # Groups wait for the device, each in a stream of its own.
        threads += self._threads(min(_STREAMS, len(self._groups)), self._groups, None)
        try:
            for thread in threads:
                thread.start()
            for part in alone:
                self._train(part)
                tell(self._done)
            while any(thread.is_alive() for thread in threads) and self._stop is None:
                with self._changed:
                    self._changed.wait(0.05)
                tell(self._done)
        except BaseException as error:
            self._stop = self._stop or error
        finally:
            for thread in threads:
                thread.join()
        if self._stop is not None:
            raise self._stop

    def _threads(
        self, count: int, parts: list[list[int]], kernel_threads: int | None
    ) -> list[threading.Thread]:
        """Threads that take one part after another."""
        arguments = iter(parts), kernel_threads
        return [
            threading.Thread(target=self._work, args=arguments, daemon=True) for _ in range(count)
        ]

    def _work(self, parts: Iterator[list[int]], kernel_threads: int | None) -> None:
        if kernel_threads is not None:
            _core.limit_own_threads(kernel_threads)
        try:
            for part in parts:
                self._train(part)
        except _StoppedError:
            pass
        except BaseException as error:
            self._stop = self._stop or error
        with self._changed:
            self._changed.notify()

    def _train(self, part: list[int]) -> None:
        self._check()
        fits = [self._make(i) for i in part]
        try:
            if len(fits) == 1:
                histories = [fits[0].run(self._check)]
            else:
                histories = run_together(fits, self._check)
        except Exception as error:
            if not isinstance(error, _StoppedError) and hasattr(error, "add_note"):
                error.add_note(f"in the training of trainers[{_few(part)}]")
            raise
        for i, fit, history in zip(part, fits, histories, strict=True):
            self.histories[i] = history
            if fit.problem is not None:
                self.problems[i] = fit.problem
        with self._changed:
            self._done += len(part)

    def _check(self, epoch: int = 0, loss: float = 0.0) -> None:
        if self._stop is not None:
            raise _StoppedError


def _tell(group: Sequence[Trainer], problems: dict[int, str]) -> None:
    """Warn of the losses that are no numbers any more, or raise."""
    for reaction in ("warn", "raise"):
        found = [i for i in sorted(problems) if group[i].on_nonfinite == reaction]
        if not found:
            continue
        more = f" (and of {len(found) - 1} others: {_few(found[1:])})" if len(found) > 1 else ""
        text = f"trainers[{found[0]}]: {problems[found[0]]}{more}"
        if reaction == "raise":
            raise FloatingPointError(text)
        warnings.warn(text, RuntimeWarning, stacklevel=3)


def _few(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:8]))
    return shown if len(numbers) <= 8 else shown + ", ..."
