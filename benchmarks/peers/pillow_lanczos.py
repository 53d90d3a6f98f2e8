"""The usual preparation script on stock Pillow and multiprocessing: resize everything with Lanczos, crop, save."""

from PIL import Image
from prepcommon import Job, run, scaled_size


def work(job: Job) -> None:
    _, paths, out = job
    for path in paths:
        image = Image.open(path)
        width, height = scaled_size(*image.size)
        image = image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
        left, top = (width - 256) // 2, (height - 256) // 2
        image.crop((left, top, left + 256, top + 256)).save(out / f"{path.stem}.jpg", quality=95)


if __name__ == "__main__":
    run(work)
