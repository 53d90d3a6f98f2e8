"""Throws damaged files of one format at its reader, in a process with 4 GiB of address space: `FORMAT COUNT SEED`.

Each file is a sound one with a few bytes flipped, cut, doubled or set to extremes, or with a number, a word or a zip
member of it replaced by something hostile. A reader may read it or refuse it by an error of ours, in one line. Anything
else ends this process with its traceback, the file's number and its seed. Prints the counts and the peak memory as JSON.
"""

import hashlib
import io
import json
import os
import random
import re
import resource
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_shards.errors import AlexnetError

ADDRESS_SPACE_BYTES = 4 << 30
TOKENS = re.compile(rb'-?\d+(?:\.\d+)?(?:e-?\d+)?|true|false|null|"[^"]{0,60}"|\[\]|\{\}')
HOSTILE = [
    *(
        b"-1",
        b"0",
        b"2147483647",
        b"4294967296",
        b"18446744073709551616",
        b"9" * 30,
        b"9" * 5000,
        b"1e999",
        b"-5",
        b"1.5",
    ),
    *(b"NaN", b"Infinity", b"null", b"true", b'""', b'"x"', b'"../../x"', b'"\\ud800"', b"[]", b"{}", b"[[1]]", b"("),
    *(b"[" * 3000, b"{'a':" * 500, b"\x00", b"\n", b"\xff", b"'<f8'", b"'|O'", b"(3, 3)", b"(99999999999,)", b"True"),
]
EXTREMES = [
    b"\0" * 8,
    b"\xff" * 8,
    b"\x7f" + b"\xff" * 7,
    b"\xff" * 7 + b"\x7f",
    b"\x80" + b"\0" * 7,
    b"\0\0\0\x01" * 2,
]


def damage(content: bytes, rng: random.Random) -> bytes:
    """`content` with one to four faults."""
    if content[:4] == b"PK\3\4" and rng.random() < 0.7:
        return damage_zip(content, rng)
    changed = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(changed) + 1)
        match rng.randrange(7):
            case 0 | 1:
                changed[place : place + 1] = bytes([rng.randrange(256)])
            case 2:
                del changed[place:]
            case 3:
                changed[place:place] = changed[place : place + rng.randint(1, 600)]
            case 4:
                del changed[place : place + rng.randint(1, 600)]
            case 5:
                extreme = rng.choice(EXTREMES)[: rng.choice([1, 2, 4, 8])]
                changed[place : place + len(extreme)] = extreme
            case _:
                tokens = list(TOKENS.finditer(bytes(changed[:20_000])))
                if tokens:
                    token = rng.choice(tokens)
                    changed[token.start() : token.end()] = rng.choice(HOSTILE)
    return bytes(changed)


