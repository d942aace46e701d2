"""The bench around `interrupt_bench`: one step is one cycle, compared with the oracle.

Inputs change at the falling edge; what fires depends on registers only, so it is read at the same edge.
"""

from __future__ import annotations

from typing import Any, Final

from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, ReadOnly

from sw.abi.registers import NicControl
from tb.cosim import bound
from tb.unit.interrupt.oracle import Arm, Oracle, Post

ENDPOINTS: Final = 64
OFFER_CYCLES: Final = 3
"""From a vector that fires, alone and unmasked, to its message on offer."""
RESET_CYCLE: Final = 0xFFFF_F000
"""The cycle counter's low bits wrap early in each test."""


def message(vector: int) -> tuple[int, int]:
    """Address and data that `Bench.unmask` gives to a vector; one in four lies above 4 GiB."""
    return (0xFEE0_0000 + (vector << 12) if vector % 4 else 0x12_3450_0000 + 64 * vector), 0xA500_0030 + vector


class Bench:
    """Hardware and oracle, cycle by cycle. A message leaves after `hold` cycles on offer."""

    def __init__(self, dut: Any) -> None:
        bound.start()
        self.dut = dut
        self.oracle = Oracle()
        self.cycle = 0
        self.left: list[tuple[int, int]] = []
        """(cycle, vector) of the messages that have left."""
        self.fires: list[tuple[int, int]] = []
        """(cycle, endpoint) of everything that fired."""
        self.owed: set[int] = set()
        """Vectors that have fired and whose message has not left."""
        self.native: set[int] = set()
        self.hold = 2
        """Cycles of an offer until it is taken, or 0: not at all."""
        self._offer_age = 0
        self._messages_left = 0
        self._sent = [0] * ENDPOINTS
        self._offered: tuple[int, int] | None = None
        Clock(dut.clk_i, 4, unit="ns").start(start_high=False)

    async def start(self, *, capability: int = 2) -> None:
        """Reset; may be called again. `capability`: enable and function mask."""
        dut = self.dut
        self.oracle = Oracle()
        self.left, self.fires, self.owed, self.native = [], [], set(), set()
        self._sent = [0] * ENDPOINTS
        self._offered, self._offer_age, self._messages_left = None, 0, 0
        for name in ("req", "start", "send", "recv", "arm", "mwr_done", "enable", "native"):
            getattr(dut, f"{name}_i").value = 0
        dut.capability_i.value = capability
        dut.bus_master_i.value = 1
        dut.vf_enable_i.value = 1
        dut.rst_i.value = 1
        await FallingEdge(dut.clk_i)
        await FallingEdge(dut.clk_i)
        dut.rst_i.value = 0
        self.cycle = RESET_CYCLE

    async def step(self, send: Post | None = None, recv: Post | None = None, arm: Arm | None = None) -> set[int]:
        """One cycle with these inputs; returns what fired in it."""
        dut = self.dut
        fired = int(dut.fire_o.value)
        dut.send_i.value = _posted(send)
        dut.recv_i.value = _posted(recv)
        dut.arm_i.value = 0 if arm is None else 1 << 25 | arm.endpoint << 19 | arm.ring << 16 | arm.index
        wanted = self.oracle.step(self.cycle, [p for p in (send, recv) if p is not None], arm)
        got = {e for e in range(ENDPOINTS) if fired >> e & 1} if fired else set()
        assert got == wanted, f"cycle {self.cycle:#x}: endpoints {got} fire, not {wanted}"
        self.fires += [(self.cycle, e) for e in sorted(got)]
        leaves = self._messages(got)
        if leaves is not None:
            await ReadOnly()
            lane = 1 << 58 | leaves << 48 | (self._sent[leaves] - 1 & 0xFFFF) << 32
            assert int(dut.irq_out_o.value) == lane, "trace lane"
        await FallingEdge(dut.clk_i)
        self.cycle += 1
        return got

    async def steps(self, count: int) -> None:
        for _ in range(count):
            await self.step()

    async def write(self, address: int, value: int) -> None:
        """Write a register of IRQ_TABLE or MSIX_TABLE by its address in the control BAR."""
        await self._access(address, value)

    async def read(self, address: int) -> int:
        await self._access(address, None)
        return int(self.dut.data_o.value)

    async def moderate(self, endpoint: int, cycles: int, limit: int) -> None:
        await self.write(NicControl.IRQ_MODERATION + NicControl.IRQ_STRIDE * endpoint, limit << 24 | cycles)
        self.oracle.endpoints[endpoint].cycles = cycles
        self.oracle.endpoints[endpoint].limit = limit

    async def unmask(self, vector: int) -> None:
        base = NicControl.MSIX_STRIDE * vector
        address, data = message(vector)
        await self.write(base + NicControl.MSIX_ADDRESS_LO, address & 0xFFFF_FFFF)
        await self.write(base + NicControl.MSIX_ADDRESS_HI, address >> 32)
        await self.write(base + NicControl.MSIX_DATA, data)
        await self.mask(vector, masked=False)

    async def mask(self, vector: int, *, masked: bool) -> None:
        await self.write(NicControl.MSIX_STRIDE * vector + NicControl.MSIX_CONTROL, int(masked))

    async def pending(self) -> set[int]:
        """The pending bits."""
        bits = await self.read(NicControl.PBA_LO) | await self.read(NicControl.PBA_HI) << 32
        return {v for v in range(ENDPOINTS) if bits >> v & 1}

    async def enable(self, endpoint: int, *, native: bool = False) -> None:
        """Enable an endpoint: it starts anew."""
        dut = self.dut
        self.native = self.native | {endpoint} if native else self.native - {endpoint}
        dut.native_i.value = sum(1 << e for e in self.native)
        dut.start_i.value = 1
        dut.start_ep_i.value = endpoint
        await self.step()
        dut.start_i.value = 0
        self.oracle.start(endpoint)
        self._enabled()

    async def disable(self, endpoint: int) -> None:
        await self.step()
        self.oracle.endpoints[endpoint].enabled = False
        self._enabled()

    def _enabled(self) -> None:
        self.dut.enable_i.value = sum(1 << n for n, e in enumerate(self.oracle.endpoints) if e.enabled)

    async def _access(self, address: int, value: int | None) -> None:
        dut = self.dut
        msix = address >= NicControl.MSIX_BASE
        dut.req_i.value = 1
        dut.msix_i.value = int(msix)
        dut.write_i.value = int(value is not None)
        dut.addr_i.value = address - (NicControl.MSIX_BASE if msix else NicControl.IRQ_BASE)
        dut.data_i.value = value or 0
        await self.step()
        dut.req_i.value = 0
        assert int(dut.ack_o.value), f"no answer at {address:#x}"

    def _messages(self, fired: set[int]) -> int | None:
        """What is offered belongs to a vector that is owed, and stays. Returns the vector whose message leaves."""
        dut = self.dut
        leaves = None
        if dut.mwr_valid_o.value:
            offer = (int(dut.mwr_o.value), int(dut.mwr_data_o.value))
            assert self._offered in (None, offer), "an offered message changed"
            self._offered = offer
            self._offer_age += 1
            if self._offer_age == self.hold:
                leaves = self._check(*offer)
                self.left.append((self.cycle, leaves))
                self.owed.discard(leaves)
                self._offered, self._offer_age = None, 0
        else:
            assert self._offered is None, "an offered message was withdrawn"
        dut.mwr_done_i.value = int(leaves is not None)
        self.owed |= fired
        return leaves

    def _check(self, header: int, data: int) -> int:
        vector = (data & 0xFF) - 0x30
        address, wanted = message(vector)
        assert data == wanted
        requester = 0x0100 if vector in self.native else 0x0101 + vector
        tag = 0xC0 | self._messages_left & 0x3F
        assert header == requester << 90 | tag << 82 | address << 18 | 1 << 8 | 0xF << 4, f"{header:x}"
        assert vector in self.owed, f"vector {vector} did not fire"
        self._sent[vector] += 1
        self._messages_left += 1
        return vector


def _posted(post: Post | None) -> int:
    return 0 if post is None else 1 << 29 | post.endpoint << 23 | post.ring << 20 | post.index << 4 | post.count
