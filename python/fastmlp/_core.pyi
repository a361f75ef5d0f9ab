"""The native core, as the Python layer sees it."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NoReturn, final, overload

import numpy as np
import numpy.typing as npt

from fastmlp.torch_methods import TensorMethods

Array = npt.NDArray[Any]
# Of a program; the numbers after the name are those of the values that it takes.
Operation = (
    tuple[Literal["affine"], int, Parameter, Parameter | None]
    | tuple[Literal["activation"], int, str, float, float]
    | tuple[Literal["dropout"], int, float]
    | tuple[Literal["add"], int, int]
    | tuple[Literal["layer_norm"], int, Parameter | None, Parameter | None, int, float]
    | tuple[Literal["prelu"], int, Parameter, int]
    | tuple[
        Literal["batch_norm"],
        int,
        Parameter | None,
        Parameter | None,
        int,
        float,
        Literal["batch", "running", "mode"],
        float | None,
        Parameter | None,
        Parameter | None,
        bool,
        Any,
    ]
)

__version__: str
ACTIVATIONS: tuple[str, ...]
ROW_ACTIVATIONS: tuple[str, ...]
LOSSES: tuple[str, ...]
OPTIMIZERS: tuple[str, ...]
PRECISIONS: tuple[str, ...]

def isa() -> str: ...
def available_isas() -> list[str]: ...
def bf16_instructions() -> str: ...
def strategy() -> Literal["automatic", "lanes", "dense", "sliced"]: ...
def build_info() -> dict[str, str]: ...
def product_blocks() -> dict[str, int]:
    """Tiles and blocks of float32 products (MR, NR, KC, MC), and the caches in bytes (L1, L2)."""

def fma_peak(seconds: float, threads: int) -> float: ...
def set_num_threads(n: int) -> None: ...
def get_num_threads() -> int: ...
def limit_own_threads(n: int) -> None:
    """Of those threads, how many the calling thread may use."""

def cgroup_processors(process: str, groups: str) -> int:
    """The CPU quota that the control groups in these folders state; 0: none."""

def cuda_device_count() -> int: ...
def cuda_problem() -> str | None:
    """Why there is no CUDA device to use; None where there is one."""

def cuda_device_name(device: int) -> str: ...
def cuda_synchronize() -> None: ...
def fill_uniform(out: Array, low: float, high: float, seed: int, stream: int) -> None: ...
def fill_normal(out: Array, mean: float, std: float, seed: int, stream: int) -> None: ...
def shuffled_rows(rows: int, seed: int, epoch: int) -> Array: ...
def exponential_rates(lr: float, gamma: float, count: int) -> Array: ...
def stepwise_rates(lr: float, gamma: float, size: int, first: int, count: int) -> Array: ...
def linear_rates(
    lr: float, start: float, end: float, total: int, first: int, count: int
) -> Array: ...
def cosine_rates(
    lr: float, base: float, least: float, period: int, first: int, count: int
) -> Array: ...
def restart_rates(
    base: float, least: float, first: int, period: int, factor: int, count: int
) -> Array: ...
def annealing_heights(start: float, length: float, first: int, count: int) -> Array: ...
def clip_grad_norm(parameters: Sequence[Parameter], max_norm: float) -> float: ...
def affine_forward(
    x: Any, weight: Any, bias: Any, activation: str, alpha: float, beta: float
) -> Array: ...
def affine_backward(
    grad_output: Any, x: Any, weight: Any, bias: Any, activation: str, alpha: float, beta: float
) -> tuple[Array, Array, Array]: ...
def update(
    kind: str,
    param: Array,
    grad: Array,
    state: Sequence[Array],
    step: int,
    options: dict[str, float],
) -> None: ...

@final
class BorrowedChain:
    """Layers whose passes work on torch's tensors: weights out x in, as torch keeps them."""

    def __init__(
        self,
        layers: Sequence[tuple[int, int, bool, str, float, float]],
        dtype: str,
        torch: Any,
    ) -> None: ...
    def workspace_size(self, rows: int, training: bool) -> int: ...
    def forward(
        self, x: Any, parameters: tuple[Any, ...], workspace: Any, y: Any, training: bool
    ) -> bool:
        """Fill y, and the workspace for `backward`; False where a tensor is of another kind."""

    def backward(
        self,
        dy: Any,
        x: Any,
        parameters: tuple[Any, ...],
        workspace: Any,
        dx: Any,
        gradients: tuple[Any, ...],
    ) -> bool:
        """Fill dx and the gradients that are not None; False as in `forward`."""

