"""What options say, and what they cannot say."""

from pathlib import Path

import click
import pytest

from alexnet_prep.options import class_rules, label_place


def test_where_labels_stand() -> None:
    assert label_place(None) is None
    assert str(label_place("json:a.b")) == "json:a.b"
    with pytest.raises(click.UsageError, match="--label 'xml': expected cls, txt or json:FIELD"):
        label_place("xml")


def test_class_rules_take_their_options_out(tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text("n01 tench\nn02\n")
    options = {"classes": tmp_path / "c.txt", "allow_empty_classes": True, "allow_missing_classes": False, "seed": 3}
    rules = class_rules(options)
    assert [fact.wnid for fact in rules.listed] == ["n01", "n02"]
    assert (rules.allow_empty, rules.allow_missing, options) == (True, False, {"seed": 3})
