"""Inputs of narrow numbers are converted by the batch: the same bits, and no copy of them all."""

from typing import Any

import numpy as np
import pytest

import fastmlp as fm
from subprocesses import output_of

# More than the largest array that is converted at once, of 1 MiB in the model's dtype.
ROWS, FEATURES = 1234, 400
NARROW = ["uint8", "int8", "float16", "bool", "uint16", "int16"]


def table(dtype: str, rows: int = ROWS, features: int = FEATURES) -> Any:
    random = np.random.default_rng(5)
    if dtype == "bool":
        return random.random((rows, features)) < 0.5
    if dtype == "float16":
        x = random.normal(size=(rows, features)).astype(dtype)
        x[0, :4] = 6e-8, -3e-5, 65504, -0.0  # subnormal, the least normal one's half, the largest
        return x
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    return random.integers(low, high, (rows, features), dtype, endpoint=True)


def classes(rows: int = ROWS) -> Any:
    return np.random.default_rng(6).integers(0, 3, rows)


def trained(x: Any, t: Any, sizes: tuple[int, ...], dtype: str = "float32", **options: Any) -> Any:
    """The history's losses and the parameters after a fit."""
    model = fm.MLP(sizes, seed=1, dtype=dtype)
    trainer = fm.Trainer(model, fm.optim.Adam(model.parameters(), lr=1e-3))
    loss_fn = options.pop("loss_fn", None)
    if loss_fn is not None:
        trainer.loss_fn = loss_fn
    options = {"max_epoch": 3, "batch_size": 50, "seed": 3} | options
    history = trainer.fit(x, t, **options)
    values = [np.asarray(parameter).copy() for parameter in model.parameters()]
    return [np.asarray(history.loss), np.asarray(history.validation_loss), *values]


def same(a: list[Any], b: list[Any]) -> None:
    for one, other in zip(a, b, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("narrow", NARROW)
def test_fit_has_the_same_bits(narrow: str, dtype: str) -> None:
    x, t = table(narrow), classes()
    sizes = (FEATURES, 8, 3)
    same(trained(x, t, sizes, dtype), trained(x.astype(dtype), t, sizes, dtype))


@pytest.mark.parametrize("strategy", ["lanes", "dense"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"shuffle": False},
        {"batch_size": 1},
        {"batch_size": 7, "accumulate": 3},
        {"batch_size": None},
        {"batch_size": 40_000},
        {"max_grad": 0.1},
        {"validation_split": 0.3},
        {"validation_split": 0.3, "metrics": ["accuracy"]},
        {"callbacks": [lambda info: None]},
        {"sample_weight": "random"},
        {"eval_interval": 1, "max_epoch": 1},
    ],
    ids=str,
)
def test_all_options_in_both_strategies(
    strategy: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FASTMLP_STRATEGY", strategy)
    rows = 6_000 if options.get("batch_size") == 1 else 45_000
    features = 48 if rows == 6_000 else 6
    x, t = table("uint8", rows, features), classes(rows)
    if "sample_weight" in options:
        options = {"sample_weight": np.random.default_rng(7).random(rows)}
    options = {"max_epoch": 2} | options
    sizes = (features, 5, 3)
    same(trained(x, t, sizes, **options), trained(x.astype("float32"), t, sizes, **options))


def test_dense_targets_are_gathered_along() -> None:
    x = table("uint8")
    t = np.random.default_rng(8).normal(size=(ROWS, 3)).astype("float32")
    options = {"loss_fn": fm.MSELoss(), "validation_data": (x[:700], t[:700])}
    wide = {"loss_fn": fm.MSELoss(), "validation_data": (x[:700].astype("float32"), t[:700])}
    sizes = (FEATURES, 8, 3)
    same(trained(x, t, sizes, **options), trained(x.astype("float32"), t, sizes, **wide))


def test_a_function_as_loss() -> None:
    x = table("uint8")
    t = np.random.default_rng(8).normal(size=(ROWS, 3)).astype("float32")

    def squared(y: Any, t: Any) -> Any:
        return ((y - t) ** 2).mean(), 2 * (y - t) / y.size

    sizes = (FEATURES, 8, 3)
    options = {"loss_fn": fm.FunctionLoss(squared), "validation_split": 0.25}
    same(trained(x, t, sizes, **options), trained(x.astype("float32"), t, sizes, **options))


def test_a_schedule_goes_by_steps() -> None:
    x, t = table("uint8"), classes()
    losses = []
    for given in (x, x.astype("float32")):
        model = fm.MLP((FEATURES, 8, 3), seed=1)
        optimizer = fm.optim.SGD(model.parameters(), lr=1e-4)
        scheduler = fm.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=3 * 25)
        trainer = fm.Trainer(model, optimizer, scheduler=scheduler)
        losses.append(np.asarray(trainer.fit(given, t, 3, 50, seed=2).loss))
    np.testing.assert_array_equal(*losses)


