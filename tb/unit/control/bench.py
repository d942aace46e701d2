"""The bench around the control queue: accesses in, completions out, and what hardware does to endpoints meanwhile."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final

import cocotb
from cocotb.triggers import FallingEdge, ReadOnly

from sw.abi.registers import Status
from tb.unit.control.oracle import ENDPOINT, RX_CTRL, Map
from tb.unit.fetch.bench import CTRL
from tb.unit.packed import Packed
from tb.unit.streams import PATTERNS, StreamSink, StreamSource, Word, cycle, settle, start

CTL: Final = Packed("posted:1 cfg:1 cfg_write:1 control:1 bad:1 addr:20 be:4 data:32 requester:16 tag:8 devfn:8 bus:8")
CPL: Final = Packed("has_data:1 status:3 requester:16 tag:8 lower:7 bytes:12 data:32")
DEPTH: Final = 64
"""Accesses that the queue has credits for."""
SUCCESS: Final = 0
UNSUPPORTED: Final = 1
EVENTS: Final = ("alloc", "retire", "silent", "halt", "rx_stale", "failed")
INPUTS: Final = ("ctl_i", "ctl_valid_i", "cpl_ready_i", "cfg_data_i", "table_delay_i", "refusal_i", "overflow_i", "fence_busy_i",
                 "fences_i", "frame_i", "cycle_i", "look_ep_i", "look_big_i", "look_queue_i", "retire_count_i", "halt_stale_i",
                 "failed_status_i", *(f"{event}_i" for event in EVENTS), *(f"{event}_ep_i" for event in EVENTS))


def cfg_word(address: int) -> int:
    """What the bench's configuration space holds."""
    return (address * 0x9E37_79B1 ^ 0x5A5A_0000) & 0xFFFF_FFFF


@dataclass(frozen=True)
class Answer:
    """A completion that must come."""

    what: str
    fields: dict[str, int]


