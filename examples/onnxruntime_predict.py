# /// script
# requires-python = ">=3.11"
# dependencies = ["onnxruntime==1.32.0", "opencv-python-headless==5.0.0.93", "numpy==2.4.6"]
# [tool.clients]
# venv = "readers"
# ///
"""onnxruntime: the network that `alexnet-export --to onnx --with-input` writes, fed with images as they are."""

import sys
import tarfile

import cv2
import numpy
import onnxruntime

session = onnxruntime.InferenceSession(f"{sys.argv[1]}/alexnet.onnx", providers=["CPUExecutionProvider"])
with tarfile.open(f"{sys.argv[1]}/shards/train-000.tar") as archive:
    jpegs = [archive.extractfile(member).read() for member in archive if member.name.endswith(".jpg")][:8]
images_nhwc = numpy.stack([cv2.imdecode(numpy.frombuffer(jpeg, numpy.uint8), cv2.IMREAD_COLOR_RGB) for jpeg in jpegs])
(probabilities,) = session.run(None, {session.get_inputs()[0].name: images_nhwc})
assert numpy.allclose(probabilities.sum(1), 1, atol=1e-5)
print(f"ok: {len(jpegs)} images to probabilities of {probabilities.shape[1]} classes")
