"""The parts of an address."""

from alexnet_shards.address import Address


def test_parts() -> None:
    address = Address.parse("https://me:x@h/a/b/train-000.tar?sig=a/b")
    assert (address.folder, address.name, address.query) == ("https://me:x@h/a/b", "train-000.tar", "?sig=a/b")
    assert address.url == "https://me:x@h/a/b/train-000.tar?sig=a/b"
    assert Address.parse("s3://b/train-00?.tar") == Address(folder="s3://b", name="train-00?.tar")
