"""How a network looks: norms against numpy, the sheet of filters pixel by pixel, files that are damaged."""

from pathlib import Path

import numpy as np
import torch

from alexnet_network import AlexNet
from alexnet_train.looks import ZOOM, Look, filter_sheet, load_looks, look_at_weights, save_look
from alexnet_train.recipe import load_recipe


def look_of(seed: int) -> Look:
    recipe = load_recipe("demo", ["width=0.125", "num_classes=3"])
    model = AlexNet(recipe.model, torch.Generator().manual_seed(seed))
    weights = dict(model.named_parameters())
    steps = {name: 0.5 * weight.detach() for name, weight in weights.items() if name != "fc8.weight"}
    return look_at_weights(weights, steps)


def test_norms_are_euclidean_and_a_layer_without_updates_has_none() -> None:
    look = look_of(0)
    model = AlexNet(load_recipe("demo", ["width=0.125", "num_classes=3"]).model, torch.Generator().manual_seed(0))
    expected = [np.linalg.norm(weight.detach().numpy().astype(np.float64)) for _, weight in model.named_parameters()]
    assert np.allclose(look.weight_norms, expected, rtol=1e-5)
    ratios = dict(zip(look.names, look.update_ratios.tolist(), strict=True))
    assert ratios["fc8.weight"] == 0
    assert abs(ratios["conv2.weight"] - 0.5) < 1e-5
    assert ratios["conv1.bias"] == 0, "zero weights have no ratio"


def test_what_is_kept_comes_back_and_what_is_damaged_is_left_out(tmp_path: Path) -> None:
    looks = {epoch: look_of(epoch) for epoch in (1, 2, 11)}
    for epoch, look in looks.items():
        save_look(tmp_path, epoch, look)
    kept = dict(load_looks(tmp_path))
    assert list(kept) == [1, 2, 11]
    for epoch, look in looks.items():
        assert kept[epoch].names == look.names
        for name in ("filters", "weight_norms", "update_norms"):
            assert np.array_equal(getattr(kept[epoch], name), getattr(look, name))
    path = tmp_path / "looks" / "epoch-0002.npz"
    path.write_bytes(path.read_bytes()[:500])
    (tmp_path / "looks" / "epoch-x.npz").write_bytes(b"")
    assert [epoch for epoch, _ in load_looks(tmp_path)] == [1, 11]
    assert list(load_looks(tmp_path / "none")) == []


def test_the_sheet_has_every_filter_in_its_place() -> None:
    """Four filters of two towers: each one colour, grey between them, the second tower below the first."""
    filters = np.zeros((4, 3, 2, 2), np.float16)
    for number in range(4):
        filters[number, number % 3] = 1.0 if number < 3 else -1.0
    sheet = filter_sheet(filters, 2)[::ZOOM, ::ZOOM]
    assert sheet.shape == (2 * (3 + 2), 2 * 3 + 1, 3)
    places = [(1, 1), (1, 4), (6, 1), (6, 4)]
    colours = [[255, 128, 128], [128, 255, 128], [128, 128, 255], [0, 128, 128]]
    for (top, left), colour in zip(places, colours, strict=True):
        assert sheet[top : top + 2, left : left + 2].reshape(-1, 3).tolist() == [colour] * 4
    assert sheet[0].tolist() == [[90, 90, 90]] * 7
    assert filter_sheet(np.full((1, 3, 2, 2), np.nan, np.float16), 1).shape[2] == 3
