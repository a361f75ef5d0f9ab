"""Models from PyTorch and for it. Needs torch, which is imported here alone."""

try:
    import torch  # noqa: F401
except ImportError as error:
    raise ImportError(
        f"fastmlp.torch needs PyTorch, which cannot be imported ({error}); write"
        ' pip install "fastmlp[torch]"'
    ) from error

from fastmlp.torch.conversion import from_torch, to_torch
from fastmlp.torch.fused import FusedMLP
from fastmlp.torch.layers import Residual, Standardize

__all__ = ["FusedMLP", "Residual", "Standardize", "from_torch", "to_torch"]
