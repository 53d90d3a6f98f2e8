"""The recipe travels through manifests and checkpoints, old ones and strangers' included."""

import json
from typing import Any

import pytest

from alexnet_pixels.recipe import PixelRecipe
from alexnet_shards.errors import FormatError


def test_a_declared_recipe_comes_back() -> None:
    recipe = PixelRecipe(filter="lanczos", quality=80, subsampling="4:4:4", max_pixels=1000, keep_truncated=True)
    assert PixelRecipe.from_dict(json.loads(json.dumps(recipe.as_dict()))) == recipe


def test_silence_is_the_default() -> None:
    assert (PixelRecipe().filter, PixelRecipe().quality, PixelRecipe().as_dict()["side_px"]) == ("area", 95, 256)
    assert PixelRecipe.from_dict({}) == PixelRecipe()
    before = {"filter": "bicubic", "quality": 90, "subsampling": "4:2:2", "max_pixels": 100_000_000, "side_px": 256}
    assert PixelRecipe.from_dict(before) == PixelRecipe(filter="bicubic", quality=90, subsampling="4:2:2")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("filter", "nearest"),
        ("filter", ["area"]),
        ("quality", 0),
        ("quality", "95"),
        ("quality", True),
        ("subsampling", None),
        ("max_pixels", 10**12),
        ("max_pixels", float("nan")),
        ("keep_truncated", 1),
    ],
)
def test_what_is_no_recipe_is_refused(name: str, value: Any) -> None:
    with pytest.raises(FormatError, match=f"pixel recipe: {name} is ") as found:
        PixelRecipe.from_dict({name: value})
    assert "\n" not in str(found.value)
