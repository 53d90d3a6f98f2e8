# /// script
# requires-python = ">=3.11"
# dependencies = ["tensorboard==2.21.0"]
# [tool.clients]
# venv = "readers"
# ///
"""TensorBoard: the events that `alexnet-train --tensorboard` writes, by TensorBoard's own reader."""

import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

events = EventAccumulator(f"{sys.argv[1]}/run/tensorboard").Reload()
tags = events.Tags()["scalars"]
assert all(events.Scalars(tag) for tag in tags)
assert tags
print(f"ok: {len(tags)} scalars, as {tags[0]}")
