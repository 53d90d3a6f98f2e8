"""What making shards cannot be faster than: decoding, encoding and tar writing alone, each of the same photos."""

import io
import os
import tarfile
from pathlib import Path

from PIL import Image
from prepcommon import Job, run

PART = os.environ.get("PART", "decode")


def work(job: Job) -> None:
    number, paths, out = job
    if PART == "decode":
        for path in paths:
            Image.open(io.BytesIO(path.read_bytes())).load()
        return
    with Image.open(paths[0]) as first:
        made = first.convert("RGB").resize((256, 256))
    if PART == "encode":
        for _ in paths:
            made.save(io.BytesIO(), "JPEG", quality=95)
        return
    content = io.BytesIO()
    made.save(content, "JPEG", quality=95)
    write_tar(out / f"{number}.tar", [path.stem for path in paths], content.getvalue())


def write_tar(path: Path, keys: list[str], content: bytes) -> None:
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for key in keys:
            member = tarfile.TarInfo(f"{key}.jpg")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


if __name__ == "__main__":
    run(work, chunked=True)
