"""The documentation: its code runs, its links lead somewhere, its reference is complete.

The ```python blocks of a page run one after the other, in one namespace and in a folder of their
own; pages whose packages are missing are skipped. A ```text block right after one is what it
prints. A ```console block is a command and what it prints; "..." stands for anything. Sphinx itself
is not needed.
"""

import ast
import doctest
import importlib
import importlib.util
import json
import re
import shlex
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest

import fastmlp as fm
from fastmlp import cli

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
OPTIONAL = {
    "jax", "joblib", "keras", "matplotlib", "onnx", "onnxruntime", "optuna", "pandas", "polars",
    "scipy", "sklearn", "skl2onnx", "torch",
}  # fmt: skip
BEHIND = {".plot": "matplotlib", "to_onnx": "onnx"}  # what functions of ours need
_SAME = doctest.OutputChecker()
# Modules whose public names all have their place in the reference.
MODULES = [
    "fastmlp", "fastmlp.callbacks", "fastmlp.datasets", "fastmlp.distributed", "fastmlp.init",
    "fastmlp.lr_scheduler", "fastmlp.nn", "fastmlp.nn.init", "fastmlp.nn.utils", "fastmlp.optim",
    "fastmlp.optim.lr_scheduler", "fastmlp.plot", "fastmlp.sklearn", "fastmlp.torch",
]  # fmt: skip


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


class Block(NamedTuple):
    """Code of a page, or lines of its shell; `line` is the number of the line before the first."""

    kind: str
    code: str
    line: int
    printed: str | None


def _blocks(path: Path) -> list[Block]:
    text = path.read_text(encoding="utf-8")
    blocks = r"^```(python|console)\n(.*?)^```$(?:\s+^```text\n(.*?)^```$)?"
    return [
        Block(found[1], found[2], text.count("\n", 0, found.start(2)), found[3])
        for found in re.finditer(blocks, text, re.DOTALL | re.MULTILINE)
    ]


def _imports(code: str) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            parts = node.module.split(".")
            names.add(parts[1] if parts[0] == "fastmlp" and len(parts) > 1 else parts[0])
    return names


@pytest.mark.parametrize("path", [p for p in PAGES if _blocks(p)], ids=_name)
def test_the_code_of_a_page_runs(
    path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    blocks = _blocks(path)
    code = "\n".join(block.code for block in blocks if block.kind == "python")
    needed = _imports(code) | {package for word, package in BEHIND.items() if word in code}
    if any("fastmlp train" in block.code for block in blocks):
        needed |= {"pandas", "sklearn"}
    for package in sorted(needed & OPTIONAL):
        pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks:
        if block.kind == "python":  # whose errors name the page's line
            exec(compile("\n" * block.line + block.code, str(path), "exec"), names)
            expected = block.printed
        else:
            command, _, expected = block.code.partition("\n")
            assert command.startswith("$ fastmlp ")
            assert cli.main(shlex.split(command)[2:]) == 0
        found = capsys.readouterr().out
        if expected is not None and not _SAME.check_output(expected, found, doctest.ELLIPSIS):
            assert found == expected


def test_the_examples_of_docstrings() -> None:
    folder = Path(fm.__file__).parent
    with_examples = [p for p in folder.rglob("*.py") if ">>> " in p.read_text(encoding="utf-8")]
    assert with_examples
    for path in with_examples:
        name = ".".join(("fastmlp", *path.relative_to(folder).with_suffix("").parts))
        assert doctest.testmod(importlib.import_module(name.removesuffix(".__init__"))).failed == 0


def _texts() -> list[tuple[Path, str]]:
    """What people read, without blocks of code: Markdown files, and the Markdown of notebooks."""
    folders = ("*.md", "bench/**/*.md", "docs/**/*.md", "examples/**/*.md", "packaging/**/*.md")
    found = [(path, path.read_text(encoding="utf-8")) for f in folders for path in ROOT.glob(f)]
    for path in DOCS.glob("notebooks/*.ipynb"):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        told = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]
        found.append((path, "\n\n".join(told)))
    return [(path, re.sub(_FENCED, "", text)) for path, text in found]


_FENCED = re.compile(r"^(```+|:::+)[^\n]*\n.*?^\1$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(
    r"\]\(<?([^)\s>]+)>?[^)]*\)"  # [text](target "title")
    r"|^\[[^\]\n]+\]:\s*<?([^\s>]+)"  # [text]: target
    r"|(?:href|src)=[\"']([^\"']+)"
    r"|<((?:https?|mailto):[^>\s]+)>",
    re.MULTILINE,
)


def _links(text: str) -> list[str]:
    return [next(filter(None, found)) for found in _LINK.findall(re.sub("`[^`\n]+`", "", text))]


def test_what_counts_as_a_link() -> None:
    text = """[a](b.md) ![c](<d.png> "e") <https://f.org> <img src='g.png'> [h](i.md#j)
[k]: l.md

```python
[m](n.md)
# no heading
```
[`o`](p.md) `[q](r.md)`
# Two `words`, here
## Two `words`, here
"""
    text = re.sub(_FENCED, "", text)
    found = ["b.md", "d.png", "https://f.org", "g.png", "i.md#j", "l.md", "p.md"]
    assert _links(text) == found
    assert _anchors(text) == {"two-words-here", "two-words-here-1"}


