"""The compiled CPU kernels: built once by the C compiler of the machine, kept in the user's cache, and never required.

Where there is no compiler, or ALEXNET_KERNELS=off, callers take plain torch operations with the same results.
"""

import ctypes
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

from alexnet_shards.native import load_library

SOURCE = Path(__file__).with_name("kernels.c")
_PLACE, _FLOAT, _INT, _SIZE = ctypes.c_void_p, ctypes.c_float, ctypes.c_int, ctypes.c_ssize_t
SIGNATURES = (
    ("channel_norm_forward", None, (_PLACE, _PLACE, _SIZE, _INT, _FLOAT, _FLOAT)),
    ("channel_norm_backward", None, (_PLACE, _PLACE, _PLACE, _SIZE, _INT, _FLOAT, _FLOAT)),
    ("same_map_forward", _INT, (_PLACE, _PLACE, _SIZE, _INT, _INT, _INT, _FLOAT, _FLOAT)),
    ("same_map_backward", _INT, (_PLACE, _PLACE, _PLACE, _SIZE, _INT, _INT, _INT, _FLOAT, _FLOAT)),
    ("momentum_step", None, (_PLACE, _PLACE, _PLACE, _SIZE, _FLOAT, _FLOAT, _FLOAT)),
)
MAX_CHANNELS = 1024
WINDOW = 5
BETA = 0.75


class Kernels:
    """Calls into the library, each split over torch's number of threads; parts are independent, so results are not."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library

    def channel_norm_forward(self, x: Tensor, groups: int, alpha: float, k: float) -> Tensor:
        """The channel norm of (N, C, H, W) float32 in channels_last."""
        y = torch.empty_like(x)
        channels = x.shape[1] // groups
        call = self._library.channel_norm_forward

        def part(first: int, last: int) -> None:
            start = first * channels
            call(_at(x, start), _at(y, start), _size(last - first), channels, _float(alpha), _float(k))

        _split(x.numel() // channels, part)
        return y

    def channel_norm_backward(self, x: Tensor, grad_y: Tensor, groups: int, alpha: float, k: float) -> Tensor:
        """The gradient of x; both arguments (N, C, H, W) float32 in channels_last."""
        grad_x = torch.empty_like(x)
        channels = x.shape[1] // groups
        call = self._library.channel_norm_backward

        def part(first: int, last: int) -> None:
            start = first * channels
            places = (_at(tensor, start) for tensor in (x, grad_y, grad_x))
            call(*places, _size(last - first), channels, _float(alpha), _float(k))

        _split(x.numel() // channels, part)
        return grad_x

    def same_map_forward(self, x: Tensor, alpha: float, k: float) -> Tensor:
        """The same-map norm of (N, C, H, W) float32 in channels_last."""
        y = torch.empty_like(x)
        self._same_map("same_map_forward", (x, y), alpha, k)
        return y

    def same_map_backward(self, x: Tensor, grad_y: Tensor, alpha: float, k: float) -> Tensor:
        """The gradient of x; both arguments (N, C, H, W) float32 in channels_last."""
        grad_x = torch.empty_like(x)
        self._same_map("same_map_backward", (x, grad_y, grad_x), alpha, k)
        return grad_x

    def _same_map(self, name: str, tensors: tuple[Tensor, ...], alpha: float, k: float) -> None:
        images, channels, height, width = tensors[0].shape
        call = getattr(self._library, name)

        def part(first: int, last: int) -> None:
            places = (_at(tensor, first * channels * height * width) for tensor in tensors)
            if call(*places, _size(last - first), height, width, channels, _float(alpha), _float(k)):
                raise MemoryError(f"{name}: no memory for one image of {channels}x{height}x{width}")

        _split(images, part)

    def momentum_step(self, tensors: tuple[Tensor, Tensor, Tensor], momentum: float, rate: float, decay: float) -> None:
        """Update (weights, velocity, gradient), float32 of one memory layout, in place; `decay` includes the rate."""
        numbers = _float(momentum), _float(rate), _float(decay)
        call = self._library.momentum_step

        def part(first: int, last: int) -> None:
            call(*(_at(tensor, first) for tensor in tensors), _size(last - first), *numbers)

        _split(tensors[0].numel(), part, smallest=1 << 14)


@functools.cache
def load_kernels() -> Kernels | None:
    """The kernels, compiled at the first call on this machine; None where they cannot be had (alexnet_shards.native)."""
    library = load_library(SOURCE, SIGNATURES)
    return None if library is None else Kernels(library)


def fits(x: Tensor, size: int, beta: float, channels: int) -> bool:
    """Whether the kernels know this norm of `x`; they are for the published window and exponent, on the CPU."""
    return (
        x.device.type == "cpu"
        and x.is_contiguous(memory_format=torch.channels_last)
        and (size, beta) == (WINDOW, BETA)
        and channels <= MAX_CHANNELS
        and not torch.compiler.is_compiling()
    )


def same_layout(tensors: tuple[Tensor, ...]) -> bool:
    """Whether elementwise work on the tensors may run over their memory as it lies: CPU, float32, dense, one order."""
    first = tensors[0]
    layouts = (torch.contiguous_format, torch.channels_last) if first.dim() == 4 else (torch.contiguous_format,)
    dense = any(first.is_contiguous(memory_format=layout) for layout in layouts)
    alike = all(
        (t.dtype, t.device.type, t.shape, t.stride()) == (torch.float32, "cpu", first.shape, first.stride())
        for t in tensors
    )
    return dense and alike


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="alexnet-kernels")


def _split(count: int, part: Callable[[int, int], None], smallest: int = 1) -> None:
    """part(first, last) over [0, count), one call a torch thread; ctypes calls run outside the interpreter's lock."""
    threads = max(1, min(torch.get_num_threads(), count // smallest))
    bounds = [count * number // threads for number in range(threads + 1)]
    others = (
        [_pool(threads - 1).submit(part, bounds[i], bounds[i + 1]) for i in range(1, threads)] if threads > 1 else []
    )
    part(bounds[0], bounds[1])
    for other in others:
        other.result()


def _at(tensor: Tensor, elements: int) -> ctypes.c_void_p:
    return ctypes.c_void_p(tensor.data_ptr() + 4 * elements)


_size = ctypes.c_ssize_t
_float = ctypes.c_float
