"""Initial values, under torch's names; see `fastmlp.init`."""

from fastmlp.init import *  # noqa: F403
from fastmlp.init import __all__ as __all__
