"""Without a seed, processes and threads draw numbers of their own; with one, the same each time."""

import os
import threading
from typing import Any

import numpy as np
import pytest

import fastmlp as fm
from fastmlp import seeds
from subprocesses import output_of

FORKED = """
import multiprocessing as mp
import numpy as np
import fastmlp as fm
{setup}
fm.Linear(1, 1)

def draw(_):
    model = fm.Sequential(fm.Linear(2, 2), fm.Dropout(0.5))
    x = np.ones((4, 2), "f4")
    trainer = fm.Trainer(model, fm.SGD(model.parameters()), fm.MSELoss())
    trainer.fit(x, x, max_epoch=1, progress=False)
    return tuple(np.asarray(model[0].weight).ravel()), model(x).sum().item(), trainer._seed

context = mp.get_context("fork")
queue = context.Queue()
workers = [context.Process(target=lambda: queue.put(draw(0))) for _ in range(3)]
for worker in workers:
    worker.start()
found = [queue.get() for _ in workers] + [draw(0)]
for worker in workers:
    worker.join()
print(*(len(set(values)) for values in zip(*found)))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_forked_workers_draw_their_own_numbers() -> None:
    """Weights, dropout and the order of rows; unless a seed has said which."""
    assert output_of(FORKED.format(setup="")).split() == ["4", "4", "4"]
    assert output_of(FORKED.format(setup="fm.manual_seed(1)")).split() == ["1", "1", "1"]


def test_threads_draw_their_own_numbers() -> None:
    weights: list[Any] = []

    def work() -> None:
        weights.extend(tuple(np.asarray(fm.Linear(2, 2).weight).ravel()) for _ in range(200))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(weights)) == 800


def test_the_seed_of_a_network_is_that_of_its_training() -> None:
    x = np.random.default_rng(0).normal(size=(40, 2))

    def train(seed: int | None, draws: int) -> list[float]:
        fm.manual_seed(draws)  # what others draw makes no difference
        model = fm.MLP([2, 4, 1], seed=seed)
        trainer = fm.Trainer(model, fm.SGD(model.parameters(), lr=0.1), fm.MSELoss())
        return list(trainer.fit(x, x[:, :1], max_epoch=3, batch_size=4, progress=False).loss)

    assert train(0, 1) == train(0, 2) != train(1, 1)
    assert train(None, 1) == train(None, 1) != train(None, 2)


def test_a_generator_goes_on_from_its_state() -> None:
    generator = seeds.Generator(5)
    generator.next_seed()
    twin = seeds.Generator(**generator.state())
    assert [generator.next_seed() for _ in range(3)] == [twin.next_seed() for _ in range(3)]
