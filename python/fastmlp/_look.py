"""The look of fastmlp's pictures: colours, lines and fonts, Hangul included, for matplotlib.

matplotlib is imported when the first picture is drawn, never by ``import fastmlp``.
"""

import functools
import importlib.util
from contextlib import AbstractContextManager
from pathlib import Path

# Told apart by colour-blind readers as well; decision regions use tints of the same colours.
COLOURS = ("#2f6db3", "#d9662b", "#3a8f5c", "#8a5fa8", "#b8860b", "#5f6b78")

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
    return importlib.util.find_spec("matplotlib") is not None


def _require() -> None:
    if not is_available():
        raise ImportError("pictures need matplotlib: pip install matplotlib")


def look(*, pyplot: bool = False) -> AbstractContextManager[None]:
    """Return a context in which matplotlib draws as fastmlp does; the settings come back after it.

    Parameters
    ----------
    pyplot : bool
        Whether pyplot will make a figure in it. Its backend is chosen before then: within, that
        notebooks show what is drawn would be taken back with the other settings.

    Raises
    ------
    ImportError
        If matplotlib is missing; the message names the extra ``plot``.
    """
    _require()
    import matplotlib as mpl
    from cycler import cycler  # comes with matplotlib

    if pyplot:
        from matplotlib import pyplot as plt

        plt.draw_if_interactive()  # type: ignore[no-untyped-call, unused-ignore]

    family = list(mpl.rcParams["font.family"])
    hangul = hangul_font()
    return mpl.rc_context(
        {
            "axes.axisbelow": True,
            "axes.edgecolor": "#8c939c",
            "axes.grid": True,
            "axes.labelcolor": "#333333",
            "axes.prop_cycle": cycler(color=COLOURS),
            "axes.spines.right": False,
            "axes.spines.top": False,
            "axes.titlelocation": "left",
            "axes.titlesize": 13,
            "figure.constrained_layout.h_pad": 0.1,  # inches
            "figure.constrained_layout.w_pad": 0.1,
            "figure.dpi": 100,
            "figure.facecolor": "white",
            "font.family": family if hangul is None else [*family, hangul],
            "font.size": 11,
            "grid.color": "#e6e8eb",
            "legend.frameon": False,
            "lines.linewidth": 1.8,
            "savefig.dpi": 100,
            "xtick.color": "#555555",
            "ytick.color": "#555555",
        }
    )


def hangul_font() -> str | None:
    """Return the name of an installed font family with Hangul, or None where there is none."""
    _require()
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

    family = list(mpl.rcParams["font.family"])
    if hangul not in family:
        mpl.rcParams["font.family"] = [*family, hangul]
    return hangul
