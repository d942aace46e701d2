"""The bench around `myr_iommu`: stream drivers and monitors, memory behind the walk port, registers, the queue.

All inputs change at the falling edge of the clock and everything is sampled when that has settled, so what is
seen is what the next rising edge takes.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, ReadOnly
from cocotb.utils import get_sim_time
from cocotb_bus.drivers import Driver
from cocotb_bus.monitors import Monitor

from sw.abi.registers import Iommu
from tb.cosim import bound
from tb.unit.iommu.reference import Memory, Tables
from tb.unit.tlp import CPLD, LAST, MRD, Tlp, parse, refusal

PERIOD_NS = 4
QUEUE_ID = 16
TIMEOUT_CYCLES = 20_000


def cycle() -> int:
    """Cycles since the start of simulation."""
    return int(get_sim_time("ns")) // PERIOD_NS


class BeatDriver(Driver):  # type: ignore[misc]
    """Sends TLPs into a valid/ready stream; `gap()` is the number of idle cycles before each beat."""

    def __init__(self, dut: Any, name: str) -> None:
        self._clk = dut.clk_i
        self._data = getattr(dut, f"{name}_i")
        self._valid = getattr(dut, f"{name}_valid_i")
        self._ready = getattr(dut, f"{name}_ready_o")
        self.gap: Callable[[], int] = lambda: 0
        self.taken: list[tuple[int, int]] = []
        """(cycle in which it was taken, beat) of every beat."""
        self.sent = 0
        self._valid.value = 0
        self._data.value = 0
        super().__init__()

    async def _driver_send(self, transaction: Tlp, sync: bool = True, **_: Any) -> None:
        for beat in transaction.beats():
            for _idle in range(self.gap()):
                await FallingEdge(self._clk)
            self._data.value = beat
            self._valid.value = 1
            while True:
                await ReadOnly()
                took = bool(self._ready.value)
                now = cycle()
                await FallingEdge(self._clk)
                if took:
                    self.taken.append((now, beat))
                    break
            self._valid.value = 0
        self.sent += 1


@dataclass(frozen=True)
class Seen:
    """A TLP that came out: the cycle of each beat (first offered for the first one)."""

    tlp: Tlp
    offered: int
    cycles: tuple[int, ...]


class BeatMonitor(Monitor):  # type: ignore[misc]
    """Takes TLPs from a valid/ready stream; `ready()` says whether it is ready in a cycle."""

    def __init__(self, dut: Any, name: str) -> None:
        self._clk = dut.clk_i
        self._data = getattr(dut, f"{name}_o")
        self._valid = getattr(dut, f"{name}_valid_o")
        self._ready = getattr(dut, f"{name}_ready_i")
        self.ready: Callable[[], bool] = lambda: True
        self.seen: list[Seen] = []
        self._ready.value = 0
        super().__init__(callback=self.seen.append)

    async def _monitor_recv(self) -> None:
        beats: list[int] = []
        cycles: list[int] = []
        offered = 0
        stuck: int | None = None
        while True:
            await FallingEdge(self._clk)
            ready = self.ready()
            self._ready.value = int(ready)
            await ReadOnly()
            if not int(self._valid.value):
                assert stuck is None, "an offered beat was withdrawn"
                continue
            beat = int(self._data.value)
            assert stuck is None or stuck == beat, "an offered beat was changed"
            if not beats and stuck is None:
                offered = cycle()
            stuck = None if ready else beat
            if ready:
                beats.append(beat)
                cycles.append(cycle())
                if beat & LAST:
                    self._recv(Seen(parse(beats), offered, tuple(cycles)))
                    beats, cycles = [], []

    def tlps(self) -> list[Tlp]:
        return [seen.tlp for seen in self.seen]


class WalkPort:
    """Memory behind the walk port. `delay()` cycles from request to answer; answers leave in any order.

    While `withheld(id, address)` is true the answer stays; `hook(address)` sees each read before memory does.
    """

    def __init__(self, dut: Any, memory: Memory) -> None:
        self._dut = dut
        self.memory = memory
        self.delay: Callable[[], int] = lambda: 20
        self.ready: Callable[[], bool] = lambda: True
        self.withheld: Callable[[int, int], bool] = lambda _id, _address: False
        self.reads: list[tuple[int, int]] = []
        """(id, address) of all reads."""
        self.writes: list[tuple[int, int]] = []
        """(address, value) of all writes."""
        self._pending: list[tuple[int, int, int, bytes | None]] = []
        dut.walk_rsp_valid_i.value = 0
        dut.walk_rsp_error_i.value = 0
        dut.walk_req_ready_i.value = 0
        cocotb.start_soon(self._run())

    async def _run(self) -> None:
        dut = self._dut
        offered: tuple[int, int] | None = None
        while True:
            await FallingEdge(dut.clk_i)
            now = cycle()
            due = [p for p in self._pending if p[0] <= now and not self.withheld(p[1], p[2])]
            answer = min(due) if due else None
            dut.walk_rsp_valid_i.value = int(answer is not None)
            if answer is not None:
                self._pending.remove(answer)
                dut.walk_rsp_id_i.value = answer[1]
                dut.walk_rsp_error_i.value = int(answer[3] is None)
                dut.walk_rsp_data_i.value = int.from_bytes(answer[3] or b"", "little")
            ready = self.ready()
            dut.walk_req_ready_i.value = int(ready)
            await ReadOnly()
            if not int(dut.walk_req_valid_o.value):
                assert offered is None, "an offered walk request was withdrawn"
                continue
            request = (int(dut.walk_req_id_o.value), int(dut.walk_req_addr_o.value))
            assert offered is None or offered == request, "an offered walk request was changed"
            offered = None if ready else request
            if not ready:
                continue
            ident, address = request
            if int(dut.walk_req_write_o.value):
                value = int(dut.walk_req_wdata_o.value)
                self.writes.append((address, value))
                self.memory.write(address, value.to_bytes(4, "little"))
                continue
            assert address % 16 == 0, f"walk read of 0x{address:x} is not aligned"
            self.reads.append((ident, address))
            try:
                data: bytes | None = self.memory.read(address, 16)
            except IndexError:
                data = None
            self._pending.append((now + self.delay(), ident, address, data))

    def walk_reads(self) -> list[int]:
        """Addresses of the reads that walks made (not the queue)."""
        return [address for ident, address in self.reads if ident != QUEUE_ID]


@dataclass(frozen=True)
class Record:
    """One fault record."""

    page: int
    sid: int
    reason: int
    read: bool


class Bench:
    """Everything around the IOMMU, and the software's view of it."""

    def __init__(self, dut: Any, seed: int) -> None:
        bound.start()
        self.dut = dut
        self.random = random.Random(seed)
        self.memory = Memory()
        self.tables = Tables(self.memory)
        self.queue = self.memory.allocate()
        self.status = self.memory.allocate()
        self.queue_tail = 0
        self.queue_size = 256
        self._waits = 0
        Clock(dut.clk_i, PERIOD_NS, unit="ns").start(start_high=False)
        dut.rst_i.value = 1
        dut.reg_valid_i.value = 0
        dut.posted_landed_i.value = 0
        self.up = BeatDriver(dut, "dev_up")
        self.dn = BeatDriver(dut, "mem_dn")
        self.mem_up = BeatMonitor(dut, "mem_up")
        self.dev_dn = BeatMonitor(dut, "dev_dn")
        self.walks = WalkPort(dut, self.memory)

    async def cycles(self, count: int) -> None:
        for _ in range(count):
            await FallingEdge(self.dut.clk_i)

    async def until(self, what: str, condition: Callable[[], bool], limit: int = TIMEOUT_CYCLES) -> None:
        """Wait for `condition`, at most `limit` cycles."""
        for _ in range(limit):
            if condition():
                return
            await FallingEdge(self.dut.clk_i)
        raise AssertionError(f"waited {limit} cycles for {what}")

    async def start(self, *, enable: bool = True) -> None:
        """Reset; then, if wanted, root table, queue and translation on."""
        await self.cycles(4)
        self.dut.rst_i.value = 0
        await self.cycles(2)
        if enable:
            await self.write(Iommu.RTADDR_LO, self.tables.root)
            await self.write(Iommu.RTADDR_HI, 0)
            await self.write(Iommu.GCMD, Iommu.GCMD_SRTP_M)
            await self.write(Iommu.IQA_LO, self.queue)
            await self.write(Iommu.GCMD, Iommu.GCMD_QIE_M)
            await self.write(Iommu.GCMD, Iommu.GCMD_QIE_M | Iommu.GCMD_TE_M)
            assert await self.read(Iommu.GSTS) == Iommu.GSTS_TES_M | Iommu.GSTS_RTPS_M | Iommu.GSTS_QIES_M

    # ------------------------------------------------------------------ registers
    async def write(self, address: int, value: int) -> None:
        dut = self.dut
        dut.reg_valid_i.value = 1
        dut.reg_write_i.value = 1
        dut.reg_addr_i.value = address
        dut.reg_wdata_i.value = value
        await FallingEdge(dut.clk_i)
        dut.reg_valid_i.value = 0
        await FallingEdge(dut.clk_i)

    async def read(self, address: int) -> int:
        dut = self.dut
        dut.reg_valid_i.value = 1
        dut.reg_write_i.value = 0
        dut.reg_addr_i.value = address
        await FallingEdge(dut.clk_i)
        dut.reg_valid_i.value = 0
        assert int(dut.reg_rvalid_o.value) == 1, "a register read is answered in the next cycle"
        return int(dut.reg_rdata_o.value)

    async def records(self) -> list[Record]:
        """Take all fault records as software does: from the oldest on, clearing each."""
        found = []
        status = await self.read(Iommu.FSTS)
        index = (status & Iommu.FSTS_FRI_M) >> Iommu.FSTS_FRI_S
        while (w3 := await self.read(Iommu.FRCD_W3 + 16 * index)) & Iommu.FRCD_W3_F_M:
            low = await self.read(Iommu.FRCD_W0 + 16 * index)
            page = low | await self.read(Iommu.FRCD_W1 + 16 * index) << 32
            sid = await self.read(Iommu.FRCD_W2 + 16 * index)
            found.append(Record(page, sid, w3 & Iommu.FRCD_W3_FR_M, bool(w3 & Iommu.FRCD_W3_T_M)))
            await self.write(Iommu.FRCD_W3 + 16 * index, Iommu.FRCD_W3_F_M)
            index = (index + 1) % Iommu.FRCD_COUNT
        assert not await self.read(Iommu.FSTS) & Iommu.FSTS_PPF_M, "a record is left after all were taken"
        return found

    # ------------------------------------------------------------------ invalidation
    async def submit(self, *descriptors: tuple[int, int]) -> None:
        """Put descriptors (low, high) in the ring and move the tail."""
        for low, high in descriptors:
            at = self.queue + self.queue_tail * 16
            self.memory.write64(at, low)
            self.memory.write64(at + 8, high)
            self.queue_tail = (self.queue_tail + 1) % self.queue_size
        await self.write(Iommu.IQT_LO, self.queue_tail * 16)

    def wait_descriptor(self, *, interrupt: bool = False) -> tuple[int, int]:
        self._waits += 1
        return (5 | int(interrupt) << 4 | 1 << 5 | 1 << 6 | self._waits << 32, self.status)

    def waited(self) -> bool:
        """The last wait descriptor has written its status."""
        return int.from_bytes(self.memory.read(self.status, 4), "little") == self._waits

    async def invalidate(self, *descriptors: tuple[int, int]) -> None:
        """Execute, and wait for the status write as software does."""
        await self.submit(*descriptors, self.wait_descriptor())
        await self.until("the invalidation's status write", self.waited)

    # ------------------------------------------------------------------ traffic
    async def send(self, *tlps: Tlp) -> None:
        """Send upstream and wait until the last beat was taken."""
        goal = self.up.sent + len(tlps)
        for tlp in tlps:
            self.up.append(tlp)
        await self.until("upstream TLPs to be taken", lambda: self.up.sent == goal)

    async def outcome(self, tlp: Tlp) -> Tlp | None:
        """Send one request alone; what left upstream, or None if it was refused (and answered, if a read)."""
        ups, downs = len(self.mem_up.seen), len(self.dev_dn.seen)
        faults = await self.read(Iommu.FAULTS)
        await self.send(tlp)
        for _ in range(TIMEOUT_CYCLES // 20):
            await self.cycles(20)
            if len(self.mem_up.seen) > ups or await self.read(Iommu.FAULTS) != faults:
                break
        else:
            raise AssertionError(f"{tlp} was neither let through nor refused")
        await self.cycles(10)
        new_ups, new_downs = self.mem_up.tlps()[ups:], self.dev_dn.tlps()[downs:]
        if new_ups:
            assert len(new_ups) == 1 and not new_downs
            return new_ups[0]
        assert new_downs == ([refusal(tlp)] if tlp.kind == MRD else []), "refused reads are answered, writes are not"
        return None


def context_inval(granularity: int, did: int = 0, sid: int = 0, mask: int = 0) -> tuple[int, int]:
    """1: global, 2: domain, 3: device."""
    return (1 | granularity << 4 | did << 16 | sid << 32 | mask << 48, 0)


def iotlb_inval(
    granularity: int, did: int = 0, address: int = 0, mask: int = 0, *, reads: bool = False, writes: bool = False
) -> tuple[int, int]:
    """1: global, 2: domain, 3: 2^mask pages from `address`; drain reads, drain writes."""
    return (2 | granularity << 4 | int(writes) << 6 | int(reads) << 7 | did << 16, address | mask)


def completion(tag: int, requester: int, data: bytes, remaining: int, lower: int = 0) -> Tlp:
    """A completion from the root complex that carries `data` of the `remaining` bytes."""
    return Tlp(
        CPLD,
        sid=0x0000,
        tag=tag,
        requester=requester,
        length=len(data) // 4,
        data=data,
        byte_count=remaining & 0xFFF,
        lower=lower,
    )
