"""OpenCV's area resize of the whole image, crop, save at quality 95. Prints CPU seconds."""

import sys
import time
from pathlib import Path

import cv2


def main(folder: Path, out: Path) -> None:
    cv2.setNumThreads(1)
    paths = sorted(folder.iterdir())
    started = time.process_time()
    for path in paths:
        image = cv2.imread(str(path), cv2.IMREAD_COLOR)
        scale = 256 / min(image.shape[:2])
        height, width = (max(256, round(side * scale)) for side in image.shape[:2])
        kernel = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        image = cv2.resize(image, (width, height), interpolation=kernel)
        left, top = (width - 256) // 2, (height - 256) // 2
        image = image[top : top + 256, left : left + 256]
        cv2.imwrite(str(out / f"{path.name}.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, 95])
    print(time.process_time() - started)


main(Path(sys.argv[1]), Path(sys.argv[2]))
