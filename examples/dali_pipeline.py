# /// script
# requires-python = ">=3.11"
# dependencies = ["nvidia-dali-cuda120==2.4.0", "numpy==2.4.6"]
# [tool.clients]
# venv = "dali"
# ///
"""DALI: its webdataset reader with the index that `alexnet-prep index --for dali` writes, on the CPU."""

import sys
from pathlib import Path

from nvidia.dali import fn, pipeline_def


@pipeline_def(batch_size=8, num_threads=2, device_id=None)
def images(paths, indexes):
    jpegs, labels = fn.readers.webdataset(paths=paths, index_paths=indexes, ext=["jpg", "cls"], name="shards")
    return fn.decoders.image(jpegs, device="cpu"), labels


paths = sorted(map(str, Path(sys.argv[1], "shards").glob("train-*.tar")))
pipeline = images(paths, [path.replace(".tar", ".idx") for path in paths])
pipeline.build()
samples, labels = pipeline.epoch_size("shards"), []
while len(labels) < samples:
    images_nhwc, texts = pipeline.run()
    assert images_nhwc.at(0).shape == (256, 256, 3)
    labels += [int(bytes(texts.at(place)).decode()) for place in range(len(texts))]
print(samples, sum(labels[:samples]))
