"""Every request over the ring as bytes: replies, permissions, quotas, watches, transactions."""

from __future__ import annotations

import struct

import pytest

from hypervisor_model.xenstore.daemon import XenstoreDaemon
from hypervisor_model.xenstore.errors import StoreError
from hypervisor_model.xenstore.quotas import Quotas
from tests.xen.store_support import (
    CONTROL,
    DIRECTORY,
    DIRECTORY_PART,
    END,
    ERROR,
    GET_DOMAIN_PATH,
    GET_PERMS,
    INTRODUCE,
    IS_INTRODUCED,
    MKDIR,
    READ,
    RELEASE,
    RESET_WATCHES,
    RESTRICT,
    RESUME,
    RM,
    SET_PERMS,
    SET_TARGET,
    START,
    UNWATCH,
    WATCH,
    WATCH_EVENT,
    WRITE,
    Raw,
    word,
)

OK = b"OK\0"


def home(daemon: XenstoreDaemon, domid: int) -> Raw:
    """A domain that owns its home."""
    daemon.local.mkdir(f"/local/domain/{domid}")
    daemon.local.set_permissions(f"/local/domain/{domid}", f"n{domid}")
    return Raw(daemon, domid)


def test_read_write_directory_mkdir_rm() -> None:
    daemon = XenstoreDaemon()
    one = home(daemon, 1)
    assert one.ask(WRITE, b"a/b\0value\0with zero") == OK
    assert one.ask(READ, b"/local/domain/1/a/b\0") == b"value\0with zero"
    assert one.ask(READ, b"a\0") == b""
    assert one.ask(WRITE, b"a/b\0") == OK and one.ask(READ, b"a/b\0") == b""
    assert one.ask(MKDIR, b"a/c/d\0") == OK and one.ask(MKDIR, b"a/b\0") == OK
    assert one.ask(WRITE, b"a/b\0keep") == OK and one.ask(MKDIR, b"a/b\0") == OK and one.ask(READ, b"a/b\0") == b"keep"
    assert one.ask(DIRECTORY, b"a\0") == b"b\0c\0"
    assert one.ask(DIRECTORY, b"a/b\0") == b""
    assert one.ask(RM, b"a/c\0") == OK
    assert one.ask(READ, b"a/c/d\0") == one.ask(READ, b"a/c\0") == b"ENOENT"
    assert one.ask(DIRECTORY, b"a\0") == b"b\0"
    assert one.ask(RM, b"a/c\0") == OK
    assert one.ask(RM, b"x/c\0") == b"ENOENT"
    assert daemon.local.read("/local/domain/1/a/b") == "keep"


@pytest.mark.parametrize(
    "path", [b"", b"a//b", b"a/", b"/local/", b"a b", b"a.b", b"a\xff", b"a+b", b"/" + b"x" * 3072]
)
def test_bad_paths(path: bytes) -> None:
    one = home(XenstoreDaemon(), 1)
    for kind, rest in ((READ, b""), (WRITE, b"v"), (MKDIR, b""), (RM, b""), (DIRECTORY, b""), (SET_PERMS, b"n1\0")):
        assert one.ask(kind, path + b"\0" + rest) == b"EINVAL"


def test_special_names_are_no_nodes() -> None:
    daemon = XenstoreDaemon()
    daemon.local.set_permissions("/", "b0")
    one = Raw(daemon, 1)
    for kind, rest in ((READ, b""), (WRITE, b"v"), (MKDIR, b""), (RM, b""), (DIRECTORY, b"")):
        assert one.ask(kind, b"@releaseDomain\0" + rest) == b"EINVAL"
    assert one.ask(GET_PERMS, b"@releaseDomain\0") == b"EACCES"
    assert one.ask(SET_PERMS, b"@none\0n1\0") == b"ENOENT"


