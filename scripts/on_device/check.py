"""Parts of a check, one after the other, each with a time limit, and the record of them."""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
TAIL = 12  # lines of a failed part's output in the record
SHORTEST = 5  # seconds, under which a part is not begun


class Check:
    """What has run so far, in a run as bench/gpu/record.py has it; `save` is told of each part.

    `env` goes to all parts, beside what each has of its own.
    """

    def __init__(
        self,
        run: dict[str, Any],
        folder: Path,
        minutes: float,
        save: Callable[[], None],
        env: dict[str, str],
    ):
        self.end = time.monotonic() + 60 * minutes
        self.record, self.folder, self.save, self.env = run, folder, save, env
        self.suffix = ""  # of the parts' names
        self.failed = False

    def left(self) -> float:
        return self.end - time.monotonic()

    def run(
        self,
        name: str,
        *command: object,
        limit: float,
        env: dict[str, str] | None = None,
        said: str = r"a^",
    ) -> str | None:
        """Run one part; its output, or None if it failed. `said` finds what the record tells."""
        limit = min(limit, self.left())
        print(f"== {name}{self.suffix}", flush=True)
        begin = time.monotonic()
        log = self.folder / "log"
        if limit < SHORTEST:
            self.add(name, "left out: no time was left")
            return None
        log.write_text("")
        words = [str(word) for word in command]
        state = _state(words, limit, os.environ | self.env | (env or {}), log)
        output = log.read_text(errors="replace")
        print(output[-4000:], flush=True)
        lines = output.strip().splitlines()
        found = [line.strip("= ") for line in lines if re.search(said, line)]
        detail = "\n".join(found[-6:] if state == "fine" else lines[-TAIL:])
        self.add(name, state, time.monotonic() - begin, detail)
        return output if state == "fine" else None

    def add(self, name: str, state: str, seconds: float | None = None, detail: str = "") -> None:
        """A part's line, in place of an earlier run's, if it was not left out now."""
        name += self.suffix
        print(f"-- {name}: {state} ({seconds or 0:.0f} s)", flush=True)
        self.failed = self.failed or state.startswith("FAILED")
        for place in (self.folder, ROOT):
            detail = detail.replace(f"{place}/", "").replace(str(place), "")
        line = [name, state, seconds if seconds is None else round(seconds, 1), detail]
        parts = self.record["parts"]
        known = [k for k, part in enumerate(parts) if part[0] == name]
        if not known:
            parts.append(line)
        elif not state.startswith("left out"):
            parts[known[0]] = line
        self.save()

    def measured(self, name: str, path: Path) -> None:
        """What the benchmark has stored."""
        if path.is_file():
            self.record["measured"][name + self.suffix] = json.loads(path.read_text())
            self.save()


def _state(command: list[str], limit: float, env: dict[str, str], log: Path) -> str:
    try:
        with log.open("w") as file:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        status = process.wait(timeout=limit)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # with all that it has started
        process.wait()
        return f"FAILED: not done in {limit:.0f} s"
    except OSError as error:
        return f"FAILED: {error}"
    return "fine" if status == 0 else f"FAILED, status {status}"


def said_by(*command: str) -> str:
    """What a program prints, if it is there and runs."""
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