def move(places: Sequence[tuple[Parameter, str]]) -> None:
    """Move parameters to devices: all of them or, after an error, none."""

@final
class Parameter:
    """One tensor of weights, stored in x out, and its gradient; seen from Python as out x in."""

    def __init__(self, shape: Sequence[int], dtype: str) -> None: ...
    requires_grad: bool
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> str: ...
    @property
    def device(self) -> str: ...
    @property
    def reads(self) -> int:
        """How often `value` was asked for."""

    @property
    def moves(self) -> int:
        """How often it was moved: a network is of use until the next time."""

    @property
    def value(self) -> Array:
        """A writable view; of a device's memory a read-only copy."""

    @property
    def grad(self) -> Tensor | None: ...
    def write(self, values: Any) -> None: ...
    def set_grad(self, grad: Any) -> None: ...
    def changed(self) -> None:
        """Values were written through `value`: passes recorded before cannot run backward."""

    def abandon(self) -> None:
        """Another parameter takes this one's place; RuntimeError while it is trained."""

class Tensor(TensorMethods, np.ndarray[Any, np.dtype[Any]]):  # type: ignore[misc]
    """A NumPy array that may know how it came about."""

    requires_grad: bool
    @property
    def grad(self) -> Tensor | None: ...
    @grad.setter
    def grad(self, value: Array | None) -> None: ...
    def backward(
        self,
        grad_output: Any = None,
        retain_graph: bool | None = False,
        create_graph: bool = False,
        *,
        gradient: Any = None,
    ) -> None: ...
    def numpy(self) -> Array: ...
    def __getattr__(self, name: str) -> Any:
        """The methods that fastmlp.arithmetic installs."""

def recording() -> bool:
    """Whether this thread records for `backward`: not under no_grad(), fastmlp's or torch's."""

def set_recording(on: bool) -> bool:
    """Switch it, but for torch's part in it; returns how it was."""

def is_leaf(tensor: Any) -> bool:
    """Whether it is a tracked input."""

def graph_node(tensor: Tensor) -> Any:
    """What a gradient of it goes to: a tape's Step, or itself; None if it has no graph."""

def source_node(tensor: Tensor) -> Any:
    """What the gradient goes on to; RuntimeError if its own backward cannot run."""

def send_back(tensor: Tensor, gradient: Array, retain: bool) -> Array | None:
    """The gradient of the source, for that of a tensor whose own node is native."""

def recorded(array: Array, step: object) -> Tensor:
    """A read-only tensor on the same memory, which a Step tells the origin of."""

def set_variable_type(type: type) -> None:
    """Models and losses take `clone()` of its instances."""

def is_lost(values: Any) -> bool:
    """Whether values come from a recorded tensor, but not its graph."""

def warn_if_lost(values: Any, name: str) -> None: ...
def set_lost(tensor: Tensor, lost: bool) -> None: ...

class Loss:
    """Calls `self._of_recorded(input, target, sample_weight)` for what no model or loss made.

    Where the target is recorded, `self._of_recorded_target(input, target, sample_weight)`.

    `weights` and `params` are those of classes or columns, none, or one for all.
    """

    def __init__(
        self,
        name: str,
        options: dict[str, float],
        weights: Sequence[float] | npt.NDArray[np.float64] = ...,
        params: Sequence[float] | npt.NDArray[np.float64] = ...,
        ignore_index: int | None = ...,
    ) -> None: ...
    def __call__(self, input: Any, target: Any, *, sample_weight: Any = ...) -> Tensor: ...
    def set_options(self, options: dict[str, float]) -> None: ...

