"""One study of Optuna, two processes that work on it: python examples/scale/optuna_workers.py

The processes share a journal, a file here; on several machines it is a data base. A trial that
lags behind the others is pruned. Each of two processes has half of the cores.
"""

import tempfile
from pathlib import Path

import joblib
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

import fastmlp as fm

NAME = "spiral"


def objective(trial):
    x, t = fm.datasets.spiral()
    width = trial.suggest_int("width", 4, 64, log=True)
    rate = trial.suggest_float("lr", 1e-4, 1e-1, log=True)
    model = fm.MLP([2, width, 3], activation="tanh", seed=0)
    trainer = fm.Trainer(model, fm.Adam(model.parameters(), lr=rate), fm.CrossEntropyLoss())

    def lags_behind(info):
        trial.report(info.validation_loss, info.epoch)
        return trial.should_prune()

    trainer.fit(
        x[::2],
        t[::2],
        max_epoch=30,
        batch_size=30,
        validation_data=(x[1::2], t[1::2]),
        seed=0,
        progress=False,
        callbacks=lags_behind,
    )
    if trial.should_prune():
        raise optuna.TrialPruned
    return trainer.history.validation_loss[-1]


def work(journal, seed):
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.load_study(
        study_name=NAME,
        storage=JournalStorage(JournalFileBackend(journal)),
        sampler=optuna.samplers.TPESampler(seed=seed),
    )
    study.optimize(objective, n_trials=8)
    return fm.get_num_threads()


def main():
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        journal = str(Path(folder) / "journal.log")
        study = optuna.create_study(
            study_name=NAME, storage=JournalStorage(JournalFileBackend(journal))
        )
        jobs = (joblib.delayed(work)(journal, seed) for seed in range(2))
        threads = joblib.Parallel(n_jobs=2)(jobs)
        print(f"{len(study.trials)} trials by {len(threads)} processes, threads {threads}")
        print(f"loss {study.best_value:.3f} with {study.best_params}")


if __name__ == "__main__":
    main()
