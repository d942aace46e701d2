"""Each rule of the protocol checkers: a planted violation is caught and named, good traffic is let pass."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Final

import pytest

from tb.cosim.checkers import generate
from tests.cosim_checkers.bench import (
    IDLE_CYCLES,
    LIMIT,
    Cycle,
    Said,
    Tlp,
    completion,
    config_read,
    config_write,
    line,
    memory,
    run,
    set_up,
    with_fcs,
)

READ: Final = memory("read", 0x1_0000_1010, 256, tag=3)
WRITE: Final = memory("write", 0x2003, 100)
FRAME: Final = with_fcs(bytes(range(100)))
GROUP: Final = bytes.fromhex("0180C2000001 020000000001 8808 0001 FFFF")
PAUSE: Final = with_fcs(GROUP)
FAR: Final = 1 << 20
"""Of the tests' own counters, more than any case takes."""


def up(*tlps: Tlp) -> list[Cycle]:
    return [*set_up(), *chain.from_iterable(tlp.on("up") for tlp in tlps)]


def down(*tlps: Tlp) -> list[Cycle]:
    return [*set_up(), *chain.from_iterable(tlp.on("dn") for tlp in tlps)]


def answered(request: Tlp, *answers: Tlp) -> list[Cycle]:
    """A read of the device and what comes back."""
    return [*up(request), *chain.from_iterable(tlp.on("dn") for tlp in answers)]


def through(*events: tuple[str, Tlp]) -> list[Cycle]:
    """TLPs on the named streams, one after the other."""
    return [*set_up(), *chain.from_iterable(tlp.on(stream) for stream, tlp in events)]


def entry(length: int, tag: int = 0x80) -> Tlp:
    """The write of one receive completion entry that tells of a frame of so many bytes."""
    swapped = int.from_bytes(length.to_bytes(2, "little"), "big") << 16
    return memory("write", 0x9000, 16, tag=tag, payload=[0, 0, swapped, 0])


def posted(tlp: Tlp, **pins: int) -> list[Cycle]:
    """A write whose entries the NIC counts as visible in the cycle of its last beat."""
    cycles = tlp.on("up")
    cycles[-2] |= pins
    return cycles


def spoil(cycles: list[Cycle], at: int, **pins: int) -> list[Cycle]:
    """The same with pins of the n-th busy cycle changed."""
    busy = [number for number, cycle in enumerate(cycles) if cycle][at]
    return [cycle | pins if number == busy else cycle for number, cycle in enumerate(cycles)]


def returned(headers: int, data: int) -> int:
    """Limits after so many posted credits have come back."""
    return LIMIT + (headers << 32) + (data << 20)


def fill(tlp: Tlp, times: int) -> list[Cycle]:
    return [*set_up(), *chain.from_iterable(tlp.on("up") for _ in range(times))]


ENTRY_PINS: Final = {"recv_posted": 1, "ep": 5, "cq": 1, "index": 1, "count": 1}
ARM: Final[list[Cycle]] = [{"arm": 1, "ep": 5, "cq": 1, "index": 0}]
INTERRUPT: Final[list[Cycle]] = [{"irq": 1, "ep": 5}]
PAYLOAD: Final = memory("write", 0x7002, 60)

