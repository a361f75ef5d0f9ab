"""The package and the C++ programs: built, or taken from where they were built."""

import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from on_device.check import ROOT

LIBRARY = "libfastmlp_cuda.so"
PROGRAMS = (
    "test_device",
    "test_groups",
    "test_exchange",
    "test_cuda_large_device",
    "fastmlp_ensemble",
)


@dataclass(frozen=True)
class Binaries:
    """`site` holds the package and is for PYTHONPATH; `programs` are in one folder, if any."""

    site: Path
    programs: Path | None

    def program(self, name: str) -> Path | None:
        path = self.programs / name if self.programs else None
        return path if path and path.is_file() else None

    @property
    def env(self) -> dict[str, str]:
        """For whatever runs with them; the programs take the package's library."""
        found = {"PYTHONPATH": str(self.site), "PYTHONUNBUFFERED": "1"}
        library = self.site / "fastmlp" / LIBRARY
        return found | ({"FASTMLP_CUDA_LIBRARY": str(library)} if library.is_file() else {})


def take(wheel: Path, programs: Path | None, folder: Path) -> Binaries:
    """Those of a wheel, or of a folder that holds the package; a build's folder of programs."""
    site = wheel.resolve()
    if wheel.is_file():
        site = folder / "site"
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(site)
    if not (site / "fastmlp" / "__init__.py").is_file():
        raise FileNotFoundError(f"--wheel: there is no package fastmlp in {wheel}")
    if programs and not programs.is_dir():
        raise FileNotFoundError(f"--programs: {programs} is no folder")
    if programs and (programs / "cpp/tests").is_dir():
        programs = programs / "cpp/tests"
    return Binaries(site, programs.resolve() if programs else None)


def _headers(cutlass: Path, folder: Path) -> Path:
    """The folder of CUTLASS's headers: that one, or those of a wheel."""
    if cutlass.is_dir():
        return cutlass
    with zipfile.ZipFile(cutlass) as archive:
        inner = "cutlass_library/source/include/"
        archive.extractall(folder, [n for n in archive.namelist() if n.startswith(inner)])
    return folder / inner


def build(target: Path, arch: str, cutlass: Path | None, folder: Path) -> Binaries:
    """Compile all for `arch` into target/site and target/programs, which work without the rest."""
    tree = folder / "build"
    options = [
        *("-DFASTMLP_PYTHON=OFF", "-DFASTMLP_CPP_TESTS=ON", "-DFASTMLP_CUDA_EMULATED=OFF"),
        *("-DFASTMLP_CUDA=ON", f"-DFASTMLP_CUDA_ARCHS={arch}"),
        *(["-G", "Ninja"] if shutil.which("ninja") else []),
        *([f"-DFASTMLP_CUTLASS_DIR={_headers(cutlass, folder)}"] if cutlass else []),
    ]
    _run("cmake", "-S", ROOT, "-B", tree, *options)
    _run("cmake", "--build", tree, "--parallel", os.cpu_count() or 2)
    needed = "import numpy, scikit_build_core, pybind11"
    offline = ["--no-build-isolation", "--no-index"]
    there = subprocess.run([sys.executable, "-c", needed], capture_output=True).returncode == 0
    wheels, pip = folder / "wheels", (sys.executable, "-m", "pip", "wheel", "--no-deps")
    # the CUDA part is compiled once, with the programs
    _run(*pip, *(offline if there else []), "-w", wheels, ROOT, env={"FASTMLP_CUDA": "OFF"})
    site, programs = target / "site", target / "programs"
    shutil.rmtree(site, ignore_errors=True)
    with zipfile.ZipFile(next(wheels.glob("fastmlp-*.whl"))) as archive:
        archive.extractall(site)
    shutil.copy(tree / "cpp/cuda" / LIBRARY, site / "fastmlp")
    programs.mkdir(parents=True, exist_ok=True)
    for name in PROGRAMS:
        if (path := tree / "cpp/tests" / name).is_file() or (
            path := tree / "cpp/cuda" / name
        ).is_file():
            shutil.copy(path, programs)
    return Binaries(site, programs)


def _run(*command: object, env: dict[str, str] | None = None) -> None:
    words = [str(word) for word in command]
    print("==", *words, flush=True)
    subprocess.run(words, check=True, env=os.environ | (env or {}))
