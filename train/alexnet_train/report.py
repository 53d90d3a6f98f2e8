"""A command's result as lines to read: names in words, errors in percent, sizes and times with their units."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from alexnet_command.tables import bar_text, pair_lines, table_lines
from alexnet_command.units import duration_text, share_text, size_text

SHOWN = 3  # of a list of names
HASH_DIGITS = 12
# Where the words of a key do not say it well.
LABELS = {
    "train_loss": "training loss",
    "train_top1_error": "training top-1 error",
    "val_loss": "validation loss",
    "val_top1_error": "validation top-1 error",
    "val_top5_error": "validation top-5 error",
    "top1_error": "top-1 error",
    "top5_error": "top-5 error",
    "top1_wrong": "top-1 wrong",
    "top5_wrong": "top-5 wrong",
    "data_wait_fraction": "waited for data",
    "memory_bytes": "memory",
    "checkpoint_bytes": "size of a checkpoint",
    "bytes": "size",
    "seconds_per_epoch": "time an epoch",
    "hours_in_all": "time in all",
    "train_images": "training images",
    "val_images": "validation images",
    "to": "format",
    "shards_fingerprint": "content of the shards",
    "class_list_sha256": "class list",
    "wnid": "WNID",
    "bar": "",
}
FOR_MACHINES = frozenset({"kind"})  # what a line of metrics.jsonl is; of no use to a reader


def result_lines(content: Mapping[str, Any]) -> list[str]:
    """The result of any command of this room: pairs of name and value, lists of objects as tables below them.

    What has no value has no line.
    """
    if isinstance(content.get("images"), list):
        return _joined([_prediction_lines(item) for item in content["images"]])
    named = [(name, value) for name, value in content.items() if name not in FOR_MACHINES and value is not None]
    pairs = [(_label(name), _text(name, value)) for name, value in named if not _is_table(value)]
    tables = [_table(_label(name), value) for name, value in content.items() if _is_table(value)]
    return _joined([pair_lines(pairs), *tables])


def result_pairs(record: Mapping[str, Any], names: Sequence[str]) -> list[tuple[str, str]]:
    """(name in words, value with its unit) of those `names` of `record` that have a value."""
    return [(_label(name), _text(name, record[name])) for name in names if record.get(name) is not None]


def _prediction_lines(item: dict[str, Any]) -> list[str]:
    predictions = [one | {"bar": bar_text(one["probability"])} for one in item["predictions"]]
    nearest = _table("nearest photos", item["nearest"]) if item.get("nearest") else []
    return _table(item["image"], predictions) + nearest


def _table(title: str, items: Sequence[dict[str, Any]]) -> list[str]:
    names = [name for name in items[0] if any(item[name] not in ("", None) for item in items)]
    rows = [[_text(name, item[name]) for name in names] for item in items]
    return table_lines(title, [_label(name) for name in names], rows)


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _label(name: str) -> str:
    return LABELS.get(name, name.replace("_", " "))


def _text(name: str, value: Any) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case dict():
            return "  ".join(_text(key, inner) for key, inner in value.items() if inner not in ("", None))
        case [str(), *_]:
            more = f" and {len(value) - SHOWN:,} more" if len(value) > SHOWN else ""
            return ", ".join(value[:SHOWN]) + more
        case list() | tuple():
            return " x ".join(_text(name, inner) for inner in value)
        case int() | float() if not math.isfinite(value):
            return "no number"
        case int() | float():
            return _number_text(name, value)
    return f"{value[:HASH_DIGITS]}…" if name.endswith(("sha256", "fingerprint")) else str(value)


def _number_text(name: str, value: float) -> str:
    words = name.split("_")
    if words[-1] in ("error", "fraction", "probability"):
        return share_text(value)
    if "bytes" in words:
        return size_text(value)
    if "seconds" in words:
        return duration_text(value)
    if words[0] == "hours":
        return duration_text(value * 3600)
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _joined(blocks: Sequence[list[str]]) -> list[str]:
    lines: list[str] = []
    for block in blocks:
        lines += ["", *block] if lines and block else block
    return lines
