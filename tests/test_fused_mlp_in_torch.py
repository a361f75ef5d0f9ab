"""FusedMLP in the hands of torch: optimizers, copies, transforms, hooks, threads, compilers."""

import copy
import gc
import io
import pickle
import resource
import threading
from collections.abc import Callable
from typing import Any

import pytest

from subprocesses import output_of

torch = pytest.importorskip("torch")
nn = torch.nn

from fastmlp.torch import FusedMLP  # noqa: E402 - after torch is known to be there
from fused_pairs import F64, assert_close, input_of, is_native, pair_of, passes_of  # noqa: E402


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=1e-3),
        lambda p: torch.optim.SGD(p, lr=0.1, fused=True),
        lambda p: torch.optim.Adam(p, lr=0.01, foreach=True),
        lambda p: torch.optim.AdamW(p, lr=0.01, fused=True),
        lambda p: torch.optim.RMSprop(p, lr=0.01),
        lambda p: torch.optim.LBFGS(p, lr=0.1, max_iter=3),
    ],
)
@pytest.mark.parametrize("sizes", [(2, 10, 1), (2, 200, 70, 1)])
def test_torchs_optimizers_train_it(optimizer: Callable[[Any], Any], sizes: Any) -> None:
    fused, plain = pair_of(sizes, dtype=F64)
    x = input_of(fused, 40).detach()
    t = x[:, :1] * x[:, 1:]
    for model in (fused, plain):
        step = optimizer(model.parameters())

        def closure(model: Any = model, step: Any = step) -> Any:
            step.zero_grad()
            loss = nn.functional.mse_loss(model(x), t)
            loss.backward()
            return loss

        for _ in range(4):
            step.step(closure)
    for ours, theirs in zip(fused.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_vectors_and_clipping_of_parameters() -> None:
    fused, plain = pair_of(dtype=F64)
    x = input_of(fused, 5)
    vector = nn.utils.parameters_to_vector(fused.parameters())
    nn.utils.vector_to_parameters(2 * vector.detach(), fused.parameters())
    nn.utils.vector_to_parameters(2 * vector.detach(), plain.parameters())
    assert_close(passes_of(fused, x), passes_of(plain, x), 1e-12)
    norms = [nn.utils.clip_grad_norm_(model.parameters(), 0.1) for model in (fused, plain)]
    torch.testing.assert_close(*norms, rtol=1e-12, atol=0)


def _saved(model: Any) -> Any:
    memory = io.BytesIO()
    torch.save(model, memory)
    memory.seek(0)
    return torch.load(memory, weights_only=False)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m)), _saved])
def test_copies_are_equal_and_apart(copied: Callable[[Any], Any]) -> None:
    fused, _ = pair_of(dtype=F64)
    x = input_of(fused, 4)
    before = fused(x)  # so that a plan has been made
    twin = copied(fused)
    assert type(twin) is FusedMLP
    assert torch.equal(twin(x), before)
    with torch.no_grad():
        twin[0].weight.zero_()
    assert torch.equal(fused(x), before)
    assert not torch.equal(twin(x), before)


def test_conversion_of_dtypes() -> None:
    fused, plain = pair_of()
    for convert in (
        lambda m: m.double(),
        lambda m: m.float(),
        lambda m: m.to(F64),
        lambda m: m.share_memory(),
        lambda m: m.to(torch.float32),
    ):
        convert(fused), convert(plain)
        x = input_of(fused, 5)
        assert is_native(fused(x))
        exact = fused[0].weight.dtype == F64
        assert_close(passes_of(fused, x), passes_of(plain, x), 1e-12 if exact else 1e-5)
    y = fused.bfloat16()(input_of(fused, 5))  # by torch's operations
    assert y.dtype == torch.bfloat16
    assert not is_native(y)
    assert fused.to("meta")(torch.zeros(3, 2, device="meta", dtype=torch.bfloat16)).is_meta


def test_default_dtype_is_torchs() -> None:
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(F64)
        assert FusedMLP([2, 1])[0].weight.dtype == F64
    finally:
        torch.set_default_dtype(before)


