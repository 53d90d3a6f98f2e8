"""No step waits for the device: on one that has no numbers to ask for, and by count on the CPU.

torch's device "meta" computes shapes and nothing else. Whatever would make the host wait for a GPU asks it for a number
(item, tolist, bool, a copy to the host, a shape that depends on values), and raises there.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from alexnet_network import AlexNet, Classifier, DeviceStats
from alexnet_shards.manifest import ClassFact
from alexnet_shards.stats import Stats
from alexnet_stream.batch import Batch
from alexnet_train import divergence, evaluate, stepper, update
from alexnet_train.distributed import World
from alexnet_train.evaluate import EvalConfig
from alexnet_train.recipe import load_recipe
from alexnet_train.records import Records
from alexnet_train.stepper import Schedule, Stepper

META = torch.device("meta")
STATS = Stats(
    mean_image_hwc=np.full((256, 256, 3), 120, np.float32),
    rgb_mean=np.full(3, 120.0),
    covariance=np.eye(3) * 5000,
    eigenvalues=np.array([14800.0, 1380.0, 390.0]),
    eigenvectors=np.eye(3),
    images=1,
    fingerprint="",
)
VARIANTS: tuple[tuple[str, ...], ...] = (
    (),
    ("micro_batch_size=4",),
    ("clip_norm=1.0", "average_decay=0.9", "warmup_epochs=1"),
    ("rule=torch", "nesterov=true"),
    ("rule=lars", "cosine_epochs=0", "polynomial_epochs=90"),
)
FLOAT16 = ("precision=float16", "average_decay=0.9")  # torch has no GradScaler for the meta device


def batch(size: int = 6) -> Batch:
    generator = torch.Generator().manual_seed(0)
    return Batch(
        images_nhwc=torch.randint(0, 256, (size, 224, 224, 3), dtype=torch.uint8, generator=generator),
        labels=torch.arange(size) % 7,
        rows=torch.arange(size),
        flip=torch.tensor([True, False] * (size // 2)),
        noise_z=torch.randn(size, 3, generator=generator),
        valid=torch.ones(size, dtype=torch.bool),
    )


def stepper_on(device: torch.device, settings: tuple[str, ...]) -> Stepper:
    sizes = ("width=0.0625", "num_classes=7", "batch_size=6", "log_every_steps=4", "epochs=10", "dropout=0.5")
    recipe = load_recipe("cosine", (*sizes, *settings))
    schedule = Schedule(optim=recipe.optim, steps_per_epoch=10, records=Records(None))
    return Stepper(recipe, STATS, World(device=device), schedule)


@pytest.fixture
def _meta_is_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's autocast knows no meta device."""
    none: Callable[..., AbstractContextManager[None]] = lambda device, precision: nullcontext()  # noqa: E731
    monkeypatch.setattr(update, "autocast", none)


@pytest.mark.usefixtures("_meta_is_a_device")
@pytest.mark.parametrize("settings", VARIANTS, ids=",".join)
def test_no_step_between_logs_asks_the_device(settings: tuple[str, ...]) -> None:
    one, data = stepper_on(META, settings), batch().to(META)
    one.begin(0)
    one.step = 1  # at 0 the losses are looked at, as at every log
    for _ in range(3):
        one.take(data, 0)
    with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
        one.take(data, 0)  # step 4: the look
    with pytest.raises(NotImplementedError, match="meta"):
        one.log_record(0)


class Asked(TorchFunctionMode):
    """Counts what a step asks of its tensors."""

    NAMES = ("item", "tolist", "cpu", "numpy", "__bool__", "__float__", "__int__", "__index__", "nonzero")

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in self.NAMES:
            self.names.append(name)
        return func(*args, **(kwargs or {}))


class AskedBelow(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the same where torch's own code, below Python's methods, does it; a scalar's value and shapes by value."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        aten, packet = torch.ops.aten, func.overloadpacket
        by_mask = packet in (aten.index, aten.index_put_) and any(
            index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]
        )
        if by_mask or packet in (aten._local_scalar_dense, aten.nonzero, aten.masked_select, aten.equal):
            self.names.append(str(func))
        return func(*args, **(kwargs or {}))


@pytest.fixture
def _looks_as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """And no C kernels, which take addresses of memory."""
    monkeypatch.setattr(stepper, "looks_every_steps", lambda device, steps: divergence.looks_every_steps(META, steps))
    monkeypatch.setattr("alexnet_network.lrn.load_kernels", lambda: None)
    monkeypatch.setattr("alexnet_network.rules.load_kernels", lambda: None)


@pytest.mark.usefixtures("_looks_as_on_a_gpu")
@pytest.mark.parametrize("settings", (*VARIANTS, FLOAT16), ids=",".join)
def test_a_step_between_logs_asks_nothing_of_its_tensors(settings: tuple[str, ...]) -> None:
    one, data = stepper_on(torch.device("cpu"), settings), batch()
    one.begin(0)
    one.take(data, 0)
    with Asked() as above, AskedBelow() as below:
        for _ in range(3):
            one.take(data, 0)
    assert (above.names, below.names) == ([], [])
    with Asked() as above, AskedBelow() as below:
        one.take(data, 0)
    assert above.names == ["tolist"]  # the look at step 4, which counts at all
    with Asked() as above:
        one.log_record(0)
    assert above.names == ["tolist"]


def test_what_is_counted() -> None:
    x = torch.ones(2)
    questions: dict[str, Callable[[], object]] = {
        "item": lambda: x[0].item(),
        "tolist": x.tolist,
        "__bool__": lambda: bool(x[0] > 0),
        "__float__": lambda: float(x[0]),
        "nonzero": lambda: x.nonzero(),
    }
    for name, question in questions.items():
        with Asked() as above:
            question()
        assert above.names == [name]
    for below_question in (lambda: x[0].item(), lambda: x[x > 0], lambda: torch.masked_select(x, x > 0)):
        with AskedBelow() as below:
            below_question()
        assert len(below.names) == 1


class WithoutNumbers:
    """A Stream whose batches are on the meta device, for an evaluation."""

    def __init__(self, shards: Any, config: Any, stop: Any) -> None:
        pass

    def __enter__(self) -> "WithoutNumbers":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def epoch(self, device: torch.device) -> Iterator[Batch]:
        for _ in range(3):
            images_nhwc = torch.zeros(6, 256, 256, 3, dtype=torch.uint8)
            yield replace(batch(), images_nhwc=images_nhwc).to(device)


@pytest.mark.parametrize("views", [1, 10])
def test_an_evaluation_asks_once_at_its_end(views: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    recipe = load_recipe("released", ("width=0.0625", "num_classes=7"))
    classes = tuple(ClassFact(wnid=f"n{number:08d}") for number in range(7))
    stats = DeviceStats.from_stats(STATS, META)
    classifiers = [
        Classifier(model=AlexNet(recipe.model).to(META), stats=stats, input=recipe.input, classes=some)
        for some in (classes, classes[::-1])
    ]

    class Shards:
        num_samples, labels, paths = 16, np.zeros(16, np.int64), ("val",)
        classes: tuple[ClassFact, ...] = ()

    shards: Any = Shards()
    shards.classes = classes
    monkeypatch.setattr(evaluate, "Stream", WithoutNumbers)
    done: list[int] = []
    how = EvalConfig(views=views, batch_size=6, world=World(device=META), confusions=True)
    with pytest.raises(NotImplementedError, match="meta"):
        evaluate.evaluate(classifiers, shards, how, done.append)
    assert done == [6, 6, 4]  # all of them, before anything was asked
