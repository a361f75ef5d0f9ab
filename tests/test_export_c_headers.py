"""The text of exported headers: names, sizes, symbols, folding; and the file's way to the disk."""

import os
import re
import subprocess
from pathlib import Path

import pytest

import fastmlp as fm
from activation_specs import ACTIVATIONS
from compiled_headers import C_COMPILERS, COMPILERS, compile_c
from export_models import Branches, export, far_standardize
from fastmlp.c_export import functions

pytestmark = pytest.mark.skipif(not C_COMPILERS, reason="there is no compiler of C")


def test_workspaces_are_small(tmp_path: Path) -> None:
    def size(model: fm.Module) -> int:
        text = export(model, tmp_path, "net")
        found = re.search(r"#define NET_WORKSPACE (\d+)\n", text)
        assert found is not None
        return int(found[1])

    assert size(fm.Linear(5, 7)) == 1  # C has no arrays of nothing
    assert size(fm.MLP([5, 7, 3])) == 7
    assert size(fm.MLP([5, 7, 9, 11, 3], activation="softmax")) == 9 + 11
    assert size(fm.Sequential(fm.Linear(3, 8), fm.LayerNorm(8), fm.Softmax())) == 1
    assert size(fm.Sequential(fm.Linear(3, 8), fm.Residual(fm.Linear(8, 8)), fm.Linear(8, 1))) == 16
    assert size(Branches()) == 9 + 4


def test_scales_are_folded(tmp_path: Path) -> None:
    model = fm.Sequential(fm.Linear(3, 4), fm.BatchNorm1d(4), fm.ReLU(), fm.BatchNorm1d(4),
                          fm.Linear(4, 2), fm.BatchNorm1d(2)).eval()  # fmt: skip
    text = export(model, tmp_path, "net")
    assert "column_scale" not in text
    assert len(re.findall(r"^  .*net_affine\(", text, re.MULTILINE)) == 2
    assert "net_column_scale(x[i]" in export(far_standardize(), tmp_path, "net")


def _symbols(compiler: str, folder: Path, source: str, *options: str) -> dict[str, str]:
    """The symbols of an object file with their kinds, as `nm` has them."""
    (folder / "object.c").write_text(source)
    compile_c(compiler, folder / "object.c", folder / "object.o", "-c", *options)
    listed = subprocess.run(["nm", str(folder / "object.o")], capture_output=True, text=True)
    return {line.split()[-1]: line.split()[-2] for line in listed.stdout.splitlines()}


CALL = """
#include "net.h"
void f(const float *x, float *y);
void f(const float *x, float *y) { net_predict(x, y); }
"""


@pytest.mark.parametrize("compiler", C_COMPILERS)
@pytest.mark.parametrize("options", [(), ("-Os",), ("-ffast-math", "-O2")])
def test_nothing_is_needed_but_libm(
    compiler: str, options: tuple[str, ...], tmp_path: Path
) -> None:
    layers = [layer for row in ACTIVATIONS.values() for layer in (row.module(), fm.Linear(3, 3))]
    model = fm.Sequential(fm.Linear(3, 3), *layers, fm.LayerNorm(3), fm.PReLU())
    export(model, tmp_path, "net", weights="float16")
    symbols = _symbols(compiler, tmp_path, CALL, *options)
    outside = {name for name, kind in symbols.items() if kind == "U"}
    allowed = {"copysignf", "erfc", "expf", "expm1f", "fabsf", "fmaf", "log1pf", "logf", "sqrtf"}
    assert outside <= allowed | {"memcpy", "memset", "__memset_chk"}, outside
    # Weights lie in memory that is only read; what is written is the workspace alone.
    assert {kind for name, kind in symbols.items() if "weight" in name} <= set("rR")
    assert all("workspace" in name for name, kind in symbols.items() if kind in "bBdDC")


@pytest.mark.parametrize("compiler", COMPILERS)
def test_a_header_in_two_files(compiler: str, tmp_path: Path) -> None:
    export(fm.Linear(2, 1), tmp_path, "net")
    suffix = ".cpp" if "+" in compiler else ".c"
    (tmp_path / f"a{suffix}").write_text(CALL)
    main = CALL.replace("f(", "g(") + "int main(void) { return NET_INPUTS - 2; }\n"
    (tmp_path / f"b{suffix}").write_text(main)
    compile_c(compiler, tmp_path / f"a{suffix}", tmp_path / "both", str(tmp_path / f"b{suffix}"))
    assert subprocess.run([str(tmp_path / "both")]).returncode == 0


def test_two_networks_of_one_name(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        export(fm.MLP([2, 1], seed=len(os.listdir(tmp_path))), tmp_path / folder, "net")
    (tmp_path / "main.c").write_text('#include "a/net.h"\n#include "b/net.h"\n')
    command = [C_COMPILERS[0], "-c", "main.c", "-o", "main.o"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode != 0
    assert "two networks have the name net" in run.stderr


def test_no_name_is_another_ones(tmp_path: Path) -> None:
    # Networks named net and net_log would both have net_log_softmax, if there were that function.
    names = [*functions._TEXTS, "predict", "predict_with", "weight1", "bias1", "slope1"]
    assert not [(a, b) for a in names for b in names if b.endswith(f"_{a}")]


@pytest.mark.parametrize(
    "name", ["int", "class", "restrict", "1net", "", "ne-t", "né", "net\n", "_net", "a__b", "net_"]
)
def test_names_that_are_none(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"^name: .*{re.escape(repr(name))}"):
        fm.export_c(fm.Linear(1, 1), tmp_path / "net.h", name)
    assert not list(tmp_path.iterdir())


def test_a_failure_leaves_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "net.h"
    path.write_text("old")
    for function in ("replace", "fsync"):
        with monkeypatch.context() as patch:
            patch.setattr(os, function, _full)
            with pytest.raises(OSError, match="no room"):
                fm.export_c(fm.Linear(1, 1), path)
        assert path.read_text() == "old"
        assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(FileNotFoundError):
        fm.export_c(fm.Linear(1, 1), tmp_path / "nowhere" / "net.h")
    link = tmp_path / "link.h"
    link.symlink_to(path)
    fm.export_c(fm.Linear(1, 1), str(link))
    assert link.is_symlink()
    assert "NET_INPUTS" in path.read_text()


def _full(*_: object, **options: object) -> None:
    raise OSError("no room")


def test_of_a_device_and_a_precision(tmp_path: Path, device: str) -> None:
    model = fm.MLP([3, 4, 2], seed=0)
    want = export(model, tmp_path, "net")
    assert export(model.to(device=device, precision="bf16"), tmp_path, "net") == want
