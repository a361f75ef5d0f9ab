"""Small messages of all processes to all, which tell of failures, too."""

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
import torch.distributed as dist


class RankError(RuntimeError):
    """Another process of a distributed training has failed.

    Attributes
    ----------
    rank : int or None
        Its rank; None where the connection to a process is lost, and nobody knows which it is.
    message : str
        Its error.
    """

    def __init__(self, rank: int | None, message: str) -> None:
        who = "a process" if rank is None else f"rank {rank}"
        super().__init__(f"{who} of the training has failed: {message}")
        self.rank = rank
        self.message = message

    def __reduce__(self) -> Any:
        return RankError, (self.rank, self.message)


def text_of(error: BaseException) -> str:
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Ctrl-C waits for the block's end: who has sent half of its messages keeps all waiting."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    pressed: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: pressed.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed:
        before(pressed[0], None)


class Message:
    """Numbers that are on the way: how many processes have failed, and sums over all processes."""

    def __init__(self, tensor: Any, work: Any) -> None:
        self.tensor, self.work = tensor, work


class Messages:
    """What the processes of a group tell each other, all of them the same in the same order.

    A process that fails keeps to that order until the others know: whatever numbers they exchange
    next, it takes part and says that it has failed.

    Attributes
    ----------
    rank, size : int
        This process's number in the group, and how many there are.
    device : torch.device
        Where small tensors are.
    is_over : bool
        Whether all know of a failure, or one of them is gone, so that nothing more is sent.
    """

    LENGTH = 8  # numbers of a message; those that fail do not know how many it is to have

    def __init__(self, group: Any) -> None:
        self.group = group
        self.rank, self.size = dist.get_rank(group), dist.get_world_size(group)
        on_gpu = dist.get_backend(group) == "nccl"
        self.device = torch.device("cuda", torch.cuda.current_device()) if on_gpu else "cpu"
        self.is_over = False

    def send(self, values: Sequence[float], failed: bool = False) -> Message:
        """Begin to add up numbers."""
        numbers = [float(failed), *values]
        numbers += [0.0] * (self.LENGTH - len(numbers))
        tensor = torch.tensor(numbers, dtype=torch.float64, device=self.device)
        return Message(tensor, self.reduce(tensor))

    def receive(self, message: Message) -> list[float]:
        """The sums. RankError where a process has failed."""
        self.wait(message.work)
        sums: list[float]
        failed, *sums = message.tensor.tolist()
        if failed:
            self.raise_failure()
        return sums

    def exchange(self, values: Sequence[float]) -> list[float]:
        with uninterrupted():
            return self.receive(self.send(values))

    def reduce(self, tensor: Any) -> Any:
        """Begin to add up a tensor of all processes."""
        with self._connected():
            return dist.all_reduce(tensor, group=self.group, async_op=True)

    def wait(self, work: Any) -> None:
        with self._connected():
            work.wait()

    def gather(self, value: Any) -> list[Any]:
        """One object of each process, by rank."""
        found: list[Any] = [None] * self.size
        with self._connected():
            dist.all_gather_object(found, value, group=self.group)
        return found

    def from_first(self, value: Any) -> Any:
        """The object of rank 0."""
        box = [value]
        with self._connected():
            dist.broadcast_object_list(box, src=self._first(), group=self.group)
        return box[0]

    def array_from_first(self, array: Any) -> Any:
        """The array of rank 0, into one of the same shape and dtype."""
        tensor = torch.from_numpy(array)
        there = tensor.to(self.device)
        with self._connected():
            dist.broadcast(there, src=self._first(), group=self.group)
        tensor.copy_(there)
        return array

    def agree(self, error: BaseException | None, value: Any = None) -> list[Any]:
        """One object of each process, by rank; RankError where another one has an error instead."""
        found = self.gather((None if error is None else text_of(error), value))
        if error is not None:
            return []
        for rank, (text, _) in enumerate(found):
            if text is not None:
                raise RankError(rank, text)
        return [value for _, value in found]

    def raise_failure(self) -> None:
        """All know that at least one has failed: learn of its error."""
        self.is_over = True
        self.agree(None)
        raise RankError(None, "it has not said why")

    def fail(self, error: BaseException, told: bool) -> None:
        """Tell the others of an error, if they have not heard so far that there is one."""
        if self.is_over:
            return
        with suppress(RankError):
            if not told:
                message = self.send([], failed=True)
                self.wait(message.work)
            self.is_over = True
            self.agree(error)

    def _first(self) -> int:
        return 0 if self.group is None else dist.get_global_rank(self.group, 0)

    @contextmanager
    def _connected(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:  # of gloo and NCCL
            self.is_over = True
            raise RankError(None, f"the connection is lost ({error})") from error
