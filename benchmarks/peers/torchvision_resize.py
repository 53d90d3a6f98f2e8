"""torchvision: decode_jpeg, v2 Resize with antialias and CenterCrop, write_jpeg at quality 95; one thread a process."""

import torch
from prepcommon import Job, run
from torchvision.io import ImageReadMode, decode_image, read_file, write_jpeg
from torchvision.transforms import v2


def work(job: Job) -> None:
    _, paths, out = job
    torch.set_num_threads(1)
    shrink = v2.Compose([v2.Resize(256, antialias=True), v2.CenterCrop(256)])
    for path in paths:
        image = decode_image(read_file(str(path)), ImageReadMode.RGB)
        write_jpeg(shrink(image), str(out / f"{path.stem}.jpg"), quality=95)


if __name__ == "__main__":
    run(work)