BROKEN: Final[list[tuple[str, str, Callable[[], list[Cycle]]]]] = [
    ("STR-VALID", "withdrawn", lambda: [{"valid": 1, "data": 5}, {"data": 5}]),
    ("STR-DATA", "changed", lambda: [{"valid": 1, "data": 5}, {"valid": 1, "ready": 1, "data": 6}]),
    ("TLP-TYPE", "I/O read", lambda: up(Tlp((0x02000001, 0x0102000F, 0x1000)))),
    ("TLP-TYPE", "configuration request of a device", lambda: up(Tlp((0x04000001, 0x0100000F, 0x01000004)))),
    ("TLP-TYPE", "configuration request of type 1", lambda: down(config_read(4).set(0, 0, 0x01000000))),
    ("TLP-SIZE", "a DW too few", lambda: up(WRITE.cut(len(WRITE.dws) - 1))),
    ("TLP-SIZE", "a DW too many", lambda: up(Tlp((*WRITE.dws, 0)))),
    ("TLP-SIZE", "no third DW", lambda: up(READ.cut(2))),
    ("TLP-HALF", "in the middle", lambda: spoil(up(Tlp((*WRITE.dws, 0))), len(set_up()) - 3 + 4, up_half=1)),
    ("TLP-FIELDS", "traffic class", lambda: up(WRITE.set(0, 0, 1 << 20))),
    ("TLP-FIELDS", "digest", lambda: up(WRITE.set(0, 0, 1 << 15))),
    ("TLP-FIELDS", "no snoop", lambda: up(WRITE.set(0, 0, 1 << 12))),
    ("TLP-FIELDS", "address type", lambda: up(WRITE.set(0, 0, 1 << 10))),
    ("TLP-FIELDS", "reserved, downstream", lambda: down(memory("write", 0x2000, 4, requester=0).set(0, 0, 1 << 23))),
    ("TLP-EP", "poisoned by the device", lambda: up(WRITE.set(0, 0, 1 << 14))),
    ("TLP-EP", "poisoned without data", lambda: answered(READ, completion(256, 0x10, 0, tag=3, status=1).set(0, 0, 1 << 14))),
    ("TLP-BE", "last of one DW", lambda: up(memory("write", 0x2000, 4).set(1, 0, 0xF0))),
    ("TLP-BE", "first of many DW is 0", lambda: up(WRITE.set(1, 0xF, 0))),
    ("TLP-BE", "last of many DW is 0", lambda: up(WRITE.set(1, 0xF0, 0))),
    ("TLP-BE", "hole in the first", lambda: up(WRITE.set(1, 0xF, 0xA))),
    ("TLP-BE", "the last does not begin at its start", lambda: up(WRITE.set(1, 0xF0, 0xE0))),
    ("TLP-BE", "hole in 2 DW at an odd one", lambda: up(memory("write", 0x2004, 8).set(1, 0xF, 0x5))),
    ("TLP-4K", "write", lambda: up(memory("write", 0x2FF0, 20))),
    ("TLP-4K", "read", lambda: up(memory("read", 0x1_0000_2F00, 260, tag=3))),
    ("TLP-MPS", "write", lambda: up(memory("write", 0x2000, 132))),
    ("TLP-MPS", "completion", lambda: answered(READ, completion(256, 0x10, 64, tag=3))),
    ("TLP-MRRS", "516 of 512", lambda: up(memory("read", 0x2000, 516))),
    ("TLP-ADDRESS", "4 DW below 4 GiB", lambda: up(memory("read", 0x1_0000_2000, 4).set(2, 0xFFFF_FFFF, 0))),
    ("TLP-ADDRESS", "bit 0", lambda: up(WRITE.set(2, 0, 1))),
    ("TLP-ID", "another bus", lambda: up(memory("write", 0x2000, 4, requester=0x0202))),
    ("TLP-ID", "function above the endpoints", lambda: up(memory("read", 0x2000, 4, requester=0x0141))),
    ("TLP-ID", "not the root complex", lambda: down(memory("write", 0x2000, 4, requester=0x0100))),
    ("TLP-ID", "completer of another bus", lambda: [*down(memory("read", 0x2000, 4, requester=0)),
                                                    *completion(4, 0, 1, requester=0, completer=0x0200).on("up")]),
    ("TLP-CPL", "unknown status", lambda: answered(READ, completion(256, 0x10, 0, tag=3, status=3))),
    ("TLP-CPL", "error with data", lambda: answered(READ, completion(256, 0x10, 12, tag=3, status=1))),
    ("TLP-CPL", "BCM", lambda: answered(READ, completion(256, 0x10, 28, tag=3).set(1, 0, 1 << 12))),
    ("TLP-CPL", "length without data", lambda: answered(READ, completion(256, 0x10, 0, tag=3, status=1).set(0, 0, 1))),
    ("TLP-CFG", "last byte enables", lambda: down(config_read(4).set(1, 0, 0x10))),
    ("TLP-CFG", "two DW", lambda: down(config_read(4).set(0, 0, 2).set(0, 1, 0))),
    ("TLP-CFG", "reserved bits", lambda: down(config_read(4).set(2, 0, 0x1000))),
    ("TLP-MSI", "two DW", lambda: up(memory("write", 0xFEE0_0000, 8, tag=0xC0))),
    ("TLP-MSI", "a byte", lambda: up(memory("write", 0xFEE0_0000, 1, tag=0xC0))),
    ("CPL-TAG", "still outstanding", lambda: [cycle | {"timeout": FAR} for cycle in up(READ, READ)]),
    ("CPL-REQUEST", "nobody asked", lambda: answered(READ, completion(256, 0x10, 28, tag=4))),
    ("CPL-REQUEST", "another requester", lambda: answered(READ, completion(256, 0x10, 28, tag=3, requester=0x0103))),
    ("CPL-REQUEST", "answered before", lambda: answered(READ, *[completion(256, 0x10, 0, tag=3, status=1)] * 2)),
    ("CPL-KIND", "read without data", lambda: answered(READ, completion(256, 0x10, 0, tag=3))),
    ("CPL-KIND", "configuration write with data", lambda: [*down(config_write(4, 0, tag=1)),
                                                           *completion(4, 0, 1, requester=0, tag=1, completer=0x100).on("up")]),
    ("CPL-ORDER", "second piece first", lambda: answered(READ, completion(208, 0x40, 32, tag=3))),
    ("CPL-COUNT", "a byte too many", lambda: answered(READ, completion(257, 0x10, 28, tag=3))),
    ("CPL-COUNT", "error", lambda: answered(READ, completion(255, 0x10, 0, tag=3, status=1))),
    ("CPL-COUNT", "configuration", lambda: [*down(config_read(4, tag=1)),
                                            *completion(3, 0, 1, requester=0, tag=1, completer=0x100).on("up")]),
    ("CPL-LOWER", "a DW off", lambda: answered(READ, completion(256, 0x14, 28, tag=3))),
    ("CPL-LOWER", "bytes of the first DW", lambda: answered(memory("read", 0x2001, 8), completion(8, 0x00, 3))),
    ("CPL-DATA", "a DW too many", lambda: answered(memory("read", 0x2000, 8), completion(8, 0x00, 3))),
    ("CPL-RCB", "first of two", lambda: answered(READ, completion(256, 0x10, 27, tag=3))),
    ("CPL-RCB", "second of three", lambda: answered(READ, completion(256, 0x10, 28, tag=3),
                                                    completion(144, 0x00, 15, tag=3))),
    ("FC-LIMIT", "posted headers", lambda: fill(memory("write", 0x2000, 4), 17)),
    ("FC-LIMIT", "posted data", lambda: [cycle | {"limit": 16 << 32 | 20 << 20 | 8 << 12 | 4}
                                         for cycle in fill(memory("write", 0x2000, 128), 3)]),
    ("FC-LIMIT", "non-posted headers", lambda: up(*(memory("read", 0x2000, 4, tag=tag) for tag in range(9)))),
    ("FC-GRANT", "one too many", lambda: [*up(WRITE), *[{"limit": returned(2, 7)} | c for c in WRITE.on("up")]]),
    ("FC-GRANT", "more than half the range at first", lambda: [cycle | {"limit": 128 << 32 | 256 << 20} for cycle in up(WRITE)]),
    ("FC-LEAK", "a header", lambda: [*up(WRITE), *[{"limit": returned(0, 7)}] * (IDLE_CYCLES + 1)]),
    ("FC-LEAK", "data", lambda: [*up(WRITE), *[{"limit": returned(1, 6)}] * (IDLE_CYCLES + 1)]),
    ("ORD-ORIGIN", "never sent", lambda: through(("up", WRITE), ("mem", memory("write", 0x2003, 99)))),
    ("ORD-ORIGIN", "twice", lambda: through(("up", WRITE), ("mem", WRITE), ("mem", WRITE))),
    ("ORD-POSTED", "write by write", lambda: through(
        ("up", memory("write", 0x2000, 4)), ("up", memory("write", 0x3004, 4)),
        ("mem", memory("write", 0x3004, 4)), ("mem", memory("write", 0x2000, 4)))),
    ("ORD-POSTED", "write by read", lambda: through(
        ("up", memory("write", 0x2000, 4)), ("up", memory("read", 0x3004, 4)),
        ("mem", memory("read", 0x3004, 4)), ("mem", memory("write", 0x2000, 4)))),
    ("ORD-POSTED", "write of anybody by completion", lambda: through(
        ("dn", memory("read", 0x4000, 4, requester=0)), ("up", memory("write", 0x2000, 4)),
        ("up", completion(4, 0, 1, requester=0, completer=0x100)),
        ("mem", completion(4, 0, 1, requester=0, completer=0x100)), ("mem", memory("write", 0x2000, 4)))),
    ("ORD-PAYLOAD", "a byte is missing", lambda: up(PAYLOAD, entry(61))),
    ("ORD-PAYLOAD", "entry before its payload", lambda: up(PAYLOAD, entry(60), entry(60), PAYLOAD)),
    ("ORD-PAYLOAD", "payload of another function", lambda: up(memory("write", 0x7002, 60, requester=0x0103), entry(60))),
    ("ORD-VISIBLE", "before the write has left",
     lambda: [*up(PAYLOAD), *ARM, ENTRY_PINS, *entry(60).on("up")]),
    ("ORD-VISIBLE", "more than were written", lambda: [*up(PAYLOAD), *posted(entry(60), **(ENTRY_PINS | {"count": 2}))]),
    ("ORD-INTERRUPT", "before its entry", lambda: [*up(PAYLOAD), *ARM, *INTERRUPT, *posted(entry(60), **ENTRY_PINS)]),
    ("ORD-INTERRUPT", "not armed", lambda: [*up(PAYLOAD), *posted(entry(60), **ENTRY_PINS), *INTERRUPT]),
    ("ORD-INTERRUPT", "twice", lambda: [*up(PAYLOAD), *ARM, *posted(entry(60), **ENTRY_PINS), *INTERRUPT, *INTERRUPT]),
    ("ORD-INTERRUPT", "of a restarted endpoint",
     lambda: [*up(PAYLOAD), *ARM, {"start": 1, "ep": 5}, *posted(entry(60), **ENTRY_PINS), *INTERRUPT]),
    ("ETH-FRAMING", "a frame in a frame", lambda: spoil(line([FRAME], "tx"), 3, tx_first=1, tx_data=0xD555_5555_5555_5555)),
    ("ETH-FRAMING", "short beat before the last", lambda: line_with_short_beat()),
    ("ETH-FRAMING", "a beat outside", lambda: [{"tx_valid": 1, "tx_bytes": 8}]),
    ("ETH-PREAMBLE", "no delimiter", lambda: spoil(line([FRAME], "tx"), 0, tx_data=0x5555_5555_5555_5555)),
    ("ETH-MIN", "63 bytes", lambda: line([short(63)], "tx")),
    ("ETH-MAX", "9019 bytes and FCS", lambda: line([with_fcs(bytes(9019))], "tx")),
    ("ETH-FCS", "a bit of the frame", lambda: spoil(line([FRAME], "tx"), 2, tx_data=1)),
    ("ETH-FCS", "inverted", lambda: line([FRAME[:-4] + bytes(255 - b for b in FRAME[-4:])], "tx")),
    ("ETH-GAP", "11 byte times", lambda: line([FRAME, FRAME], "tx", gap=7)),
    ("ETH-GAP", "on the receive side too", lambda: [c | {"judged": 1} for c in line([FRAME, FRAME], "rx", gap=7)]),
    ("ETH-RATE", "a beat in every cycle", lambda: [c for c in line([FRAME], "tx") if c]),
    ("ETH-HOLE", "a cycle without a beat", lambda: late(line([FRAME], "tx"), 4, 2)),
    ("ETH-PAUSE", "to a station", lambda: line([with_fcs(bytes(6) + GROUP[6:])], "tx")),
    ("ETH-PAUSE", "too long", lambda: line([with_fcs(GROUP + bytes(60))], "tx")),
    ("ETH-PAUSE", "something behind the time", lambda: line([with_fcs(GROUP + b"\1")], "tx")),
    ("ETH-PAUSE", "something at the end", lambda: line([with_fcs(GROUP.ljust(59, b"\0") + b"\1")], "tx")),
    ("ETH-VERDICT", "a good frame is refused", lambda: judge(line([FRAME], "rx"), judged=1, bad=1)),
    ("ETH-VERDICT", "a bad FCS is accepted", lambda: judge(spoil(line([FRAME], "rx"), 2, rx_data=1), judged=1)),
    ("ETH-VERDICT", "a runt is accepted", lambda: judge(line([short(63)], "rx"), judged=1)),
    ("ETH-VERDICT", "an oversize frame is accepted", lambda: judge(line([with_fcs(bytes(9019))], "rx"), judged=1)),
    ("ETH-VERDICT", "an error of the line is ignored", lambda: judge(spoil(line([FRAME], "rx"), 2, rx_error=1), judged=1)),
    ("ETH-VERDICT", "no verdict", lambda: judge(line([FRAME], "rx"))),
]
ALSO: Final = {
    ("ETH-FRAMING", "a frame in a frame"): {"ETH-FCS"},
}
"""What a violation breaks beside its own rule."""


