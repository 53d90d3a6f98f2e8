"""The network's numbers, and what they must be to be a network: known before anything of it is built."""

import itertools
from dataclasses import dataclass

from alexnet_network.bounds import Bounds, check_choices, check_numbers
from alexnet_shards.errors import AlexnetError
from alexnet_shards.geometry import CROP_PX

FEATURE_MAP_PX = 6
LAYERS = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8")
FULL_LAYERS = LAYERS[5:]
CONVOLUTIONS = (*LAYERS[:5], "conv6")
# conv1 and conv3 see the maps of both towers (paper section 3.2); which conv6 of section 6 sees is not published.
TOWERED = ("conv2", "conv4", "conv5", "conv6")
STAGES = ("relu", "lrn", "same_map_norm", "pool")
MAX_STAGES = 8
MAX_PARAMETERS = 1 << 30  # 4 GiB of float32, and as much again for velocities and for gradients

BOUNDS = {
    "num_classes": Bounds(low=0, high=1_000_000),
    "width": Bounds(low=0, high=64, above=True),
    "towers": Bounds(low=1, high=2),
    "channels": Bounds(low=0, high=16_384),
    "hidden": Bounds(low=1, high=262_144),
    "conv1_padding_px": Bounds(low=0, high=64),
    "conv2_padding_px": Bounds(low=0, high=16),
    "conv5_padding_px": Bounds(low=0, high=16),
    "pool_px": Bounds(low=1, high=64),
    "pool_stride_px": Bounds(low=1, high=64),
    "lrn_size": Bounds(low=1, high=255, odd=True),
    "lrn_alpha": Bounds(low=0, high=1e6),
    "lrn_beta": Bounds(low=0, high=2),
    "lrn_k": Bounds(low=0.001, high=1e6),
    "same_map_size_px": Bounds(low=1, high=101, odd=True),
    "same_map_alpha": Bounds(low=0, high=1e6),
    "same_map_beta": Bounds(low=0, high=2),
    "same_map_k": Bounds(low=0.001, high=1e6),
    "init_std": Bounds(low=0, high=10),
    "init_bias": Bounds(low=-1000, high=1000),
    "dropout": Bounds(low=0, high=1, below=True),
}
CHOICES = {
    "init": ("normal", "torch"),
    "after_conv1": STAGES,
    "after_conv2": STAGES,
    "after_conv5": STAGES,
    "dropout_at": ("inputs", "outputs"),
    "dropout_scaled_in": ("test", "train"),
}


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The network's numbers; the recipes in recipes/*.toml hold and cite them.

    `channels` are of conv1 to conv5, or to conv6 behind the last pool; 0 leaves out one of conv2 to conv6, and what is
    behind it stays. `after_convN` is the order of "relu", "lrn", "same_map_norm" and "pool" behind that convolution.
    `conv1_padding_px` is (top and left, bottom and right). `pool_ceil` lets a last pool window stand over the border.
    `init_std` and `init_bias` are of all convolutions, then fc6, fc7, fc8, where `init` is "normal"; "torch" draws weights
    and biases as torch.nn's layers do, within 1 / sqrt(inputs). `num_classes` 0: as the shards have.
    Raises AlexnetError for numbers that are no network.
    """

    num_classes: int
    width: float
    towers: int
    channels: tuple[int, ...]
    hidden: int
    conv1_padding_px: tuple[int, ...]
    conv2_padding_px: int
    conv5_padding_px: int
    after_conv1: tuple[str, ...]
    after_conv2: tuple[str, ...]
    after_conv5: tuple[str, ...]
    pool_px: int
    pool_stride_px: int
    pool_ceil: bool
    lrn_size: int
    lrn_alpha: float
    lrn_alpha_over_size: bool
    lrn_per_tower: bool
    lrn_beta: float
    lrn_k: float
    same_map_size_px: int
    same_map_alpha: float
    same_map_beta: float
    same_map_k: float
    init: str
    init_std: tuple[float, ...]
    init_bias: tuple[float, ...]
    dropout: float
    dropout_at: str
    dropout_scaled_in: str

    def __post_init__(self) -> None:
        _check_lengths(self)
        check_numbers("model", self, BOUNDS)
        check_choices("model", self, CHOICES)
        if self.channels[0] < 1:
            raise AlexnetError("model.channels[0] is 0; expected 1 or more: every network has a conv1")
        for name in ("after_conv1", "after_conv2", "after_conv5"):
            if getattr(self, name).count("pool") != 1:
                raise AlexnetError(f"model.{name} is {list(getattr(self, name))}; expected one pool among them")
        check_map_sides(self, CROP_PX)
        parameters = parameter_count(self)
        if parameters > MAX_PARAMETERS:
            raise AlexnetError(
                f"model: {parameters:,} parameters; expected at most {MAX_PARAMETERS:,}: "
                "lower width, channels, hidden or num_classes"
            )


def channel_counts(config: ModelConfig) -> dict[str, int]:
    """The channels of each convolution that there is: by name, `width` taken into account."""
    named = zip(CONVOLUTIONS, config.channels, strict=False)
    return {name: scaled(count, config) for name, count in named if count}


def layer_names(config: ModelConfig) -> tuple[str, ...]:
    """The layers that there are, first to last."""
    return (*channel_counts(config), *FULL_LAYERS)


def scaled(count: int, config: ModelConfig) -> int:
    """`count` times width, rounded to a multiple of the towers, so that every tower has the same number."""
    return max(1, round(count * config.width / config.towers)) * config.towers


def kernel_px(name: str) -> int:
    """The side of a convolution's filters (paper section 3.5)."""
    return {"conv1": 11, "conv2": 5}.get(name, 3)


