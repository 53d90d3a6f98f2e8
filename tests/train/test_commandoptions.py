"""Shared options: what they offer exists, and naming them needs no torch."""

import subprocess
import sys

from alexnet_train import commandoptions
from alexnet_train.export import FORMATS
from alexnet_train.importer import ORDERS, SOURCES
from alexnet_train.recipe import DEFAULT_RECIPE
from alexnet_train.trackers import TRACKERS


def test_what_is_offered_exists() -> None:
    assert commandoptions.DEFAULT_RECIPE == DEFAULT_RECIPE
    assert set(commandoptions.FORMATS) == set(FORMATS)
    assert set(commandoptions.SOURCES) == set(SOURCES)
    assert set(commandoptions.ORDERS) == set(ORDERS)
    assert {*commandoptions.TRACKERS, "page"} == set(TRACKERS)  # a page is kept unasked


def test_no_torch() -> None:
    code = "import alexnet_train.commands, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_each_tracker_once() -> None:
    assert commandoptions.chosen_trackers({"trackers": ("csv", "csv"), "tensorboard": True}) == ("csv", "tensorboard")
    assert commandoptions.chosen_trackers({"trackers": (), "tensorboard": False}) == ()
