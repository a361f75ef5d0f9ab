"""Many small networks at once: python bench/many.py [--search] [--networks N] [--epochs N]

10 000 networks 2-10-3 on the spiral, each with a seed and a rate of its own: `fm.fit_many` beside
the rate of a single fit times the cores, JAX (`vmap` over networks, `scan` over steps, in chunks
that suit the cache), PyTorch (`torch.func.vmap`), and scikit-learn in two processes of joblib. All
take the same number of steps of SGD with batches of 30 rows. Peers that are slow train fewer
networks, as the table says, and their time is multiplied. What is compiled is counted apart.

--search: 200 settings x 5 folds of a table of 1000 x 10: `MLPSearchCV`, and `GridSearchCV` with our
estimators and with scikit-learn's in as many processes as there are threads.
"""

import argparse
import time
import warnings
from collections.abc import Callable

import numpy as np

import fastmlp as fm

BATCH = 30
SIZES = [2, 10, 3]


def seconds(work: Callable[[], object], repeats: int = 1) -> float:
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best


def rates(networks: int) -> np.ndarray:
    return np.geomspace(0.03, 1.0, networks)


def trainers(networks: int) -> list[fm.Trainer]:
    made = []
    for seed, rate in enumerate(rates(networks).tolist()):
        model = fm.MLP(SIZES, activation="tanh", seed=seed)
        optimizer = fm.SGD(model.parameters(), lr=rate)
        made.append(fm.Trainer(model, optimizer, fm.CrossEntropyLoss()))
    return made


def ours(networks: int, epochs: int) -> tuple[float, float, float]:
    """Of `fit_many`; of one new network after another; of one that goes on for as many steps."""
    x, t = fm.datasets.spiral()
    options = {"max_epoch": epochs, "batch_size": BATCH, "progress": False}
    made = trainers(networks)
    many = seconds(lambda: fm.fit_many(made, x, t, seed=range(networks), **options))
    few = min(networks, 1000)
    with fm.threads(1):
        made = trainers(few)
        short = seconds(lambda: [one.fit(x, t, seed=i, **options) for i, one in enumerate(made)])
        made, options["max_epoch"] = trainers(1), 100 * epochs
        long = seconds(lambda: made[0].fit(x, t, seed=0, **options), 3) / 100
    return many, short * networks / few, long * networks


def jax_vmap(networks: int, epochs: int, chunk: int = 500) -> tuple[float, float]:
    import jax
    import jax.numpy as jnp

    x, t = (jnp.asarray(part, "float32") for part in fm.datasets.spiral())
    batches = len(x) // BATCH

    def loss(weights: list, x: jax.Array, t: jax.Array) -> jax.Array:
        (w1, b1), (w2, b2) = weights
        y = jnp.tanh(x @ w1 + b1) @ w2 + b2
        return -(t * jax.nn.log_softmax(y)).sum(axis=1).mean()

    def fit(key: jax.Array, rate: jax.Array) -> jax.Array:
        first, second, key = jax.random.split(key, 3)
        weights = [
            (jax.random.uniform(first, (2, 10), minval=-0.7, maxval=0.7), jnp.zeros(10)),
            (jax.random.uniform(second, (10, 3), minval=-0.3, maxval=0.3), jnp.zeros(3)),
        ]

        def epoch(weights: list, key: jax.Array) -> tuple[list, jax.Array]:
            order = jax.random.permutation(key, len(x))[: batches * BATCH].reshape(batches, BATCH)

            def step(weights: list, rows: jax.Array) -> tuple[list, jax.Array]:
                value, gradients = jax.value_and_grad(loss)(weights, x[rows], t[rows])
                return jax.tree.map(lambda w, g: w - rate * g, weights, gradients), value

            weights, values = jax.lax.scan(step, weights, order)
            return weights, values.mean()

        _, losses = jax.lax.scan(epoch, weights, jax.random.split(key, epochs))
        return losses[-1]

    together = jax.jit(jax.vmap(fit))
    keys, rate = jax.random.split(jax.random.key(0), networks), jnp.asarray(rates(networks), "f4")
    start = time.perf_counter()
    compiled = together.lower(keys[:chunk], rate[:chunk]).compile()
    compiling = time.perf_counter() - start

    def run() -> None:
        for first in range(0, networks, chunk):
            part = slice(first, first + chunk)
            compiled(keys[part], rate[part]).block_until_ready()

    return seconds(run), compiling


