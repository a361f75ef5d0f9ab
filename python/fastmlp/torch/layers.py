"""The layers that torch has no match for, as modules of torch's: what `to_torch` makes of them."""

import torch


class Residual(torch.nn.Module):
    """`x + layers(x)`, or `projection(x) + layers(x)`; see `fastmlp.Residual`.

    Parameters
    ----------
    layers : torch.nn.Sequential
    projection : torch.nn.Linear, optional
    """

    def __init__(
        self, layers: torch.nn.Sequential, projection: torch.nn.Linear | None = None
    ) -> None:
        super().__init__()
        self.layers = layers
        self.projection = projection

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The sum."""
        return (x if self.projection is None else self.projection(x)) + self.layers(x)


class Standardize(torch.nn.Module):
    """`(x - mean) / scale`, whose numbers are buffers; see `fastmlp.Standardize`.

    Parameters
    ----------
    num_features : int
    """

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features
        self.register_buffer("mean", torch.zeros(num_features))
        self.register_buffer("scale", torch.ones(num_features))
        self.register_buffer("variance", torch.zeros(num_features))
        self.register_buffer("count", torch.tensor(0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Of each feature."""
        return (x - self.mean) / self.scale

    def extra_repr(self) -> str:
        """The number of features."""
        return f"{self.num_features}"
