"""One try at a file of an object store, or of anything else that fsspec reads."""

import functools
import os
from collections.abc import Iterator
from typing import Any

from alexnet_remote.checksums import Checksums, of_info, of_s3
from alexnet_remote.outcome import Head, named_errors
from alexnet_shards.errors import AlexnetError
from alexnet_shards.extras import missing
from alexnet_shards.shown import public_address

PIECE_BYTES = 8 << 20  # a request each
S3 = ("s3://", "s3a://")
GOOGLE = ("gs://", "gcs://")
LIBRARIES = {**dict.fromkeys(("s3", "s3a"), ("s3fs", "s3")), **dict.fromkeys(("gs", "gcs"), ("gcsfs", "gcs"))}
# What changes with a file's content, as the stores call it: S3, Google, Azure; Hugging Face, GitHub; HDFS, SFTP, FTP, SMB.
VERSION_KEYS = (
    *("generation", "ETag", "etag", "blob_id", "sha", "LastModified", "last_modified", "mtime", "modificationTime"),
    *("modify", "last_write_time", "created"),
)


def store_answer(url: str, start: int, version: str | None, end: int | None = None) -> Iterator[Head | bytes]:
    """The head of the file at `url`, then its bytes, from `start` on where it still is `version` (None: any), else
    from 0, to `end`; raises the outcomes."""
    with named_errors(url):
        filesystem, path = filesystem_of(url)
        with filesystem.open(path, "rb", cache_type="none") as file:
            info = getattr(file, "details", None) or filesystem.info(path)
            now = version_of(info)
            start = start if version in (None, now) else 0
            if start:
                file.seek(start)
            yield Head(size=getattr(file, "size", None), start=start, version=now)
            place = start
            while piece := file.read(PIECE_BYTES if end is None else min(PIECE_BYTES, end - place)):
                place += len(piece)
                yield piece


def version_of(info: dict[str, Any]) -> str:
    """What changes with a file's content, of what fsspec says of it: its tag or its time, with its size; "" where there is
    neither: another file may have as many bytes."""
    tag = next((str(info[key]) for key in VERSION_KEYS if info.get(key)), "")
    return f"{tag} {info.get('size', '')}" if tag else ""


def store_head(url: str) -> Head:
    """Size, version and checksums of the file at `url`; raises the outcomes."""
    with named_errors(url):
        filesystem, path = filesystem_of(url)
        info = filesystem.info(path)
        checksums: Checksums
        if url.startswith(S3):
            bucket, key, _ = filesystem.split_path(path)
            checksums = of_s3(filesystem.call_s3("head_object", Bucket=bucket, Key=key, ChecksumMode="ENABLED"))
        else:
            checksums = of_info(info)
        return Head(size=info.get("size"), start=0, version=version_of(info), checksums=checksums)


def store_size(url: str) -> int | None:
    """Bytes of the file at `url`, None where the store does not tell."""
    with named_errors(url):
        filesystem, path = filesystem_of(url)
        size: int | None = filesystem.info(path).get("size")
        return size


def store_glob(url: str) -> list[str]:
    """Addresses that match a glob at an object store."""
    with named_errors(url):
        filesystem, path = filesystem_of(url)
        protocol = url.partition("://")[0]
        found = filesystem.glob(path)
        return sorted(name if "://" in name else f"{protocol}://{name}" for name in found)


def filesystem_of(url: str) -> tuple[Any, str]:
    """fsspec's file system of `url` and the path there; raises AlexnetError where its protocol is not installed."""
    import fsspec  # only where a store is read: who works on local files need not wait for it

    # What was listed a while ago is not what is there now.
    options: dict[str, Any] = {"use_listings_cache": False} if url.startswith((*S3, *GOOGLE)) else {}
    try:
        if url.startswith(S3) and "anon" not in fsspec.config.conf.get("s3", {}) and not has_s3_keys():
            options["anon"] = True
        filesystem, path = fsspec.core.url_to_fs(url, **options)
        if url.startswith(GOOGLE):
            filesystem = _google(filesystem)
    except (ImportError, ValueError) as error:
        raise _unreadable(url, error) from error
    return filesystem, path


def _google(filesystem: Any) -> Any:
    """Google's store as it answers without keys, where there are none: gcsfs would look for some at every request, to ask
    what kind of bucket it is, and warn of each."""
    if filesystem.credentials.credentials is not None:
        return filesystem
    from gcsfs.core import GCSFileSystem

    return GCSFileSystem(**{**filesystem.storage_options, "token": "anon"})


def _unreadable(url: str, error: Exception) -> AlexnetError:
    """The error for an address that nothing installed reads."""
    shown, protocol = public_address(url), url.partition("://")[0]
    library = LIBRARIES.get(protocol)
    if library is None or isinstance(error, ValueError):
        return AlexnetError(f"{shown}: {error}; expected https://, s3://, gs:// or what an installed library reads")
    why = "" if isinstance(error.__cause__ or error, ModuleNotFoundError) else str(error)
    return AlexnetError(f"{shown}: {missing(*library, why=why)}")


@functools.cache
def _s3_keys(_environment: tuple[str | None, ...]) -> bool:
    import botocore.session

    return botocore.session.get_session().get_credentials() is not None


def has_s3_keys() -> bool:
    """Whether this user has keys for S3, by the environment, the user's files or the machine; without any, buckets that
    are open to all are read."""
    return _s3_keys(tuple(os.environ.get(name) for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_CONFIG_FILE")))
