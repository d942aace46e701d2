"""The bench around the receiver of TLPs: beats in; everything it says, in order and with its cycle, against the oracle."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import cocotb
from cocotb.triggers import FallingEdge

from tb.unit.packed import Packed
from tb.unit.streams import PATTERNS, StreamSource, cycle, cycles, settle, start
from tb.unit.tlp import CFGRD, CFGWR, CPLD, LAST, Tlp
from tb.unit.tlp_rx.oracle import Entry, Oracle, Read

WORD: Final = Packed("ring:1 pio:1 frame:1 rx:1 addr:21 data:64 be:8")
ANY_MEMORY: Final = WORD.pack(ring=1, frame=1, rx=1)
RING_DONE: Final = Packed("valid:1 ep:6 slot:10 count:8 late:1")
DOORBELL: Final = Packed("valid:1 ep:6 big:1 producer:16")
ARM: Final = Packed("valid:1 ep:6 cq:3 index:16")
CPL_DONE: Final = Packed("valid:1 tag:8 last:1 late:1 status:9")
CTL: Final = Packed("posted:1 cfg:1 cfg_write:1 control:1 bad:1 addr:20 be:4 data:32 requester:16 tag:8 devfn:8 bus:8")
FC: Final = Packed("ph:8 pd:12 nph:8 npd:12")
POSTED, NON_POSTED = 32, 8
"""Header credits at reset."""
DATA: Final = 16
"""Data credits, of 16 bytes, for each posted header: the longest payload."""
CYCLES: Final = 2
"""From a TLP's last beat to what it says; one more when it says that it is late."""


@dataclass(frozen=True)
class Said:
    cycle: int
    entry: Entry
    late: int | None = None


class TB:
    """`send` queues TLPs; `check` waits for them and compares."""

    def __init__(self, dut: Any, seed: int, *, above_4g: bool = False, idle: str = "always") -> None:
        self.dut = dut
        self.random = random.Random(seed)
        top = 0x12_0000_0000 if above_4g else 0x4000_0000
        self.oracle = Oracle(bar2=top, bar4=top + (1 << 22))
        self.source: StreamSource
        self._idle = idle
        self._expected: list[tuple[int, Entry]] = []
        self._said: list[Said] = []
        self._tlps = 0
        self.owed: list[str] = []
        """Control accesses whose credit has not been given back."""
        self.given = [0, 0, 0]
        """Control accesses given back: posted, non-posted, with data."""

    async def start(self) -> None:
        dut = self.dut
        await start(dut, ("rx_i", "rx_valid_i", "set_i", "posted_done_i", "np_done_i", "np_data_i"))
        everybody = (1 << 64) - 1
        oracle = self.oracle
        for name, users in (("pushed", oracle.pushed), ("fetched", oracle.fetched), ("rx_pushed", oracle.rx_pushed),
                            ("rx_fetched", oracle.rx_fetched)):
            users |= {n for n in range(64) if self.random.random() < 0.7} | {0}
            getattr(dut, f"{name}_i").value = sum(1 << n for n in users) & everybody
        self.enable(on=True)
        dut.bar2_i.value, dut.bar4_i.value = oracle.bar2 >> 22, oracle.bar4 >> 20
        self.source = StreamSource(dut, "rx", PATTERNS[self._idle](self.random))
        cocotb.start_soon(self._watch())
        await cycles(dut, 1)

    def enable(self, *, on: bool) -> None:
        """Memory space."""
        self.oracle.enabled = on
        self.dut.mem_enable_i.value = int(on)

    async def read(self, read: Read) -> None:
        """A read becomes outstanding."""
        dut = self.dut
        for name, value in (("tag", read.tag), ("rid", read.requester), ("fetch", read.memory == "ring"),
                            ("rx", read.memory == "rx"), ("dest", read.dest), ("left", read.left),
                            ("lower", read.address & 3)):
            getattr(dut, f"set_{name}_i").value = int(value)
        dut.set_i.value = 1
        await FallingEdge(dut.clk_i)
        dut.set_i.value = 0
        self.oracle.reads[read.tag] = read

    def send(self, tlps: Iterable[Tlp]) -> None:
        for tlp in tlps:
            self._expected += [(self._tlps, entry) for entry in self.oracle.take(tlp)]
            self._tlps += 1
            self.source.queue(tlp.beats())

    async def check(self) -> None:
        """Wait until all is taken; then all that was said is what the TLPs mean, in their order and in time."""
        await settle(self.dut, lambda: self.source.idle, "the receiver takes all beats")
        await cycles(self.dut, CYCLES + 2)
        ends = [now for now, beat in self.source.taken if beat & LAST]
        for said, (number, entry) in zip(self._said, self._expected, strict=False):
            assert said.entry == entry, f"cycle {said.cycle}: {said.entry}, not {entry}"
            after = said.cycle - ends[number]
            if said.late is not None:
                assert after == CYCLES + said.late, f"{entry}: {after} cycles after its last beat, late {said.late}"
            elif entry[0] != "byte":
                assert after == CYCLES, f"{entry}: {after} cycles after its last beat"
        assert len(self._said) == len(self._expected), f"{len(self._said)} of {len(self._expected)} are said"
        self.owed += [str(said.entry[1]) for said in self._said if said.entry[0] == "ctl"]
        self._said.clear()
        self._expected.clear()
        self._check_credits()

    async def give_back(self) -> None:
        """The control queue is through with all accesses."""
        dut = self.dut
        self.random.shuffle(self.owed)
        for access in self.owed:
            posted, data = access == "write", access == CFGWR
            dut.posted_done_i.value, dut.np_done_i.value, dut.np_data_i.value = int(posted), int(not posted), int(data)
            self.given[0] += posted
            self.given[1] += not posted
            self.given[2] += data
            await FallingEdge(dut.clk_i)
            dut.posted_done_i.value = dut.np_done_i.value = dut.np_data_i.value = 0
            self._check_credits()
        self.owed.clear()

    def _check_credits(self) -> None:
        """Limits are what was granted at reset and what has been given back since, modulo their fields."""
        posted, non_posted, data = self.given
        limits = FC.unpack(int(self.dut.fc_o.value))
        expected = {"ph": POSTED + self.oracle.headers + posted, "pd": POSTED * DATA + self.oracle.data + posted,
                    "nph": NON_POSTED + non_posted, "npd": NON_POSTED + data}
        wrapped = {name: value % (256 if name.endswith("h") else 4096) for name, value in expected.items()}
        assert limits == wrapped, f"{limits}, not {wrapped}"

    async def _watch(self) -> None:
        dut = self.dut
        while True:
            await FallingEdge(dut.clk_i)
            assert int(dut.rx_ready_o.value), "the receiver is not ready"
            now = cycle()
            word = int(dut.word_o.value)
            if word & ANY_MEMORY:
                self._said += [Said(now, entry) for entry in _bytes(WORD.unpack(word))]
            events = int(dut.event_o.value)
            if events:
                self._said += [Said(now, *said) for said in self._events(events)]
            done = CPL_DONE.unpack(int(dut.cpl_o.value))
            if done["valid"]:
                self._said.append(Said(now, ("cpl", done["tag"], done["last"], done["status"]), done["late"]))

    def _events(self, events: int) -> list[tuple[Entry, int | None]]:
        dut = self.dut
        said: list[tuple[Entry, int | None]] = []
        if events & 1:
            ring = RING_DONE.unpack(int(dut.ring_done_o.value))
            said.append((("ring_done", ring["ep"], ring["slot"], ring["count"]), ring["late"]))
        for bit, name in ((2, "doorbell"), (4, "rx_doorbell")):
            if events & bit:
                bell = DOORBELL.unpack(int(getattr(dut, f"{name}_o").value))
                said.append(((name, bell["ep"], bell["big"], bell["producer"]), None))
        if events & 8:
            arm = ARM.unpack(int(dut.arm_o.value))
            said.append((("arm", arm["ep"], arm["cq"], arm["index"]), None))
        if events & 16:
            said.append((_access(CTL.unpack(int(dut.ctl_o.value))), None))
        said += [((name,), None) for bit, name in ((32, "dropped"), (64, "unexpected")) if events & bit]
        return said


