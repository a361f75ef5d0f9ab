"""Models in files: every layer comes back with the same bits, here and in torch."""

import inspect
import json
import os
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastmlp as fm
import program_models
from fastmlp import cli
from fastmlp.files import architecture, container
from fastmlp.modules import Module
from file_mutations import with_document

X = np.random.default_rng(0).normal(size=(7, program_models.WIDTH))


class Net(fm.Module):
    """A class that no file can make."""

    def __init__(self, hidden: int = 4, dtype: str = "float32") -> None:
        super().__init__()
        self.hidden = fm.Sequential(
            fm.Linear(5, hidden, dtype=dtype), fm.BatchNorm1d(hidden, dtype=dtype)
        )
        self.output = fm.Linear(hidden, 3, dtype=dtype)
        self.register_buffer("offset", [1.0, 2.0])

    def forward(self, x: Any) -> Any:
        return self.output(fm.tanh(self.hidden(x)))


def document_of(path: Path) -> dict[str, Any]:
    with container.opened(str(path)) as contents:
        assert contents.document is not None
        return contents.document


def assert_same(model: Module, other: Module) -> None:
    ours, theirs = model.state_dict(), other.state_dict()
    assert list(ours) == list(theirs)
    for name, value in ours.items():
        assert value.dtype == theirs[name].dtype
        assert value.tobytes() == theirs[name].tobytes(), name
    assert repr(model) == repr(other)
    assert [m.training for m in model.modules()] == [m.training for m in other.modules()]
    frozen = [p.requires_grad for p in model.parameters()]
    assert frozen == [p.requires_grad for p in other.parameters()]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", program_models.MODELS)
def test_every_layer_comes_back(name: str, dtype: str, tmp_path: Path, device: str) -> None:
    model = program_models.model_of(name, dtype)
    model.to(device)
    path = tmp_path / "model.safetensors"
    fm.save(model, path)
    assert os.listdir(tmp_path) == [path.name]
    if name in ("own-forward", "shared"):
        other = program_models.model_of(name, dtype, seed=1).to(device)
        assert fm.load(path, into=other) is other
    else:
        other = fm.load(path)
    assert_same(model, other)
    assert other.device == model.device
    np.testing.assert_array_equal(model.predict(X), other.predict(X))


def test_the_table_has_every_layer_with_all_its_options() -> None:
    left_out = {"dtype", "device", "precision", "self", "name", "layers", "modules"}
    classes = [
        getattr(fm, name)
        for name in fm.__all__
        if isinstance(getattr(fm, name), type) and issubclass(getattr(fm, name), Module)
    ]
    assert len(classes) > 25
    for made in set(classes) - {Module}:
        if made.__name__ in architecture.CONTAINERS:
            continue
        layer = architecture.LAYERS[made.__name__]
        assert layer.make is made
        assert set(layer.options) == set(inspect.signature(made).parameters) - left_out


def test_modes_frozen_parameters_precision_and_the_seed_come_back(tmp_path: Path) -> None:
    model = fm.MLP([5, 8, 8, 2], "tanh", seed=7, precision="bf16")
    model[2].eval()
    model[0].weight.requires_grad = False
    fm.save(model, tmp_path / "a")
    other = fm.load(tmp_path / "a")
    assert_same(model, other)
    assert other[1] is other[3]  # MLP's one activation
    assert other.precision == "bf16"
    assert other.__dict__["_seed"] == 7
    assert not other[0].weight.requires_grad
    assert other[0].bias.requires_grad


def test_names_containers_and_layers_that_serve_twice_come_back(tmp_path: Path) -> None:
    shared = fm.Linear(5, 5)
    block = fm.Sequential(shared, fm.ReLU(), shared)
    model = fm.Sequential(
        OrderedDict(
            first=block,
            again=fm.Residual(block),
            list=fm.Sequential(fm.Residual(fm.Linear(5, 4), fm.Tanh()), fm.Linear(4, 5)),
        )
    )
    model.list[1].bias = model.first[0].bias  # tied
    fm.save(model, tmp_path / "a")
    other = fm.load(tmp_path / "a")
    assert_same(model, other)
    assert other.again.layers[0] is other.first
    assert other.first[0] is other.first[2]
    assert other.list[1].bias is other.first[0].bias
    np.testing.assert_array_equal(model.predict(X), other.predict(X))
    for holder in [fm.ModuleList([fm.Linear(2, 2), fm.ReLU()]), fm.ModuleDict({"a": block})]:
        fm.save(holder, tmp_path / "b")
        assert_same(holder, fm.load(tmp_path / "b"))


