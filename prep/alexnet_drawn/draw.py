"""Drawn photos of ten classes that differ in texture and shape, never in colour: a stand-in for real photographs."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from alexnet_shards.errors import AlexnetError

Photo = npt.NDArray[np.uint8]
Field = npt.NDArray[np.float32]
Pattern = Callable[[Field, Field, np.random.Generator], Field]

MIN_CONTRAST = 80.0
LUMA = np.array([0.299, 0.587, 0.114])


def draw_photo(class_number: int, rng: np.random.Generator, width_px: int, height_px: int) -> Photo:
    """Draw one photo of class 0..9 (`CLASS_NAMES`): (height_px, width_px, 3) uint8 RGB.

    Position, scale, tilt, colours, light, clutter and noise are drawn from `rng`, the colours without a look at the
    class. Lengths scale with the shorter side, and the mirror image of a class is of that class. Raises AlexnetError
    for another class or an empty size.
    """
    if not 0 <= class_number < len(CLASS_NAMES) or width_px < 1 or height_px < 1:
        raise AlexnetError(
            f"drawn class {class_number} at {width_px} x {height_px} pixels: "
            f"expected a class 0..{len(CLASS_NAMES) - 1} and sides of at least 1 pixel"
        )
    right, down, pixel = _coordinates(rng, width_px, height_px)
    level = PATTERNS[class_number](right, down, rng)
    if rng.random() < 0.5:
        level = -level
    # An edge is one to three pixels wide at the network's 256 pixels, as after a camera's lens.
    mask = np.clip(level / np.float32(max(pixel, rng.uniform(0.004, 0.012))) + np.float32(0.5), 0, 1)
    return _finish(_colour(mask, rng), rng)


def _coordinates(rng: np.random.Generator, width_px: int, height_px: int) -> tuple[Field, Field, float]:
    """Right and down distances (H, W) from a jittered centre in shorter sides, tilted by up to 9 degrees; one pixel."""
    short = min(width_px, height_px)
    x = ((np.arange(width_px) - width_px / 2) / short - rng.uniform(-0.06, 0.06)).astype(np.float32)
    y = ((np.arange(height_px) - height_px / 2) / short - rng.uniform(-0.06, 0.06)).astype(np.float32)
    tilt = rng.uniform(-0.16, 0.16)
    cos, sin = np.float32(np.cos(tilt)), np.float32(np.sin(tilt))
    return cos * x[None, :] + sin * y[:, None], cos * y[:, None] - sin * x[None, :], 1 / short


def _wave(distance: Field, period: float, phase: float) -> Field:
    """Triangle wave: signed distance to the nearest edge of stripes that are half a period wide."""
    cycle = distance / np.float32(period) + np.float32(phase)
    cycle -= np.floor(cycle)
    np.abs(cycle - np.float32(0.5), out=cycle)
    edges: Field = (cycle - np.float32(0.25)) * np.float32(period)
    return edges


def _period(rng: np.random.Generator) -> float:
    return float(rng.uniform(0.07, 0.14))


def _horizontal_stripes(_right: Field, down: Field, rng: np.random.Generator) -> Field:
    return _wave(down, _period(rng), rng.random())


def _vertical_stripes(right: Field, _down: Field, rng: np.random.Generator) -> Field:
    return _wave(right, _period(rng), rng.random())


def _checkerboard(right: Field, down: Field, rng: np.random.Generator) -> Field:
    period = _period(rng) * 1.5
    columns, rows = _wave(right, period, rng.random()), _wave(down, period, rng.random())
    nearest: Field = np.minimum(np.abs(columns), np.abs(rows))
    return nearest * np.sign(columns) * np.sign(rows)


def _rings(right: Field, down: Field, rng: np.random.Generator) -> Field:
    return _wave(np.hypot(right, down), _period(rng), rng.random())


def _dots(right: Field, down: Field, rng: np.random.Generator) -> Field:
    period = _period(rng) * 1.2
    x, y = _cell(right, period, rng.random()), _cell(down, period, rng.random())
    return np.float32(period * rng.uniform(0.25, 0.36)) - np.hypot(x, y)


def _cell(distance: Field, period: float, phase: float) -> Field:
    """Distance from the centre of the cell of a grid, -period/2 .. period/2."""
    cycle = distance / np.float32(period) + np.float32(phase)
    centred: Field = (cycle - np.floor(cycle) - np.float32(0.5)) * np.float32(period)
    return centred


def _disc(right: Field, down: Field, rng: np.random.Generator) -> Field:
    distance: Field = np.hypot(right, down * np.float32(rng.uniform(0.9, 1.1)))
    return np.float32(rng.uniform(0.24, 0.38)) - distance


def _rays(right: Field, down: Field, rng: np.random.Generator) -> Field:
    count = int(rng.integers(7, 13))
    angle = np.arctan2(down, right)
    return _wave(angle, 2 * np.pi / count, rng.random()) * np.hypot(right, down)


def _zigzag(right: Field, down: Field, rng: np.random.Generator) -> Field:
    fold = np.abs(_cell(right, rng.uniform(0.18, 0.28), rng.random())) * np.float32(rng.uniform(1.1, 1.5))
    return _wave(down + fold, _period(rng) * 1.4, rng.random()) * np.float32(0.7)


def _star(right: Field, down: Field, rng: np.random.Generator) -> Field:
    points = int(rng.integers(5, 8))
    angle = np.arctan2(right, -down) + np.float32(rng.uniform(-0.3, 0.3))
    half = np.float32(np.pi / points)
    from_tip: Field = np.abs(np.mod(angle, 2 * half) - half)
    outer = rng.uniform(0.38, 0.46)
    inner = np.float32(outer * rng.uniform(0.36, 0.46))
    share = from_tip / half  # 0 at a notch, 1 at a tip
    edge: Field = inner + np.float32(outer - inner) * share * share
    return edge - np.hypot(right, down)


def _crosses(right: Field, down: Field, rng: np.random.Generator) -> Field:
    period = rng.uniform(0.17, 0.26)
    x = np.abs(_cell(right, period, rng.random()))
    y = np.abs(_cell(down, period, rng.random()))
    arm, half_width = np.float32(period * 0.4), np.float32(period * rng.uniform(0.09, 0.13))
    return np.minimum(arm - np.maximum(x, y), half_width - np.minimum(x, y))


PATTERNS: tuple[Pattern, ...] = (
    _horizontal_stripes,
    _vertical_stripes,
    _checkerboard,
    _rings,
    _dots,
    _disc,
    _rays,
    _zigzag,
    _star,
    _crosses,
)
CLASS_NAMES = (
    "horizontal stripes",
    "vertical stripes",
    "checkerboard, chequerboard",
    "concentric rings, bullseye",
    "polka dots, grid of dots",
    "disc, disk",
    "rays, sunburst",
    "zigzag, chevrons",
    "star",
    "crosses, plus signs",
)


def _colour(mask: Field, rng: np.random.Generator) -> Field:
    """(H, W, 3) of two drawn colours mixed by `mask`, in a light that changes across the photo."""
    ground = rng.uniform(0, 255, 3)
    figure = rng.uniform(0, 255, 3)
    while abs((figure - ground) @ LUMA) < MIN_CONTRAST:
        ground, figure = rng.uniform(0, 255, 3), rng.uniform(0, 255, 3)
    height, width = mask.shape
    slope_x, slope_y = rng.uniform(-0.25, 0.25, 2)
    light = (
        np.linspace(1 - slope_x, 1 + slope_x, width)[None, :] + np.linspace(-slope_y, slope_y, height)[:, None]
    ).astype(np.float32)
    tinted = mask[..., None] * (figure - ground).astype(np.float32) + ground.astype(np.float32)
    tinted *= light[..., None]
    return tinted


def _finish(colours: Field, rng: np.random.Generator) -> Photo:
    """Sensor noise and a few small things that lie about, which say nothing of the class."""
    height, width = colours.shape[:2]
    noise = rng.standard_normal((height, width), dtype=np.float32)
    colours += (noise * np.float32(rng.uniform(2, 14)))[..., None]
    image = Image.fromarray(np.clip(colours, 0, 255).astype(np.uint8))
    canvas, short = ImageDraw.Draw(image), min(width, height)
    for _ in range(int(rng.integers(0, 7))):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        half_w, half_h = rng.uniform(0.015, 0.06, 2) * short
        fill = tuple(int(value) for value in rng.integers(0, 256, 3))
        shape = canvas.ellipse if rng.random() < 0.5 else canvas.rectangle
        shape((x - half_w, y - half_h, x + half_w, y + half_h), fill=fill)
    return np.asarray(image)
