"""Fixtures every room's tests share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real test data (`ilsvrc2010/`, `tiny10.tar`) that ALEXNET_TEST_DATA names."""
    name = os.environ.get("ALEXNET_TEST_DATA")
    if not name:
        pytest.skip("ALEXNET_TEST_DATA is not set: it names the folder with ilsvrc2010/ and tiny10.tar")
    return Path(name).resolve()