def known_loss(input: Any, value: float, gradient: Any) -> Tensor:
    """A loss whose value and gradient are known."""

class Symbolic:
    """What `Model.__call__` hands to `self.forward` instead of a network."""

    def end_trace(self) -> NoReturn:
        """Of fastmlp.symbolic's: an error, for it has come where numbers are needed."""

class Model:
    """Runs the network of `self._compiled()`, which it asks for after every change of structure.

    With dropout, each call takes a seed from `self._draw_seed()`.
    """

    def __call__(self, x: Any) -> Tensor: ...
    @overload
    def predict(self, x: npt.ArrayLike, out: Array | None = None) -> Array: ...
    @overload
    def predict(self, x: Any, out: Any = None) -> Any: ...
    def predictor(self, rows: int, like: Any = None) -> Predictor: ...
    def jacobian(self, x: npt.ArrayLike) -> Array: ...
    def input_gradient(
        self, x: npt.ArrayLike, t: npt.ArrayLike | None = None, loss_fn: Loss | None = None
    ) -> Array: ...

@final
class Predictor:
    @property
    def x(self) -> Any: ...
    @property
    def y(self) -> Any: ...
    def __call__(self) -> Any: ...

def count_hooks(more: int) -> None:
    """So many more hooks of modules are registered; calls look for hooks where there are any."""

def structure() -> int:
    """How often `structure_changed` was called: a network is good for one such number."""

def structure_changed() -> None: ...

@final
class Network:
    def __init__(
        self, operations: Sequence[Operation], dtype: str, precision: str, flatten: bool = False
    ) -> None: ...
    @property
    def in_features(self) -> int | None: ...
    @property
    def out_features(self) -> int | None: ...
    def weight_jacobian(self, x: npt.ArrayLike, parameters: Sequence[Parameter]) -> Array:
        """d output / d weight, rows x outputs x weights: those of the parameters in their order."""

    def group_key(self, optimizer: Optimizer, loss: Loss, rows: int) -> str | None:
        """Equal for networks that are trained in one launch, in batches of so many rows."""

    def evaluate(
        self,
        loss: Loss,
        data: tuple[Any, Any, Any],
        metrics: Sequence[tuple[str, Metric]],
    ) -> tuple[float, list[float]]:
        """The loss and the metrics of (x, t, sample_weight), by parts of tables and files."""

    def strategy(self, rows: int, training: bool = True) -> str: ...

@final
class Ensemble:
    def __init__(self, networks: Sequence[Network]) -> None: ...
    def moments(self, x: npt.ArrayLike, deviation: bool) -> tuple[Array, Array | None]:
        """The mean of the outputs and, if asked for, the standard deviation."""

    def outputs(self, x: npt.ArrayLike) -> Array: ...

def state_names(kind: str) -> list[str]:
    """The states that an optimizer of this kind may keep of a parameter, by torch's names."""

class Optimizer:
    """An optimizer of a dtype, without parameters as yet."""

    def __init__(self, kind: str, dtype: str) -> None: ...
    def _add_group(self, parameters: Sequence[Parameter], options: dict[str, float]) -> None: ...
    def _set_option(self, group: int, name: str, value: float) -> None: ...
    def _plan(self, now: Any, ahead: npt.NDArray[np.float64], repeat: int) -> None:
        """The options of the next steps, (lr, momentum or first beta; NaN: as it is) x groups, and
        likewise what the steps of a schedule set, 2 x steps x groups. Each entry holds for
        `repeat` steps; the schedule's last one has nothing left to hold for."""

    def _end_plan(self) -> int:
        """Forget the plan; returns how many steps have used it."""

    def step(self, closure: Callable[[], Any] | None = None) -> Any: ...
    def zero_grad(self, set_to_none: bool = True) -> None: ...
    def _state(self) -> dict[str, Any]:
        """`group.<number>.<option>`, and of each parameter `<number>.steps` and its states by
        torch's names, such as `<number>.exp_avg`: flat, in the order of the storage."""

    def _set_state(self, state: dict[str, Any]) -> None: ...
    @property
    def steps(self) -> int: ...

