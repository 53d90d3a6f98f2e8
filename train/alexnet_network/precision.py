"""How exactly the hardware computes: number types of products, loss scaling, TF32, reproducible kernels."""

import os
from contextlib import AbstractContextManager
from typing import Literal

import torch

Precision = Literal["float32", "bfloat16", "float16"]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# What cuBLAS needs to sum in a fixed order; read when CUDA starts.
CUBLAS_WORKSPACE = ("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def set_switches(*, tf32: bool, deterministic: bool) -> None:
    """Set torch's process-wide switches. `tf32` lets CUDA round the factors of float32 products to 10 bits.

    `deterministic` refuses operations that may sum in another order at each run, and takes no time to choose kernels.
    """
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cudnn.benchmark = not deterministic
    if deterministic:
        os.environ.setdefault(*CUBLAS_WORKSPACE)
    torch.use_deterministic_algorithms(deterministic)


def whole_float32() -> None:
    """Have CUDA multiply float32 numbers as they are: torch by itself rounds the factors of convolutions to 10 bits."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """Context in which matrix products are of that type; weights stay float32."""
    return torch.autocast(device.type, DTYPES[precision], enabled=precision != "float32")


def make_scaler(device: torch.device, precision: Precision) -> torch.amp.GradScaler:
    """For float16, whose smallest gradients would vanish, scales the loss and skips updates that overflow; else idle."""
    return torch.amp.GradScaler(device.type, enabled=precision == "float16")
