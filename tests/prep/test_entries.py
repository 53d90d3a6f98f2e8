"""What an entry is, and the sum over all."""

from functools import partial

from alexnet_prep.entries import MAX_NAMED, Account, Ledger, is_dotfile, is_picture, is_rubbish


def never() -> bytes:
    """The head of a file that must not be opened."""
    raise AssertionError("a picture's ending says enough")


def test_dotfiles_and_rubbish_at_any_depth() -> None:
    assert [is_dotfile(path) for path in (".a", "b/.c/d.jpg")] == [True, True]
    assert not any(is_dotfile(path) for path in ("./a.jpg", "a.b/c", "../a"))
    assert [is_rubbish(path) for path in ("__MACOSX/a", "a/@eaDir/b", "lost+found", "a/b")] == [True, True, True, False]


def test_a_picture_is_told_by_its_ending_else_by_its_content() -> None:
    for name in ("a.jpg", "a.JPEG", "b.webp", "c.heic"):
        assert is_picture(name, never)
    for head, found in (
        (b"\xff\xd8\xff\xe0", True),
        (b"\x89PNG\r\n\x1a\n", True),
        (b"\x1f\x8b\x08", True),
        (b"RIFF\0\0\0\0WEBPVP8 ", True),
        (b"\0\0\0\x18ftypheic", True),
        (b"BM\x36\0\0\0\0\0\0\0", True),
        (b"BMW is a maker of cars", False),
        (b"<annotation>", False),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", False),
        (b"", False),
    ):
        assert is_picture("no_ending", partial(bytes, head)) == found, head
        assert is_picture("x.xml", partial(bytes, head)) == found, head


def test_accounts_add_up() -> None:
    ledger = Ledger()
    for number in range(15):
        ledger.found()
        if number % 3:
            ledger.ignore("sidecar", f"{number}.xml")
    account = ledger.account() + Account(entries=1, ignored={"directory": 1})
    assert (account.entries, account.ignored) == (16, {"directory": 1, "sidecar": 10})
    twice = account + account
    assert twice.ignored == {"directory": 2, "sidecar": 20}
    assert len(twice.named["sidecar"]) == MAX_NAMED
    lines = twice.lines("train")
    assert lines[0] == "train: 1.xml is a sidecar, not a member"
    assert lines[-1] == "train: 10 more of kind 'sidecar'"
    assert account.ignored_alone().entries == 11


def test_what_is_lost() -> None:
    account = Account(entries=4, ignored={"link that leads nowhere": 2, "dotfile": 1, "image in no class folder": 1})
    assert account.lost() == 3
    assert Account().lines("val") == []
    kind = "bytes behind the end mark"
    assert Account(ignored={kind: 1}, named={kind: ("val.tar: 9 bytes",)}).lines("val") == [
        "val: val.tar: 9 bytes behind the end mark are no archive, and are passed over"
    ]
