"""One network, several processes: torchrun --nproc-per-node 2 examples/scale/distributed_fit.py

Each process reads its own part of the rows. On several machines, start the same on each of them:
torchrun --nnodes 2 --nproc-per-node 2 --rdzv-backend c10d --rdzv-endpoint HOST:29400 ...
"""

import torch.distributed as dist

import fastmlp as fm
from fastmlp.distributed import DistributedTrainer


def main():
    dist.init_process_group("gloo")
    rank, size = dist.get_rank(), dist.get_world_size()
    fm.set_num_threads(1)

    x, t = fm.datasets.spiral()
    model = fm.MLP([2, 32, 32, 3], activation="relu", seed=0)
    trainer = fm.Trainer(model, fm.Adam(model.parameters(), lr=0.01), fm.CrossEntropyLoss())
    distributed = DistributedTrainer(trainer)
    history = distributed.fit(x[rank::size], t[rank::size], 100, 25, seed=0, progress=False)
    if rank == 0:
        accuracy = (model.predict(x).argmax(1) == t.argmax(1)).mean()
        print(f"{size} processes, {distributed.traffic['rounds']} rounds")
        print(f"loss {history.loss[0]:.2f} to {history.loss[-1]:.2f}, accuracy {accuracy:.2f}")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
