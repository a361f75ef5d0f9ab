"""Ctrl-C in a long fit, several threads at once, and a process that forks after use."""

import os
import threading
from collections.abc import Callable

import numpy as np
import pytest

import fastmlp as fm
from cases import Case, Problem, draw
from subprocesses import TIMEOUT, output_of
from training import MEDIUM, TINY, weights_of

# A step on a single row is a million weights long.
SLOW = Case((1, 1000, 1000, 1), 20)

INTERRUPTED = """
    import os, signal, threading
    import numpy as np
    import fastmlp as fm
    from cases import draw
    from test_interrupt_threads_fork import SLOW
    from training import MEDIUM, TINY

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
    problem = draw({case})
    model = problem.fastmlp()
    rows = np.arange({rows}) % len(problem.x)
    x, t = problem.x[rows], problem.t[rows]
    trainer = fm.Trainer(model, fm.SGD(model.parameters(), lr=1e-3), {loss})

    def interrupt_once_training_runs():
        start = np.array(problem.weights[0])
        while np.array_equal(np.asarray(model[0].weight), start):
            pass
        os.kill(os.getpid(), signal.SIGINT)

    watcher = threading.Thread(target=interrupt_once_training_runs)
    watcher.start()
    try:
        trainer.fit(x, t, max_epoch=10**9, batch_size={batch_size}, progress=False)
    except KeyboardInterrupt:
        print("interrupted")
    watcher.join()

    weights = [np.array(p) for p in model.parameters()]
    assert not np.array_equal(weights[0], problem.weights[0])
    assert all(np.isfinite(w).all() for w in weights)
    y = model.predict(problem.x)
    assert np.isfinite(y).all()
    before = len(trainer.history.loss)
    print("in the first epoch:", before == 0)
    history = trainer.fit(x[:100], t[:100], max_epoch=2, batch_size=10, progress=False)
    assert len(history.loss) == before + 2
    assert not np.array_equal(np.asarray(model[0].weight), weights[0])
    loss = trainer.loss_fn(model(problem.x), problem.t)
    loss.backward()
    assert np.abs(model[0].weight.grad).max() > 0
    print("usable, model.training =", model.training)
"""


@pytest.mark.parametrize(
    ("case", "loss", "batch_size"),
    [("TINY", "fm.CrossEntropyLoss()", 10), ("MEDIUM", "fm.MSELoss()", 50)],
    ids=["tiny", "medium"],
)
def test_ctrl_c(case: str, loss: str, batch_size: int) -> None:
    """The signal comes once another thread sees the weights move; without it fit would not end."""
    code = INTERRUPTED.format(case=case, loss=loss, batch_size=batch_size, rows=100)
    printed = output_of(code).splitlines()
    assert printed[0] == "interrupted"
    assert printed[2] == "usable, model.training = True"


def test_ctrl_c_within_an_epoch() -> None:
    """A single epoch would take many minutes; fit does not wait for its end."""
    code = INTERRUPTED.format(case="SLOW", loss="fm.MSELoss()", batch_size=1, rows=2_000_000)
    printed = output_of(code).splitlines()
    expected = ["interrupted", "in the first epoch: True", "usable, model.training = True"]
    assert printed == expected


def test_exception_in_a_callback_ends_fit() -> None:
    problem, seen = draw(TINY), []
    model = problem.fastmlp()
    trainer = fm.Trainer(model, fm.SGD(model.parameters(), lr=0.1))

    def callback(info: fm.EpochInfo) -> None:
        seen.append(info.epoch)
        if info.epoch == 2:
            raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        trainer.fit(problem.x, problem.t, max_epoch=50, callbacks=[callback])
    assert seen == [0, 1, 2]
    assert len(trainer.history.loss) == 3
    assert len(trainer.fit(problem.x, problem.t, max_epoch=1).loss) == 4


def _train(problem: Problem, model: fm.Module, loss_fn: object, epochs: int) -> None:
    trainer = fm.Trainer(model, fm.Adam(model.parameters(), lr=1e-2), loss_fn)
    trainer.fit(problem.x, problem.t, max_epoch=epochs, batch_size=7, seed=1, progress=False)


def _run_all(functions: list[Callable[[], None]]) -> None:
    errors: list[BaseException] = []
    barrier = threading.Barrier(len(functions))

    def guarded(function: Callable[[], None]) -> None:
        try:
            barrier.wait()
            function()
        except BaseException as error:  # handed on to the test's own thread
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(f,)) for f in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
        assert not thread.is_alive(), "a thread hangs"
    if errors:
        raise errors[0]


