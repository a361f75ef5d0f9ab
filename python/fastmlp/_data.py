"""What `fit` takes as data."""

from typing import Any

from fastmlp import _checks


def check_validation(data: Any) -> tuple[Any, Any, Any]:
    """Inputs, targets and weights, each of them None where there are none."""
    if data is None:
        return None, None, None
    if not isinstance(data, tuple | list) or len(data) not in (2, 3):
        raise TypeError(
            f"validation_data: expected a pair (x, t), or (x, t, sample_weight), got"
            f" {_checks.show(data)}"
        )
    for name, part in zip(("x", "t"), data, strict=False):
        if part is None:
            raise TypeError(f"validation_data {name}: expected an array, got None")
    return data[0], data[1], data[2] if len(data) == 3 else None