@pytest.mark.parametrize("narrow", NARROW)
@pytest.mark.parametrize("normalized", [False, True])
def test_predict_and_evaluate(narrow: str, normalized: bool) -> None:
    x, t = table(narrow, 3_000, 300), classes(3_000)
    layers = [fm.Linear(300, 8), *([fm.BatchNorm1d(8)] if normalized else []), fm.Tanh()]
    model = fm.Sequential(*layers, fm.Linear(8, 3))
    wide = x.astype("float32")
    np.testing.assert_array_equal(model.predict(x), model.predict(wide))
    out = np.empty((3_000, 3), "float32")
    assert model.predict(x, out=out) is out
    np.testing.assert_array_equal(out, model.predict(wide))
    trainer = fm.Trainer(model, fm.optim.SGD(model.parameters(), lr=0.1))
    assert trainer.evaluate(x, t, ["accuracy"]) == trainer.evaluate(wide, t, ["accuracy"])


def test_views_of_rows() -> None:
    x, t = table("uint8", 3 * ROWS), classes(3 * ROWS)
    sizes = (FEATURES, 8, 3)
    for part in (slice(None, None, 3), slice(None, None, -3), slice(1, 2 * ROWS)):
        same(trained(x[part], t[part], sizes), trained(x[part].astype("float32"), t[part], sizes))
    columns = x[:, ::2]
    sizes = (FEATURES // 2, 8, 3)
    same(trained(columns, t, sizes), trained(columns.astype("float32"), t, sizes))
    swapped = table("uint16").astype(">u2")
    sizes = (FEATURES, 8, 3)
    same(trained(swapped, t[:ROWS], sizes), trained(swapped.astype("float32"), t[:ROWS], sizes))


def test_images_are_flattened() -> None:
    x, t = table("uint8", 500, 3 * 16 * 16).reshape(500, 3, 16, 16), classes(500)
    losses = []
    for given in (x, x.astype("float32")):
        model = fm.Sequential(fm.Flatten(), fm.Linear(768, 8), fm.ReLU(), fm.Linear(8, 3))
        for parameter in model.parameters():
            parameter.data = np.linspace(-0.1, 0.1, parameter.size).reshape(parameter.shape)
        trainer = fm.Trainer(model, fm.optim.SGD(model.parameters(), lr=1e-4))
        losses.append(np.asarray(trainer.fit(given, t, 3, 50, seed=2).loss))
        losses.append(model.predict(given))
    np.testing.assert_array_equal(losses[0], losses[2])
    np.testing.assert_array_equal(losses[1], losses[3])


def test_batches_of_narrow_numbers() -> None:
    x, t = table("uint8", 3_000), classes(3_000)
    sizes = (FEATURES, 8, 3)
    pieces = [(x[i : i + 1_000], t[i : i + 1_000]) for i in range(0, 3_000, 1_000)]
    wide = [(x.astype("float32"), t) for x, t in pieces]
    same(trained(pieces, None, sizes), trained(wide, None, sizes))


def test_torch_and_frames(torch: Any) -> None:
    pandas = pytest.importorskip("pandas")
    x, t = table("uint8"), classes()
    sizes = (FEATURES, 8, 3)
    wanted = trained(x.astype("float32"), t, sizes)
    same(trained(torch.from_numpy(x), torch.from_numpy(t), sizes), wanted)
    same(trained(pandas.DataFrame(x), pandas.Series(t), sizes), wanted)
    half = table("float16")
    same(
        trained(torch.from_numpy(half), torch.from_numpy(t), sizes),
        trained(half.astype("float32"), t, sizes),
    )


def test_float16_that_is_not_finite_is_found() -> None:
    x, t = table("float16"), classes()
    x[1_200, 7] = np.inf
    with pytest.raises(ValueError, match=r"x: expected finite.*infinity in row 1200, column 7"):
        trained(x, t, (FEATURES, 8, 3))
    x[1_200, 7] = np.nan
    with pytest.raises(ValueError, match=r"validation_data x.*NaN in row 1200, column 7"):
        trained(np.zeros_like(x), t, (FEATURES, 8, 3), validation_data=(x, t))
    sizes = (FEATURES, 8, 3)
    with pytest.warns(RuntimeWarning, match="nan"):
        trained(x, t, sizes, allow_nonfinite=True)


def test_wrong_shapes_are_told_as_ever() -> None:
    x, t = table("uint8"), classes()
    with pytest.raises(ValueError, match=r"x has 400 features.*takes 5"):
        trained(x, t, (5, 3))
    with pytest.raises(ValueError, match=r"t: expected shape \(1234,\)"):
        trained(x, t[:-1], (FEATURES, 3))
    model = fm.MLP((FEATURES, 3))
    with pytest.raises(ValueError, match=r"out: expected shape"):
        model.predict(x, out=np.empty((3, 3), "float32"))
    square = fm.MLP((FEATURES, FEATURES))
    memory = np.zeros((ROWS, FEATURES), "float32")
    with pytest.raises(ValueError, match=r"out: expected memory of its own.*overlaps x"):
        square.predict(memory.view("uint8")[:, :FEATURES], out=memory)


def test_all_values_of_float16() -> None:
    every = np.arange(1 << 16, dtype="uint16").view("float16")
    x = np.tile(every[np.isfinite(every)], 12).reshape(-1, 8)
    model = fm.MLP((8, 8))
    model[0].weight.data = np.eye(8)
    model[0].bias.data = np.zeros(8)
    np.testing.assert_array_equal(model.predict(x), x.astype("float32"))


@pytest.mark.cuda
@pytest.mark.parametrize("form", ["uint8", "float16", "sparse", "file"])
def test_on_a_device(form: str, tmp_path: Any) -> None:
    rows = 100_000 if form == "file" else 10_000
    wide, t = table("uint8", rows, 48).astype("float32"), classes(rows)
    x: Any = wide.astype("uint8" if form == "uint8" else "float16")
    if form == "sparse":
        x = pytest.importorskip("scipy.sparse").csr_array(wide)
    if form == "file":
        np.save(tmp_path / "x.npy", wide)
        x = np.load(tmp_path / "x.npy", mmap_mode="r")
    results = []
    for given in (x, wide):
        model = fm.MLP((48, 4, 3), seed=1).to("cuda")
        trainer = fm.Trainer(model, fm.optim.SGD(model.parameters(), lr=1e-5))
        history = trainer.fit(
            given, t, 1, 1_000, seed=1, validation_data=(given[:2_000], t[:2_000])
        )
        results.append([history.loss, history.validation_loss, model.predict(given)])
    same(*results)


def test_there_is_no_copy_of_all_rows() -> None:
    """In a process of its own: the peak of its memory is what is measured."""
    out = output_of(
        """
        import resource
        import numpy as np
        import fastmlp as fm

        def peak():
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

        x = np.random.default_rng(0).integers(0, 256, (40_000, 3072), np.uint8)
        t = np.arange(40_000) % 10
        model = fm.MLP((3072, 4, 10))
        trainer = fm.Trainer(model, fm.optim.SGD(model.parameters(), lr=1e-6))
        trainer.fit(x[:2000], t[:2000], 1, 64)
        before = peak()
        trainer.fit(x, t, 1, 64, validation_split=0.2, metrics="accuracy")
        model.predict(x)
        trainer.evaluate(x, t)
        print(peak() - before)
        """
    )
    assert float(out) < 40  # MiB; in float32 they would be 469


def test_ctrl_c_ends_a_long_prediction(tmp_path: Any) -> None:
    """Of a table that a network takes many seconds for, in a process of its own."""
    out = output_of(
        """
        import os, signal, threading, time
        import numpy as np
        import fastmlp as fm

        signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
        x = np.broadcast_to(np.arange(256, dtype="uint8"), (50_000_000, 256))
        model = fm.MLP((256, 256, 1))
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
        begin = time.monotonic()
        try:
            model.predict(x)
        except KeyboardInterrupt:
            print("interrupted", time.monotonic() - begin < 10)
        """
    )
    assert out.split() == ["interrupted", "True"]


def test_other_threads_and_forked_processes(tmp_path: Any) -> None:
    """Each reads its file for itself; a child has none of the parent's threads."""
    out = output_of(
        f"""
        import os, threading
        import numpy as np
        import fastmlp as fm

        path = {str(tmp_path / "x.npy")!r}
        np.save(path, np.random.default_rng(0).integers(0, 9, (40_000, 150)).astype("float32"))
        x, t = np.load(path, mmap_mode="r"), np.arange(40_000) % 3

        def train():
            model = fm.MLP((150, 4, 3), seed=1)
            trainer = fm.Trainer(model, fm.optim.SGD(model.parameters(), lr=1e-3))
            return float(trainer.fit(x, t, 2, 50, seed=1).loss[-1])

        want, got = train(), []
        threads = [threading.Thread(target=lambda: got.append(train())) for _ in range(3)]
        for thread in threads:
            thread.start()
        children = []
        for _ in range(3):  # while they train
            child = os.fork()
            if child == 0:
                os._exit(0 if train() == want else 1)
            children.append(child)
        for thread in threads:
            thread.join()
        ends = [os.waitpid(child, 0)[1] for child in children]
        print(got == [want] * 3, ends)
        """
    )
    assert out.strip() == "True [0, 0, 0]"
