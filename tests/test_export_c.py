"""Exported headers compile without a warning as C99 and C++, and give what `predict` gives."""

import math
import platform
import re
import subprocess
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastmlp as fm
from activation_specs import ACTIVATIONS
from compiled_headers import (
    C_COMPILERS,
    COMPILERS,
    Library,
    assert_close,
    compile_c,
)
from export_models import SHAPES, export, shape_of
from fastmlp.program import program_of
from program_models import MODELS, model_of

pytestmark = pytest.mark.skipif(not C_COMPILERS, reason="there is no compiler of C")

DTYPES = ("float32", "float64")
UNFIT = [name for name in MODELS if name.startswith("activation-")] + [
    "batch-norm-of-batches", "dropout-alone",
]  # fmt: skip


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A folder with the headers of all models in both types; the models by the headers' names."""
    folder = tmp_path_factory.mktemp("headers")
    models = {}
    for dtype in DTYPES:
        for i, name in enumerate(MODELS):
            if name not in UNFIT:
                models[f"m{i}_{dtype}"] = model_of(name, dtype)
        for i, name in enumerate(SHAPES):
            if name != "784-512-10" or dtype == "float32":  # large to compile
                models[f"s{i}_{dtype}"] = shape_of(name, dtype)
    for name, model in models.items():
        export(model, folder, name)
    return folder, models


@pytest.mark.parametrize("compiler", COMPILERS)
def test_all_agree_with_predict(networks: tuple[Path, dict[str, Any]], compiler: str) -> None:
    folder, models = networks
    dtypes = {name: program_of(model).dtype for name, model in models.items()}
    library = Library(compiler, folder, dtypes)
    for name, model in models.items():
        inputs, outputs, _ = library.sizes(name)
        x = np.random.default_rng(3).normal(size=(5, inputs)).astype(dtypes[name])
        if isinstance(model, fm.Sequential) and isinstance(model[0], fm.Standardize):
            x = (x + np.asarray(model[0].mean)).astype(dtypes[name])
        want = model.predict(x)
        assert outputs == want.reshape(5, -1).shape[1]
        assert_close(library.predict(name, x), want)
        np.testing.assert_array_equal(library.predict_with(name, x), library.predict(name, x))


@pytest.mark.parametrize("name", UNFIT)
def test_what_no_row_has(name: str, tmp_path: Path) -> None:
    what = "statistics in BatchNorm1d" if "batches" in name else "fixes the number of features"
    with pytest.raises(ValueError, match=f"^model: .*{what}"):
        fm.export_c(model_of(name), tmp_path / "net.h")
    assert not list(tmp_path.iterdir())


ELEMENTWISE = {name: row for name, row in ACTIVATIONS.items() if not row.rowwise}
EXTREME = [0.0, -0.0, np.inf, -np.inf, np.nan, 3e38, -3e38, 1e-45, 1e-38, -1e-38, 87, -87, 88.7]


