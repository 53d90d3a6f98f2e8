"""The switches that a recipe sets are those that torch has afterwards."""

from collections.abc import Iterator

import pytest
import torch

from alexnet_network.precision import autocast, make_scaler, set_switches, whole_float32

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _switches_as_before() -> Iterator[None]:
    yield
    set_switches(tf32=False, deterministic=False)


@pytest.mark.parametrize("tf32", [True, False])
@pytest.mark.parametrize("deterministic", [True, False])
def test_switches(tf32: bool, deterministic: bool) -> None:
    set_switches(tf32=tf32, deterministic=deterministic)
    assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == (tf32, tf32)
    assert torch.are_deterministic_algorithms_enabled() == deterministic
    assert torch.backends.cudnn.benchmark != deterministic


def test_deterministic_leaves_no_memory_as_it_was() -> None:
    set_switches(tf32=False, deterministic=True)
    assert bool(torch.empty(1000).isnan().all())


@pytest.mark.parametrize(
    ("name", "dtype"), [("bfloat16", torch.bfloat16), ("float16", torch.float16), ("float32", torch.float32)]
)
def test_products_are_of_that_type(name: str, dtype: torch.dtype) -> None:
    with autocast(CPU, name):  # type: ignore[arg-type]
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == dtype
    assert make_scaler(CPU, name).is_enabled() == (name == "float16")  # type: ignore[arg-type]


def test_whole_float32() -> None:
    """torch takes TF32 for convolutions unless it is told not to."""
    set_switches(tf32=True, deterministic=False)
    whole_float32()
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32
