"""The machine that measures."""

import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import isa
from process import cores


def cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def machine(limit: str | None = None, libraries: Sequence[str] = ()) -> dict[str, Any]:
    """The facts about it, and how far the libraries keep to a limit of the instruction set."""
    return {
        "cpu": cpu_name(),
        "cores": cores(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load_average": os.getloadavg()[0],
        **({"isa": isa.facts(limit, libraries)} if limit else {}),
    }
