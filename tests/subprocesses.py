"""Running a piece of Python in a process of its own."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

TESTS = Path(__file__).parent
# Generous: it only ends what hangs.
TIMEOUT = 240


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `code`, with the modules of this folder at hand; variables set to "" are removed."""
    return run([sys.executable, "-c", textwrap.dedent(code)], **environment)


def run(command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    variables = {**os.environ, "PYTHONPATH": path, **environment}
    variables = {name: value for name, value in variables.items() if value}
    return subprocess.run(
        command,
        env=variables,
        cwd=TESTS,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )


def output_of(code: str, **environment: str) -> str:
    """What `code` prints; it must end well."""
    done = run_python(code, **environment)
    assert done.returncode == 0, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout
