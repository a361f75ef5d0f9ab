"""How Sphinx builds the site: `sphinx-build -W --keep-going docs build/docs`, without a network."""

import re
from typing import Any

import fastmlp

project = "fastmlp"
author = copyright = "The fastmlp developers"
version = release = fastmlp.__version__

extensions = ["sphinx.ext.autodoc", "numpydoc", "myst_nb", "sphinx_copybutton"]
exclude_patterns = ["README.md"]
nitpicky = True  # a reference that leads nowhere is a warning
suppress_warnings = ["mystnb.unknown_mime_type"]

html_theme = "furo"
html_title = f"fastmlp {version}"
html_static_path = ["_static"]
html_css_files = ["fastmlp.css"]
html_show_copyright = False
html_copy_source = False
pygments_style = "friendly"
pygments_dark_style = "github-dark"

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # notebooks come with their outputs; the tests run them
copybutton_prompt_text = r"^(\$|>>>) "
copybutton_prompt_is_regexp = True

# Docstrings write code in single backticks.
default_role = "code"
autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints = "none"  # the docstrings have the types
numpydoc_show_class_members = False
# Whoever checks links by `sphinx-build -b linkcheck` needs a network.
linkcheck_anchors = False


def _without_unknown(
    app: Any, what: str, name: str, obj: Any, options: Any, signature: str | None, returns: Any
) -> tuple[str | None, Any]:
    """Leave out `**unknown`, which is there to say what a misspelt argument was meant to be."""
    if signature:
        signature = re.sub(r",? \*\*unknown\b|\*\*unknown\b", "", signature)
    return signature, returns


def _only_for_users(app: Any, what: str, name: str, obj: Any, skip: bool, options: Any) -> Any:
    """Leave out what layers tell the tracing, and what scikit-learn adds to each estimator."""
    if re.fullmatch(r"set_\w+_request", name):
        return True
    inner = name in ("constants", "extra_repr", "forward", "native", "option_names")
    return True if inner and getattr(obj, "__module__", "") != "fastmlp.modules" else None


def setup(app: Any) -> None:
    """Connect the two."""
    app.connect("autodoc-process-signature", _without_unknown)
    app.connect("autodoc-skip-member", _only_for_users)