@final
class Numbers:
    """Those that there were when this was asked for."""

    def __len__(self) -> int: ...
    def values(self, first: int = 0) -> npt.NDArray[np.float64]: ...
    def first_nonfinite(self, first: int) -> int | None:
        """The number of the first from there on that is infinite or NaN."""

@final
class Runs:
    """Numbers of which many neighbours are equal, in little memory."""

    def values(self) -> npt.NDArray[np.float64]: ...

class History:
    """Grows while `fit` runs; every property returns a fresh array, or what can make one."""

    def __init__(self, state: dict[str, Any] = ...) -> None: ...
    @property
    def epochs(self) -> int: ...
    @property
    def loss(self) -> Numbers: ...
    @property
    def validation_loss(self) -> Numbers: ...
    @property
    def last_validation_loss(self) -> float | None:
        """None where the last epoch has not been validated."""

    @property
    def learning_rate(self) -> Runs: ...
    @property
    def epoch_time(self) -> Runs: ...
    @property
    def metrics(self) -> dict[str, npt.NDArray[np.float64]]: ...
    @property
    def report_step(self) -> npt.NDArray[np.int64]: ...
    @property
    def report_loss(self) -> npt.NDArray[np.float64]: ...
    def state(self) -> dict[str, Any]:
        """Curves and counters, by name."""

    def set_state(self, state: dict[str, Any]) -> None: ...

@final
class Metric:
    def __init__(self, kind: str, k: int = 1, threshold: float = 0.5) -> None: ...
    def __call__(self, name: str, loss: Loss, y: Any, t: Any, sample_weight: Any) -> float: ...

@final
class Convergence:
    """Of one training: scikit-learn's rule of its end, and the losses that it tells of.

    These are (loss + constant) / parts + penalty times the squares of the weights before an epoch,
    or, if they change within it, the mean of those before and after.
    """

    def __init__(
        self,
        weights: Sequence[Parameter],
        *,
        tol: float,
        patience: float,
        of_losses: bool,
        constant: float,
        parts: float,
        penalty: float,
        changes_within: bool,
        best: float,
        waited: int,
    ) -> None: ...
    def add(self, loss: float) -> bool:
        """After an epoch with this loss: whether the training ends. A training calls it itself."""

    def count(self, value: float) -> None:
        """After an epoch: a value that has to fall, where the losses are not what counts."""

    def forgive(self) -> None:
        """Begins to wait anew."""

    def losses(self, first: int) -> list[float]:
        """Of the epochs from that number on."""

    @property
    def best(self) -> float: ...
    @property
    def waited(self) -> int:
        """How many epochs in a row have not improved."""

@final
class EarlyStopping:
    """Of one training, which it follows in native code; monitor 0 is the loss, 1 the validation's,
    2 and so on the metrics."""

    def __init__(
        self, monitor: int, patience: int, min_delta: float, maximize: bool, keep_best: bool
    ) -> None: ...
    def prepare(self, network: Network) -> None:
        """What a training does first; `restore` may follow without one."""

    def restore(self) -> None:
        """Gives the model the best epoch's values, if they are kept."""

    def snapshot(self) -> dict[str, Any]:
        """After `prepare`: what `state` has of a network that is at its best now."""

    def state(self) -> dict[str, Any]:
        """Where the search for the best epoch is, with a copy of that, as it lies in the core."""

    def resume(self, state: dict[str, Any]) -> None:
        """Before a training that goes on from there; one of another network begins anew."""

    @property
    def best(self) -> float: ...
    @property
    def best_epoch(self) -> int: ...
    @property
    def stopped_epoch(self) -> int: ...

def fit(requests: Sequence[dict[str, Any]]) -> None: ...
def whole_batch_step(optimizer: Optimizer, closure: Callable[[], Any]) -> Any:
    """A step that looks at all rows; returns what the closure first returns."""
