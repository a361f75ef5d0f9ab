"""scripts/gpu_check without a GPU: its steps, their limits, and the record that it keeps."""

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(os.name == "nt", reason="its programs are shell scripts")

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "scripts/gpu_check"
STORED = ROOT / "bench/gpu/runs/2026-11-27-3d2a187.json"

GPU = """\
case "$*" in
  *compute_cap*) echo "A GPU, 1.2, 9.0, 1 MHz, 2 MHz, 3 W" ;;
  *) exit 1 ;;
esac"""
FAKE_CUDA = 'device_name = lambda: "fake " + os.environ.get("FASTMLP_CUDA_UNPROVED", "0")'


@pytest.fixture(scope="module", autouse=True)
def _paths() -> Iterator[None]:
    places = [str(ROOT / "bench"), str(ROOT / "scripts")]
    sys.path[:0] = places
    yield
    for place in places:
        sys.path.remove(place)


def _program(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A wheel, programs and an nvidia-smi, all of them made up."""
    with zipfile.ZipFile(tmp_path / "fastmlp-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("fastmlp/__init__.py", "")
        wheel.writestr("fastmlp/cuda.py", f"import os\n{FAKE_CUDA}\ndevice_count = lambda: 1\n")
        wheel.writestr("fastmlp/libfastmlp_cuda.so", "")
    _program(tmp_path / "tools/nvidia-smi", GPU)
    _program(tmp_path / "programs/test_device", 'echo "device: fine with $FASTMLP_CUDA_LIBRARY"')
    _program(tmp_path / "programs/test_groups", "echo 'a test failed: 1 < 2'; exit 3")
    return tmp_path


def _check(place: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    # no ncu of this machine
    path = f"{place / 'tools'}:/usr/bin:/bin"
    command = [sys.executable, SCRIPT, "--results", place / "RESULTS.md", "--commit", "c0ffee"]
    command += ["--wheel", place / "fastmlp-1-py3-none-any.whl"]
    if "--programs" not in arguments:
        command += ["--programs", place / "programs"]
    return subprocess.run(
        [*map(str, command), *map(str, arguments)],
        capture_output=True,
        text=True,
        env={"PATH": path},
    )


def _run(place: Path) -> dict[str, Any]:
    (path,) = (place / "runs").glob("*-c0ffee.json")
    run: dict[str, Any] = json.loads(path.read_text())
    return run


def _states(place: Path) -> dict[str, str]:
    return {name: state for name, state, _, _ in _run(place)["parts"]}


def test_a_step_alone(place: Path) -> None:
    done = _check(place, "--steps", "device")
    assert done.returncode == 1  # for test_groups
    missing = "left out: it is not among the programs"
    assert _states(place) == {
        "device, as fastmlp sees it": "fine",
        "C++: test_device": "fine",
        "C++: test_groups": "FAILED, status 3",
        "C++: test_exchange": missing,
        "C++: test_cuda_large_device": missing,
    }
    details = {name: detail for name, _, _, detail in _run(place)["parts"]}
    assert details["device, as fastmlp sees it"] == "fake 0 of 1"
    assert details["C++: test_device"] == "device: fine with site/fastmlp/libfastmlp_cuda.so"
    assert details["C++: test_groups"] == "a test failed: 1 < 2"
    text = (place / "RESULTS.md").read_text()
    assert ", commit c0ffee, A GPU\n" in text
    assert "| C++: test_groups | FAILED, status 3 | 0 |" in text
    assert str(place) not in text


def test_a_later_run_adds_to_the_record(place: Path) -> None:
    (place / "runs").mkdir()
    (place / "runs" / STORED.name).write_text(STORED.read_text())
    _check(place, "--steps", "device")
    _program(place / "programs/test_groups", "echo all is well")
    done = _check(place, "--steps", "ncu,device")
    assert done.returncode == 0
    states = _states(place)
    assert states["C++: test_groups"] == "fine"
    assert states["ncu"] == "left out: it is not there"
    text = (place / "RESULTS.md").read_text()
    assert text.index("commit c0ffee") < text.index("commit 3d2a187")
    assert "\n| cifar2 | 54.3 |" in text


def test_the_record_is_rewritten(place: Path) -> None:
    _check(place, "--steps", "device")
    text = (place / "RESULTS.md").read_text()
    (place / "runs" / STORED.name).write_text(STORED.read_text())
    done = _check(place, "--rewrite")
    assert done.returncode == 0, done.stderr
    assert (place / "RESULTS.md").read_text().startswith(text.rstrip())


def test_what_is_unproved_runs_beside(place: Path) -> None:
    _check(place, "--steps", "device")
    _check(place, "--steps", "device", "--unproved")
    details = {name: detail for name, _, _, detail in _run(place)["parts"]}
    assert details["device, as fastmlp sees it"] == "fake 0 of 1"
    unproved = "device, as fastmlp sees it, with FASTMLP_CUDA_UNPROVED=1"
    assert details[unproved] == "fake 1 of 1"
    assert len(details) == 10


METRICS = {
    "gpu__time_duration.sum": "1,{k}00",
    "sm__throughput.avg.pct_of_peak_sustained_elapsed": "2",
    "gpu__compute_memory_throughput.avg.pct_of_peak_sustained_elapsed": "3",
    "launch__grid_size": "64",
    "launch__registers_per_thread": "32",
}
KERNELS = "void entry<unnamed>::Gather<float>>(Params)", "void entry<Gemm<float>>(Params)"


def _profile() -> str:
    """What prints two steps of two kernels, as ncu does, and the arguments."""
    lines = ['"ID","Kernel Name","Metric Name","Metric Value"']
    for k, kernel in enumerate(KERNELS * 2):
        lines += [f'"{k}","{kernel}","{name}","{v.format(k=k)}"' for name, v in METRICS.items()]
    return "\n".join(["echo $@", "cat << 'END'", "==PROF== Connected", *lines, "END"])


def test_a_profile(place: Path) -> None:
    _program(place / "tools/ncu", _profile())
    done = _check(place, "--steps", "ncu")
    assert done.returncode == 0, done.stdout
    assert "--cache-control none" in done.stdout
    assert "bench/gpu/profiled.py cifar2" in done.stdout
    kernels = _run(place)["profiles"]["cifar2"]["kernels"]
    assert [(k["name"], k["us"]) for k in kernels] == [("Gather<float>", 1.1), ("Gemm<float>", 1.2)]
    assert "| `Gemm<float>` | 64 | 32 | 1.2 | 2% | 3% |" in (place / "RESULTS.md").read_text()


def test_no_gpu(place: Path) -> None:
    _program(place / "tools/nvidia-smi", "exit 9")
    done = _check(place)
    assert done.returncode == 2
    assert done.stderr == "no NVIDIA GPU: nvidia-smi shows none\n"
    assert not (place / "runs").exists()


def test_bad_arguments(place: Path) -> None:
    done = _check(place, "--steps", "device,tset")
    assert done.returncode == 2
    assert "no step tset; there are ['device', 'tests'," in done.stderr
    done = _check(place, "--steps", "device", "--programs", place / "nowhere")
    assert done.returncode == 2
    assert "nowhere is no folder" in done.stderr
    done = _check(place, "--library", place / "some.so")
    assert done.returncode == 2
    assert "--library: a package is not built where --wheel names one" in done.stderr
    (place / "empty").mkdir()
    done = _check(place, "--wheel", place / "empty")
    assert done.returncode == 2
    assert "there is no package fastmlp in" in done.stderr


def test_time_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from on_device import check as module

    from gpu import record

    monkeypatch.setattr(module, "SHORTEST", 0.01)
    saved: list[int] = []
    run = record.new("c0ffee", "today", "a GPU")
    check = module.Check(run, tmp_path, 60, lambda: saved.append(len(run["parts"])), {"A": "b"})
    assert check.run("quick", "sh", "-c", "echo $A", limit=20) == "b\n"
    assert check.run("slow", "sh", "-c", "echo begun; sleep 60", limit=0.3) is None
    assert run["parts"][1][1] == "FAILED: not done in 0 s"
    assert run["parts"][1][3] == "begun"
    assert check.run("missing", tmp_path / "nothing", limit=20) is None
    check.end = 0
    assert check.run("late", "true", limit=20) is None
    assert check.run("quick", "true", limit=20) is None  # what is left out takes no line's place
    states = [part[1] for part in run["parts"]]
    assert states[0] == "fine"
    assert states[2].startswith("FAILED: ")
    assert states[3] == "left out: no time was left"
    assert saved == [1, 2, 3, 4, 4]


def test_the_record_is_that_of_the_runs() -> None:
    from gpu import record

    stored = (ROOT / "bench/gpu/RESULTS.md").read_text()
    assert stored == record.render(record.load(ROOT / "bench/gpu/runs"))


def test_the_slowest_workload() -> None:
    from on_device.steps import slowest

    assert slowest({}) == "cifar2"
    assert slowest(json.loads(STORED.read_text())["measured"]) == "cifar2, bf16"


def test_figures_of_several_measurements() -> None:
    """xor was measured alone, and again beside peers; the second counts."""
    from gpu import record

    run = json.loads(STORED.read_text())
    merged = record.merged(run["measured"].values())
    names = [w["name"] for w in merged["workloads"]]
    assert len(names) == len(set(names)) == 19
    assert names[:2] == ["xor", "xor-deep"]
    xor = merged["workloads"][0]
    assert set(xor["peers"]) == {"fastmlp", "torch", "torch-graph", "jax"}
    assert merged["options"] == {"rounds": 3, "seconds": 0.05}


@pytest.mark.cuda
def test_the_profiled_program_runs() -> None:
    command = [sys.executable, ROOT / "bench/gpu/profiled.py", "xor"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