def test_links_between_files() -> None:
    """Also to headings; those between the site's pages Sphinx checks, too."""
    texts = dict(_texts())
    assert len(texts) > 50
    missing, seen = [], 0
    for path, text in texts.items():
        for target in _links(text):
            if re.match(r"[a-z]+:", target):
                continue
            seen += 1
            file, _, heading = target.partition("#")
            aim = path if not file else (path.parent / file).resolve()
            in_repository = aim.exists() and aim.is_relative_to(ROOT)
            if not in_repository or (heading and heading not in _anchors(texts.get(aim, ""))):
                missing.append(f"{_name(path)}: {target}")
    assert seen > 50
    assert not missing


def test_links_to_other_sites() -> None:
    """Whether they lead somewhere only `sphinx-build -b linkcheck` can tell, with a network."""
    places: dict[str, list[str]] = {}
    for path, text in _texts():
        for target in _links(text):
            if re.match(r"[a-z]+:", target):
                places.setdefault(target, []).append(_name(path))
    for path in (ROOT / "python").rglob("*.py"):
        for target in re.findall(r"https?://[^\s\"'<>)]+", path.read_text(encoding="utf-8")):
            if target != "http://www.w3.org/2000/svg":  # a name, not a place
                places.setdefault(target.rstrip(".,;:"), []).append(_name(path))
    assert places
    for target, names in places.items():
        parts = urlsplit(target)
        assert parts.scheme == "https", (target, names)
        assert re.fullmatch(r"([a-z0-9-]+\.)+[a-z]{2,}", parts.netloc), (target, names)
        assert len(names) == 1, (target, names)


def test_the_readmes_figures_are_those_of_the_page_on_performance() -> None:
    pages = [ROOT / "README.md", DOCS / "performance.md"]
    short, long = (_pictures().times(page) for page in pages)
    assert len(short) == 11
    assert short == long


def test_pictures_can_be_drawn_anew(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    _pictures().main(tmp_path)
    drawn = {path.name for path in tmp_path.iterdir()}
    assert drawn == {path.name for path in (DOCS / "images").glob("*.png")}
    for path in (DOCS / "images").glob("*.png"):
        assert path.stat().st_size < 60_000


def _pictures() -> Any:
    pytest.importorskip("matplotlib")
    spec = importlib.util.spec_from_file_location("pictures", DOCS / "pictures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _anchors(text: str) -> set[str]:
    """Of the headings, as GitHub and MyST name them; equal ones are numbered."""
    anchors: set[str] = set()
    for line in re.findall(r"^#+ +(.+?)(?: +#+)?$", text, re.MULTILINE):
        name = re.sub(r"[^\w\- ]", "", line.lower()).strip().replace(" ", "-")
        numbers = (f"-{i}" if i else "" for i in range(len(text)))
        anchors.add(next(name + number for number in numbers if name + number not in anchors))
    return anchors


def test_every_page_is_in_a_table_of_contents() -> None:
    listed = {"index"}
    for path in DOCS.rglob("*.md"):
        for tree in re.findall(r"^```\{toctree\}\n(.*?)^```$", path.read_text(), re.S | re.M):
            for entry in tree.splitlines():
                if entry and not entry.startswith(":"):
                    target = re.sub(r".*<(.+)>", r"\1", entry)
                    base = DOCS if target.startswith("/") else path.parent
                    place = (base / target.lstrip("/")).resolve()
                    assert list(place.parent.glob(f"{place.name}.*")), f"{_name(path)}: {entry}"
                    listed.add(place.relative_to(DOCS).as_posix())
    pages = {p.relative_to(DOCS).with_suffix("").as_posix() for p in DOCS.rglob("*.md")}
    notebooks = DOCS.glob("notebooks/*.ipynb")
    pages |= {p.relative_to(DOCS).with_suffix("").as_posix() for p in notebooks}
    assert pages - listed == set()


def test_every_public_name_is_in_the_reference() -> None:
    """Under one of its names, as an entry of its own or on a page for its module."""
    for package in ("sklearn", "torch"):
        pytest.importorskip(package)
    text = "".join(path.read_text(encoding="utf-8") for path in (DOCS / "api").glob("*.md"))
    entries = re.findall(r"^\.\. (?:auto|py:)\w+:: (\S+)$", text, re.MULTILINE)
    documented = {id(_found(name)) for name in entries}
    missing = []
    for module in MODULES:
        for name in importlib.import_module(module).__all__:
            value = getattr(importlib.import_module(module), name)
            is_module = type(value) is type(fm)
            named = f"`{module}.{name}`" in text or name.startswith("__")
            if not (named or id(value) in documented or (is_module and value.__name__ in text)):
                missing.append(f"{module}.{name}")
    assert not missing


def _found(name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    if module and hasattr(parent := importlib.import_module(module), attribute):
        return getattr(parent, attribute)
    return importlib.import_module(name)