def damage_zip(content: bytes, rng: random.Random) -> bytes:
    """A zip with one member damaged, dropped, doubled or renamed, its checksums right again."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    place = rng.randrange(len(members))
    name, data = members[place]
    members[place] = (name, damage(data, rng)) if rng.random() < 0.8 else (f"{name}x", data)
    if rng.random() < 0.1:
        members.pop(rng.randrange(len(members)))
    buffer = io.BytesIO()
    kind = rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
    with zipfile.ZipFile(buffer, "w", kind) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return buffer.getvalue()


def damage_tar(content: bytes, rng: random.Random) -> bytes:
    """A damaged tar; the checksums of its headers are made right again, so that the fields themselves are read."""
    changed = bytearray(damage(content, rng))
    for start in range(0, len(changed) - 511, 512):
        if changed[start + 257 : start + 262] == b"ustar" and rng.random() < 0.8:
            if rng.random() < 0.3:
                changed[start + 156 : start + 157] = rng.choice([b"L", b"K", b"x", b"g", b"S", b"1", b"2", b"5", b"Z"])
            changed[start + 148 : start + 156] = b" " * 8
            changed[start + 148 : start + 156] = b"%06o\0 " % sum(changed[start : start + 512])
    return bytes(changed)


Read = Callable[[Path], object]
Fuzz = tuple[list[bytes], Read]


def sample_jpeg(seed: int) -> bytes:
    import simplejpeg

    blocks = np.random.default_rng(seed).integers(0, 256, (32, 32, 3), np.uint8)
    jpeg: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(np.kron(blocks, np.ones((8, 8, 1), np.uint8))), 60)
    return jpeg


def write_shards(directory: Path) -> Path:
    """Two shards of a few samples, with links, long names, a sparse file and pax headers, indexed."""
    from alexnet_shards.shardset import open_shards

    for number, form in enumerate((tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)):
        with tarfile.open(directory / f"set-{number}.tar", "w", format=form) as archive:
            for place in range(4):
                key = f"{'long' * 40 if place == 2 else 'd'}/{place}ü"
                for suffix, content in ((".jpg", sample_jpeg(place)), (".cls", b"%d" % place), (".json", b"{}")):
                    info = tarfile.TarInfo(key + suffix)
                    info.size = len(content)
                    archive.addfile(info, io.BytesIO(content))
            link = tarfile.TarInfo("d/link.jpg")
            link.type, link.linkname = tarfile.SYMTYPE, "0ü.jpg"
            archive.addfile(link)
    open_shards([f"{directory}/set-*.tar"])
    return directory


def fuzz_index(directory: Path) -> Fuzz:
    from alexnet_shards.shardset import choose_shards

    shards = write_shards(directory)

    def read(path: Path) -> object:
        return choose_shards(
            shards / "set.manifest.json", path, [f"{shards}/set-0.tar", f"{shards}/set-1.tar"], {}, False
        )

    return [(shards / "set.index.npy").read_bytes()], read


def fuzz_manifest(directory: Path) -> Fuzz:
    from alexnet_prep.report import manifest_reports, report_lines, report_table
    from alexnet_shards.manifest import load_manifest, save_manifest
    from alexnet_shards.shardset import choose_shards

    shards = write_shards(directory)

    def read(path: Path) -> object:
        reports = manifest_reports([load_manifest(path)])
        chosen = [f"{shards}/set-0.tar", f"{shards}/set-1.tar"]
        return (
            report_table(reports),
            *map(report_lines, reports),
            choose_shards(path, shards / "set.index.npy", chosen, {}),
        )

    from dataclasses import replace

    plain = load_manifest(shards / "set.manifest.json")
    report = {"members": 9, "dropped": [{"key": "k", "reason": "r"}], "converted": {"gray": ["a"]}, "notes": ["n"]}
    save_manifest(directory / "own", replace(plain, recipe={"quality": 95}, report=report, libraries={"a": "1"}))
    return [(shards / "set.manifest.json").read_bytes(), (directory / "own").read_bytes()], read


def fuzz_statistics(directory: Path) -> Fuzz:
    from alexnet_shards.stats import Stats, load_stats, save_stats

    stats = Stats(
        mean_image_hwc=np.full((256, 256, 3), 100, np.float32),
        rgb_mean=np.array([127.0, 119.0, 105.0]),
        covariance=np.diag([5500.0, 5200.0, 5900.0]),
        eigenvalues=np.array([14800.0, 1380.0, 390.0]),
        eigenvectors=np.eye(3),
        images=10,
        fingerprint="0" * 64,
    )
    save_stats(directory / "stats.npz", stats)
    return [(directory / "stats.npz").read_bytes()], lambda path: load_stats(path).rgb_std


def fuzz_tar(directory: Path) -> Fuzz:
    from alexnet_shards.scan import scan_shard
    from alexnet_shards.tar import read_member, walk_tar

    shards = write_shards(directory)
    holes = directory / "holes"
    with holes.open("wb") as file:
        file.write(b"x" * 4096)
        file.truncate(1 << 18)
    seeds = [path.read_bytes() for path in sorted(shards.glob("set-*.tar"))]
    for form in (["--format=gnu"], *(["--format=posix", f"--sparse-version={v}"] for v in ("0.0", "0.1", "1.0"))):
        os.spawnlp(os.P_WAIT, "tar", "tar", "-S", *form, "-C", str(directory), "-cf", str(directory / "s"), "holes")
        seeds.append((directory / "s").read_bytes() + seeds[0])

    def read(path: Path) -> object:
        content = path.read_bytes()

        def read_at(offset: int, size: int) -> bytes:
            return content[offset : offset + size]

        for member in walk_tar(read_at, 0, len(content), str(path)):
            if member.is_file and member.size <= 1 << 20:
                read_member(read_at, member)
        return scan_shard(path)

    return seeds, read


def fuzz_sidecar(directory: Path) -> Fuzz:
    import base64
    from dataclasses import asdict
    from types import SimpleNamespace

    from alexnet_prep.build import finished_shard
    from alexnet_prep.sidecar import Sidecar

    rows = base64.b64encode(bytes(24 * 3)).decode()
    facts = Sidecar(
        number=0,
        name="train-000.tar",
        samples=3,
        bytes=10,
        sha256=hashlib.sha256(bytes(10)).hexdigest(),
        rows=rows,
        dropped=[("k", "r")],
        converted={"gray": ["a"]},
        patched=["p"],
    )
    (directory / "train-000.tar").write_bytes(bytes(10))

    def read(path: Path) -> object:
        path.rename(directory / "train-000.tar.json")
        job = SimpleNamespace(name="train-000.tar")
        setup = SimpleNamespace(out=directory, sidecars=directory, store=None, plan="plan")
        found = finished_shard(job, setup, lambda *_: None)  # type: ignore[arg-type]
        if found is None:
            raise AlexnetError("the shard is built again")
        return found

    return [json.dumps(asdict(facts)).encode()], read


def fuzz_recipe(directory: Path) -> Fuzz:
    from alexnet_train.recipe import load_recipe, recipe_names, save_recipe

    seeds = []
    for name in recipe_names():
        save_recipe(directory / "r.toml", load_recipe(name))
        seeds.append((directory / "r.toml").read_bytes())
    return seeds, lambda path: load_recipe(str(path))


def fuzz_dump(directory: Path) -> Fuzz:
    import pickle

    from alexnet_network.npydump import read_npy

    weights, seeds = {"conv1": [np.arange(24, dtype=np.float32).reshape(2, 3, 4), np.ones(4)]}, []
    for protocol in range(6):
        array, file = np.array(weights, dtype=object), io.BytesIO()
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
        pickle.dump(array, file, protocol)
        seeds.append(file.getvalue())
    return seeds, read_npy


def fuzz_caffemodel(directory: Path) -> Fuzz:
    from alexnet_network.caffemodel import read_caffemodel

    def varint(number: int) -> bytes:
        return bytes([number & 0x7F | 0x80]) + varint(number >> 7) if number >> 7 else bytes([number])

    def field(number: int, content: bytes) -> bytes:
        return varint(number << 3 | 2) + varint(len(content)) + content

    blob = field(7, field(1, varint(2) + varint(3))) + field(5, np.arange(6, dtype="<f4").tobytes())
    layer = field(100, field(1, b"conv1") + field(7, blob) + field(7, blob))
    return [field(1, b"AlexNet") + layer + field(100, field(1, b"fc8") + field(7, blob))], read_caffemodel


def fuzz_mat(directory: Path) -> Fuzz:
    """The devkit's reader starts a process for each file, as scipy's compiled one can crash."""
    from scipy.io import savemat

    from alexnet_prep.devkit import parse_meta

    fields = [
        "ILSVRC2010_ID",
        "WNID",
        "words",
        "gloss",
        "num_children",
        "children",
        "wordnet_height",
        "num_train_images",
    ]
    rows = np.zeros((3, 1), dtype=[(name, object) for name in fields])
    for number, row in enumerate(rows[:, 0], 1):
        for name, value in zip(fields, (number, f"n{number:08d}", "words", "", 0, 0, 0, 8), strict=True):
            row[name] = value
    seeds = []
    for compressed in (False, True):
        buffer = io.BytesIO()
        savemat(buffer, {"synsets": rows}, do_compression=compressed)
        seeds.append(buffer.getvalue())
    return seeds, lambda path: parse_meta(path.read_bytes(), "2010", str(path))


def fuzz_checkpoint(directory: Path) -> Fuzz:
    import torch

    from alexnet_train.checkpoint import load_checkpoint, save_checkpoint

    content: dict[str, Any] = {"model": {"w": torch.ones(3, 4)}, "step": 7, "recipe": {"name": "x"}, "classes": ["a"]}
    content |= {"words": ["b"], "epoch": 1, "stats": {"rgb_mean": torch.ones(3)}}
    save_checkpoint(directory / "x.pt", content)
    return [(directory / "x.pt").read_bytes()], load_checkpoint


def fuzz_image(directory: Path) -> Fuzz:
    from PIL import Image

    from alexnet_pixels import BadImage, PixelRecipe, convert

    seeds = [sample_jpeg(1)]
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8))
    for form, options in (("PNG", {}), ("GIF", {}), ("BMP", {}), ("TIFF", {"compression": "tiff_lzw"}), ("WEBP", {})):
        buffer = io.BytesIO()
        try:
            picture.save(buffer, form, **options)
        except (KeyError, OSError):  # this Pillow was built without it
            continue
        seeds.append(buffer.getvalue())
    buffer = io.BytesIO()
    picture.convert("CMYK").save(buffer, "JPEG", progressive=True)
    seeds.append(buffer.getvalue())

    def read(path: Path) -> object:
        try:
            return convert(path.read_bytes(), PixelRecipe())
        except BadImage as error:
            raise AlexnetError(str(error)) from error

    return seeds, read


def fuzz_parquet(directory: Path) -> Fuzz:
    """A source of one parquet file: its index, and the bytes of every image that it names."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from alexnet_prep.reader import SourceReader
    from alexnet_prep.source import find_source

    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    features = {"image": {"_type": "Image"}, "label": {"names": ["a", "b", "c"], "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    schema = pa.schema([("image", image), ("label", pa.int64())], metadata=metadata)
    rows = [{"image": {"bytes": sample_jpeg(n)[:900], "path": f"{n}.jpg"}, "label": n % 3} for n in range(12)]
    plain = pa.table({"image": [b"1" * 300] * 9, "label": ["x", "y", "z"] * 3})
    seeds = []
    for table, options in (
        (pa.Table.from_pylist(rows, schema), {"row_group_size": 5}),
        (pa.Table.from_pylist(rows, schema), {"compression": "NONE", "use_dictionary": False}),
        (plain, {"compression": "ZSTD", "data_page_version": "2.0"}),
    ):
        buffer = io.BytesIO()
        pq.write_table(table, buffer, **options)
        seeds.append(buffer.getvalue())
    (directory / "set").mkdir()

    def read(path: Path) -> object:
        path.rename(directory / "set" / "train-0.parquet")
        images = find_source(directory / "set", "parquet").read("train", None, lambda _: None)
        reader = SourceReader(images.containers, images.sparse, images.image_column)
        try:
            for place in images.locations[:40]:
                reader.read(int(place["container"]), b"x", int(place["offset"]), int(place["size"]))
        finally:
            reader.close()
        return images

    return seeds, read


FORMATS: dict[str, Callable[[Path], Fuzz]] = {
    "parquet": fuzz_parquet,
    "index": fuzz_index,
    "manifest": fuzz_manifest,
    "statistics": fuzz_statistics,
    "tar": fuzz_tar,
    "sidecar": fuzz_sidecar,
    "recipe": fuzz_recipe,
    "dump": fuzz_dump,
    "caffemodel": fuzz_caffemodel,
    "mat": fuzz_mat,
    "checkpoint": fuzz_checkpoint,
    "image": fuzz_image,
}


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(name: str, count: int, seed: int) -> None:
    """Throw `count` damaged files at the reader of format `name`."""
    with tempfile.TemporaryDirectory() as folder:
        seeds, read = FORMATS[name](Path(folder))
        place = Path(folder) / "damaged.toml"
        for content in seeds:  # a sound file is read, and what is imported late is in memory
            place.write_bytes(content)
            read(place)
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_BYTES, hard))
        before, counts = peak_mb(), {"sound": 0, "refused": 0}
        for number in range(count):
            rng = random.Random(f"{name} {seed} {number}")
            content = (damage_tar if name == "tar" else damage)(rng.choice(seeds), rng)
            place.write_bytes(content)
            sys.stderr.write(f"\r{name} {number} of seed {seed}\n") if number % 1000 == 0 else None
            try:
                read(place)
                counts["sound"] += 1
            except AlexnetError as error:
                line = str(error)
                if "\n" in line or not line.strip():
                    raise ValueError(f"{name} {number} of seed {seed}: not one line: {line!r}") from error
                counts["refused"] += 1
            except BaseException as error:
                error.add_note(f"{name} {number} of seed {seed}")
                raise
        sys.stdout.write(json.dumps({**counts, "peak_mb": round(peak_mb() - before, 1)}) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
