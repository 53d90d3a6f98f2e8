"""The usual preparation script on stock Pillow: resize everything with Lanczos, crop, save. Prints CPU seconds."""

import sys
import time
from pathlib import Path

from PIL import Image


def main(folder: Path, out: Path) -> None:
    paths = sorted(folder.iterdir())
    started = time.process_time()
    for path in paths:
        image = Image.open(path)
        scale = 256 / min(image.size)
        width, height = (max(256, round(side * scale)) for side in image.size)
        image = image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
        left, top = (width - 256) // 2, (height - 256) // 2
        image.crop((left, top, left + 256, top + 256)).save(out / f"{path.name}.jpg", quality=95)
    print(time.process_time() - started)


main(Path(sys.argv[1]), Path(sys.argv[2]))