def torch_vmap(networks: int, epochs: int) -> float:
    import torch
    from torch.func import grad, vmap

    x, t = (torch.tensor(part, dtype=torch.float32) for part in fm.datasets.spiral())
    shapes = {"w1": (2, 10), "b1": (10,), "w2": (10, 3), "b2": (3,)}
    weights = {n: torch.rand(networks, *shape) - 0.5 for n, shape in shapes.items()}
    rate = torch.tensor(rates(networks), dtype=torch.float32)

    def loss(w: dict, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        y = torch.tanh(x @ w["w1"] + w["b1"]) @ w["w2"] + w["b2"]
        return -(t * torch.log_softmax(y, dim=1)).sum(dim=1).mean()

    gradients = vmap(grad(loss))

    few = 2

    def run() -> None:
        for _ in range(few):
            order = torch.rand(networks, len(x)).argsort(dim=1)
            for first in range(0, len(x), BATCH):
                rows = order[:, first : first + BATCH]
                g = gradients(weights, x[rows], t[rows])
                for name, w in weights.items():
                    w -= rate.view(-1, *[1] * (w.ndim - 1)) * g[name]

    return seconds(run, 2) * epochs / few  # the first run loads what it needs


def sklearn_joblib(networks: int, epochs: int, threads: int) -> float:
    import joblib
    from sklearn.neural_network import MLPClassifier

    x, t = fm.datasets.spiral()
    t = t.argmax(axis=1)

    def fit(seed: int, rate: float) -> float:
        warnings.simplefilter("ignore")
        network = MLPClassifier(
            (10,), "tanh", solver="sgd", alpha=0, momentum=0, batch_size=BATCH, max_iter=epochs,
            learning_rate_init=rate, tol=0, n_iter_no_change=epochs, random_state=seed,
        )  # fmt: skip
        return network.fit(x, t).loss_

    with joblib.Parallel(threads) as work:
        work(joblib.delayed(fit)(0, 0.1) for _ in range(threads))  # the processes have begun
        jobs = [joblib.delayed(fit)(i, rate) for i, rate in enumerate(rates(networks).tolist())]
        return seconds(lambda: work(jobs))


def many(networks: int, epochs: int, threads: int) -> None:
    steps = networks * epochs * 10
    together, short, long = ours(networks, epochs)
    print(f"{networks} networks 2-10-3, {epochs} epochs of 10 steps each, {threads} threads\n")
    print(f"{'':44}{'s':>9}{'us/step':>9}{'beside fit_many':>17}")

    def row(name: str, time: float) -> None:
        print(f"{name:44}{time:9.2f}{1e6 * time / steps:9.3f}{time / together:16.1f}x", flush=True)

    row("fastmlp, fit_many", together)
    row("fastmlp, fit after fit on one core / cores", short / threads)
    row("fastmlp, one long fit on one core / cores", long / threads)
    few = min(networks, 500)
    taken, compiling = jax_vmap(few, epochs)
    row(f"JAX, vmap + scan (of {few} networks)", taken * networks / few)
    print(f"    and {compiling:.2f} s to compile")
    few = min(networks, 1000)
    row(f"PyTorch, torch.func.vmap (of {few}, 2 epochs)", torch_vmap(few, epochs) * networks / few)
    few = min(networks, 10)
    row(f"scikit-learn, joblib (of {few})", sklearn_joblib(few, epochs, threads) * networks / few)


def search(threads: int) -> None:
    from sklearn.datasets import make_friedman1
    from sklearn.model_selection import GridSearchCV
    from sklearn.neural_network import MLPRegressor

    from fastmlp import sklearn as own

    warnings.simplefilter("ignore")
    x, y = make_friedman1(1000, noise=0.5, random_state=0)
    options = {"hidden_layer_sizes": (10,), "random_state": 0}
    grid = {"learning_rate_init": np.geomspace(1e-3, 1e-1, 20), "alpha": np.geomspace(1e-5, 1, 10)}
    few = {"learning_rate_init": grid["learning_rate_init"][::5], "alpha": grid["alpha"][::5]}
    network = own.MLPRegressor(**options)
    ours = own.MLPSearchCV(network, grid, refit=False)
    theirs = GridSearchCV(network, grid, n_jobs=threads, refit=False)
    peer = GridSearchCV(MLPRegressor(**options), few, n_jobs=threads, refit=False)
    peer.fit(x[:50], y[:50])  # the processes have begun
    together = seconds(lambda: ours.fit(x, y))
    print(f"200 settings x 5 folds of 1000 x 10, {threads} threads or processes\n")
    times = {
        "MLPSearchCV": together,
        "GridSearchCV, our MLPRegressor": seconds(lambda: theirs.fit(x, y)),
        "GridSearchCV, scikit-learn's (of 8 settings)": 25 * seconds(lambda: peer.fit(x, y)),
    }
    for name, taken in times.items():
        print(f"{name:46}{taken:8.2f} s{taken / together:7.1f}x")
    same = np.array_equal(
        ours.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"]
    )
    print(f"the scores of the first two are {'' if same else 'NOT '}equal to the bit")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--search", action="store_true")
    parser.add_argument("--networks", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=500)
    parser.add_argument("--threads", type=int, default=fm.get_num_threads())
    given = parser.parse_args()
    with fm.threads(given.threads):
        if given.search:
            search(given.threads)
        else:
            many(given.networks, given.epochs, given.threads)


if __name__ == "__main__":
    main()
