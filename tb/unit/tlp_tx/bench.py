"""The bench around the sender of TLPs: three sources, a sink, and in each cycle the oracle of who is next."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass
from typing import Any, Final

import cocotb
from cocotb.triggers import FallingEdge, ReadOnly

from tb.unit.mwr import MwrSource, Write
from tb.unit.packed import Packed
from tb.unit.streams import PATTERNS, StreamSink, StreamSource, Word, cycle, cycles, settle, start
from tb.unit.tlp import CPL, CPLD, LAST, MRD, Tlp, enabled_bytes, parse

COMPLETION: Final = Packed("has_data:1 status:3 requester:16 tag:8 lower:7 bytes:12 data:32")
REQUEST: Final = Packed("rid:16 tag:8 addr:64 len:13 fetch:1 rx:1 first:1 ep:6 index:16")
FC: Final = Packed("ph:8 pd:12 nph:8 npd:12")
BUS: Final = 0x42
SENT: Final = ("fetch", "rx", "first", "ep", "index", "len")


@dataclass
class Credits:
    """Cumulative, without wrapping."""

    ph: int = 0
    pd: int = 0
    nph: int = 0


def units(write: Write) -> int:
    """Data credits of a write: 16 bytes each."""
    return -(-len(write.data) // 16)


class TB:
    """`limits` are what the link partner has granted; `grant` adds to them."""

    def __init__(self, dut: Any, seed: int, *, idle: str = "always", pressure: str = "always") -> None:
        self.dut = dut
        self.random = random.Random(seed)
        self._patterns = PATTERNS[idle], PATTERNS[pressure]
        self.limits, self.used = Credits(), Credits()
        self.queued: dict[str, deque[Any]] = {"cpl": deque(), "mwr": deque(), "mrd": deque()}
        """What each source has still to send."""
        self.order: list[str] = []
        self._beats: list[int] = []
        self._current: Any = None
        self._busy = False
        self._next: str | None = None
        self._write_last = False

    async def start(self) -> None:
        dut, (idle, pressure) = self.dut, self._patterns
        await start(dut, ("fc_i", "cpl_i", "cpl_valid_i", "mwr_valid_i", "mwr_i", "mwr_data_i", "mrd_i", "mrd_valid_i",
                          "tx_ready_i"))
        dut.bus_i.value = BUS
        self.cpl = StreamSource(dut, "cpl", idle(self.random))
        self.mrd = StreamSource(dut, "mrd", idle(self.random))
        self.mwr = MwrSource(dut, "mwr", idle(self.random))
        StreamSink(dut, "tx", pressure(self.random), self._beat)
        cocotb.start_soon(self._watch())

    def grant(self, ph: int = 0, pd: int = 0, nph: int = 0) -> None:
        limits = self.limits
        limits.ph, limits.pd, limits.nph = limits.ph + ph, limits.pd + pd, limits.nph + nph
        self.dut.fc_i.value = FC.pack(ph=limits.ph % 256, pd=limits.pd % 4096, nph=limits.nph % 256, npd=0)

    def complete(self, **fields: int) -> None:
        self.queued["cpl"].append(fields)
        self.cpl.queue([COMPLETION.pack(**fields)])

    def write(self, write: Write) -> None:
        self.queued["mwr"].append(write)
        self.mwr.queue(write)

    def read(self, **fields: int) -> None:
        self.queued["mrd"].append(fields)
        self.mrd.queue([REQUEST.pack(**fields)])

    @property
    def done(self) -> bool:
        return self.cpl.idle and self.mwr.idle and not any(self.queued.values()) and not self._busy

    async def finish(self) -> None:
        await settle(self.dut, lambda: self.done, "everything offered leaves")
        await cycles(self.dut, 4)

    def _ok(self, source: str) -> bool:
        """Its oldest has credits."""
        if source == "cpl":
            return True
        if source == "mrd":
            return self.limits.nph - self.used.nph >= 1
        write: Write = self.queued["mwr"][0]
        return self.limits.ph - self.used.ph >= 1 and self.limits.pd - self.used.pd >= units(write)

    async def _watch(self) -> None:
        """In every cycle without a TLP: who is next. It must be offered in the next cycle, and nobody else."""
        dut = self.dut
        while True:
            await FallingEdge(dut.clk_i)
            await ReadOnly()
            valid = bool(int(dut.tx_valid_o.value))
            assert valid == (self._busy or self._next is not None), f"cycle {cycle()}: {self._next} is next, offered {valid}"
            if not self._busy and self._next is not None:
                self._begin(self._next)
            if self._busy:
                self._finish_beat()
                continue
            there = {name: bool(int(getattr(dut, f"{name}_valid_i").value)) and self._ok(name) for name in ("cpl", "mwr", "mrd")}
            turns = ("cpl", "mrd", "mwr") if self._write_last else ("cpl", "mwr", "mrd")
            self._next = next((name for name in turns if there[name]), None)

    def _begin(self, source: str) -> None:
        self._busy, self._next = True, None
        self.order.append(source)
        self._current = self.queued[source].popleft()
        if source == "mwr":
            self.used.ph += 1
            self.used.pd += units(self._current)
            self._write_last = True
        elif source == "mrd":
            self.used.nph += 1
            self._write_last = False

    def _finish_beat(self) -> None:
        """The cycle's last beat, if it is taken, ends the TLP: its source hears of it then and only then."""
        dut = self.dut
        ends = bool(int(dut.tx_o.value) & LAST) and bool(int(dut.tx_ready_i.value))
        source = self.order[-1]
        heard = {"cpl": int(dut.cpl_ready_o.value), "mwr": int(dut.mwr_done_o.value), "mrd": int(dut.mrd_sent_o.value)}
        assert heard == {name: int(ends and name == source) for name in heard}, f"cycle {cycle()}: {source}: {heard}"
        if heard["mrd"]:
            for name in SENT:
                found, wanted = int(getattr(dut, f"mrd_sent_{name}_o").value), self._current[name]
                assert found == wanted, f"cycle {cycle()}: mrd_sent_{name}_o is {found}, not {wanted}"
        self._busy = not ends

    def _beat(self, word: Word) -> None:
        self._beats.append(word.data)
        if word.data & LAST:
            found = parse(self._beats)
            source = self.order[-1]
            sent = self._current
            expected = sent.tlp if source == "mwr" else _completion(sent) if source == "cpl" else _request(sent)
            assert found == expected, f"cycle {cycle()}: {found}, not {expected}"
            self._beats = []


def _completion(fields: dict[str, int]) -> Tlp:
    has_data = bool(fields["has_data"])
    data = fields["data"].to_bytes(4, "little") if has_data else b""
    return Tlp(CPLD if has_data else CPL, BUS << 8, fields["tag"], length=1, data=data, status=fields["status"],
               byte_count=fields["bytes"], requester=fields["requester"], lower=fields["lower"])


def _request(fields: dict[str, int]) -> Tlp:
    """The read whose enabled bytes are those asked for."""
    address, length = fields["addr"], fields["len"]
    skip = address % 4
    dws = -(-(skip + length) // 4)
    lanes = [skip <= lane < skip + length for lane in range(4 * dws)]
    first, last = (sum(on << n for n, on in enumerate(part)) for part in (lanes[:4], lanes[-4:]))
    tlp = Tlp(MRD, fields["rid"], fields["tag"], address - skip, dws, first, last if dws > 1 else 0, long=address >= 1 << 32)
    assert enabled_bytes(tlp) == (length, skip)
    return tlp