def test_autocast_computes_in_float32() -> None:
    fused, _ = pair_of()
    x = input_of(fused, 6)
    expected = fused(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(fused(x), expected)
        half = x.detach().bfloat16().requires_grad_()
        y = fused(half)
    assert y.dtype == torch.float32
    assert torch.equal(y, fused(half.float()))
    y.sum().backward()
    assert half.grad.dtype == torch.bfloat16
    with pytest.raises(RuntimeError, match="dtype"):
        fused(half)


def test_transforms_of_functions() -> None:
    fused, plain = pair_of(dtype=F64)
    x = input_of(fused, 6).detach()
    state = {name: 2 * value.detach() for name, value in fused.named_parameters()}

    def loss(model: Any) -> Callable[..., Any]:
        return lambda state, x: torch.func.functional_call(model, state, (x,)).square().sum()

    for make in (
        lambda m: torch.func.functional_call(m, state, (x,)),
        lambda m: torch.func.grad(loss(m))(state, x)["0.weight"],
        lambda m: torch.func.vmap(torch.func.grad(loss(m)), (None, 0))(state, x)["2.bias"],
        lambda m: torch.func.jacrev(m)(x[0]),
        lambda m: torch.func.hessian(lambda x: m(x).sum())(x[0]),
        lambda m: torch.func.jvp(m, (x,), (x,))[1],
        lambda m: torch.autograd.functional.hessian(lambda x: m(x).sum(), x[0]),
        lambda m: torch.jit.trace(m, x)(x + 1),
    ):
        torch.testing.assert_close(make(fused), make(plain), rtol=1e-10, atol=1e-12)


def test_within_other_modules() -> None:
    fused, plain = pair_of((4, 8, 4), dtype=F64)
    models = [
        nn.Sequential(nn.LayerNorm(4, dtype=F64), inner, nn.Tanh(), nn.Linear(4, 1, dtype=F64))
        for inner in (fused, plain)
    ]
    models[1].load_state_dict(models[0].state_dict())
    x = torch.randn(9, 4, dtype=F64, requires_grad=True)
    results = []
    for model in models:
        x.grad = None
        model(x).square().sum().backward()
        results.append([x.grad, *(p.grad for p in model.parameters())])
    assert_close(*results, 1e-12)


def test_hooks_run() -> None:
    fused, _ = pair_of(dtype=F64)
    x = input_of(fused, 3)
    seen: list[str] = []
    outer = fused.register_forward_hook(lambda *_: seen.append("outer"))
    fused(x)
    inner = fused[1].register_forward_hook(lambda *_: seen.append("inner"))
    fused(x)
    inner.remove()
    assert seen == ["outer", "inner", "outer"]
    assert is_native(fused(x))
    outer.remove()
    fused[0].weight.register_hook(lambda grad: seen.append("gradient"))
    fused[0].weight.register_post_accumulate_grad_hook(lambda p: seen.append("accumulated"))
    fused(x).sum().backward()
    assert seen[-2:] == ["gradient", "accumulated"]


def _appended(model: Any) -> None:
    model.append(nn.Linear(3, 2, dtype=F64))


def _dropped(model: Any) -> None:
    model.insert(2, nn.Dropout(0.0))


def _tied(model: Any) -> None:
    model[2] = nn.Linear(10, 10, dtype=F64)
    model.append(model[2])


def _biased(model: Any) -> None:
    model[2].bias = None


def _own_forward(model: Any) -> None:
    model[1].forward = lambda x: x * 2


def _transposed(model: Any) -> None:
    model[2].weight.data = model[2].weight.data.t().contiguous().t()


@pytest.mark.parametrize(
    ("change", "native"),
    [
        (lambda m: setattr(m[1], "negative_slope", 0.5), True),
        (lambda m: m.__setitem__(1, nn.Sigmoid()), True),
        (lambda m: m.__delitem__(1), True),
        (lambda m: m.__setitem__(0, nn.Linear(2, 10, dtype=F64)), True),
        (lambda m: m[0].weight.data.mul_(2), True),
        (lambda m: setattr(m[0], "weight", nn.Parameter(torch.ones(10, 2, dtype=F64))), True),
        (lambda m: setattr(m[1], "negative_slope", -0.5), False),
        (_appended, True),
        (_dropped, False),  # not all of it
        (_tied, True),
        (_biased, False),
        (_own_forward, False),
        (_transposed, False),
        (lambda m: nn.utils.parametrizations.weight_norm(m[0]), False),
    ],
)
def test_what_is_changed_later_counts(change: Callable[[Any], Any], native: bool) -> None:
    torch.manual_seed(0)
    fused = FusedMLP((2, 10, 3), nn.LeakyReLU(0.1), dtype=F64)
    x = input_of(fused, 5)
    fused(x)
    change(fused)
    plain = nn.Sequential(*copy.deepcopy(list(fused)))
    y = fused(x)
    assert is_native(y) == native
    assert_close(passes_of(fused, x), passes_of(plain, x), 1e-12)


@pytest.mark.parametrize("sizes", [(2, 10, 3), (40, 200, 70, 3)])
def test_threads_share_one_module(sizes: Any) -> None:
    fused, plain = pair_of(sizes, dtype=F64)
    inputs = [input_of(fused, 30 + i, seed=i).detach() for i in range(4)]
    parameters = list(fused.parameters())
    expected = [
        torch.autograd.grad(plain(x).square().sum(), list(plain.parameters())) for x in inputs
    ]
    shared = fused(inputs[0]).square().sum()  # one graph, that all run backward
    wrong: list[Any] = []

    def run(i: int) -> None:
        try:
            for _ in range(30):
                own = torch.autograd.grad(fused(inputs[i]).square().sum(), parameters)
                assert_close(list(own), list(expected[i]), 1e-11)
                again = torch.autograd.grad(shared, parameters, retain_graph=True)
                assert_close(list(again), list(expected[0]), 1e-11)
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_workspaces_are_freed() -> None:
    fused, _ = pair_of((300, 300, 300, 1))
    x = torch.randn(2000, 300)
    gc.collect()

    def run() -> None:
        for _ in range(10):
            fused(x)  # no backward
            fused(x).sum().backward()

    run()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(5):
        run()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 40_000


def test_a_forked_process_goes_on() -> None:
    code = """
        import os, torch
        from fastmlp.torch import FusedMLP
        torch.set_num_threads(2)
        model = FusedMLP([300, 300, 300, 1])
        x = torch.randn(200, 300)
        model(x).sum().backward()  # starts threads
        expected = model(x).sum().item()
        model.zero_grad()  # for torch's own sums of large gradients would hang in the child
        child = os.fork()
        if child == 0:
            model(x).sum().backward()
            os._exit(0 if model(x).sum().item() == expected else 1)
        print("status", os.waitpid(child, 0)[1])
    """
    assert "status 0" in output_of(code)


DDP = """
    import os, sys, tempfile
    import torch, torch.distributed as dist, torch.multiprocessing as mp
    from torch import nn
    from fastmlp.torch import FusedMLP

    x = torch.linspace(-1, 1, 80, dtype=torch.float64).reshape(40, 2)
    t = x.prod(1, keepdim=True)

    def train(model, x, t):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(5):
            optimizer.zero_grad()
            nn.functional.mse_loss(model(x), t).backward()
            optimizer.step()

    def worker(rank, path):
        meeting = "file://" + path + "/meet"
        dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
        torch.manual_seed(rank)
        model = nn.parallel.DistributedDataParallel(FusedMLP([2, 10, 1], "tanh", dtype=x.dtype))
        if rank == 0:
            torch.save(model.module.state_dict(), path + "/first")
        train(model, x[rank::2], t[rank::2])
        torch.save(model.module.state_dict(), path + "/rank" + str(rank))
        dist.destroy_process_group()

    if __name__ == "__main__":
        with tempfile.TemporaryDirectory() as path:
            mp.start_processes(worker, (path,), nprocs=2, start_method="fork")
            alone = nn.Sequential(nn.Linear(2, 10), nn.Tanh(), nn.Linear(10, 1)).double()
            alone.load_state_dict(torch.load(path + "/first"))
            train(alone, x, t)
            for rank in (0, 1):
                state = torch.load(path + "/rank" + str(rank))
                for name, value in alone.state_dict().items():
                    torch.testing.assert_close(state[name], value, rtol=1e-11, atol=1e-12)
        print("equal")
"""


def test_distributed_training_of_two_processes() -> None:
    assert "equal" in output_of(DDP, OMP_NUM_THREADS="1")


def _compiled_and_plain(dynamic: bool | None) -> None:
    fused, plain = pair_of((5, 12, 3), "gelu", output_activation="softmax", dtype=F64)
    compiled = torch.compile(fused, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    for rows in (6, 6, 9):
        x = input_of(fused, rows)
        results = []
        for model, run in ((fused, compiled), (plain, plain)):
            model.zero_grad()
            x.grad = None
            y = run(x)
            y.square().sum().backward()
            results.append([y, x.grad, *(p.grad for p in model.parameters())])
        assert_close(*results, 1e-12)


@pytest.mark.parametrize("dynamic", [None, True])
def test_compiled_graphs_have_it_as_an_operator(dynamic: bool | None) -> None:
    torch._dynamo.reset()
    _compiled_and_plain(dynamic)


def test_what_compilation_leaves_to_torch() -> None:
    torch._dynamo.reset()
    fused, plain = pair_of(dtype=F64)
    fused[1].register_forward_hook(lambda module, inputs, y: 2 * y)
    plain[1].register_forward_hook(lambda module, inputs, y: 2 * y)
    compiled = torch.compile(fused, backend="aot_eager")
    x = input_of(fused, 4)
    torch.testing.assert_close(compiled(x), plain(x), rtol=1e-12, atol=1e-12)
    frozen, _ = pair_of(dtype=F64)
    frozen[0].weight.requires_grad_(False)
    torch.compile(frozen, backend="aot_eager", fullgraph=True)(x.detach()).sum().backward()
    assert frozen[0].weight.grad is None
    assert frozen[2].weight.grad is not None


@pytest.mark.slow
def test_inductor_compiles_a_step_around_it() -> None:
    torch._dynamo.reset()
    fused, plain = pair_of((5, 12, 3), dtype=F64)

    def loss(model: Any, x: Any) -> Any:
        return (model(x.sin()) ** 2).mean()

    x = input_of(fused, 8)
    torch.compile(loss, fullgraph=True)(fused, x).backward()
    loss(plain, x).backward()
    for ours, theirs in zip(fused.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-10, atol=1e-12)


def test_operators_are_as_torch_wants_them() -> None:
    fused, _ = pair_of(dtype=F64)
    parameters = list(fused.parameters())
    arguments = (input_of(fused, 4), parameters, "1 Tanh ;1 Identity ;")
    torch.library.opcheck(torch.ops.fastmlp.mlp, arguments)
