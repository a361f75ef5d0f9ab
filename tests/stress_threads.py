"""Random pairs of calls from two threads on the same objects: each gives a result or an exception.

python stress_threads.py SECONDS [SEED]: run as a program of its own, for a crash ends it. The same
under the thread sanitizer is scripts/tsan_stress. Numbers in parameters may be torn between two
threads that both write them, as in NumPy and torch; what holds them may not.
"""

import copy
import faulthandler
import itertools
import pickle
import random
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import fastmlp as fm

Call = Callable[[], Any]


class Objects:
    """What two threads share; large enough for native code to work without the GIL."""

    def __init__(self, width: int, dropout: bool) -> None:
        layers = [fm.Linear(4, width), fm.Tanh(), fm.Linear(width, 2)]
        if dropout:
            layers.insert(2, fm.Dropout(0.2))
        self.model = fm.Sequential(*layers)
        self.optimizer = fm.Adam(self.model.parameters(), lr=1e-4)
        self.loss_fn = fm.CrossEntropyLoss()
        self.trainer = fm.Trainer(self.model, self.optimizer, self.loss_fn, "ignore")
        self.x = np.random.default_rng(0).normal(size=(64, 4)).astype("f4")
        self.t = np.arange(64) % 2
        others = [copy.deepcopy(self.model) for _ in range(2)]
        self.others = [fm.Trainer(m, fm.SGD(m.parameters(), lr=1e-4)) for m in others]
        self.ensemble = fm.Ensemble([self.model, *others])
        self.y = self.model(self.x)
        self.loss = self.loss_fn(self.y, self.t)

    def calls(self) -> dict[str, Call]:
        fit: dict[str, Any] = {"max_epoch": 3, "batch_size": 16, "progress": False}
        return {
            "predict": lambda: self.model.predict(self.x),
            "predict one": lambda: self.model.predict(self.x[0]),
            "call": lambda: self.model(self.x),
            "loss": lambda: self.loss_fn(self.y, self.t),
            "backward": lambda: self.loss.backward(),
            "backward of y": lambda: self.y.backward(np.ones((64, 2))),
            "own backward": lambda: self.loss_fn(self.model(self.x), self.t).backward(),
            "new pass": self._new_pass,
            "step": lambda: self.optimizer.step(),
            "zero_grad": lambda: self.optimizer.zero_grad(),
            "zero": lambda: self.model.zero_grad(set_to_none=False),
            "lr": lambda: setattr(self.optimizer, "lr", 1e-5),
            "optimizer state": lambda: self.optimizer.load_state_dict(self.optimizer.state_dict()),
            "fit many": lambda: fm.fit_many([self.trainer, *self.others], self.x, self.t, **fit),
            "ensemble": lambda: self.ensemble.predict(self.x, return_std=True),
            "ensemble, one": lambda: self.ensemble.predict(self.x[0]),
            "fit": lambda: self.trainer.fit(self.x, self.t, **fit),
            "fit back": lambda: self.trainer.fit(self.x, self.t, callbacks=self._callback, **fit),
            "clipped fit": lambda: self.trainer.fit(self.x, self.t, max_grad=1.0, **fit),
            "history": lambda: repr(self.trainer.history),
            "trainer": lambda: repr(self.trainer),
            "copy": lambda: copy.deepcopy(self.trainer),
            "pickle": lambda: pickle.dumps(self.trainer),
            "state": lambda: self.model.load_state_dict(self.model.state_dict()),
            "clip": lambda: fm.clip_grad_norm_(self.model.parameters(), 1.0),
            "weight": lambda: setattr(self.model[0], "weight", np.ones(self.model[0].weight.shape)),
            "view": lambda: np.asarray(self.model[0].weight).sum(),
            "grad": lambda: self.model[0].weight.grad,
            "set grad": lambda: setattr(
                self.model[0].bias, "grad", np.ones(self.model[0].bias.shape)
            ),
            "freeze": lambda: self.model[0].requires_grad_(random.random() < 0.3),
            "mode": lambda: self.model.train(random.random() < 0.5),
            "convert": lambda: self.model.double().float(),
            "structure": lambda: setattr(self.model, "note", 1),
            "reduction": lambda: setattr(self.loss_fn, "reduction", random.choice(["mean", "sum"])),
            "threads": lambda: fm.set_num_threads(random.choice([1, 2])),
            "new": lambda: fm.MLP([4, 8, 2]),
        }

    def _new_pass(self) -> None:
        self.y = self.model(self.x)
        self.loss = self.loss_fn(self.y, self.t)

    def _callback(self, info: fm.EpochInfo) -> None:
        self.model.predict(self.x)
        self.optimizer.lr = 1e-4


def run_pair(first: Call, second: Call, rounds: int) -> None:
    barrier = threading.Barrier(2)

    def work(call: Call) -> None:
        barrier.wait()
        for _ in range(rounds):
            try:
                call()
            except Exception as error:  # which one depends on who comes first
                if not str(error):
                    raise

    threads = [threading.Thread(target=work, args=(call,)) for call in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main(seconds: float, seed: int = 0) -> None:
    faulthandler.enable()
    faulthandler.dump_traceback_later(seconds + 120, exit=True)  # a deadlock
    sys.setswitchinterval(1e-5)
    random.seed(seed)
    end, pairs = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        objects = Objects(random.choice([8, 300, 2000]), random.random() < 0.3)
        calls = objects.calls()
        chosen = random.sample(list(itertools.combinations_with_replacement(calls, 2)), 8)
        for first, second in chosen:
            run_pair(calls[first], calls[second], rounds=6)
            pairs += 1
            if time.monotonic() > end:
                break
        fm.set_num_threads(2)
    print(pairs, "pairs")


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