def test_path_lengths() -> None:
    one = home(XenstoreDaemon(), 1)
    assert one.ask(READ, b"x" * 2048 + b"\0") == b"ENOENT"
    assert one.ask(READ, b"x" * 2049 + b"\0") == b"EINVAL"
    dom0 = Raw(XenstoreDaemon(), 0)
    assert dom0.ask(READ, b"/" + b"x" * 3071 + b"\0") == b"ENOENT"
    assert dom0.ask(READ, b"/" + b"x" * 3072 + b"\0") == b"EINVAL"


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        (READ, b"a"), (READ, b""), (READ, b"a\0b\0"), (READ, b"a\0b"), (WRITE, b"a"), (WRITE, b""), (WATCH, b"a\0"),
        (WATCH, b"a\0t\0x\0"), (UNWATCH, b"a\0"), (SET_PERMS, b"a\0"), (SET_PERMS, b"a\0z1\0"), (SET_PERMS, b""),
        (SET_PERMS, b"a\0r\0"), (SET_PERMS, b"a\0r65536\0"), (SET_PERMS, b"a\0r1"), (END, b"X\0"), (END, b"T"),
        (GET_DOMAIN_PATH, b"x\0"), (GET_DOMAIN_PATH, b"\0"), (DIRECTORY_PART, b"a\0"), (DIRECTORY_PART, b"a\0-1\0"),
        (MKDIR, b"a"), (RM, b""), (RM, b"/\0"), (DIRECTORY, b"a"), (GET_PERMS, b"a"),
    ],
)
def test_malformed_requests(kind: int, payload: bytes) -> None:
    daemon = XenstoreDaemon()
    one = home(daemon, 1)
    one.ask(WRITE, b"a\0v")
    daemon.local.set_permissions("/", "b0")
    assert one.ask(kind, payload) == b"EINVAL"
    assert one.ask(READ, b"a\0") == b"v"


def test_unknown_types() -> None:
    one = Raw(XenstoreDaemon(), 1)
    for kind in (WATCH_EVENT, ERROR, RESTRICT, 23, 0xFFFF, 0xFFFF_FFFF):
        assert one.ask(kind) == b"ENOSYS"
    for kind in (CONTROL, INTRODUCE, RELEASE, IS_INTRODUCED, RESUME, SET_TARGET):
        assert one.ask(kind, b"2\0") == b"EACCES"


def test_permissions() -> None:
    daemon = XenstoreDaemon()
    one, two, three = home(daemon, 1), home(daemon, 2), home(daemon, 3)
    assert one.ask(WRITE, b"secret\0s") == OK
    assert one.ask(GET_PERMS, b"secret\0") == b"n1\0"
    path = b"/local/domain/1/secret\0"
    for kind, rest in ((READ, b""), (WRITE, b"x"), (RM, b""), (DIRECTORY, b""), (GET_PERMS, b""), (SET_PERMS, b"n2\0")):
        assert two.ask(kind, path + rest) == b"EACCES"
    # nobody learns whether a node exists in what he may not read
    assert two.ask(READ, b"/local/domain/1/none\0") == b"EACCES"
    assert two.ask(READ, b"/tool\0") == b"EACCES"
    # entries of single domains, the default for others
    assert one.ask(SET_PERMS, b"secret\0w1\0r2\0n3\0") == OK
    assert one.ask(GET_PERMS, b"secret\0") == b"w1\0r2\0n3\0"
    assert two.ask(READ, path) == b"s" and two.ask(WRITE, path + b"t") == b"EACCES"
    assert three.ask(READ, path) == three.ask(WRITE, path + b"t") == b"EACCES"
    four = Raw(daemon, 4)
    assert four.ask(WRITE, path + b"u") == OK and four.ask(READ, path) == b"EACCES"
    # the owner has all rights whatever the entries say; others may not give it away
    assert one.ask(READ, b"secret\0") == b"u"
    assert two.ask(SET_PERMS, path + b"b2\0") == b"EACCES"
    assert one.ask(SET_PERMS, b"secret\0b2\0") == b"EPERM"
    assert one.ask(SET_PERMS, b"secret\0b1\0") == OK
    assert two.ask(SET_PERMS, path + b"b2\0") == b"EACCES" and two.ask(WRITE, path + b"w") == OK
    # who creates below owns what is created, with the entries of the node above
    assert one.ask(SET_PERMS, b"secret\0n1\0b2\0r3\0") == OK
    assert two.ask(WRITE, b"/local/domain/1/secret/x/y\0v") == OK
    for made in (b"/x\0", b"/x/y\0"):
        assert two.ask(GET_PERMS, path[:-1] + made) == b"n2\0b2\0r3\0"
    assert one.ask(READ, b"secret/x/y\0") == b"EACCES"
    assert three.ask(READ, b"/local/domain/1/secret/x/y\0") == b"v"
    # domain 0 may do everything, and a node can be removed with children of others
    assert daemon.local.read("/local/domain/1/secret/x/y") == "v"
    assert one.ask(RM, b"secret\0") == OK
    assert (daemon.nodes_owned(2), daemon.nodes_owned(1)) == (1, 1)
    daemon.local.set_permissions("/local/domain/1", "n3", "r1")
    assert one.ask(WRITE, b"new\0v") == b"EACCES" and one.ask(READ, b"new\0") == b"ENOENT"