def test_loading_draws_no_random_numbers(tmp_path: Path) -> None:
    fm.save(fm.MLP([5, 4, 2]), tmp_path / "a")
    fm.manual_seed(3)
    expected = fm.MLP([5, 4, 2]).state_dict()["0.weight"]
    fm.manual_seed(3)
    fm.load(tmp_path / "a")
    np.testing.assert_array_equal(fm.MLP([5, 4, 2]).state_dict()["0.weight"], expected)


# --- classes of one's own


def test_a_class_of_ones_own_saves_its_weights_and_is_filled(tmp_path: Path) -> None:
    path = tmp_path / "net"
    net = Net()
    net.hidden[0].weight.requires_grad = False
    net.eval()
    fm.save(net, path)
    with pytest.raises(ValueError, match=r"net: the model is of the class Net.*into=model"):
        fm.load(path)
    other = Net()
    fm.load(path, into=other)
    assert_same(net, other)
    fm.save(fm.Sequential(fm.Identity(), net), path)
    with pytest.raises(ValueError, match="layer '1' is of the class Net"):
        fm.load(path)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (lambda: Net(hidden=5), r"'hidden.0.weight': expected float32 of shape \(5, 5\).*\(4, 5\)"),
        (lambda: Net(dtype="float64"), "expected float64"),
        (lambda: fm.Linear(2, 3), "expected a tensor 'bias'"),
        (lambda: Net().hidden, "expected a tensor '0.bias'"),
    ],
)
def test_a_model_that_does_not_fit_stays_as_it_was(
    other: Any, message: str, tmp_path: Path
) -> None:
    fm.save(Net(), tmp_path / "net")
    model = other()
    before = {name: value.copy() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        fm.load(tmp_path / "net", into=model)
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_wrong_settings_leave_the_model_as_it_was(tmp_path: Path) -> None:
    fm.save(Net(), tmp_path / "net")
    model = Net()
    before = model.state_dict()["output.weight"].copy()
    for change in ({"training": 3}, {"frozen": 3}, {"frozen": [3]}):

        def put(document: dict[str, Any], change: dict[str, Any] = change) -> None:
            document["model"]["layers"]["output"] |= change

        changed = with_document((tmp_path / "net").read_bytes(), put)
        (tmp_path / "changed").write_bytes(changed)
        with pytest.raises(ValueError, match=next(iter(change))):
            fm.load(tmp_path / "changed", into=model)
        np.testing.assert_array_equal(model.state_dict()["output.weight"], before)


def test_what_the_table_would_not_make_again_counts_as_a_class_of_ones_own(tmp_path: Path) -> None:
    class Mine(fm.Sequential):
        pass

    with_buffer = fm.Sequential(fm.Linear(5, 2))
    with_buffer.register_buffer("mean", [1.0, 2.0])
    own_forward = fm.Sequential(fm.Linear(5, 2))
    own_forward.forward = lambda x: x  # type: ignore[method-assign]
    for model in [Mine(fm.Linear(5, 2)), with_buffer, own_forward]:
        fm.save(model, tmp_path / "a")
        assert document_of(tmp_path / "a")["model"]["own"] is True
        with pytest.raises(ValueError, match="into=model"):
            fm.load(tmp_path / "a")


def test_modules_of_a_file_are_ours_alone(tmp_path: Path) -> None:
    """A class that has one of our names is no reason to make one of ours."""
    Linear = type("Linear", (fm.Linear,), {})  # noqa: N806
    fm.save(Linear(5, 2), tmp_path / "a")
    assert document_of(tmp_path / "a")["model"]["own"] is True


# --- torch


def test_torch_reads_our_files(torch: Any, tmp_path: Path) -> None:
    load_file = pytest.importorskip("safetensors.torch").load_file
    model = fm.Sequential(
        fm.Linear(5, 6), fm.BatchNorm1d(6), fm.Tanh(), fm.LayerNorm(6), fm.PReLU(6), fm.Linear(6, 2)
    )
    model[1].running_mean.copy_(np.arange(6))
    fm.save(model, tmp_path / "a.safetensors")
    nn = torch.nn
    twin = nn.Sequential(
        nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.LayerNorm(6), nn.PReLU(6), nn.Linear(6, 2)
    )
    state = load_file(tmp_path / "a.safetensors")
    twin.load_state_dict(state)
    assert list(twin.state_dict()) == list(model.state_dict())
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(twin.state_dict()[name].numpy(), value)
    x = X.astype("float32")
    with torch.no_grad():
        want = twin.eval()(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(model.predict(x), want, rtol=1e-5, atol=1e-6)


def test_files_of_torch_fill_our_models(torch: Any, tmp_path: Path) -> None:
    save_file = pytest.importorskip("safetensors.torch").save_file
    twin = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.BatchNorm1d(4))
    save_file(twin.state_dict(), tmp_path / "t.safetensors")
    model = fm.Sequential(fm.Linear(5, 4), fm.BatchNorm1d(4))
    with pytest.raises(ValueError, match=r"t.safetensors: .*without an architecture.*into=model"):
        fm.load(tmp_path / "t.safetensors")
    fm.load(tmp_path / "t.safetensors", into=model)
    torch.save(twin.state_dict(), tmp_path / "t.pt")
    other = fm.Sequential(fm.Linear(5, 4), fm.BatchNorm1d(4))
    other.load_state_dict(torch.load(tmp_path / "t.pt", weights_only=True))
    for name, value in twin.state_dict().items():
        np.testing.assert_array_equal(model.state_dict()[name], value.numpy())
        np.testing.assert_array_equal(other.state_dict()[name], value.numpy())


# --- the file


def test_the_document_is_plain_json(tmp_path: Path) -> None:
    fm.save(fm.Sequential(fm.Linear(5, 4), fm.Dropout(0.25).eval()), tmp_path / "a")
    linear = {"in_features": 5, "out_features": 4, "bias": True}
    assert document_of(tmp_path / "a") == {
        "format": 1,
        "fastmlp": fm.__version__,
        "kind": "model",
        "model": {
            "class": "Sequential",
            "layers": {
                "0": {"class": "Linear", "options": linear},
                "1": {
                    "class": "Dropout",
                    "options": {"p": 0.25, "inplace": False},
                    "training": False,
                },
            },
        },
    }
    assert json.loads(json.dumps(document_of(tmp_path / "a"))) == document_of(tmp_path / "a")


def test_older_formats_are_upgraded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a format 2, in which `model` is called `network`."""
    fm.save(fm.Linear(5, 2), tmp_path / "old")

    def upgrade(document: dict[str, Any]) -> dict[str, Any]:
        return {**document, "network": document["model"], "model": document["model"]}

    monkeypatch.setattr(container, "UPGRADES", (upgrade,))
    fm.load(tmp_path / "old")
    assert "network" in document_of(tmp_path / "old")
    fm.save(fm.Linear(5, 2), tmp_path / "new")
    assert document_of(tmp_path / "new")["format"] == 2
    monkeypatch.undo()
    with pytest.raises(ValueError, match=r"new: expected a file of format 1 to 1, got .* 2"):
        fm.load(tmp_path / "new")


def test_a_link_stays_and_permissions_stay(tmp_path: Path) -> None:
    path, link = tmp_path / "a", tmp_path / "link"
    path.write_text("old")
    path.chmod(0o640)
    link.symlink_to(path)
    fm.save(fm.Linear(5, 2), link)
    assert link.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o640
    fm.load(path)
    before = os.umask(0o027)
    try:
        fm.save(fm.Linear(5, 2), tmp_path / "new")
    finally:
        os.umask(before)
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o640


@pytest.mark.cuda
@pytest.mark.parametrize("precision", ["tf32", "float32x3"])
def test_a_file_of_a_device_goes_where_it_is_told(tmp_path: Path, precision: str) -> None:
    model = fm.MLP([5, 4, 2], device="cuda", precision=precision)
    fm.save(model, tmp_path / "a")
    there, here = fm.load(tmp_path / "a"), fm.load(tmp_path / "a", device="cpu")
    assert (there.device, there.precision) == ("cuda", precision)
    assert (here.device, here.precision) == ("cpu", "float32")
    np.testing.assert_array_equal(model.predict(X), there.predict(X))


def test_a_file_of_a_device_is_read_without_one(tmp_path: Path, monkeypatch: Any) -> None:
    fm.save(fm.MLP([5, 4, 2]), tmp_path / "a")
    changed = document_of(tmp_path / "a")
    changed["model"]["layers"]["0"] |= {"device": "cuda", "precision": "tf32"}
    model = fm.load(tmp_path / "a")
    (tmp_path / "b").write_bytes(container.pack(model.state_dict(), changed))
    monkeypatch.setattr("fastmlp._core.cuda_problem", lambda: "there is none")
    assert fm.load(tmp_path / "b").device == "cpu"
    with pytest.raises(RuntimeError, match="no CUDA"):
        fm.load(tmp_path / "b", device="cuda")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda p: fm.save(3, p), TypeError, r"model: expected a Module, got 3"),
        (lambda p: fm.save(fm.Linear(1, 1), 3), TypeError, r"path: expected a file's path, got 3"),
        (lambda p: fm.save(fm.Linear(1, 1), b"x"), TypeError, r"path: expected a file's path"),
        (lambda p: fm.load(None), TypeError, r"path: expected a file's path, got None"),
        (lambda p: fm.load(p, into=3), TypeError, r"into: expected a Module, got 3"),
        (lambda p: fm.load(p, into=fm.ReLU(), device="cpu"), ValueError, "device: expected none"),
        (lambda p: fm.load(p, device="tpu"), ValueError, r"device: expected one of cpu, cuda"),
        (lambda p: fm.load(p), FileNotFoundError, "nowhere"),
        (lambda p: fm.load(os.path.dirname(p)), IsADirectoryError, "Is a directory"),
        (lambda p: fm.save(fm.Linear(1, 1), os.path.join(p, "x")), OSError, "nowhere"),
    ],
)
def test_wrong_calls(call: Any, error: type[Exception], message: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=message):
        call(str(tmp_path / "nowhere"))
    assert os.listdir(tmp_path) == []


# --- fastmlp info FILE


def test_info_tells_what_a_file_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run"
    model = fm.Sequential(Net(), fm.Residual(fm.Linear(3, 3)))
    optimizer = fm.SGD(model.parameters(), 0.25)
    schedule = fm.lr_scheduler.StepLR(optimizer, 3)
    trainer = fm.Trainer(model, optimizer, fm.MSELoss(), scheduler=schedule)
    trainer.fit(X, np.zeros((7, 3)), 2, progress=False)
    trainer.save(path)
    assert cli.main(["info", str(path)]) == 0
    printed = capsys.readouterr().out
    for line in [
        f"{path}: a training, format 1, written by fastmlp {fm.__version__}",
        "  model: Sequential()",
        "    0: Net(), a class that is not fastmlp's",
        "        0: Linear(in_features=5, out_features=4, bias=True)",
        "        0: Linear(in_features=3, out_features=3, bias=True)",
        "optimizer: SGD, learning rate 0.25",
        "loss: MSELoss",
        "schedule: StepLR",
        "  model.0.offset                     F64  2",
        "  model.0.hidden.1.num_batches_tracked  I64  a number",
    ]:
        assert " ".join(line.split()) in [" ".join(found.split()) for found in printed.splitlines()]
    assert f"epochs: 2, loss {trainer.history.loss[0]:.6g} to" in printed
    fm.save(model, path)
    assert cli.main(["info", str(path)]) == 0
    assert "a model, format 1" in capsys.readouterr().out


def test_info_of_other_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_file = pytest.importorskip("safetensors.numpy").save_file
    save_file({"a\x1b[2J": np.ones((2, 3, 4), "float16")}, tmp_path / "other")
    assert cli.main(["info", str(tmp_path / "other")]) == 0
    printed = capsys.readouterr().out
    assert "no architecture of fastmlp's" in printed
    assert "a?[2J  F16  2 x 3 x 4" in printed
    (tmp_path / "wrong").write_bytes(b"x" * 100)
    for name, message in [
        ("wrong", "expected a whole safetensors file"),
        ("nowhere", "No such file"),
    ]:
        assert cli.main(["info", str(tmp_path / name)]) == 1
        assert message in capsys.readouterr().err