def padding_px(name: str, config: ModelConfig) -> int:
    """The zeros around a convolution's input; conv1's are `conv1_padding_px`."""
    return {"conv1": 0, "conv2": config.conv2_padding_px, "conv5": config.conv5_padding_px}.get(name, 1)


def map_sides_px(config: ModelConfig, input_px: int) -> dict[str, int]:
    """The side of the square maps behind each convolution and pool of an input of that side; below 1 there is none."""
    side_px = input_px + sum(config.conv1_padding_px)
    sides: dict[str, int] = {}
    counts = channel_counts(config)
    for name in CONVOLUTIONS[: len(config.channels)]:
        if name in counts:
            stride = 4 if name == "conv1" else 1
            side_px = (side_px + 2 * padding_px(name, config) - kernel_px(name)) // stride + 1
            sides[name] = side_px
        if name in ("conv1", "conv2", "conv5"):
            side_px = _pooled(side_px, config)
            sides[f"pool{name[-1]}"] = side_px
    return sides


def check_map_sides(config: ModelConfig, input_px: int) -> None:
    """Raise AlexnetError unless the maps of an input of that side come out at 6x6, which fc6 takes."""
    sides = map_sides_px(config, input_px)
    if min(sides.values()) < 1 or list(sides.values())[-1] != FEATURE_MAP_PX:
        told = ", ".join(f"{name} {max(side, 0)}" for name, side in sides.items())
        raise AlexnetError(
            f"model: an input of {input_px}x{input_px} gives maps of {told} pixels; "
            f"expected {FEATURE_MAP_PX} at the end: see conv1_padding_px, pool_px, pool_stride_px, convN_padding_px"
        )


def parameter_count(config: ModelConfig) -> int:
    """Weights and biases of all layers; of one class where `num_classes` is left to the shards."""
    total, inputs = 0, 3
    for name, count in channel_counts(config).items():
        groups = config.towers if name in TOWERED else 1
        total += count * (inputs // groups * kernel_px(name) ** 2 + 1)
        inputs = count
    hidden = scaled(config.hidden, config)
    sides = (inputs * FEATURE_MAP_PX**2, hidden, hidden, config.num_classes or 1)
    return total + sum((before + 1) * after for before, after in itertools.pairwise(sides))


def _pooled(side_px: int, config: ModelConfig) -> int:
    over = side_px - config.pool_px
    if not config.pool_ceil:
        return over // config.pool_stride_px + 1
    count = -(-over // config.pool_stride_px) + 1
    return count - 1 if (count - 1) * config.pool_stride_px >= side_px else count  # every window begins inside


def _check_lengths(config: ModelConfig) -> None:
    convolutions = len(config.channels)
    if convolutions not in (5, 6):
        raise AlexnetError(f"model.channels has {convolutions} numbers; expected 5, or 6 with a sixth convolution")
    if len(config.conv1_padding_px) != 2:
        raise AlexnetError(
            f"model.conv1_padding_px has {len(config.conv1_padding_px)} numbers; "
            "expected 2: top and left, bottom and right"
        )
    for name in ("init_std", "init_bias"):
        if len(getattr(config, name)) != convolutions + len(FULL_LAYERS):
            raise AlexnetError(
                f"model.{name} has {len(getattr(config, name))} numbers; "
                f"expected {convolutions + len(FULL_LAYERS)}: of {convolutions} convolutions and 3 full layers"
            )
    for name in ("after_conv1", "after_conv2", "after_conv5"):
        if len(getattr(config, name)) > MAX_STAGES:
            raise AlexnetError(f"model.{name} has {len(getattr(config, name))} stages; expected at most {MAX_STAGES}")
