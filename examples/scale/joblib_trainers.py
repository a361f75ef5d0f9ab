"""Trainers in two processes of joblib: python examples/scale/joblib_trainers.py

A trainer goes to a process and comes back trained, with its history and its optimizer's state.
joblib tells each process of two to use half of the cores (OMP_NUM_THREADS), and fastmlp obeys.
Within one process, `fm.fit_many` does the same without copies.
"""

import pickle

import joblib

import fastmlp as fm


def train(trainer, x, t):
    trainer.fit(x, t, max_epoch=200, batch_size=30, seed=0, progress=False)
    return fm.get_num_threads(), trainer


def main():
    x, t = fm.datasets.spiral()
    trainers = []
    for seed, rate in enumerate([0.003, 0.01, 0.03, 0.1]):
        model = fm.MLP([2, 10, 3], activation="tanh", seed=seed)
        optimizer = fm.Adam(model.parameters(), lr=rate)
        trainers.append(fm.Trainer(model, optimizer, fm.CrossEntropyLoss()))
    print(f"{joblib.cpu_count()} cores, {len(pickle.dumps(trainers[0]))} bytes a trainer")

    work = joblib.Parallel(n_jobs=2)
    done = work(joblib.delayed(train)(trainer, x, t) for trainer in trainers)
    print(f"{done[0][0]} threads in each of two processes")
    for _, trainer in done:
        print(f"rate {trainer.optimizer.lr:<5}  loss {trainer.history.loss[-1]:.3f}")
    best = min((trainer for _, trainer in done), key=lambda one: one.history.loss[-1])
    print(f"accuracy {(best.model.predict(x).argmax(1) == t.argmax(1)).mean():.2f}")


if __name__ == "__main__":
    main()
