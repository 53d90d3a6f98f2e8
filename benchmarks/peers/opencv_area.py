"""OpenCV's area resize of the whole image, cubic where it enlarges, crop, save at quality 95."""

import cv2
from prepcommon import Job, run, scaled_size


def work(job: Job) -> None:
    _, paths, out = job
    cv2.setNumThreads(1)
    for path in paths:
        image = cv2.imread(str(path), cv2.IMREAD_COLOR)
        width, height = scaled_size(image.shape[1], image.shape[0])
        kernel = cv2.INTER_AREA if width < image.shape[1] else cv2.INTER_CUBIC
        image = cv2.resize(image, (width, height), interpolation=kernel)
        left, top = (width - 256) // 2, (height - 256) // 2
        image = image[top : top + 256, left : left + 256]
        cv2.imwrite(str(out / f"{path.stem}.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, 95])


if __name__ == "__main__":
    run(work)