def test_node_quota() -> None:
    daemon = XenstoreDaemon(Quotas(nodes=5))
    one = home(daemon, 1)
    assert one.ask(WRITE, b"a/b/c/d\0v") == OK
    assert daemon.nodes_owned(1) == 5
    assert one.ask(WRITE, b"e\0v") == one.ask(MKDIR, b"a/x\0") == b"ENOSPC"
    assert one.ask(DIRECTORY, b"a\0") == b"b\0"
    assert one.ask(RM, b"a/b/c\0") == OK
    # all or nothing
    assert one.ask(MKDIR, b"p/q/r\0") == b"ENOSPC" and one.ask(READ, b"p\0") == b"ENOENT"
    # in a transaction, and at its end if others have used it up meanwhile
    number = int(one.ask(START)[:-1])
    assert one.ask(MKDIR, b"p/q/r\0", number) == b"ENOSPC"
    assert one.ask(MKDIR, b"p/q\0", number) == OK
    assert one.ask(MKDIR, b"a/s\0") == OK
    assert one.ask(END, b"T\0", number) == b"ENOSPC"
    assert one.ask(READ, b"p\0") == b"ENOENT"
    # domain 0 has none, and what it gives away counts
    for n in range(10):
        daemon.local.write(f"/local/domain/1/more/{n}", "v")
    assert daemon.nodes_owned(1) == 4 + 11
    assert one.ask(WRITE, b"f\0v") == b"ENOSPC"


def test_size_quota() -> None:
    one = home(XenstoreDaemon(), 1)
    # 16 bytes, one permission of 8, then the value
    assert one.ask(WRITE, b"a\0" + bytes(2048 - 24)) == OK
    assert one.ask(WRITE, b"a\0" + bytes(2048 - 23)) == b"ENOSPC"
    assert len(one.ask(READ, b"a\0")) == 2048 - 24
    assert one.ask(SET_PERMS, b"a\0n1\0r2\0") == b"ENOSPC"
    assert one.ask(SET_PERMS, b"a\0n1\0" + b"r2\0" * 5) == b"ENOSPC"
    one.ask(WRITE, b"a\0")
    assert one.ask(SET_PERMS, b"a\0n1\0r2\0r3\0r4\0r5\0") == OK
    assert one.ask(SET_PERMS, b"a\0n1\0r2\0r3\0r4\0r5\0r6\0") == b"ENOSPC"
    # names of children count too
    names = [b"x" * 500 + bytes([97 + n]) for n in range(5)]
    assert [one.ask(MKDIR, b"d/" + name + b"\0") for name in names] == [OK] * 4 + [b"ENOSPC"]


def test_watch_and_transaction_quota() -> None:
    daemon = XenstoreDaemon()
    one = home(daemon, 1)
    for n in range(128):
        assert one.ask(WATCH, b"a\0t%d\0" % n) == OK
    assert one.ask(WATCH, b"a\0more\0") == b"E2BIG"
    assert one.ask(UNWATCH, b"a\0t5\0") == OK and one.ask(WATCH, b"a\0more\0") == OK
    numbers = [int(one.ask(START)[:-1]) for _ in range(10)]
    assert len(set(numbers)) == 10 and 0 not in numbers
    assert one.ask(START) == b"ENOSPC"
    assert one.ask(END, b"F\0", numbers[3]) == OK and one.ask(START).endswith(b"\0")
    # another domain has its own
    two = home(daemon, 2)
    assert two.ask(WATCH, b"a\0t\0") == OK and two.ask(START)[:-1].isdigit()
    assert one.ask(RESET_WATCHES) == OK
    assert daemon.watches_of(1) == 0 and one.ask(END, b"T\0", numbers[0]) == b"ENOENT"


def test_transaction_node_quota() -> None:
    daemon = XenstoreDaemon(Quotas(transaction_nodes=4))
    one = home(daemon, 1)
    number = int(one.ask(START)[:-1])
    assert one.ask(WRITE, b"a\0v", number) == OK  # itself and its parent
    assert one.ask(READ, b"b\0", number) == b"ENOENT"
    assert one.ask(WRITE, b"a\0w", number) == OK
    assert one.ask(READ, b"c\0", number) == b"ENOENT"
    assert one.ask(READ, b"d\0", number) == b"ENOSPC"
    assert one.ask(END, b"T\0", number) == OK and one.ask(READ, b"a\0") == b"w"


