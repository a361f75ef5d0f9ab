"""Names that C and C++ take."""

import re
from typing import Any

from fastmlp import _checks

_KEYWORDS = """
    alignas alignof and and_eq asm auto bitand bitor bool break case catch char char16_t char32_t
    char8_t class co_await co_return co_yield compl concept const const_cast consteval constexpr
    constinit continue decltype default delete do double dynamic_cast else enum explicit export
    extern false float for friend goto if inline int long mutable namespace new noexcept not not_eq
    nullptr operator or or_eq private protected public register reinterpret_cast requires restrict
    return short signed sizeof static static_assert static_cast struct switch template this
    thread_local throw true try typedef typeid typename typeof typeof_unqual union unsigned using
    virtual void volatile wchar_t while xor xor_eq
"""
KEYWORDS = frozenset(re.findall(r"\w+", _KEYWORDS))


def check_name(name: Any) -> str:
    """The name, or an error that says what it lacks."""
    if not isinstance(name, str):
        raise TypeError(f"name: expected a string, got {_checks.show(name)}")
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ValueError(
            f"name: expected an identifier in C, of letters, digits and _, got {name!r}"
        )
    if name in KEYWORDS:
        raise ValueError(f"name: expected an identifier in C, got the keyword {name!r}")
    if name.startswith("_") or "__" in name or name.endswith("_"):
        raise ValueError(
            "name: expected one without a leading, trailing or double _, which C and C++ reserve"
            f" (net_ would give net__predict), got {name!r}"
        )
    return name