def _bytes(word: dict[str, int]) -> list[Entry]:
    memories = [name for name in ("ring", "frame", "rx") if word[name]]
    return [("byte", memory, word["pio"], word["addr"] + n, word["data"] >> 8 * n & 0xFF)
            for memory in memories for n in range(8) if word["be"] >> n & 1]


def _access(ctl: dict[str, int]) -> Entry:
    """An access, and of it what counts."""
    who = ctl["requester"], ctl["tag"]
    if ctl["posted"]:
        return "ctl", "write", ctl["addr"], ctl["be"], ctl["data"]
    if ctl["bad"]:
        return "ctl", "bad", *who
    if ctl["cfg"]:
        write = bool(ctl["cfg_write"])
        return ("ctl", CFGWR if write else CFGRD, *who, ctl["bus"] << 8 | ctl["devfn"], ctl["addr"], ctl["be"],
                ctl["data"] if write else None)
    return ("ctl", "read", *who, ctl["addr"], ctl["be"]) if ctl["control"] else ("ctl", "zero", *who)


def completions(read: Read, data: bytes, cuts: Sequence[int], completer: int = 0x0008) -> list[Tlp]:
    """The answer to a read, cut at these byte addresses: each a multiple of RCB inside the range."""
    end = read.address + len(data)
    edges = [read.address, *cuts, end]
    tlps = []
    for at, to in pairwise(edges):
        skip = at & 3
        part = bytes(skip) + data[at - read.address : to - read.address]
        part = part.ljust(-(-len(part) // 4) * 4, b"\xee")
        tlps.append(Tlp(CPLD, completer, read.tag, length=len(part) // 4, data=part, byte_count=(end - at) & 0xFFF,
                        requester=read.requester, lower=at & 0x7F))
    return tlps
