"""Several threads, forks, the process's end, memory that is not there, and objects half made."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

import fastmlp as fm
from fastmlp import _core
from subprocesses import TESTS, output_of, run

SETUP = """
    import os, sys, threading, time
    import numpy as np
    import fastmlp as fm
    model = fm.Sequential(fm.Linear(64, 200), fm.Tanh(), fm.Linear(200, 64))
    optimizer = fm.Adam(model.parameters())
    trainer = fm.Trainer(model, optimizer, fm.MSELoss())
    loss_fn = fm.MSELoss()
    x = np.zeros((512, 64), "f4")
    loss_fn(model(x), x).backward()
"""


def _program(code: str) -> str:
    return SETUP + code


@pytest.mark.parametrize("seed", [1, 2])
def test_random_pairs_of_calls(seed: int) -> None:
    command = [sys.executable, str(TESTS / "stress_threads.py"), "3", str(seed)]
    done = run(command)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert "Traceback" not in done.stderr, done.stderr[-4000:]


@pytest.mark.parametrize(
    "work",
    [
        "model.predict(x)",
        "model(x)",
        "loss_fn(model(x), x).backward()",
        "optimizer.step()",
        "trainer.fit(x, x, max_epoch=3, progress=False)",
        "trainer.fit(x, x, max_epoch=3, callbacks=lambda info: None, progress=False)",
        "fm.ops.affine_forward(x, np.zeros((64, 200), 'f4'))",
        "fm.clip_grad_norm_(model.parameters(), 1.0)",
    ],
)
def test_the_end_while_a_daemon_thread_computes(work: str) -> None:
    output_of(
        _program(
            f"""
    def loop():
        while True:
            {work}
    threading.Thread(target=loop, daemon=True).start()
    time.sleep(0.2)
    """
        )
    )


def test_the_end_after_an_error_while_a_daemon_thread_computes() -> None:
    done = run(
        [
            sys.executable,
            "-c",
            "import textwrap; exec(textwrap.dedent('''"
            + _program(
                """
    def loop():
        while True: model.predict(x)
    threading.Thread(target=loop, daemon=True).start()
    time.sleep(0.1)
    sys.exit(3)
    """
            )
            + "'''))",
        ]
    )
    assert done.returncode == 3, done.stderr


@pytest.mark.parametrize(
    "work",
    ["model.predict(x)", "loss_fn(model(x), x).backward()", "trainer.fit(x, x, max_epoch=1)"],
)
def test_a_fork_while_other_threads_compute(work: str) -> None:
    """The child does what it likes with the same model."""
    output_of(
        _program(
            f"""
    stop = False
    def loop():
        while not stop:
            try:
                {work}
            except RuntimeError:
                pass
    threads = [threading.Thread(target=loop) for _ in range(2)]
    for thread in threads: thread.start()
    try:
        for _ in range(10):
            pid = os.fork()
            if pid == 0:
                model.predict(x)
                loss_fn(model(x), x).backward()
                fm.Trainer(model, fm.SGD(model.parameters()), loss_fn).fit(x, x, max_epoch=1)
                os._exit(0)
            end = time.monotonic() + 60
            while os.waitpid(pid, os.WNOHANG) == (0, 0):
                if time.monotonic() > end:
                    os.kill(pid, 9)
                    raise SystemExit("the child hangs")
                time.sleep(0.002)
    finally:
        stop = True
    """
        )
    )


def test_a_fork_in_a_callback() -> None:
    output_of(
        _program(
            """
    def callback(info):
        pid = os.fork()
        if pid == 0:
            trainer.fit(x, x, max_epoch=1, progress=False)
            model.predict(x)
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
    trainer.fit(x, x, max_epoch=2, callbacks=callback)
    """
        )
    )


def test_one_loss_from_several_threads() -> None:
    printed = output_of(
        _program(
            """
    for _ in range(50):
        loss = loss_fn(model(x), x)
        barrier, done = threading.Barrier(4), []
        def work():
            barrier.wait()
            try:
                loss.backward()
                done.append(1)
            except RuntimeError:
                pass
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        assert len(done) == 1, done
    print("once each")
    """
        )
    )
    assert "once each" in printed


def test_one_trainer_in_two_threads() -> None:
    printed = output_of(
        _program(
            """
    errors = []
    def work():
        try:
            trainer.fit(x, x, max_epoch=200, progress=False)
        except RuntimeError as error:
            errors.append(str(error))
    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads: thread.start()
    while any(thread.is_alive() for thread in threads):
        history = trainer.history
        assert all(np.isfinite(history.loss))
    print(errors, len(trainer.history.loss) + 200 * len(errors))
    """
        )
    )
    assert printed.split()[-1] == "400"
    assert "another thread" in printed or "[]" in printed


# --- calls back into Python


def test_arguments_that_are_programs() -> None:
    """`__array__` runs between a check and its use."""
    output_of(
        _program(
            """
    t = np.zeros((512, 64), "f4")
    def attempt(function):
        try:
            function()
        except (RuntimeError, TypeError, ValueError):
            pass
    for act in (
        lambda: loss.backward(),
        lambda: trainer.fit(x, t, max_epoch=1, progress=False),
        lambda: optimizer.step(),
        lambda: model.double().float(),
        lambda: model.pop() if len(model) > 1 else None,
    ):
        class Program:
            def __array__(self, dtype=None, copy=None):
                attempt(act)
                return t
        y = model(x)
        loss = loss_fn(y, t)
        for call in (
            lambda: loss_fn(y, Program()),
            lambda: y.backward(Program()),
            lambda: trainer.fit(Program(), Program(), max_epoch=1, progress=False),
            lambda: model.predict(Program()),
            lambda: model(Program()),
            lambda: setattr(model[0], "weight", Program()),
        ):
            attempt(call)
    """
        )
    )


def test_objects_that_nobody_has_made() -> None:
    output_of(
        """
        import numpy as np
        import fastmlp as fm
        from fastmlp import _core
        x = np.zeros((2, 2), "f4")
        classes = (
            fm.SGD, fm.Adam, fm.MSELoss, fm.Sequential, fm.Linear, fm.Trainer, fm.Parameter,
            fm.History, fm.Tensor, _core.Parameter, _core.History, _core.Network, _core.Optimizer,
            _core.Loss, _core.Model,
        )
        model = fm.MLP([2, 2])
        trainer = fm.Trainer(model, fm.SGD(model.parameters()))
        for kind in classes:
            try:
                thing = kind.__new__(kind)
            except TypeError:
                continue
            for use in (
                lambda: thing(x), lambda: thing(x, x), lambda: thing.step(), lambda: repr(thing),
                lambda: thing.zero_grad(), lambda: thing.predict(x), lambda: thing.fit(x, x),
                lambda: thing.grad, lambda: thing.shape, lambda: thing.value, lambda: thing.loss,
                lambda: thing.epochs, lambda: thing.backward(), lambda: np.asarray(thing),
                lambda: fm.SGD([thing]), lambda: fm.clip_grad_norm_([thing], 1.0),
                lambda: _core.Optimizer("sgd", [thing], {}), lambda: thing._state(),
                lambda: thing.set_options({}), lambda: thing.in_features,
                lambda: setattr(trainer, "optimizer", thing) or trainer.fit(x, [0, 1]),
                lambda: setattr(trainer, "loss_fn", thing) or trainer.fit(x, [0, 1]),
                lambda: _core.Network([("affine", thing, None)], "float32", "float32"),
            ):
                try:
                    use()
                except Exception:
                    pass
        """
    )


# --- memory


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are Linux's")
def test_memory_that_is_not_there() -> None:
    output_of(
        """
        import resource
        import numpy as np
        import fastmlp as fm
        # Of all rows at once, as statistics over the batch want them.
        model = fm.Sequential(fm.Linear(4, 2000), fm.BatchNorm1d(2000), fm.Linear(2000, 4))
        x = np.zeros((300_000, 4), "f4")
        optimizer = fm.Adam(model.parameters())
        trainer = fm.Trainer(model, optimizer, fm.MSELoss())
        trainer.fit(x[:10], x[:10], max_epoch=1)
        before = [np.array(p) for p in model.parameters()]
        used = int(open("/proc/self/statm").read().split()[0]) * 4096
        resource.setrlimit(resource.RLIMIT_AS, (used + (600 << 20),) * 2)
        big = np.broadcast_to(np.float64(0), (1 << 40, 4))
        for call in (
            lambda: model(x),
            lambda: trainer.fit(x, x, batch_size=None, max_epoch=1),
            lambda: fm.Trainer(model, fm.Adam(model.parameters()), fm.MSELoss()).fit(big, big),
            lambda: model.predict(big),
            lambda: model.predict(np.broadcast_to(np.float32(0), (1 << 59, 4))),
            lambda: fm.MSELoss()(big, big),
            lambda: fm.ops.affine_forward(big, np.zeros((4, 4))),
            lambda: fm.Linear(1 << 20, 1 << 20),
        ):
            try:
                call()
            except (MemoryError, ValueError) as error:
                assert isinstance(error, MemoryError) or "array" in str(error), error
            else:
                raise AssertionError("there was memory")
        for p, q in zip(model.parameters(), before):
            assert np.array_equal(p, q)
        model.predict(x[:10])
        trainer.fit(x[:10], x[:10], max_epoch=1)
        """
    )


def test_casts_that_overflow_while_warnings_are_errors() -> None:
    output_of(
        """
        import warnings
        import numpy as np
        import fastmlp as fm
        warnings.simplefilter("error")
        model = fm.Sequential(fm.Linear(1, 1))
        x = np.array([[1e300]])
        trainer = fm.Trainer(model, fm.SGD(model.parameters()), fm.MSELoss())
        y = model(np.ones((1, 1), "f4"))
        for call in (
            lambda: model.predict(x),
            lambda: model(x),
            lambda: trainer.fit(x, x, max_epoch=1),
            lambda: trainer.fit(y * 0, x, max_epoch=1),
            lambda: fm.MSELoss()(y, x),
            lambda: y.backward(x),
            lambda: setattr(model[0], "weight", x),
            lambda: setattr(model[0].weight, "grad", x),
            lambda: model.load_state_dict({"0.weight": x, "0.bias": x[0]}),
        ):
            try:
                call()
            except (RuntimeWarning, ValueError):
                pass
            else:
                raise AssertionError("accepted")
        """
    )


# --- the processors


def test_quotas_of_control_groups(tmp_path: Path) -> None:
    process, groups = tmp_path / "proc", tmp_path / "cgroup"
    (process / "self").mkdir(parents=True)

    def found(text: str, **files: str) -> int:
        (process / "self" / "cgroup").write_text(text)
        for name, content in files.items():
            path = groups / name.replace("__", "/").replace("cpu_", "cpu.")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        return _core.cgroup_processors(str(process), str(groups))

    assert found("") == 0
    assert found("0::/\n", cpu_max="max 100000\n") == 0
    assert found("0::/\n", cpu_max="150000 100000\n") == 2
    assert found("0::/\n", cpu_max="10000 100000\n") == 1
    assert found("0::/a/b\n", cpu_max="max 100000\n", a__cpu_max="300000 100000\n") == 3
    assert found("0::/a/b\n", a__b__cpu_max="200000 100000\n") == 2
    assert found("0::/gone\n", cpu_max="max 100000\n") == 0
    v1 = {"cpu__cpu_cfs_quota_us": "400000", "cpu__cpu_cfs_period_us": "100000"}
    assert found("4:cpu,cpuacct:/\n3:memory:/\n", **v1) == 4
    assert found("4:cpu,cpuacct:/\n", cpu__cpu_cfs_quota_us="-1") == 0
    inner = {"cpu__x__cpu_cfs_quota_us": "100000", "cpu__x__cpu_cfs_period_us": "100000"}
    assert found("4:cpu,cpuacct:/x\n", **inner) == 1


def test_results_do_not_depend_on_the_float_mode_of_threads(torch: object) -> None:
    output_of(
        """
        import numpy as np, torch
        import fastmlp as fm
        model = fm.Sequential(fm.Linear(256, 256, bias=False))
        model[0].weight[...] = 1e-20
        x = np.full((512, 256), 1e-22, "f4")
        results = []
        for flush in (False, True):
            torch.set_flush_denormal(flush)
            for threads in (1, 2):
                fm.set_num_threads(threads)
                results.append(model.predict(x).copy())
        assert np.array_equal(results[0].view("u4"), results[1].view("u4"))
        assert np.array_equal(results[2].view("u4"), results[3].view("u4"))
        """
    )


def test_forked_workers_draw_their_own_numbers() -> None:
    code = """
        import os
        import numpy as np
        import fastmlp as fm
        fm.Linear(1, 1)
        {seed}
        values = []
        for _ in range(3):
            read, write = os.pipe()
            if os.fork() == 0:
                os.write(write, np.asarray(fm.Linear(1, 1).weight).tobytes())
                os._exit(0)
            values.append(os.read(read, 4))
            os.wait()
        print(len(set(values)))
    """
    assert output_of(code.format(seed="")).strip() == "3"
    assert output_of(code.format(seed="fm.manual_seed(3)")).strip() == "1"


def test_the_default_number_of_threads_is_that_of_processors() -> None:
    assert fm.get_num_threads() <= max(os.cpu_count() or 1, 1)
    assert np.isfinite(fm.get_num_threads())
