"""A model's prediction as one C header, for what has no Python: `export_c`."""

from typing import Any

from fastmlp import _checks
from fastmlp.c_export.identifiers import check_name
from fastmlp.c_export.simplify import simplified
from fastmlp.c_export.writer import header
from fastmlp.modules import Module
from fastmlp.program import Normalization, program_of
from fastmlp.writing import file_path, replace_file

__all__ = ["export_c"]


def export_c(model: Module, path: Any, name: str = "net", *, weights: str | None = None) -> None:
    """Write what `model.predict` computes of one row as a header in C99, which is C++ too.

    The header, here for the name "net", defines

    - ``void net_predict(const float *x, float *y)``: the prediction of one row. It has a static
      workspace, so that only one call may run at a time.
    - ``void net_predict_with(const float *x, float *y, float *workspace)``: the same with a
      workspace of the caller's, of NET_WORKSPACE numbers; reentrant.
    - NET_INPUTS, NET_OUTPUTS and NET_WORKSPACE, numbers of values.

    x, y and workspace must not overlap. The functions allocate nothing and need libm alone; the
    weights are `static const`. Both agree with `predict` to 1e-6 of the output's size, in float64
    to 1e-12. All is `static inline`: a file that includes the header has its own copy. Every name
    begins with `name`, macros with its capitals, so that one file may include many networks.

    Parameters
    ----------
    model : Module
        Of any device and `precision`; it is written as its dtype says, `float` or `double`. Dropout
        is left out, and running statistics are folded into the layers beside them.
    path : str or path
        The header's. It is written beside and renamed: a failure leaves an older file whole.
    name : str
        What the header's names begin with: an identifier in C and C++, and no keyword.
    weights : {None, "float16"}
        How matrices are stored: None as their dtype says; "float16" in half (or a quarter) of the
        memory, decoded where they are used. This rounds a weight to 11 binary digits, an error of
        at most 4.9e-4 of it; one below 6.1e-5 has an error of up to 3e-8, and counts as 0 where the
        processor has no denormal numbers. Outputs are off by some 3e-4 of their size. Biases and
        other numbers stay as they are.

    Raises
    ------
    TypeError
        If `model` is no Module or an argument is of the wrong type.
    ValueError
        If the model takes rows of any width, normalises by the statistics of a batch, or cannot be
        compiled to one program; if `name` is no such identifier; if a weight is not finite, or too
        large, in float16.
    OSError
        If the file cannot be written.
    """
    name = check_name(name)
    if weights is not None:
        _checks.choice("weights", weights, ("float16",))
    file = file_path(path)
    program = program_of(model)
    if program.in_features is None:
        raise ValueError(
            "model: expected one with a layer that fixes the number of features, such as Linear,"
            " got one that takes rows of any width"
        )
    operations = simplified(program)
    if any(isinstance(op, Normalization) and op.axis == 0 for op in operations):
        raise ValueError(
            "model: expected running statistics in BatchNorm1d, got a layer without them"
            " (track_running_stats=False), for which a single row is no batch"
        )
    text = header(operations, program.dtype, program.in_features, name, half=weights is not None)
    replace_file(file, text.encode())
