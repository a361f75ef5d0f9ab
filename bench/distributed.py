"""Two processes of one thread each beside one of one: python bench/distributed.py

Trains 2048-4096-4096-1024 by SGD, float32, with gloo on this machine; each process takes `--batch`
rows a step. Prints rows a second, the bytes of gradients that are added up in a step, and which
share of the time that this takes alone is hidden behind the backward pass. One process and two take
turns; the figures are medians. Two minutes on two cores, which have to be idle.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

SIZES = [2048, 4096, 4096, 1024]


def work(batch: int, steps: int) -> None:
    """One process, alone or as a rank: prints its figures as JSON."""
    import numpy as np
    import torch
    import torch.distributed as dist

    import fastmlp as fm
    from fastmlp.distributed import DistributedTrainer

    fm.set_num_threads(1)
    torch.set_num_threads(1)
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    rng = np.random.default_rng(rank)
    x = rng.normal(size=(steps * batch, SIZES[0])).astype("float32")
    t = rng.normal(size=(steps * batch, SIZES[-1])).astype("float32")
    model = fm.MLP(SIZES, seed=0)
    trainer = fm.Trainer(model, fm.SGD(model.parameters(), lr=1e-3), fm.MSELoss())
    distributed, alone = None, 0.0
    if size > 1:
        store = os.environ["STORE"]
        dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=size)
        distributed = DistributedTrainer(trainer)
        tensors = [torch.zeros(p.size) for p in model.parameters()]
        for _ in range(3):
            dist.barrier()
            began = time.perf_counter()
            for tensor in tensors:
                dist.all_reduce(tensor)
            alone = time.perf_counter() - began
    fitting = distributed or trainer
    options = {"batch_size": batch, "shuffle": False, "progress": False}
    fitting.fit(x[: 2 * batch], t[: 2 * batch], 1, **options)  # warm
    trainer_epoch = trainer.history.epoch_time
    fitting.fit(x, t, 1, **options)
    seconds = float(trainer.history.epoch_time[len(trainer_epoch)])
    found = {"rows": size * steps * batch / seconds, "alone": alone}
    if distributed is not None:
        rounds = distributed.traffic["rounds"]
        found["bytes"] = distributed.traffic["bytes"] / rounds
        found["waited"] = distributed.traffic["waited"] / rounds
    if rank == 0:
        print(json.dumps(found), flush=True)


def measure(size: int, batch: int, steps: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        common = {"WORLD_SIZE": str(size), "STORE": os.path.join(folder, "store")}
        command = [sys.executable, __file__, "--worker", f"--batch={batch}", f"--steps={steps}"]
        processes = [
            subprocess.Popen(
                command, env={**os.environ, **common, "RANK": str(rank)}, stdout=subprocess.PIPE
            )
            for rank in range(size)
        ]
        outputs = [process.communicate(timeout=170)[0] for process in processes]
    if any(process.returncode for process in processes):
        raise SystemExit("a process has failed")
    return json.loads(outputs[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--batch", type=int, default=512, help="rows of a process in a step")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        work(given.batch, given.steps)
        return
    found: dict[int, list[dict[str, float]]] = {1: [], 2: []}
    for _ in range(given.rounds):
        for size, results in found.items():
            results.append(measure(size, given.batch, given.steps))

    def median(size: int, name: str) -> float:
        return statistics.median(result[name] for result in found[size])

    one, two = median(1, "rows"), median(2, "rows")
    hidden = 1 - median(2, "waited") / median(2, "alone")
    print(f"2048-4096-4096-1024, {given.batch} rows a process and step, one thread a process")
    print(f"one process    {one:8.0f} rows/s")
    print(f"two processes  {two:8.0f} rows/s: {two / one:.2f} times as many")
    print(f"added up in a step: {median(2, 'bytes') / 1e6:.1f} MB of each process")
    print(
        f"alone that takes {1e3 * median(2, 'alone'):.0f} ms; the step waits"
        f" {1e3 * median(2, 'waited'):.0f} ms, so that {max(hidden, 0):.0%} is hidden"
    )


if __name__ == "__main__":
    main()