def test_watches() -> None:
    daemon = XenstoreDaemon()
    one, two = home(daemon, 1), home(daemon, 2)
    assert one.ask(WATCH, b"d\0rel\0") == OK and one.ask(WATCH, b"/local/domain/1/d/x\0abs \xff\0"[:-2] + b"\0") == OK
    assert one.heard() == [("d", "rel"), ("/local/domain/1/d/x", "abs ")]
    # the reply, and then the event that every watch begins with
    one.put(struct.pack("<IIII", WATCH, 9, 0, 4) + b"e\0t\0")
    assert one.messages() == [(WATCH, 9, 0, OK), (WATCH_EVENT, 0, 0, b"e\0t\0")]
    assert one.ask(WATCH, b"d\0rel\0") == b"EEXIST"
    assert one.ask(WATCH, b"/local/domain/1/d\0rel\0") == b"EEXIST"
    one.ask(WRITE, b"d/x/y\0v")
    assert one.heard() == [("d/x/y", "rel"), ("/local/domain/1/d/x/y", "abs ")]
    one.ask(WRITE, b"dd\0v")
    one.ask(MKDIR, b"d/x\0")  # exists: no change
    assert one.heard() == []
    one.ask(SET_PERMS, b"d/x\0n1\0r2\0")
    assert one.heard() == [("d/x", "rel"), ("/local/domain/1/d/x", "abs ")]
    # removal with an ancestor: the exact watch hears its own path
    one.ask(RM, b"d\0")
    assert sorted(one.heard()) == [("/local/domain/1/d/x", "abs "), ("d", "rel")]
    assert one.ask(UNWATCH, b"/local/domain/1/d\0rel\0") == OK
    assert one.ask(UNWATCH, b"d\0rel\0") == one.ask(UNWATCH, b"d/x\0rel\0") == b"ENOENT"
    daemon.local.write("/local/domain/1/d/x", "from dom0")
    assert one.heard() == [("/local/domain/1/d/x", "abs ")]
    # others: only of what they can read, or could
    assert two.ask(WATCH, b"/local/domain/1\0w\0") == OK and two.heard() == [("/local/domain/1", "w")]
    one.ask(WRITE, b"hidden\0v")
    assert two.heard() == []
    one.ask(SET_PERMS, b"hidden\0n1\0r2\0")
    one.ask(WRITE, b"hidden\0w")
    assert two.heard() == [("/local/domain/1/hidden", "w")] * 2
    one.ask(SET_PERMS, b"hidden\0n1\0")
    assert two.heard() == [("/local/domain/1/hidden", "w")], "who loses the right hears of it"
    one.ask(WRITE, b"hidden\0x")
    one.ask(RM, b"hidden\0")
    assert two.heard() == []
    # a watch of the root matches every node, and no special name
    daemon.local.set_permissions("/", "r0")
    assert two.ask(WATCH, b"/\0root\0") == OK
    two.ask(WRITE, b"mine\0v")
    Raw(daemon, 9)
    assert two.heard() == [("/", "root"), ("/local/domain/2/mine", "root")]


def test_special_watches() -> None:
    daemon = XenstoreDaemon()
    heard: list[str] = []
    for name in ("@introduceDomain", "@releaseDomain"):
        daemon.local.watch(name, heard.append)
    one = home(daemon, 1)
    for special in (b"@introduceDomain", b"@releaseDomain", b"@else"):
        assert one.ask(WATCH, special + b"\0t\0") == OK
    one.heard()
    heard.clear()
    Raw(daemon, 2)
    assert heard == ["@introduceDomain"] and one.heard() == []
    daemon.local.set_permissions("@releaseDomain", "n0", "r1")
    assert daemon.local.permissions("@releaseDomain") == ["n0", "r1"]
    assert one.heard() == [("@releaseDomain", "t")]
    daemon.release(2)
    assert heard == ["@introduceDomain", "@releaseDomain", "@releaseDomain"] and one.heard() == [("@releaseDomain", "t")]
    # each counts, though they look alike
    for domid in (5, 6):
        Raw(daemon, domid)
    for domid in (5, 6):
        daemon.release(domid)
    assert one.heard() == [("@releaseDomain", "t")] * 2
    with pytest.raises(StoreError, match="ENOENT"):
        daemon.release(2)


