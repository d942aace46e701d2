"""Random operations of several domains with open transactions, against a plain dictionary: no lost update, no leak."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from hypervisor_model.xenstore.daemon import XenstoreDaemon
from tests.xen.store_support import DIRECTORY, END, GET_PERMS, MKDIR, READ, RM, SET_PERMS, START, WRITE, Raw

DOMAINS = (0, 1, 2, 3)
PATHS = ("/a", "/a/b", "/a/b/c", "/a/b/d", "/a/e", "/f/g")
OK = b"OK\0"


@dataclass
class Entry:
    value: bytes
    permissions: list[tuple[str, int]]


State = dict[str, Entry]


def above(path: str) -> str:
    return path.rsplit("/", 1)[0] or "/"


def may(state: State, path: str, domid: int, letter: str) -> bool:
    """By the text of xenstore.txt: owner and domain 0 everything, then entries, then the owner entry's default."""
    entries = state[path].permissions
    if domid in (0, entries[0][1]):
        return True
    rights = next((right for right, who in entries[1:] if who == domid), entries[0][0])
    return rights in (letter, "b")


def refusal(state: State, path: str, domid: int, letter: str) -> bytes:
    """Of a path that is not there, or not allowed."""
    if path in state:
        return b"" if may(state, path, domid, letter) else b"EACCES"
    while path not in state:
        path = above(path)
    return b"ENOENT" if may(state, path, domid, letter) else b"EACCES"


def make(state: State, path: str, domid: int, value: bytes) -> None:
    missing = [path]
    while above(missing[-1]) not in state:
        missing.append(above(missing[-1]))
    entries = list(state[above(missing[-1])].permissions)
    if domid:
        entries[0] = (entries[0][0], domid)
    for name in reversed(missing):
        state[name] = Entry(value if name == path else b"", list(entries))


def apply(state: State, domid: int, kind: int, path: str, argument: bytes) -> bytes:
    """What the operation does to the state and answers. Listings are sorted."""
    refused = refusal(state, path, domid, "r" if kind in (READ, DIRECTORY, GET_PERMS) else "w")
    if kind in (WRITE, MKDIR) and refused in (b"", b"ENOENT"):
        if refused:
            make(state, path, domid, argument)
        elif kind == WRITE:
            state[path].value = argument
        return OK
    if kind == RM and refused == b"ENOENT" and above(path) in state:
        return OK
    if refused:
        return refused
    if kind == READ:
        return state[path].value
    if kind == DIRECTORY:
        return b",".join(sorted(name.rsplit("/", 1)[1].encode() for name in state if name != "/" and above(name) == path))
    if kind == GET_PERMS:
        return b"".join(f"{right}{who}".encode() + b"\0" for right, who in state[path].permissions)
    if kind == RM:
        for name in [name for name in state if name == path or name.startswith(path + "/")]:
            del state[name]
        return OK
    entries = [(text[:1].decode(), int(text[1:])) for text in argument.split(b"\0")[:-1]]
    if domid not in (0, state[path].permissions[0][1]):
        return b"EACCES"
    if domid and entries[0][1] != state[path].permissions[0][1]:
        return b"EPERM"
    state[path].permissions = entries
    return OK


@dataclass
class Open:
    domid: int
    number: int
    state: State
    commits: int
    """Changes of the store when it was opened."""
    log: list[tuple[int, str, bytes, bytes]] = field(default_factory=list)


