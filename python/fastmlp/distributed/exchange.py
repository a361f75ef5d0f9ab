"""The rounds of a distributed training: see cpp/core/exchange.h, which says what they are."""

import ctypes
import time
from contextlib import nullcontext, suppress
from math import sqrt
from typing import Any

import torch

from fastmlp import _core
from fastmlp.distributed.messages import Message, Messages, RankError, uninterrupted
from fastmlp.normalization import BatchNorm1d


class Exchange:
    """What native code calls in the rounds of one fit.

    Attributes
    ----------
    batches : int or None
        In an epoch of the process that has the most; None where nobody knows.
    bucket_bytes : int
    rounds, sent_bytes : int
        So far; the bytes are those of gradients.
    waited : float
        Seconds in which this process has waited for the others' gradients.
    """

    def __init__(
        self,
        messages: Messages,
        trainer: Any,
        batches: int | None,
        bucket_bytes: int,
        metrics: list[str],
    ) -> None:
        self.batches = batches
        self.bucket_bytes = bucket_bytes
        self.rounds = self.sent_bytes = 0
        self.waited = 0.0
        self._messages = messages
        self._trainer = trainer
        self._metrics = metrics
        parameter = trainer.optimizer.parameters[0]
        self._dtype = getattr(torch, str(parameter.dtype))
        self._on_gpu = parameter.device != "cpu"
        self._stream: Any = None
        self._tensors: list[Any] = []
        self._works: list[Any] = []
        self._updates = self._flushes = False
        self._header: Message | None = None  # of a round whose sums have not come
        self._unsent: list[int] | None = None  # buckets of the round that is open; None: none is
        self._told = False  # the others have heard that this process has failed

    # What native code calls

    def plan(self, places: list[tuple[int, int]], stream: int) -> None:
        """The gradients' memory."""
        self._tensors = [self._tensor(address, size) for address, size in places]
        is_default = stream <= 2  # by their numbers: of the device, of all threads, of one thread
        self._stream = None if is_default else torch.cuda.ExternalStream(stream)

    def begin_round(self, share: float, has_batch: bool, updates: bool, flushes: bool) -> None:
        with uninterrupted():
            self._updates, self._flushes = updates, flushes
            self._header = self._messages.send([share, float(has_batch)])

    def total_share(self) -> float | None:
        with uninterrupted():
            return self._open_round()

    def send(self, bucket: int) -> None:
        with uninterrupted():
            assert self._unsent is not None
            self._send(bucket)
            self._unsent.remove(bucket)

    def end_round(self, loss: float) -> float:
        with uninterrupted():
            self._unsent = None
            status = self._messages.send([loss])
            self._wait()
            return self._messages.receive(status)[0]

    def settle(self) -> None:
        """End this process's part of a round in which it has failed."""
        with uninterrupted():
            try:
                if not self._messages.is_over:
                    self._fail_in_round()
            finally:
                while self._works:  # after a lost connection: they may still read and write
                    with suppress(RankError):
                        self._messages.wait(self._works.pop(0))

    def share_statistics(self) -> None:
        """Those of BatchNorm1d become rank 0's."""
        model = self._trainer.model
        if not any(isinstance(module, BatchNorm1d) for module in model.modules()):
            return
        self._messages.exchange([])
        names = {name for name, _ in model.named_buffers()}
        own = {name: value for name, value in model.state_dict().items() if name in names}
        first = self._messages.from_first(own if self._messages.rank == 0 else None)
        if self._messages.rank > 0:
            model.load_state_dict(first, strict=False)

    def combine(self, value: float, weight: float, mean: bool) -> float:
        total, weights = self._messages.exchange([value * weight if mean else value, weight])[:2]
        return total / weights if mean else total

    def metrics(self, values: list[float], weight: float) -> list[float]:
        """Means over all rows; of "rmse" the squares are such means."""
        combined = []
        for name, value in zip(self._metrics, values, strict=True):
            is_root = name == "rmse"
            mean = self.combine(value * value if is_root else value, weight, True)
            combined.append(sqrt(mean) if is_root else mean)
        return combined

    # What the trainer calls

    def end_epoch(self, ends: bool, changed: bool) -> tuple[bool, bool]:
        ending, changing = self._messages.exchange([ends, changed])[:2]
        return ending > 0, changing > 0 and not ending

    def end(self) -> None:
        """All end together, or with the error of one of them."""
        self._messages.exchange([])

    def fail(self, error: BaseException) -> None:
        """Tell the others."""
        with uninterrupted():
            self._messages.fail(error, self._told)

    def _open_round(self) -> float | None:
        assert self._header is not None
        header, self._header = self._header, None
        share, batches = self._messages.receive(header)[:2]
        goes_on = self._updates if batches else self._flushes
        self.rounds += batches > 0
        if batches or self._flushes:
            self._unsent = list(range(len(self._tensors))) if goes_on else []
        return share if batches else None

    def _fail_in_round(self) -> None:
        if self._header is not None:
            self._open_round()
        if self._unsent is None:
            return
        for bucket in self._unsent:
            self._send(bucket)
        self._unsent = None
        status = self._messages.send([], failed=True)
        self._wait()
        self._messages.wait(status.work)
        self._told = True

    def _send(self, bucket: int) -> None:
        tensor = self._tensors[bucket]
        self.sent_bytes += tensor.numel() * tensor.element_size()
        if self._on_gpu and self._stream is None:  # torch does not know it
            _core.cuda_synchronize()
        with self._on_stream():
            self._works.append(self._messages.reduce(tensor))

    def _wait(self) -> None:
        began = time.perf_counter()
        with self._on_stream():
            while self._works:
                self._messages.wait(self._works.pop(0))
            if self._on_gpu and self._stream is None:
                torch.cuda.current_stream().synchronize()
        self.waited += time.perf_counter() - began

    def _on_stream(self) -> Any:
        return nullcontext() if self._stream is None else torch.cuda.stream(self._stream)

    def _tensor(self, address: int, size: int) -> Any:
        """A tensor of that memory."""
        if self._on_gpu:
            return torch.as_tensor(_DeviceMemory(address, size, self._dtype), device="cuda")
        memory = (ctypes.c_char * (size * self._dtype.itemsize)).from_address(address)
        return torch.frombuffer(memory, dtype=self._dtype)


class _DeviceMemory:
    def __init__(self, address: int, size: int, dtype: Any) -> None:
        self.__cuda_array_interface__ = {
            "shape": (size,),
            "typestr": f"<f{dtype.itemsize}",
            "data": (address, False),
            "version": 3,
        }
