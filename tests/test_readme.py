"""The page that is read first: its code runs as it is written."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

from PIL import Image

ROOT = Path(__file__).parent.parent


def test_the_loaders_snippet_runs_without_a_gpu(tmp_path: Path, make_shards: Callable[..., str]) -> None:
    make_shards(tmp_path / "shards", (130, 140))
    (snippet,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    code = snippet + "print(batch.images_nhwc.shape, batch.images_nhwc.dtype, len(batch.labels), state)\n"
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    expected = r"torch.Size\(\[14, 224, 224, 3\]\) torch.uint8 14 {'epoch': 1, 'position': 0, 'order': \d+}\n"
    assert re.fullmatch(expected, done.stdout)


def test_the_pictures_are_small_and_are_pictures() -> None:
    picture_of = re.compile(r"!\[([^\]]+)\]\((?:docs/)?(pictures/[^)]+)\)")
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    named = [(words, f"docs/{name}") for page in pages for words, name in picture_of.findall(page.read_text())]
    assert len(picture_of.findall(pages[0].read_text())) == 3
    for words, name in named:
        assert len(words) > 20  # for who cannot see it
        assert (ROOT / name).stat().st_size < 150_000
        if name.endswith(".svg"):
            root = ElementTree.fromstring((ROOT / name).read_text())
            assert float(root.get("width", "")) <= 968
            continue
        with Image.open(ROOT / name) as picture:
            assert picture.width == 968
    assert {path.name for path in (ROOT / "docs" / "pictures").iterdir()} == {Path(name).name for _, name in named}