def test_transactions() -> None:
    daemon = XenstoreDaemon()
    one = home(daemon, 1)
    one.ask(WRITE, b"a\0" + b"0")
    one.ask(WATCH, b"\0t\0")
    one.ask(WATCH, b"/local/domain/1\0t\0")
    one.heard()
    number = int(one.ask(START)[:-1])
    one.ask(WRITE, b"a\0" + b"1", number)
    one.ask(WRITE, b"b\0" + b"2", number)
    assert one.ask(READ, b"a\0", number) == b"1" and one.ask(READ, b"a\0") == b"0"
    assert one.ask(READ, b"b\0") == b"ENOENT" and one.ask(DIRECTORY, b"/local/domain/1\0", number) == b"a\0b\0"
    assert one.heard() == []
    assert one.ask(END, b"T\0", number) == OK
    assert one.ask(READ, b"a\0") + one.ask(READ, b"b\0") == b"12"
    assert one.heard() == [("/local/domain/1/a", "t"), ("/local/domain/1/b", "t")]
    assert one.ask(END, b"T\0", number) == one.ask(READ, b"a\0", number) == b"ENOENT"
    assert one.ask(START, b"\0", 99) == b"ENOENT"
    # abandoned
    number = int(one.ask(START)[:-1])
    assert one.ask(START, b"\0", number) == b"EBUSY"
    one.ask(RM, b"a\0", number)
    assert one.ask(END, b"F\0", number) == OK and one.ask(READ, b"a\0") == b"1" and one.heard() == []
    # a snapshot is of its start
    number = int(one.ask(START)[:-1])
    one.ask(WRITE, b"a\0" + b"5")
    assert one.ask(READ, b"a\0", number) == b"1"
    assert one.ask(END, b"T\0", number) == b"EAGAIN"
    # another's transaction is not one's own
    number = int(one.ask(START)[:-1])
    two = home(daemon, 2)
    assert two.ask(READ, b"a\0", number) == two.ask(END, b"T\0", number) == b"ENOENT"


@pytest.mark.parametrize(
    ("inside", "outside", "conflict"),
    [
        ((READ, b"a\0"), (WRITE, b"a\0x"), True),
        ((WRITE, b"a\0y"), (WRITE, b"a\0x"), True),
        ((READ, b"a\0"), (SET_PERMS, b"a\0r1\0"), True),
        ((READ, b"n\0"), (WRITE, b"n\0x"), True),
        ((DIRECTORY, b"d\0"), (MKDIR, b"d/new\0"), True),
        ((DIRECTORY, b"d\0"), (RM, b"d/c\0"), True),
        ((WRITE, b"d/p\0x"), (RM, b"d\0"), True),
        ((RM, b"d\0"), (WRITE, b"d/c\0x"), True),
        ((MKDIR, b"n/m\0"), (MKDIR, b"n\0"), True),
        ((WRITE, b"a\0y"), (WRITE, b"d/c\0x"), False),
        ((WRITE, b"d/p\0y"), (WRITE, b"d/c\0x"), False),
        ((READ, b"a\0"), (READ, b"a\0"), False),
        ((READ, b"a\0"), (MKDIR, b"a\0"), False),
    ],
)
def test_conflicts(inside: tuple[int, bytes], outside: tuple[int, bytes], conflict: bool) -> None:
    one = home(XenstoreDaemon(), 1)
    for path in (b"a\0v", b"d/c\0v"):
        one.ask(WRITE, path)
    number = int(one.ask(START)[:-1])
    one.ask(*inside, number)
    one.ask(*outside)
    assert one.ask(END, b"T\0", number) == (b"EAGAIN" if conflict else OK)


def test_transaction_that_makes_and_unmakes() -> None:
    daemon = XenstoreDaemon()
    one = home(daemon, 1)
    one.ask(WRITE, b"old\0v")
    number = int(one.ask(START)[:-1])
    one.ask(WRITE, b"new/x\0v", number)
    one.ask(RM, b"new\0", number)
    one.ask(RM, b"old\0", number)
    one.ask(WRITE, b"old/y\0w", number)
    assert one.ask(END, b"T\0", number) == OK
    assert one.ask(DIRECTORY, b"/local/domain/1\0") == b"old\0" and one.ask(READ, b"old\0") == b""
    assert daemon.nodes_owned(1) == 3


