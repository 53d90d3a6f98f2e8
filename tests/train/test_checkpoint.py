"""Checkpoints: round trip, damage noticed byte by byte, nothing executed when loaded."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from alexnet_network import AlexNet
from alexnet_shards.errors import FormatError
from alexnet_train.checkpoint import (
    check_weights,
    checkpoint_path,
    list_checkpoints,
    load_checkpoint,
    save_checkpoint,
)
from alexnet_train.recipe import load_recipe


def content() -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    model = {"conv1.weight": torch.randn(8, 3, 5, 5, generator=generator)}
    return {
        "recipe": {"name": "x"},
        "model": model,
        "stats": {},
        "classes": ["n1"],
        "words": ["a"],
        "step": 7,
        "epoch": 1,
    }


def test_round_trip(tmp_path: Path) -> None:
    path = checkpoint_path(tmp_path / "checkpoints", 7)
    save_checkpoint(path, content())
    loaded = load_checkpoint(path)
    assert torch.equal(loaded["model"]["conv1.weight"], content()["model"]["conv1.weight"])
    assert (loaded["step"], loaded["classes"], loaded["recipe"]) == (7, ["n1"], {"name": "x"})
    assert [other.name for other in path.parent.iterdir()] == [path.name]


def test_equal_contents_are_equal_bytes(tmp_path: Path) -> None:
    for name in ("one.pt", "other.pt"):
        save_checkpoint(tmp_path / name, content())
    assert (tmp_path / "one.pt").read_bytes() == (tmp_path / "other.pt").read_bytes()


def test_every_damaged_byte_of_a_tensor_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "step-1.pt"
    save_checkpoint(path, content())
    whole = path.read_bytes()
    start = whole.index(content()["model"]["conv1.weight"].numpy().tobytes())
    for offset in range(start, start + 600 * 4, 401):
        path.write_bytes(whole[:offset] + bytes([whole[offset] ^ 0x10]) + whole[offset + 1 :])
        with pytest.raises(FormatError, match=r"step-1\.pt"):
            load_checkpoint(path)


@pytest.mark.parametrize("kept", [0, 1, 100, 0.5, 0.9, -1])
def test_truncated_files_are_noticed(kept: float, tmp_path: Path) -> None:
    path = tmp_path / "step-1.pt"
    save_checkpoint(path, content())
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole)) if isinstance(kept, float) else kept])
    with pytest.raises(FormatError, match="unreadable") as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)


class Intruder:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path("/nonexistent/intruded").touch, ())


def test_code_in_a_checkpoint_is_refused(tmp_path: Path) -> None:
    torch.save(content() | {"format": "alexnet-checkpoint", "version": 1, "extra": Intruder()}, tmp_path / "a.pt")
    with pytest.raises(FormatError, match="unreadable"):
        load_checkpoint(tmp_path / "a.pt")
    (tmp_path / "b.pt").write_bytes(pickle.dumps(Intruder()))
    with pytest.raises(FormatError, match="unreadable"):
        load_checkpoint(tmp_path / "b.pt")


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="no such checkpoint"):
        load_checkpoint(tmp_path / "absent.pt")
    torch.save({"model": {}}, tmp_path / "foreign.pt")
    with pytest.raises(FormatError, match="not a checkpoint"):
        load_checkpoint(tmp_path / "foreign.pt")
    torch.save(content() | {"format": "alexnet-checkpoint", "version": 99}, tmp_path / "new.pt")
    with pytest.raises(FormatError, match="version 99"):
        load_checkpoint(tmp_path / "new.pt")


def test_a_failed_save_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "step-1.pt"
    save_checkpoint(path, content())
    before = path.read_bytes()
    with pytest.raises((AttributeError, TypeError, pickle.PicklingError)):
        save_checkpoint(path, content() | {"bad": lambda: 0})
    assert path.read_bytes() == before
    assert [other.name for other in tmp_path.iterdir()] == [path.name]


def test_they_are_listed_by_step(tmp_path: Path) -> None:
    for step in (5, 100_000_000, 20, 3):
        save_checkpoint(checkpoint_path(tmp_path, step), content())
    (tmp_path / "step-00000020.pt.tmp").touch()
    assert [path.name for path in list_checkpoints(tmp_path)] == [
        "step-00000003.pt",
        "step-00000005.pt",
        "step-00000020.pt",
        "step-100000000.pt",
    ]


@pytest.mark.parametrize(
    "change",
    [{"recipe": 3}, {"model": [1]}, {"stats": None}, {"words": None}, {"classes": ["n1", "n2"]}, {"words": [1]}],
)
def test_what_somebody_changed_is_no_checkpoint(change: dict[str, Any], tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a.pt", content() | change)
    with pytest.raises(FormatError, match=r"a\.pt: not a checkpoint of alexnet-train"):
        load_checkpoint(tmp_path / "a.pt")


def test_weights_of_another_network_than_the_recipes_are_one_line() -> None:
    """They were torch's error of many lines."""
    config = load_recipe("demo", ["width=0.0625", "num_classes=7"]).model
    weights = AlexNet(config).state_dict()
    shapes = {
        "mean_nchw": (1, 3, 224, 224),
        "channel_mean_nchw": (1, 3, 1, 1),
        "axes_released": (3, 3),
        "axes_paper": (3, 3),
    }
    stats = {name: torch.zeros(shape) for name, shape in shapes.items()}
    whole: dict[str, Any] = {"model": weights, "average": weights, "stats": stats}
    check_weights(whole, config, "a.pt")
    other = weights | {"fc8.bias": torch.zeros(3)}
    fewer = {name: tensor for name, tensor in weights.items() if name != "conv1.bias"}
    for change, words in (
        ({"model": other}, r"a.pt: model, fc8.bias is \(3,\), expected \(7,\) by its own recipe"),
        ({"average": other}, r"a.pt: average, fc8.bias is"),
        ({"model": fewer}, r"conv1.bias is missing, expected \(6,\)"),
        ({"model": weights | {"x": torch.zeros(2)}}, r"x is \(2,\), expected none"),
        ({"model": weights | {"fc8.bias": 3}}, "fc8.bias is missing"),
        (
            {"model": weights | {"fc8.bias": torch.zeros(7, dtype=torch.int32)}},
            r"fc8.bias is \(7,\) of int32, expected",
        ),
        ({"model": weights | {"fc8.bias": torch.zeros(7).to_sparse()}}, r"fc8.bias is \(7,\) of float32, sparse"),
        ({"average": weights | {"fc8.bias": torch.zeros(7) / 0}}, "average, fc8.bias is .* not finite"),
        ({"average": 3}, "average is no table of tensors"),
        ({"stats": stats | {"axes_paper": torch.zeros(2, 3)}}, r"stats, axes_paper is \(2, 3\), expected \(3, 3\)"),
        ({"stats": {"mean_nchw": torch.zeros(1)}}, "a.pt: stats has mean_nchw; expected axes_paper"),
    ):
        with pytest.raises(FormatError, match=words) as caught:
            check_weights(whole | change, config, "a.pt")
        assert "\n" not in str(caught.value)


def test_a_folder_is_none(tmp_path: Path) -> None:
    """It was to be made readable."""
    with pytest.raises(FormatError, match=f"{tmp_path}: a folder; name a file of RUN/checkpoints"):
        load_checkpoint(tmp_path)
