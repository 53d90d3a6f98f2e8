"""img2dataset from a server on this machine: resize to 256 by area or cubic, centre crop, quality 95, webdataset shards.

The server runs in a process of its own, whose CPU time does not count; a process and 32 threads for each of the workers.
"""

import functools
import http.server
import json
import multiprocessing
import os
import shutil

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
from img2dataset import download
from prepcommon import arguments


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A server of files that writes no log."""

    def log_message(self, *_: object) -> None:
        """Nothing."""


def serve(folder: str, pipe: object) -> None:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    pipe.send(server.server_port)  # type: ignore[attr-defined]
    server.serve_forever()


def main() -> None:
    options = arguments()
    names = sorted(path.name for path in options.folder.iterdir())
    near, far = multiprocessing.Pipe()
    server = multiprocessing.Process(target=serve, args=(str(options.folder), far), daemon=True)
    server.start()
    urls, out = options.out / "urls.txt", options.out / "made"
    port = near.recv()
    urls.write_text("".join(f"http://127.0.0.1:{port}/{name}\n" for name in names))
    shutil.rmtree(out, ignore_errors=True)
    download(
        url_list=str(urls), output_folder=str(out), output_format="webdataset", image_size=256, resize_mode="center_crop",
        resize_only_if_bigger=False, encode_quality=95, processes_count=options.workers, thread_count=32,
        number_sample_per_shard=-(-len(names) // options.workers),
    )  # fmt: skip
    # Its processes take seconds to start: its own clock of each shard counts, and CPU time, which has none, does not.
    shards = [json.loads(path.read_text()) for path in out.glob("*_stats.json")]
    seconds = max(shard["end_time"] for shard in shards) - min(shard["start_time"] for shard in shards)
    print(json.dumps({"seconds": seconds, "images": len(names)}), flush=True)
    server.terminate()


if __name__ == "__main__":
    main()
