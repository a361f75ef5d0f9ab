"""Names of places where numbers lie."""

from typing import Any


class device(str):  # noqa: N801 - torch's name
    """A device as torch names it: the string "cpu", "cuda" or "cuda:0", with `type` and `index`.

    Parameters
    ----------
    type : str, device or torch.device
    index : int, optional
        Of the CUDA device.

    Raises
    ------
    ValueError
        If it names another device. Whether there is one shows when something moves there.
    """

    def __new__(cls, type: Any, index: int | None = None) -> "device":
        name = str(type) if index is None else f"{type}:{index}"
        kind, _, number = name.partition(":")
        if kind not in ("cpu", "cuda") or (":" in name and not number.isdigit()):
            raise ValueError(f'type: expected "cpu", "cuda" or "cuda:0", got {name!r}')
        return super().__new__(cls, name)

    @property
    def type(self) -> str:
        """Either "cpu" or "cuda"."""
        return self.split(":")[0]

    @property
    def index(self) -> int | None:  # type: ignore[override]
        """The number after the colon."""
        number = self.partition(":")[2]
        return int(number) if number else None
