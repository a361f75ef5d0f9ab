"""Fonts with Hangul, which matplotlib falls back to where the user's own have none.

matplotlib is imported when the first picture is drawn, never by ``import fastmlp``.
"""

import functools
import importlib.util
from pathlib import Path

_HANGUL_FAMILIES = (
    "NanumGothic",
    "Nanum Gothic",
    "NanumBarunGothic",
    "Noto Sans KR",
    "Noto Sans CJK",
    "Malgun",
    "Apple SD Gothic Neo",
    "AppleGothic",
    "Nanum",
    "Noto Serif CJK",
    "Baekmuk",
    "UnDotum",
    "Gulim",
)


def is_available() -> bool:
    """Say whether matplotlib is installed, without importing it."""
    try:
        return importlib.util.find_spec("matplotlib") is not None
    except ValueError:  # a module that stands in for it
        return False


def require() -> None:
    """ImportError that names the extra, unless matplotlib is installed."""
    if not is_available():
        raise ImportError("pictures need matplotlib: pip install matplotlib, or fastmlp[plot]")


def with_hangul() -> list[str]:
    """The user's font families, and after them one with Hangul, if there is one."""
    require()
    import matplotlib as mpl

    family = list(mpl.rcParams["font.family"])
    hangul = hangul_font()
    return family if hangul is None or hangul in family else [*family, hangul]


def hangul_font() -> str | None:
    """Return the name of an installed font family with Hangul, or None where there is none."""
    require()
    return _find_hangul_font()


@functools.cache
def _find_hangul_font() -> str | None:
    from matplotlib import font_manager

    manager = font_manager.fontManager
    if found := _listed_hangul_font():
        return found
    # matplotlib caches its list of fonts: one installed since then has to be added by hand.
    known = {Path(entry.fname) for entry in manager.ttflist}
    words = tuple(name.replace(" ", "").lower() for name in _HANGUL_FAMILIES)
    for name in font_manager.findSystemFonts():
        if Path(name) not in known and Path(name).name.lower().startswith(words):
            manager.addfont(name)
    return _listed_hangul_font()


def _listed_hangul_font() -> str | None:
    from matplotlib import font_manager

    for family in _HANGUL_FAMILIES:
        entries = [e for e in font_manager.fontManager.ttflist if e.name.startswith(family)]
        for entry in sorted(entries, key=lambda entry: len(entry.name)):  # an exact match first
            if _has_hangul(entry.fname):
                return entry.name
    return None


def _has_hangul(path: str) -> bool:
    from matplotlib import font_manager

    try:
        return font_manager.get_font(path).get_char_index(ord("가")) != 0
    except (OSError, RuntimeError):  # in matplotlib's list, but gone or damaged by now
        return False


def use_hangul_font() -> str:
    """Let every later matplotlib text, also outside fastmlp, fall back to a font with Hangul.

    Returns
    -------
    str
        The family that was appended to matplotlib's ``font.family``.

    Raises
    ------
    ImportError
        If matplotlib is missing.
    LookupError
        If no installed font covers Hangul.
    """
    hangul = hangul_font()
    if hangul is None:
        raise LookupError("no installed font has Hangul: install Nanum, Noto Sans CJK or the like")
    import matplotlib as mpl

    mpl.rcParams["font.family"] = with_hangul()
    return hangul
