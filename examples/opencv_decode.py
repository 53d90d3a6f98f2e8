# /// script
# requires-python = ">=3.11"
# dependencies = ["opencv-python-headless==5.0.0.93", "numpy==2.4.6"]
# [tool.clients]
# venv = "readers"
# ///
"""OpenCV: the tars by Python's tarfile, the JPEGs by cv2."""

import sys
import tarfile
from pathlib import Path

import cv2
import numpy

labels = []
for path in sorted(Path(sys.argv[1], "shards").glob("train-*.tar")):
    with tarfile.open(path) as archive:
        for member in archive:
            content = archive.extractfile(member).read()
            if member.name.endswith(".cls"):
                labels.append(int(content))
            else:
                assert cv2.imdecode(numpy.frombuffer(content, numpy.uint8), cv2.IMREAD_COLOR).shape == (256, 256, 3)
print(len(labels), sum(labels))