@pytest.mark.parametrize("threads", [1, 2])
def test_two_trainings_and_a_shared_model_at_once(threads: int) -> None:
    """Bit for bit what the same work gives one after another."""
    shared_problem = draw(Case((30, 64, 5), 100, "relu"))
    problems = [(draw(TINY), fm.CrossEntropyLoss(), 300), (draw(MEDIUM), fm.MSELoss(), 60)]
    with fm.threads(threads):
        expected = []
        for problem, loss_fn, epochs in problems:
            model = problem.fastmlp()
            _train(problem, model, loss_fn, epochs)
            expected.append(weights_of(model))
        shared = shared_problem.fastmlp()
        want = shared.predict(shared_problem.x)

        models = [problem.fastmlp() for problem, _, _ in problems]

        def train(k: int) -> None:
            problem, loss_fn, epochs = problems[k]
            for _ in range(20):
                np.testing.assert_array_equal(shared.predict(shared_problem.x), want)
            _train(problem, models[k], loss_fn, epochs)
            for _ in range(20):
                np.testing.assert_array_equal(shared.predict(shared_problem.x), want)

        _run_all([lambda: train(0), lambda: train(1)])
    for model, weights in zip(models, expected, strict=True):
        for parameter, value in zip(model.parameters(), weights, strict=True):
            np.testing.assert_array_equal(np.asarray(parameter), value)


def test_prediction_while_another_thread_trains_the_same_model() -> None:
    """Which weights it sees is not said, but nothing breaks."""
    problem = draw(MEDIUM)
    model = problem.fastmlp()
    done = threading.Event()

    def train() -> None:
        _train(problem, model, fm.MSELoss(), 300)
        done.set()

    def predict() -> None:
        while True:
            finished = done.is_set()
            assert np.isfinite(model.predict(problem.x)).all()
            if finished:
                return

    _run_all([train, predict])


FORK = """
    import os
    import numpy as np
    import fastmlp as fm
    from cases import Case, draw
    from specs import BUSY_OPTIMIZERS
    from training import Plan, fit_run, weights_of

    fm.set_num_threads(2)
    problem = draw(Case((100, 256, 256, 10), 256, "relu", loss="cross_entropy"))
    plan = Plan(2, 128)
    want, _ = fit_run(problem, BUSY_OPTIMIZERS[0], plan)  # the pool's threads run now

    def same() -> bool:
        got, _ = fit_run(problem, BUSY_OPTIMIZERS[0], plan)
        return all(np.array_equal(a, b) for a, b in zip(got, want))

    child = os.fork()
    if child == 0:
        assert fm.get_num_threads() == 2
        os._exit(0 if same() else 3)
    assert same()  # the parent goes on at the same time
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_fork_after_use() -> None:
    """Threads do not survive a fork; the child starts its own."""
    assert output_of(FORK).split() == ["0"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_fork_from_a_pool_of_processes() -> None:
    printed = output_of(
        """
        import multiprocessing
        import numpy as np
        import fastmlp as fm

        fm.set_num_threads(2)
        model = fm.MLP([200, 300, 10], seed=0)
        x = np.random.default_rng(0).normal(size=(500, 200))
        want = model.predict(x)

        def predict(_):
            return np.array_equal(model.predict(x), want)

        with multiprocessing.get_context("fork").Pool(3) as pool:
            print(*pool.map(predict, range(6)))
        """
    )
    assert printed.split() == ["True"] * 6


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="no affinity on this system")
def test_workers_stay_on_the_processors_of_the_process() -> None:
    """They part from their caller's processor, but never beyond what the process may use."""
    printed = output_of(
        """
        import os
        import numpy as np
        import fastmlp as fm
        model = fm.MLP([64, 64, 64])
        trainer = fm.Trainer(model, fm.SGD(model.parameters()), fm.MSELoss())
        x = np.ones((4000, 64), "float32")
        fm.set_num_threads(3)
        trainer.fit(x, x, max_epoch=5)
        threads = map(int, os.listdir("/proc/self/task"))
        print(all(os.sched_getaffinity(t) <= os.sched_getaffinity(0) for t in threads))
        """
    )
    assert printed.split() == ["True"]
