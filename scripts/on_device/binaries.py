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
    return Binaries(site, folder_of(programs))


def folder_of(programs: Path | None) -> Path | None:
    """That of a build's programs, of which the build's own folder may be named."""
    if programs is None:
        return None
    if not programs.is_dir():
        raise FileNotFoundError(f"--programs: {programs} is no folder")
    inner = programs / "cpp/tests"
    return (inner if inner.is_dir() else programs).resolve()


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
    tree, programs = folder / "build", target / "programs"
    options = [
        *("-DFASTMLP_PYTHON=OFF", "-DFASTMLP_CPP_TESTS=ON", "-DFASTMLP_CUDA_EMULATED=OFF"),
        *("-DFASTMLP_CUDA=ON", f"-DFASTMLP_CUDA_ARCHS={arch}"),
        *(["-G", "Ninja"] if shutil.which("ninja") else []),
        *([f"-DFASTMLP_CUTLASS_DIR={_headers(cutlass, folder)}"] if cutlass else []),
    ]
    _run("cmake", "-S", ROOT, "-B", tree, *options)
    made = ("fastmlp_cuda", *PROGRAMS)
    _run("cmake", "--build", tree, "--parallel", os.cpu_count() or 2, "--target", *made)
    programs.mkdir(parents=True, exist_ok=True)
    for name in PROGRAMS:
        place = next(
            path for path in (tree / "cpp/tests" / name, tree / "cpp/cuda" / name) if path.is_file()
        )
        shutil.copy(place, programs)
    return Binaries(package(target, tree / "cpp/cuda" / LIBRARY, folder), programs)


def package(target: Path, library: Path, folder: Path) -> Path:
    """The package for the Python that runs this, in target/site, with that CUDA part."""
    needed = "import numpy, scikit_build_core, pybind11"
    there = subprocess.run([sys.executable, "-c", needed], capture_output=True).returncode == 0
    offline = ["--no-build-isolation", "--no-index"] if there else []
    wheels, pip = folder / "wheels", (sys.executable, "-m", "pip", "wheel", "--no-deps")
    _run(*pip, *offline, "-w", wheels, ROOT, env={"FASTMLP_CUDA": "OFF"})
    site = target / "site"
    shutil.rmtree(site, ignore_errors=True)
    with zipfile.ZipFile(next(wheels.glob("fastmlp-*.whl"))) as archive:
        archive.extractall(site)
    shutil.copy(library, site / "fastmlp" / LIBRARY)
    return site


def _run(*command: object, env: dict[str, str] | None = None) -> None:
    words = [str(word) for word in command]
    print("==", *words, flush=True)
    subprocess.run(words, check=True, env=os.environ | (env or {}))