def test_events_of_a_transaction_are_of_the_whole_of_it() -> None:
    daemon = XenstoreDaemon()
    one, two = home(daemon, 1), home(daemon, 2)
    one.ask(WRITE, b"d/x\0v")
    one.ask(SET_PERMS, b"d/x\0n1\0r2\0")
    one.ask(WATCH, b"d\0t\0")
    two.ask(WATCH, b"/local/domain/1/d/x\0t\0")
    one.heard(), two.heard()
    # removed with its parent and made again: not only those hear who watch the very node
    number = int(one.ask(START)[:-1])
    one.ask(RM, b"d\0", number)
    one.ask(WRITE, b"d/x\0w", number)
    assert one.ask(END, b"T\0", number) == OK
    assert sorted(one.heard()) == [("d", "t"), ("d/x", "t")]
    # who could read it at the start hears of it, whatever happened to his right in between
    assert two.heard() == [("/local/domain/1/d/x", "t")]
    one.ask(SET_PERMS, b"d/x\0n1\0r2\0")
    two.heard()
    number = int(one.ask(START)[:-1])
    one.ask(SET_PERMS, b"d/x\0n1\0", number)
    one.ask(WRITE, b"d/x\0x", number)
    assert one.ask(END, b"T\0", number) == OK
    assert two.heard() == [("/local/domain/1/d/x", "t")] and two.ask(READ, b"/local/domain/1/d/x\0") == b"EACCES"


def test_privileged_messages() -> None:
    pages: list[tuple[int, int, int]] = []

    def attach(domid: int, frame: int, port: int) -> tuple[memoryview, object]:
        pages.append((domid, frame, port))
        return memoryview(bytearray(4096)), lambda: None

    daemon = XenstoreDaemon(attach=attach)  # type: ignore[arg-type]
    dom0 = Raw(daemon, 0)
    assert dom0.ask(IS_INTRODUCED, b"7\0") == b"F\0"
    assert dom0.ask(INTRODUCE, b"7\0" + b"1234\0" + b"5\0") == OK and pages == [(7, 1234, 5)]
    assert dom0.ask(IS_INTRODUCED, b"7\0") == b"T\0" and daemon.is_introduced(7)
    assert dom0.ask(INTRODUCE, b"0\0" + b"1\0" + b"1\0") == dom0.ask(INTRODUCE, b"7\0") == b"EINVAL"
    assert dom0.ask(RELEASE, b"7\0") == OK and dom0.ask(IS_INTRODUCED, b"7\0") == b"F\0"
    assert dom0.ask(RELEASE, b"7\0") == b"ENOENT"
    assert dom0.ask(WRITE, b"/tool\0v") == OK and dom0.ask(READ, b"/tool\0") == b"v"
    assert dom0.ask(CONTROL) == dom0.ask(RESUME, b"7\0") == dom0.ask(SET_TARGET, b"7\0") == b"ENOSYS"
    assert Raw(XenstoreDaemon(), 0).ask(INTRODUCE, b"7\0" + b"1\0" + b"1\0") == b"ENOSYS"


def test_domain_path() -> None:
    one = Raw(XenstoreDaemon(), 1)
    assert one.ask(GET_DOMAIN_PATH, b"007\0") == b"/local/domain/7\0"


def test_long_listing() -> None:
    daemon = XenstoreDaemon()
    names = [f"node{n:04}" for n in range(700)]
    for name in names:
        daemon.local.write(f"/d/{name}", "")
    daemon.local.set_permissions("/d", "r0")
    one = Raw(daemon, 1)
    assert one.ask(DIRECTORY, b"/d\0") == b"E2BIG"
    listing = b""
    generations = set()
    while not listing.endswith(b"\0\0"):
        generation, part = one.ask(DIRECTORY_PART, b"/d\0%d\0" % len(listing)).split(b"\0", 1)
        assert len(generation) + 1 + len(part) <= 4096 and part.endswith(b"\0")
        listing += part
        generations.add(generation)
    assert len(generations) == 1
    assert listing[:-1].decode().split("\0")[:-1] == names
    assert one.ask(DIRECTORY_PART, b"/d\0" + b"99999\0").split(b"\0", 1)[1] == b"\0"
    daemon.local.write("/d/more", "")
    assert one.ask(DIRECTORY_PART, b"/d\0" + b"0\0").split(b"\0")[0] not in generations


