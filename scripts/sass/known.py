"""Defects that are known, and why each is there: a line is to go when its kernel is mended."""

import re

DIVISIONS = "divisions, which call for denormal numbers alone; memory is what the loop waits for"
DIVISIONS_OF_STEPS = "divisions and roots of losses and Adam, which call for denormal numbers alone"
ONE_OF_MANY = "a launch runs one activation's, loss's or rule's part of it"
BLOCKS = "loads and stores may overlap for the compiler; many blocks hide what one waits"
QUADS = "a quad is loaded, waited for and stored before the next"

# A part of a kernel's name, a defect, the reason.
KNOWN = (
    ("BackwardWeightEpilogue", "serial loads", "column sums: rows a run-time stride apart"),
    ("Epilogue|FewRows", "serial epilogue", QUADS),
    ("ClassLoss|RowForward", "serial epilogue", "a row's passes, which wait for one another"),
    ("Gemm<|ElementLoss|ActivationBackward<double", "long code", ONE_OF_MANY),
    ("CUTLASS", "long code", ONE_OF_MANY),
    ("CUTLASS", "calls in loops", "divisions in the epilogue, which the loop over tiles is around"),
    ("Training", "long code", "all sizes, losses and rules in one kernel"),
    ("Training", "calls in loops", "divisions of sigmoid, softmax and Adam"),
    ("Training", "serial loads", "parameters into shared memory, once a launch"),
    ("Training", "serial epilogue", "the next rows, and what a step writes"),
    ("Loss|Norm|RowBackward|Activation|ParameterUpdate", "calls in loops", DIVISIONS),
    ("BackwardHead|RowsInLanes|grid_training|OneBlock", "calls in loops", DIVISIONS_OF_STEPS),
    ("ForwardHead", "serial epilogue", "a row's passes, which wait for one another"),
    ("FirstSpread", "serial epilogue", "parts of a sum, whose number is known at run time alone"),
    ("ForwardHead<double|grid_training|FirstSpread<double", "long code", ONE_OF_MANY),
    ("Gather|Dropout|Scale|Activation|LayerNorm|RowForward|PReLU", "serial loads", BLOCKS),
)


def reason(kernel: str, defect: str) -> str:
    """Why a kernel may have that defect; empty if it may not."""
    for name, of, why in KNOWN:
        if of == defect and re.search(name, kernel):
            return why
    return ""


def unneeded(found: set[tuple[str, str]], kernels: list[str]) -> list[str]:
    """The lines whose kernels are here and do not have the defect, none of them."""
    return [
        f"{name}: {defect}"
        for name, defect, _ in KNOWN
        if any(re.search(name, kernel) for kernel in kernels)
        and not any(of == defect and re.search(name, kernel) for kernel, of in found)
    ]
