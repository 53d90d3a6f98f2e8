"""webdataset's ShardWriter with Pillow: bicubic resize, crop, quality 95, one shard a process."""

import io

import webdataset
from PIL import Image
from prepcommon import Job, run, scaled_size


def work(job: Job) -> None:
    number, paths, out = job
    with webdataset.ShardWriter(str(out / f"part{number}-%03d.tar"), maxcount=100_000, verbose=0) as writer:
        for path in paths:
            image = Image.open(path)
            width, height = scaled_size(*image.size)
            image = image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
            left, top = (width - 256) // 2, (height - 256) // 2
            file = io.BytesIO()
            image.crop((left, top, left + 256, top + 256)).save(file, "JPEG", quality=95)
            writer.write({"__key__": path.stem, "jpg": file.getvalue(), "cls": 0})


if __name__ == "__main__":
    run(work, chunked=True)