def test_released_domain_leaves_nothing_to_its_successor() -> None:
    daemon = XenstoreDaemon()
    one, two = home(daemon, 1), home(daemon, 2)
    one.ask(WRITE, b"x\0v")
    two.ask(WRITE, b"for-one\0secret")
    two.ask(SET_PERMS, b"for-one\0n2\0r1\0")
    two.ask(SET_PERMS, b"/local/domain/2\0n2\0b1\0")
    one.ask(WRITE, b"/local/domain/2/planted/deep\0v")
    assert one.ask(READ, b"/local/domain/2/for-one\0") == b"secret"
    one.ask(WATCH, b"/local/domain/2\0t\0")
    number = int(one.ask(START)[:-1])
    heard: list[str] = []
    daemon.local.watch("/local/domain/2/planted", heard.append)
    daemon.release(1)
    assert heard == ["/local/domain/2/planted"] * 2
    assert daemon.nodes_owned(1) == 0
    assert two.ask(DIRECTORY, b"/local/domain/2\0") == b"for-one\0"
    assert two.ask(GET_PERMS, b"for-one\0") == b"n2\0" and daemon.local.read_or_none("/local/domain/1/x") is None
    again = Raw(daemon, 1)
    assert again.ask(READ, b"/local/domain/2/for-one\0") == b"EACCES"
    assert again.ask(END, b"T\0", number) == b"ENOENT" and again.heard() == []


def test_replies_come_in_the_order_of_requests_and_spend_is_told() -> None:
    spent: list[int] = []
    daemon = XenstoreDaemon(spend=spent.append)
    one = Raw(daemon, 1)
    data = b"".join(struct.pack("<IIII", GET_DOMAIN_PATH, n, 0, 2) + b"%d\0" % (n % 10) for n in range(9))
    notified = one.notified
    one.put(data)
    replies = one.messages()
    assert [(reply[1], reply[3]) for reply in replies] == [(n, b"/local/domain/%d\0" % n) for n in range(9)]
    assert one.notified == notified + 1, "one event for the batch"
    assert sum(spent) == 9
    daemon.local.write("/a", "v")
    daemon.local.watch("/a", lambda _: None)
    assert sum(spent) == 9 + 3
    assert word(one.page, 2048) == word(one.page, 2052)


def test_local_callbacks_run_one_after_the_other_and_never_after_removal() -> None:
    local = XenstoreDaemon().local
    trace: list[str] = []

    def first(path: str) -> None:
        trace.append(f"first {path}")
        if len(trace) == 1:
            local.write("/a/b", "v")
        elif path == "/a/b":
            local.unwatch(second)
        trace.append("end")

    second = local.watch("/none", lambda path: trace.append(f"second {path}"))
    trace.clear()
    local.watch("/a", first)
    assert trace == ["first /a", "end", "first /a/b", "end"]
    trace.clear()
    second = local.watch("/a/b", lambda path: trace.append(f"second {path}"))
    assert trace == ["second /a/b"]
    trace.append("quiet")
    local.write("/a/b", "w")
    assert trace == ["second /a/b", "quiet", "first /a/b", "end"]


def test_local_handle() -> None:
    daemon = XenstoreDaemon()
    local = daemon.local
    heard: list[str] = []

    def follow(path: str) -> None:
        heard.append(path)
        if local.read_or_none("/a") == "1":
            local.write("/a", "2")  # from inside an event: it is heard after this one

    watch = local.watch("/a", follow)
    local.write("/a", "1")
    assert heard == ["/a"] * 3 and local.read("/a") == "2"
    with pytest.raises(StoreError, match="ENOENT"):
        local.read("/none")
    with pytest.raises(ZeroDivisionError), local.transaction() as inside:
        inside.write("/a", "3")
        raise ZeroDivisionError
    assert local.read("/a") == "2"
    with pytest.raises(StoreError, match="EAGAIN"), local.transaction() as inside:
        inside.read("/a")
        daemon.open().write("/a", "4")
        inside.write("/a", "5")
    assert local.read("/a") == "4"
    assert local.watches == 1
    local.unwatch(watch)
    with pytest.raises(StoreError, match="ENOENT"):
        local.unwatch(watch)
    count = len(heard)
    local.remove("/a")
    local.remove("/a/b/c")
    assert len(heard) == count and local.directory("/a") == []
