# /// script
# requires-python = ">=3.11"
# dependencies = ["alexnet-replication[pillow]"]
# [tool.clients]
# venv = "torch"
# ///
"""http: open_shards over http://, from Python's own web server here."""

import functools
import os
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from alexnet_stream import ShardDataset, open_shards


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=f"{sys.argv[1]}/shards"))
threading.Thread(target=server.serve_forever, daemon=True).start()
os.environ["ALEXNET_CACHE"] = f"{sys.argv[1]}/cache-http"

count = len(list(Path(sys.argv[1], "shards").glob("train-*.tar")))  # a web server need not list what it has
dataset = ShardDataset(open_shards([f"http://127.0.0.1:{server.server_port}/train-<000..{count - 1:03d}>.tar"]))
labels = [dataset[number][1] for number in range(len(dataset))]
print(len(labels), sum(labels))
