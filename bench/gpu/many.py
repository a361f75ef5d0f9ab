"""Many tiny networks on a GPU: python bench/gpu/many.py [networks] [epochs]

Networks 2-10-3 on the spiral, each with a seed and a rate of its own: `fm.fit_many` on the device
and on the host, and on the device one by one, of which a few are timed. A few losses are compared.
"""

import sys
import time
from collections.abc import Callable

import numpy as np

import fastmlp as fm

FEW = 5  # networks that are trained one by one
OPTIONS = {"batch_size": 30, "progress": False}


def trainers(networks: int, device: str) -> list[fm.Trainer]:
    made = []
    for seed, rate in enumerate(np.geomspace(0.003, 0.1, networks).tolist()):
        model = fm.MLP([2, 10, 3], activation="tanh", seed=seed, device=device)
        optimizer = fm.Adam(model.parameters(), lr=rate)
        made.append(fm.Trainer(model, optimizer, fm.CrossEntropyLoss()))
    return made


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main(networks: int = 1000, epochs: int = 100) -> int:
    """Returns 1 where a network has other losses among others than alone."""
    x, t = fm.datasets.spiral()
    fm.fit_many(trainers(2, "cuda"), x, t, 2, **OPTIONS)  # the first launch takes longer
    there, here, alone = (trainers(networks, device) for device in ("cuda", "cpu", "cuda"))
    on_device = seconds(lambda: fm.fit_many(there, x, t, epochs, seed=range(networks), **OPTIONS))
    on_host = seconds(lambda: fm.fit_many(here, x, t, epochs, seed=range(networks), **OPTIONS))
    few = alone[:FEW]
    one = seconds(lambda: [a.fit(x, t, epochs, seed=i, **OPTIONS) for i, a in enumerate(few)])
    same = all(
        np.array_equal(a.history.loss, b.history.loss) for a, b in zip(few, there, strict=False)
    )
    print(
        f"{networks} networks, {epochs} epochs: {on_device:.3f} s on the device, {on_host:.3f} s on"
        f" the host, {one / FEW * networks:.1f} s one by one; the losses are"
        f" {'the same' if same else 'DIFFERENT'}"
    )
    return int(not same)


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
