"""Training by several processes, each with a part of the rows. Needs torch, imported here alone."""

try:
    import torch.distributed as _distributed
except ImportError as error:
    raise ImportError(
        f"fastmlp.distributed needs PyTorch, which cannot be imported ({error}); write"
        ' pip install "fastmlp[torch]"'
    ) from error
if not _distributed.is_available():
    raise ImportError(
        "fastmlp.distributed needs a PyTorch with torch.distributed, which this one is built"
        ' without; write pip install "fastmlp[torch]"'
    )

from fastmlp.distributed.messages import RankError
from fastmlp.distributed.trainer import DistributedTrainer

__all__ = ["DistributedTrainer", "RankError"]
