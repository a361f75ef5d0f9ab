"""What fastmlp may cost: no imports it does not need, no copies of data, no memory that grows."""

import gc
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import fastmlp as fm
from subprocesses import output_of


def test_import_brings_in_numpy_alone() -> None:
    """Of what is not in the standard library: nothing but NumPy, whatever else is installed."""
    printed = output_of(
        """
        import sys, sysconfig
        import numpy
        before = set(sys.modules)
        import fastmlp
        new = {name.partition('.')[0] for name in set(sys.modules) - before}
        print(*sorted(new - set(sys.stdlib_module_names)))
        """
    )
    assert printed.split() == ["fastmlp"]


def test_training_and_predicting_bring_in_nothing_more() -> None:
    printed = output_of(
        """
        import sys
        import numpy as np
        import fastmlp as fm
        before = set(sys.modules)
        model = fm.MLP([3, 4, 2])
        trainer = fm.Trainer(model, fm.Adam(model.parameters()))
        trainer.fit(np.ones((5, 3)), np.zeros(5, int), validation_data=(np.ones((1, 3)), [0]))
        model.predict(np.ones((5, 3)))
        fm.show_config()
        new = {name.partition('.')[0] for name in set(sys.modules) - before}
        print("loaded:", *sorted(new - set(sys.stdlib_module_names)))
        """
    )
    assert printed.splitlines()[-1].split() == ["loaded:"]


def test_plot_without_matplotlib_names_the_extra() -> None:
    printed = output_of(
        """
        import sys
        sys.modules["matplotlib"] = None  # as if it were not installed
        import numpy as np
        import fastmlp as fm
        model = fm.MLP([1, 2])
        trainer = fm.Trainer(model, fm.SGD(model.parameters()))
        trainer.fit(np.ones((5, 1)), np.zeros(5, int))
        try:
            trainer.plot()
        except ImportError as error:
            print(error)
        """
    )
    assert "matplotlib" in printed
    assert "pip install matplotlib" in printed


def test_predict_into_a_buffer_makes_no_arrays() -> None:
    model = fm.MLP([50, 200, 100], seed=0)
    x = np.random.default_rng(0).normal(size=(2000, 50)).astype("float32")
    out = np.zeros((2000, 100), "float32")
    want = model.predict(x)
    tracemalloc.start()
    try:
        fresh = model.predict(x)
        _, with_result = tracemalloc.get_traced_memory()
        del fresh
        tracemalloc.reset_peak()
        base, _ = tracemalloc.get_traced_memory()
        for _ in range(3):
            assert model.predict(x, out=out) is out
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert with_result >= out.nbytes, "tracemalloc does not see NumPy's arrays here"
    assert peak - base < 5000
    np.testing.assert_array_equal(out, want)


# A process with a large x, and the most memory that a piece of code then takes beyond it.
PEAK = """
    import numpy as np
    import fastmlp as fm
    from pathlib import Path

    def peak():
        line = next(l for l in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in l)
        return int(line.split()[1]) * 1024

    rows, columns = 400_000, 40
    x = np.full((rows, columns), 0.5, "float32")
    values, classes = np.ones((rows, 2), "float32"), np.ones(rows, "int64")
    model = fm.MLP([columns, 60, 2], seed=0)

    def fit(x, t, **options):
        loss_fn = fm.CrossEntropyLoss() if t.ndim == 1 else fm.MSELoss()
        trainer = fm.Trainer(model, fm.Adam(model.parameters()), loss_fn)
        trainer.fit(x, t, max_epoch=2, batch_size=500, **options)

    fit(x[:600], values[:600])
    model.predict(x[:5000])
    {setup}
    before = peak()
    {code}
    print(x.nbytes, peak() - before)
"""
FIXED = 24 << 20  # what does not depend on the data set, whose x has 61 MiB

needs_proc = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="the peak of memory is read from /proc"
)


def _peak_of(code: str, setup: str = "", strategy: str = "") -> tuple[int, int]:
    environment = {"FASTMLP_NUM_THREADS": "2", "FASTMLP_STRATEGY": strategy}
    x, beyond = output_of(PEAK.format(code=code, setup=setup), **environment).split()
    assert int(x) > 2 * FIXED
    return int(x), int(beyond)