def short(size: int) -> bytes:
    """A frame of so few bytes with a right FCS."""
    return bytes(size - 4) + zlib.crc32(bytes(size - 4)).to_bytes(4, "little")


def line_with_short_beat() -> list[Cycle]:
    """A frame whose third beat has 5 bytes; FCS and pace are right."""
    cycles: list[Cycle] = []
    time = 0
    chunks = [FRAME[:8], FRAME[8:13], *(FRAME[at : at + 8] for at in range(13, len(FRAME), 8))]
    beats = [(0xD555_5555_5555_5555, 8, 1, 0)]
    beats += [(int.from_bytes(c, "little"), len(c), 0, int(n == len(chunks) - 1)) for n, c in enumerate(chunks)]
    for data, size, first, last in beats:
        cycles += [Cycle() for _ in range(time // 5 - len(cycles))]
        cycles.append({"tx_valid": 1, "tx_data": data, "tx_bytes": size, "tx_first": first, "tx_last": last})
        time += size
    return cycles


def late(cycles: list[Cycle], at: int, by: int) -> list[Cycle]:
    """The same with the n-th busy cycle and all behind it later."""
    busy = [number for number, cycle in enumerate(cycles) if cycle][at]
    return [*cycles[:busy], *[Cycle()] * by, *cycles[busy:]]


def judge(cycles: list[Cycle], **pins: int) -> list[Cycle]:
    """The receiver's verdict in the cycle after the last beat."""
    last = max(number for number, cycle in enumerate(cycles) if cycle)
    return [cycle | pins if number == last + 1 else cycle for number, cycle in enumerate([*cycles, Cycle()])]


@pytest.mark.parametrize(("rule", "what", "cycles"), BROKEN, ids=[f"{rule} {what}" for rule, what, _ in BROKEN])
def test_a_planted_violation_is_caught_and_named(rule: str, what: str, cycles: Callable[[], list[Cycle]]) -> None:
    said = run(cycles())
    assert set(said.broken) == {rule} | ALSO.get((rule, what), set()), said.broken
    (entry,) = [known for known in generate.load() if known.ident == rule]
    assert entry.line in said.broken[rule]


def test_every_rule_has_a_planted_violation() -> None:
    assert {rule for rule, _, _ in BROKEN} == {rule.ident for rule in generate.load()}


def good() -> dict[str, list[Cycle]]:
    """Traffic that breaks nothing and touches every rule."""
    wide = [*set_up(256, 4096), *memory("write", 0x7_0000_0F00, 256).on("up"), *memory("read", 0x0, 4096, tag=1).on("up")]
    pieces = [completion(256, 0x10, 12, tag=3), completion(208, 0x40, 32, tag=3), completion(80, 0x40, 20, tag=3)]
    interrupt = memory("write", 0xFEE0_0000, 4, tag=0xC0)
    dropped = memory("write", 0x5000, 4, tag=1)
    return {
        "stream": [{"valid": 1, "data": 5}, {"valid": 1, "data": 5}, {"valid": 1, "ready": 1, "data": 5},
                   {"valid": 1, "ready": 1, "data": 6}, {"valid": 1, "data": 7}, {"valid": 1, "ready": 1, "data": 7}, {}],
        "limits": wide,
        "enables": up(memory("write", 0x2001, 1), memory("write", 0x2003, 2), memory("write", 0x2000, 8).set(1, 0xFF, 0x5A),
                      memory("read", 0x2000, 4).set(1, 0xF, 0), memory("write", 0x2FFC, 4)),
        "pieces": answered(READ, *pieces),
        "a whole answer": answered(READ, completion(256, 0x10, 28, tag=3), completion(144, 0x00, 32, tag=3),
                                   completion(16, 0x00, 4, tag=3)),
        "unaligned": answered(memory("read", 0x2003, 2), completion(2, 0x03, 2)),
        "one byte of nothing": answered(memory("read", 0x2000, 4).set(1, 0xF, 0), completion(1, 0, 1)),
        "errors": answered(READ, completion(256, 0x10, 12, tag=3).set(0, 0, 1 << 14), completion(208, 0x40, 0, tag=3, status=4)),
        "a tag that was given up": [cycle | {"timeout": 8} for cycle in [*up(READ), *[Cycle()] * 9, *READ.on("up")]],
        "accesses": [*down(memory("read", 0x4008, 4, requester=0, tag=2), config_read(4, tag=3), config_write(8, 1, tag=4)),
                     *completion(4, 0x08, 1, requester=0, tag=2, completer=0x100).on("up"),
                     *completion(4, 0, 1, requester=0, tag=3, completer=0x100).on("up"),
                     *completion(4, 0, 0, requester=0, tag=4, completer=0x100, status=1).on("up")],
        "credits": [*fill(memory("write", 0x2000, 4), 16),
                    *[{"limit": returned(16, 16)} | c for c in memory("write", 0x2000, 4).on("up")],
                    *[{"limit": returned(17, 17)}] * (IDLE_CYCLES + 4)],
        "passing": through(("up", WRITE), ("up", memory("write", 0x3000, 4, requester=0x0103)), ("up", READ),
                           ("mem", memory("write", 0x9_3000, 4, requester=0x0103)), ("mem", WRITE), ("mem", READ)),
        "a write passes a read": through(("up", READ), ("up", WRITE), ("mem", WRITE), ("mem", READ)),
        "a dropped write": through(("up", dropped), ("up", WRITE), ("mem", WRITE), ("up", dropped), ("mem", dropped)),
        "frame, entry, interrupt": [*up(PAYLOAD), *ARM, *posted(entry(60), **ENTRY_PINS), *interrupt.on("up"), *INTERRUPT,
                                    {"arm": 1, "ep": 5, "cq": 1, "index": 0}, *INTERRUPT],
        "a refused entry": [*up(PAYLOAD), *ARM, ENTRY_PINS | {"refused": 1}, *INTERRUPT],
        "send entries": [*set_up(), *posted(memory("write", 0x9000, 32, tag=0x41), send_posted=1, ep=1, count=2, index=2)],
        "line": line([FRAME, PAUSE, with_fcs(b""), with_fcs(bytes(9018)), with_fcs(bytes(61))], "tx", start=3),
        "frames from the line": judge(line([FRAME], "rx"), judged=1),
        "a bad frame from the line": judge(spoil(line([FRAME], "rx"), 2, rx_data=1), judged=1, bad=1),
        "a late frame": [*line([FRAME], "tx"), *[Cycle()] * 7, *line([FRAME], "tx")],
    }


@pytest.mark.parametrize("name", good())
def test_good_traffic_breaks_no_rule(name: str) -> None:
    assert run(good()[name]).broken == {}


def test_the_report_counts_each_rule() -> None:
    applied: dict[str, int] = {}
    for cycles in good().values():
        for (_, rule), times in run(cycles).applied.items():
            applied[rule] = applied.get(rule, 0) + times
    assert set(applied) == {rule.ident for rule in generate.load()}
    assert all(applied.values()), [rule for rule, times in applied.items() if not times]
    exact = run(up(WRITE, WRITE)).applied
    assert (exact["up", "TLP-4K"], exact["mem", "TLP-4K"]) == (2, 0)


def test_checkers_that_are_off_say_nothing() -> None:
    said: Said = run([cycle | {"enable": 0} for cycle in up(WRITE.set(0, 0, 1 << 14))], enable=False)
    assert said == Said({}, {})


def test_generated_files_are_fresh() -> None:
    assert generate.stale() == []


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('[[rule]]\nid = "A-B"\nchecker = "tlp"\ntext = "No."\n', "has id, checker, text; must have"),
        ('[[rule]]\nid = "AB"\nchecker = "tlp"\ntext = "No."\nspec = "x"\n', "is not NAME-NAME"),
        ('[[rule]]\nid = "A-B"\nchecker = "?"\ntext = "No."\nspec = "x"\n', "is none of stream"),
        ('[[rule]]\nid = "A-B"\nchecker = "tlp"\ntext = "No"\nspec = "x"\n', "text must be a sentence"),
        ('[[rule]]\nid = "A-B"\nchecker = "tlp"\ntext = "No."\nspec = "x"\n' * 2, "rule 2: id 'A-B' is not NAME-NAME in capitals, or"),
    ],
)
def test_a_bad_rule_is_named(text: str, complaint: str, tmp_path: Path) -> None:
    source = tmp_path / "rules.toml"
    source.write_text(text)
    with pytest.raises(generate.RuleError, match=complaint):
        generate.load(source)