class StoreMachine(RuleBasedStateMachine):
    transactions = Bundle("transactions")

    def __init__(self) -> None:
        super().__init__()
        self.daemon = XenstoreDaemon()
        self.heard: set[str] = set()
        self.state: State = {"/": Entry(b"", [("n", 0)])}
        make(self.state, "/a", 0, b"")
        self.state["/a"].permissions = [("b", 0)]
        self.daemon.local.mkdir("/a")
        self.daemon.local.set_permissions("/a", "b0")
        self.daemon.local.watch("/", self.heard.add)
        self.clients = [Raw(self.daemon, domid) for domid in DOMAINS]
        self.open: list[Open] = []
        self.changes = 0

    def ask(self, domid: int, number: int, kind: int, path: str, argument: bytes) -> bytes:
        answer = self.clients[domid].ask(kind, path.encode() + b"\0" + argument, number)
        if kind == DIRECTORY and not answer.startswith(b"E"):
            return b",".join(sorted(answer.split(b"\0")[:-1]))
        return answer

    def committed(self, change: Callable[[State], None]) -> None:
        """The store has changed: every node that differs must have been told of, itself or by an ancestor's removal."""
        old = copy.deepcopy(self.state)
        change(self.state)
        for path in old.keys() | self.state.keys():
            if old.get(path) != self.state.get(path):
                told = path
                while told not in self.heard and told != "/":
                    told = above(told)
                # a node made on the way to another is told of by that one
                assert told != "/" or any(other.startswith(path + "/") for other in self.heard), path
        if old != self.state:
            self.changes += 1

    @rule(
        domid=st.sampled_from(DOMAINS),
        kind=st.sampled_from([READ, WRITE, WRITE, MKDIR, RM, DIRECTORY, GET_PERMS]),
        path=st.sampled_from(PATHS),
        value=st.binary(max_size=3),
    )
    def operate(self, domid: int, kind: int, path: str, value: bytes) -> None:
        self.heard.clear()
        argument = value if kind == WRITE else b""
        answer = self.ask(domid, 0, kind, path, argument)
        expected = b""

        def change(state: State) -> None:
            nonlocal expected
            expected = apply(state, domid, kind, path, argument)

        self.committed(change)
        assert answer == expected

    @rule(
        domid=st.sampled_from(DOMAINS),
        path=st.sampled_from(PATHS),
        rights=st.lists(st.tuples(st.sampled_from("nrwb"), st.sampled_from(DOMAINS)), min_size=1, max_size=3),
    )
    def share(self, domid: int, path: str, rights: list[tuple[str, int]]) -> None:
        self.heard.clear()
        argument = b"".join(f"{right}{who}".encode() + b"\0" for right, who in rights)
        answer = self.ask(domid, 0, SET_PERMS, path, argument)
        expected = b""

        def change(state: State) -> None:
            nonlocal expected
            expected = apply(state, domid, SET_PERMS, path, argument)

        self.committed(change)
        assert answer == expected

    @rule(target=transactions, domid=st.sampled_from(DOMAINS))
    def start(self, domid: int) -> Open:
        answer = self.clients[domid].ask(START)
        if sum(one.domid == domid for one in self.open) >= 10 and domid:
            assert answer == b"ENOSPC"
            return Open(domid, -1, {}, 0)
        one = Open(domid, int(answer[:-1]), copy.deepcopy(self.state), self.changes)
        self.open.append(one)
        return one

    @rule(
        one=transactions,
        kind=st.sampled_from([READ, WRITE, WRITE, MKDIR, RM, DIRECTORY, GET_PERMS, SET_PERMS]),
        path=st.sampled_from(PATHS),
        value=st.binary(max_size=3),
        right=st.sampled_from("nrwb"),
    )
    def inside(self, one: Open, kind: int, path: str, value: bytes, right: str) -> None:
        if one not in self.open:
            return
        argument = {WRITE: value, SET_PERMS: f"{right}{one.domid}\0".encode()}.get(kind, b"")
        answer = self.ask(one.domid, one.number, kind, path, argument)
        # its own copy, whatever others do
        assert answer == apply(one.state, one.domid, kind, path, argument)
        one.log.append((kind, path, argument, answer))

    @rule(one=consumes(transactions), commit=st.booleans())
    def end(self, one: Open, commit: bool) -> None:
        if one not in self.open:
            return
        self.open.remove(one)
        self.heard.clear()
        answer = self.clients[one.domid].ask(END, b"T\0" if commit else b"F\0", one.number)
        if not commit:
            assert answer == OK and not self.heard
        elif answer == b"EAGAIN":
            assert self.changes > one.commits, "EAGAIN without anybody in between"
            assert not self.heard
        else:
            assert answer == OK

            def replay(state: State) -> None:
                # as if it had run now, alone: nothing that it saw has changed, and no update of others is lost
                for kind, path, argument, seen in one.log:
                    assert apply(state, one.domid, kind, path, argument) == seen

            self.committed(replay)

    @invariant()
    def store_is_the_dictionary(self) -> None:
        local = self.daemon.local
        found: State = {}
        todo = ["/"]
        while todo:
            path = todo.pop()
            entries = [(text[0], int(text[1:])) for text in local.permissions(path)]
            found[path] = Entry(local.read(path).encode("latin-1"), entries)
            todo += [f"{path.rstrip('/')}/{child}" for child in local.directory(path)]
        assert found == self.state
        for domid in DOMAINS[1:]:
            owned = sum(entry.permissions[0][1] == domid for entry in self.state.values())
            assert self.daemon.nodes_owned(domid) == owned


StoreMachine.TestCase.settings = settings(
    max_examples=120, stateful_step_count=40, deadline=None, derandomize=True, print_blob=True
)
TestStore = StoreMachine.TestCase