@needs_proc
@pytest.mark.parametrize(
    "code",
    [
        "fit(x, values, shuffle=False)",
        "fit(x, values)",
        "fit(x, classes)",
        "fit(x, classes, max_grad=1.0)",
        "fit(x[:600], values[:600], validation_data=(x, values))",
        "fit(x[:600], classes[:600], validation_data=(x, classes))",
        "model.predict(x)",
        "model.predict(x, out=values)",
    ],
)
def test_nothing_copies_the_data_set(code: str) -> None:
    for strategy in ("lanes", "dense"):
        assert _peak_of(code, strategy=strategy)[1] < FIXED


@needs_proc
@pytest.mark.parametrize("shuffle", [False, True])
def test_a_step_with_all_rows_takes_memory_for_a_few(shuffle: bool) -> None:
    """Slices of the rows, where the values of all would take 300 MB."""
    setup = "model = fm.MLP([columns, 64, 64, 2], seed=0)"
    code = f"""
    trainer = fm.Trainer(model, fm.Adam(model.parameters()), fm.MSELoss())
    trainer.fit(x, values, max_epoch=2, batch_size=rows, shuffle={shuffle})
    """
    assert _peak_of(code.strip(), setup=setup, strategy="sliced")[1] < FIXED


@needs_proc
@pytest.mark.parametrize(
    "other",
    [
        "np.asfortranarray(x)",
        "np.full((rows, 2 * columns), 0.5, 'float32')[:, ::2]",
        "np.full((rows, columns), 0.5, 'float64')",
    ],
    ids=["Fortran order", "with gaps", "float64"],
)
def test_other_data_are_converted_once(other: str) -> None:
    """For all epochs and batches; and by predict."""
    for code in ("fit(other, values)", "model.predict(other, out=values)"):
        x, beyond = _peak_of(code, setup=f"other = {other}")
        assert 0.9 * x < beyond < x + FIXED


GROWTH = """
    import resource
    import numpy as np
    import fastmlp as fm

    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(64, 60)), rng.integers(0, 10, 64)
    model = fm.MLP([60, 64, 10], seed=0)
    loss_fn, optimizer = fm.CrossEntropyLoss(), fm.Adam(model.parameters())
    xt = fm.tensor(x, requires_grad=True)

    def steps(count):
        for k in range(count):
            loss = loss_fn(model(xt if k % 2 else x), t)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            model(x)  # recorded, and never used
            model.predict(x)
            if k % 50 == 0:
                trainer = fm.Trainer(model, optimizer)
                trainer.fit(x, t, max_epoch=2, batch_size=10, validation_data=(x, t))
                fm.Sequential(*model).predict(x)

    def peak():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB

    steps(1000)
    before = peak()
    steps(3000)
    print(peak() - before)
"""


def test_memory_does_not_grow() -> None:
    """3000 steps; one leaked batch of activations a step would be 50 MiB and more."""
    assert int(output_of(GROWTH)) < 20 * 1024


def test_the_installed_package_is_small() -> None:
    folder = Path(fm.__file__).parent
    assert sum(f.stat().st_size for f in folder.rglob("*.so")) < 5 << 20
    assert (folder / "py.typed").exists()


def test_a_training_loop_keeps_no_references() -> None:
    model, loss_fn = fm.MLP([2, 10, 1], seed=0), fm.MSELoss()
    optimizer = fm.SGD(model.parameters())
    x, t = np.zeros((4, 2), "float32"), np.zeros((4, 1), "float32")
    out = model.predict(x)
    objects = (x, t, out, model, loss_fn, optimizer, fm.Tensor, x.dtype, np.dtype("float64"))

    def steps(n: int) -> list[int]:
        for _ in range(n):
            loss = loss_fn(model(x), t)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            model.predict(x, out=out)
            with pytest.raises(ValueError, match="t"):
                loss_fn(model(x), x)
        del loss
        while gc.collect():  # the errors' frames, which refer to each other; what others have left
            pass
        return [sys.getrefcount(value) for value in objects]

    assert steps(10) == steps(300)
