"""A grid search on two workers of Dask: python examples/scale/dask_search.py

scikit-learn's searches run on Dask's workers with joblib's backend "dask", on this machine or on
many: `Client("address of the scheduler")`. A worker that Dask starts has OMP_NUM_THREADS=1 unless
told otherwise, so that a network has one thread; with fewer workers than cores, say
`dask.config.set({"distributed.nanny.pre-spawn-environ.OMP_NUM_THREADS": 4})` before they start.
"""

import pickle

import joblib
from dask.distributed import Client, LocalCluster
from sklearn.datasets import make_friedman1
from sklearn.model_selection import GridSearchCV

import fastmlp as fm
from fastmlp.sklearn import MLPRegressor

GRID = {"learning_rate_init": [0.003, 0.03], "hidden_layer_sizes": [(16,), (32, 16)]}


def main():
    x, y = make_friedman1(400, noise=0.5, random_state=0)
    network = MLPRegressor(standardize_target=True, max_iter=100, random_state=0)
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with LocalCluster(**options) as cluster, Client(cluster) as client:
        threads = client.run(fm.get_num_threads)  # on each worker
        print(f"{len(threads)} workers, threads {sorted(threads.values())}")
        with joblib.parallel_config("dask"):
            search = GridSearchCV(network, GRID, cv=3).fit(x, y)
    print(f"{len(pickle.dumps(search.best_estimator_))} bytes a fitted estimator")
    print(f"R2 {search.best_score_:.2f} with {search.best_params_}")


if __name__ == "__main__":
    main()