# Where the references of specs.py cancel.
IN_THE_TAIL = {
    "gelu": lambda z: z / 2 * np.vectorize(math.erfc)(-z / math.sqrt(2)),
    "gelu_tanh": lambda z: z / (1 + np.exp(-math.sqrt(8 / math.pi) * (z + 0.044715 * z**3))),
}


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Activations of one number: the library, and the models by their names."""
    folder = tmp_path_factory.mktemp("single")
    models = {}
    for dtype in DTYPES:
        for i, row in enumerate(ELEMENTWISE.values()):
            model = fm.Sequential(fm.Linear(1, 1), row.module()).to(dtype=dtype)
            model[0].weight.copy_([[1.0]])
            model[0].bias.copy_([0.0])
            models[f"a{i}_{dtype}"] = model
    for name, model in models.items():
        export(model, folder, name)
    dtypes = {name: name.partition("_")[2] for name in models}
    return {"models": models, "library": Library(COMPILERS[0], folder, dtypes)}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_activations_are_exact(name: str, dtype: str, single: dict[str, Any]) -> None:
    near = np.linspace(-9, 9, 2001)
    far = np.logspace(-6, 1.9, 100)
    x = np.concatenate([near, far, -far]).astype(dtype)
    with np.errstate(all="ignore"):
        function = IN_THE_TAIL.get(name) or (lambda z: ELEMENTWISE[name].numpy(z)[0])
        want = function(x.astype("f8"))
    key = f"a{list(ELEMENTWISE).index(name)}_{dtype}"
    got = single["library"].predict(key, x[:, None])[:, 0]
    # In float64 the references have errors, too. gelu_tanh's argument is rounded before exp.
    ulps, least = (4, 1e-37) if dtype == "float32" else (60, 1e-15)
    ulps *= 64 if name == "gelu_tanh" else 1
    np.testing.assert_allclose(got, want, rtol=ulps * np.finfo(dtype).eps, atol=least)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_extreme_inputs(name: str, dtype: str, single: dict[str, Any]) -> None:
    key = f"a{list(ELEMENTWISE).index(name)}_{dtype}"
    x = np.array(EXTREME, dtype)[:, None]
    got, want = single["library"].predict(key, x), single["models"][key].predict(x)
    np.testing.assert_allclose(got, want, rtol=2e-6 if dtype == "float32" else 1e-13, atol=1e-37)


OPTIONS = ["-O0", "-Os", "-O3 -march=native", "-O2 -ffast-math"]
OPTIONS += ["-mfpmath=387"] if platform.machine() == "x86_64" else []  # sums with more digits


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("compiler", C_COMPILERS)
def test_options_of_compilers(compiler: str, options: str, dtype: str, tmp_path: Path) -> None:
    if compiler == "clang" and "387" in options:
        pytest.skip("clang knows no other sums")
    fm.manual_seed(0)
    layers = [layer for row in ACTIVATIONS.values() for layer in (row.module(), fm.Linear(9, 9))]
    model = fm.Sequential(fm.Linear(3, 9), *layers, fm.LayerNorm(9)).to(dtype=dtype)
    export(model, tmp_path, "net")
    x = np.random.default_rng(0).normal(size=(20, 3)).astype(dtype)
    got = Library(compiler, tmp_path, {"net": dtype}, *options.split()).predict("net", x)
    # LayerNorm makes the small differences of its inputs large.
    assert_close(got, model.predict(x), 20)


def _bits(array: np.ndarray) -> np.ndarray:
    return array.view({2: np.uint16, 4: np.uint32, 8: np.uint64}[array.itemsize])


@pytest.mark.parametrize("dtype", DTYPES)
def test_weights_keep_their_bits(dtype: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    size = np.dtype(dtype).itemsize
    random = rng.integers(0, 256, 1000 * size, np.uint8).view(dtype)
    info = np.finfo(dtype)
    special = [np.inf, -np.inf, np.nan, -0.0, 0.0, info.max, info.min, info.tiny, 1.0, 1e30]
    denormal = [float(info.smallest_subnormal), -3 * float(info.smallest_subnormal)]
    weight = np.concatenate([random, np.array(special + denormal, dtype)])
    model = fm.Linear(1, len(weight), bias=False, dtype=dtype)
    model.weight.copy_(weight[:, None])
    text = export(model, tmp_path, "net")
    written = re.search(r"net_weight1\[\d+\] = \{(.*?)\};", text, re.DOTALL)
    assert written is not None
    numbers = written[1].replace("INFINITY", "inf").replace("NAN", "nan").replace("f,", ",")
    numbers = numbers.replace("in,", "inf,").split(",")[:-1]
    there = ~np.isnan(weight)
    assert np.isnan([float(n) for n in np.array(numbers)[~there]]).all()
    read = np.array(numbers)[there].astype(dtype)
    np.testing.assert_array_equal(_bits(read), _bits(weight[there]))
    for compiler in COMPILERS:
        got = Library(compiler, tmp_path, {"net": dtype}).predict("net", np.ones((1, 1), dtype))[0]
        np.testing.assert_array_equal(got, weight)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_float16(dtype: str, tmp_path: Path) -> None:
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    halves = halves[np.isfinite(halves)]
    model = fm.Linear(1, len(halves), bias=False, dtype=dtype)
    model.weight.copy_(halves.astype(dtype)[:, None])
    assert f"static const uint16_t net_weight1[{len(halves)}]" in export(
        model, tmp_path, "net", weights="float16"
    )
    for compiler in C_COMPILERS:
        got = Library(compiler, tmp_path, {"net": dtype}).predict("net", np.ones((1, 1), dtype))[0]
        np.testing.assert_array_equal(got, halves.astype(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_float16_weights(dtype: str, tmp_path: Path) -> None:
    model = fm.MLP([17, 64, 64, 6], activation="tanh", seed=0, dtype=dtype)
    export(model, tmp_path, "net", weights="float16")
    library = Library(C_COMPILERS[0], tmp_path, {"net": dtype})
    x = np.random.default_rng(0).normal(size=(200, 17)).astype(dtype)
    exact, got = model.predict(x), library.predict("net", x)
    assert 1e-5 < np.abs(got - exact).max() / np.abs(exact).max() < 5e-4
    for layer in model:
        if isinstance(layer, fm.Linear):
            layer.weight.copy_(np.asarray(layer.weight).astype("f2"))
    assert_close(got, model.predict(x))


@pytest.mark.parametrize("weight", [65520.0, np.nan, -np.inf])
def test_a_weight_beyond_float16(weight: float, tmp_path: Path) -> None:
    model = fm.Linear(2, 1)
    model.weight.copy_([[65519.0, 1.0]])
    fm.export_c(model, tmp_path / "net.h", weights="float16")
    model.weight.copy_([[65519.0, weight]])
    with pytest.raises(ValueError, match=rf"^weights: .* below 65520 .* a weight of {weight:g}$"):
        fm.export_c(model, tmp_path / "net.h", weights="float16")


def test_calls_at_the_same_time(tmp_path: Path) -> None:
    export(fm.MLP([17, 64, 64, 6], seed=0), tmp_path, "net")
    library = Library(C_COMPILERS[0], tmp_path, {"net": "float32"})
    x = np.random.default_rng(0).normal(size=(2000, 17)).astype("f4")
    want, got = library.predict("net", x), {}

    def run(i: int) -> None:
        got[i] = library.predict_with("net", x[i::4])

    threads = [threading.Thread(target=run, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i in range(4):
        np.testing.assert_array_equal(got[i], want[i::4])


MAIN = """
#include <stdio.h>
#include <stdlib.h>
#include "net.h"
int main(void)
{
  int i, rows;
  REAL *x = (REAL *)malloc(NET_INPUTS * sizeof *x), *y = (REAL *)malloc(NET_OUTPUTS * sizeof *y);
  REAL *w = (REAL *)malloc(NET_WORKSPACE * sizeof *w);
  for (rows = 0; rows < 6; ++rows) {
    double value;
    for (i = 0; i < NET_INPUTS; ++i) {
      if (scanf("%lf", &value) != 1) return 1;
      x[i] = (REAL)value;
    }
    if (rows % 2) net_predict(x, y);
    else net_predict_with(x, y, w);
    for (i = 0; i < NET_OUTPUTS; ++i) printf("%.17g ", (double)y[i]);
  }
  free(x);
  free(y);
  free(w);
  return 0;
}
"""


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["branches", "scales", "17-64-64-6", "7-2", "far standardize"])
def test_under_sanitizers(name: str, dtype: str, tmp_path: Path) -> None:
    compiler = COMPILERS[len(name) % len(COMPILERS)]
    model = shape_of(name, dtype)
    export(model, tmp_path, "net", **({"weights": "float16"} if name == "7-2" else {}))
    source = tmp_path / ("main.cpp" if "+" in compiler else "main.c")
    source.write_text(MAIN.replace("REAL", "float" if dtype == "float32" else "double"))
    sanitize = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g", "-O1")
    compile_c(compiler, source, tmp_path / "main", *sanitize)
    x = np.random.default_rng(0).normal(size=(6, program_of(model).in_features))
    x[0], x[1] = 1e30, -1e30
    x[2, 0] = np.nan
    text = " ".join(map(repr, x.ravel().tolist()))
    run = subprocess.run([str(tmp_path / "main")], input=text, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
    got = np.array(run.stdout.split(), float).reshape(6, -1)
    want = model.predict(x.astype(dtype))
    np.testing.assert_array_equal(np.isnan(got[2]), np.isnan(want[2]))
    assert_close(got[3:].astype(dtype), want[3:], 1e9 if name == "7-2" else 1)