@dataclass
class TB:
    dut: Any
    random: random.Random
    idle: str = "always"
    pressure: str = "always"
    map: Map = field(default_factory=Map)
    expected: deque[Answer] = field(default_factory=deque)

    async def start(self) -> None:
        await start(self.dut, INPUTS)
        rng = self.random
        self.source = StreamSource(self.dut, "ctl", PATTERNS[self.idle](rng), ready=False)
        self.queue: deque[dict[str, int]] = deque()
        """Accesses that wait for a credit."""
        self.posted = self.nonposted = self.config_writes = 0
        """Done, less told."""
        self.outside = 0
        self.config: list[tuple[int, ...]] = []
        self.writes: list[tuple[int, int, int]] = []
        self.starts: list[int] = []
        self.fences = 0
        self._tag = 0
        StreamSink(self.dut, "cpl", PATTERNS[self.pressure](rng), callback=self._answer)
        cocotb.start_soon(self._run())

    # ---- accesses ---------------------------------------------------------------------------
    def write(self, address: int, data: int, be: int = 15) -> None:
        self.map.write(address, data, be)
        self.queue.append({"posted": 1, "control": 1, "addr": address, "data": data, "be": be})

    def read(self, address: int) -> None:
        self._ask(f"read of {address:#07x}", {"control": 1, "addr": address, "be": 15}, has_data=1, lower=address & 0x7C, bytes=4,
                  data=self.map.read(address))

    def aperture(self, address: int) -> None:
        """A read of the endpoints' BAR."""
        self._ask("read of an aperture", {"addr": address, "be": 15}, has_data=1, lower=address & 0x7C, bytes=4)

    def bad(self, **fields: int) -> None:
        """A request that is not one for this function."""
        self._ask("request that is not supported", {**fields, "bad": 1}, status=UNSUPPORTED)

    def cfg_read(self, address: int, function: int = 0) -> None:
        good = {} if function else {"has_data": 1, "bytes": 4, "data": cfg_word(address)}
        self._ask(f"configuration read of function {function}", {"cfg": 1, "addr": address, "be": 15, "devfn": function},
                  status=UNSUPPORTED if function else SUCCESS, **good)

    def cfg_write(self, address: int, data: int, be: int = 15, function: int = 0, bus: int = 1) -> None:
        if not function:
            self.config.append((address, be, data, bus))
        self._ask(f"configuration write of function {function}", {"cfg": 1, "cfg_write": 1, "addr": address, "be": be, "data": data,
                                                                  "devfn": function, "bus": bus},
                  status=UNSUPPORTED if function else SUCCESS)

    def _ask(self, what: str, access: dict[str, int], **answer: int) -> None:
        self._tag = (self._tag + 1) % 256
        names = {"tag": self._tag, "requester": self.random.getrandbits(16)}
        self.queue.append({**access, **names})
        self.expected.append(Answer(what, {"status": SUCCESS, "has_data": 0, **names, **answer}))

    def _answer(self, word: Word) -> None:
        assert self.expected, f"cycle {cycle()}: a completion of nothing"
        answer = self.expected.popleft()
        found = CPL.unpack(word.data)
        wrong = [f"{name} {found[name]:#x}, not {value:#x}" for name, value in answer.fields.items() if found[name] != value]
        assert not wrong, f"cycle {cycle()}: {answer.what}: {'; '.join(wrong)}"

    @property
    def done(self) -> bool:
        return not self.queue and not self.outside and self.source.idle

    async def finish(self) -> None:
        """All accesses are done, and have had the effects that they must have."""
        await settle(self.dut, lambda: self.done, f"all accesses are done: {len(self.queue)} wait")
        await FallingEdge(self.dut.clk_i)
        assert not self.expected, f"no answer: {self.expected}"
        assert self.writes == self.map.writes, f"tables got {self.writes}, not {self.map.writes}"
        assert self.starts == self.map.starts, f"endpoints were enabled: {self.starts}, not {self.map.starts}"
        assert not self.config, f"configuration writes that have not been made: {self.config}"

    # ---- what hardware does -----------------------------------------------------------------
    async def event(self, **events: int) -> None:
        """One cycle in which things happen to endpoints: `alloc=3` and so on, by endpoint; `count`, `stale`, `status` beside."""
        dut = self.dut
        dut.retire_count_i.value, dut.halt_stale_i.value = events.pop("count", 1), events.pop("stale", 0)
        dut.failed_status_i.value = events.pop("status", 0)
        for name, endpoint in events.items():
            getattr(dut, f"{name}_i").value = 1
            getattr(dut, f"{name}_ep_i").value = endpoint
        await FallingEdge(dut.clk_i)
        for name in events:
            getattr(dut, f"{name}_i").value = 0

    # ---- one cycle --------------------------------------------------------------------------
    async def _run(self) -> None:
        dut, rng = self.dut, self.random
        while True:
            await FallingEdge(dut.clk_i)
            while self.queue and self.outside < DEPTH:
                access = self.queue.popleft()
                self.outside += 1
                key = "posted" if access.get("posted") else "nonposted"
                setattr(self, key, getattr(self, key) + 1)
                self.config_writes += access.get("cfg_write", 0)
                self.source.queue([CTL.pack(**access)])
            dut.table_delay_i.value = rng.randrange(8)
            dut.cfg_data_i.value = cfg_word(int(dut.cfg_addr_o.value))
            endpoint, big, queue = rng.randrange(ENDPOINT.count), rng.randrange(2), rng.randrange(4)
            dut.look_ep_i.value, dut.look_big_i.value, dut.look_queue_i.value = endpoint, big, queue
            still = self.done
            await ReadOnly()
            if still:
                self._look(endpoint, big, queue)
            self._watch()

    def _watch(self) -> None:
        dut, now = self.dut, cycle()
        posted, nonposted, data = (int(getattr(dut, f"{name}_o").value) for name in ("posted_done", "np_done", "np_data"))
        assert not (posted and nonposted), f"cycle {now}: two accesses end at once"
        taken = int(dut.cpl_valid_o.value) and int(dut.cpl_ready_i.value)
        assert nonposted == taken, f"cycle {now}: credits of a request: {nonposted}, its completion leaves: {taken}"
        assert not data or nonposted, f"cycle {now}: data credits of nothing"
        self.posted, self.nonposted, self.config_writes = self.posted - posted, self.nonposted - nonposted, self.config_writes - data
        assert min(self.posted, self.nonposted, self.config_writes) >= 0, f"cycle {now}: more credits than accesses"
        self.outside -= posted + nonposted
        if int(dut.cfg_write_o.value):
            told = tuple(int(getattr(dut, f"cfg_{name}_o").value) for name in ("addr", "be", "data", "bus"))
            assert self.config and told == self.config.pop(0), f"cycle {now}: a configuration write {told}"
        if int(dut.table_write_o.value):
            self.writes.append((int(dut.table_write_o.value).bit_length() - 1, int(dut.table_addr_o.value), int(dut.table_data_o.value)))
        self.fences += int(dut.fence_start_o.value)
        self._events()

    def _events(self) -> None:
        """State follows in the order: in flight, failed and halted, stale, enabled."""
        dut = self.dut
        endpoints = self.map.endpoints
        told = {name: endpoints[int(getattr(dut, f"{name}_ep_i").value)] for name in EVENTS if int(getattr(dut, f"{name}_i").value)}
        for name, change in (("alloc", 1), ("silent", -1), ("retire", -int(dut.retire_count_i.value))):
            if name in told:
                told[name].flight += change
        if "halt" in told:
            told["halt"].halted = True
            told["halt"].stale |= bool(int(dut.halt_stale_i.value))
        if "failed" in told:
            told["failed"].error = int(dut.failed_status_i.value)
        if "rx_stale" in told:
            told["rx_stale"].halted = told["rx_stale"].stale = True
            told["rx_stale"].error = Status.STALE_DESCRIPTOR
        if int(dut.start_o.value):
            self.starts.append(int(dut.start_ep_o.value))
            endpoints[self.starts[-1]].start()

    def _look(self, number: int, big: int, queue: int) -> None:
        """What the other blocks are told of endpoints, while no access is under way."""
        dut, at = self.dut, f"cycle {cycle()}: endpoint {number}"
        endpoints, endpoint = self.map.endpoints, self.map.endpoints[number]
        assert int(dut.look_same_o.value), f"{at}: not all blocks are told the same"
        fetched, rx_fetched = (bool(endpoint.field(register, "form")) for register in ("ENDPOINT_CTRL", "ENDPOINT_RX_CTRL"))
        bits = {"enable": endpoint.enabled, "pushed": endpoint.enabled and not fetched, "fetched": endpoint.enabled and fetched,
                "rx_pushed": endpoint.receives and not rx_fetched, "rx_fetched": endpoint.receives and rx_fetched}
        for name, holds in bits.items():
            told = int(getattr(dut, f"{name}_o").value) >> number & 1
            assert told == holds, f"{at}: {name}_o is {told}"
        told_state = int(dut.stale_o.value), int(dut.look_halted_o.value)
        assert told_state == (sum(1 << e.number for e in endpoints if e.stale), endpoint.halted), f"{at}: stale, halted: {told_state}"
        if not endpoint.known:
            return
        found = {name: int(getattr(dut, f"look_{name}_o").value) for name in ("ctrl", "rx_ctrl", "ring_ctrl", "send_base", "cq_base",
                                                                              "rq_base", "ring_base")}
        expected = {"ctrl": CTRL.pack(**endpoint.ctrl), "rx_ctrl": RX_CTRL.pack(**endpoint.rx_ctrl),
                    "ring_ctrl": CTRL.pack(**endpoint.ring(big=bool(big))), "send_base": endpoint.base("ENDPOINT_SEND_BASE"),
                    "cq_base": endpoint.base("ENDPOINT_CQ_BASE"), "rq_base": endpoint.base(f"ENDPOINT_RQ{queue}_BASE"),
                    "ring_base": endpoint.base(f"ENDPOINT_RX_{'BIG' if big else 'SMALL'}_BASE")}
        wrong = [f"{name} {found[name]:#x}, not {expected[name]:#x}" for name in found if found[name] != expected[name]]
        assert not wrong, f"{at}: {'; '.join(wrong)}"
