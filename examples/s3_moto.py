# /// script
# requires-python = ">=3.11"
# dependencies = ["alexnet-replication[pillow]", "s3fs==2026.9.0", "moto[s3,server]==5.2.5"]
# [tool.clients]
# venv = "torch"
# ///
"""S3: open_shards over s3://, from moto's server here."""

import os
import sys
from pathlib import Path

import boto3
from moto.server import ThreadedMotoServer

from alexnet_stream import ShardDataset, open_shards

work = Path(sys.argv[1])
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
host, port = server.get_host_and_port()
os.environ |= {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any", "AWS_DEFAULT_REGION": "us-east-1"}
os.environ |= {"AWS_ENDPOINT_URL": f"http://{host}:{port}", "ALEXNET_CACHE": str(work / "cache-s3")}
client = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
client.create_bucket(Bucket="photos")
for path in (work / "shards").iterdir():
    if path.is_file():
        client.upload_file(str(path), "photos", f"set/{path.name}")

dataset = ShardDataset(open_shards(["s3://photos/set/train-*.tar"]))
labels = [dataset[number][1] for number in range(len(dataset))]
server.stop()
print(len(labels), sum(labels))
