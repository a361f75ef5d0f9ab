"""Learning rates on two workers of Ray: python examples/scale/ray_tune.py

Each trial is a process that reports its loss after every tenth epoch; Tune may stop it there. A
trial has as many cores as its resources say, one by default, which Ray tells fastmlp by
OMP_NUM_THREADS: `tune.with_resources(train, {"cpu": 4})` gives it four threads.
"""

import os
import tempfile

import ray
from ray import tune

import fastmlp as fm


def train(settings):
    x, t = fm.datasets.spiral()
    model = fm.MLP([2, 10, 3], activation="tanh", seed=0)
    optimizer = fm.Adam(model.parameters(), lr=settings["lr"])
    trainer = fm.Trainer(model, optimizer, fm.CrossEntropyLoss())

    def report(info):
        if info.epoch % 10 == 9:
            tune.report({"loss": info.loss, "threads": fm.get_num_threads()})

    trainer.fit(x, t, max_epoch=100, batch_size=30, seed=0, progress=False, callbacks=report)


def main():
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    with tempfile.TemporaryDirectory() as folder:
        tuner = tune.Tuner(
            train,
            param_space={"lr": tune.grid_search([0.001, 0.01, 0.03])},
            tune_config=tune.TuneConfig(metric="loss", mode="min"),
            run_config=tune.RunConfig(storage_path=folder, verbose=0),
        )
        best = tuner.fit().get_best_result()
    print(f"{best.metrics['threads']} thread a trial")
    print(f"loss {best.metrics['loss']:.3f} with {best.config}")
    ray.shutdown()


if __name__ == "__main__":
    main()
