"""A machine with a control domain and guests of every protection mode, calls built byte by byte, and what the revocation order must be."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from hypervisor_model.domains import Domain
from hypervisor_model.faults import DomainCrashedError
from hypervisor_model.hypervisor import Hypervisor
from hypervisor_model.memory import OWNER_XEN
from sw.abi.registers import Iommu, Mode, NicControl
from sw.platform import MachineMap
from tb.model.platform import ModelPlatform
from tests.xen.grants_support import PAGE, at, build
from tests.xen.hypercall_hardware import Registers, io_tables
from tests.xen.hypercall_oracle import Endpoint, Guest, Mapping, Oracle

MULTICALL, SCHED_OP, EVENT_OP, DOMCTL, MYRI_OP = 13, 29, 32, 36, 55
ENODEV = 19
OWN_PAGES = 6
"""RAM that comes and goes."""
OUTSIDE = 2
"""GFNs beyond a guest's RAM that pages come to."""
SPARE = 3
"""Pages that a guest may have beyond what it is built with."""
ROOM = 512
"""Bytes for the arguments of one call."""
WINDOW_ROWS = 40
"""Windows of an endpoint that are looked at; no guest here gets further."""


@dataclass(frozen=True)
class Op:
    """One hypercall that has not been made yet."""

    number: int
    command: int | None
    """None: it is in the structure (domctl)."""
    data: Callable[[int], bytes]
    """The arguments, given where they will stand."""
    check: Callable[[int, bytes], None]
    """Compares result and arguments afterwards with what the oracle says now, and tells the oracle."""
    count: int = 1

    def registers(self, where: int) -> tuple[int, ...]:
        """Arguments of the call."""
        return (where,) if self.command is None else (self.command, where, self.count)


class Machine:
    """Calls are made one after the other; what the hypervisor reads and writes of devices meanwhile is watched."""

    def __init__(self, seed: int) -> None:
        self.platform = ModelPlatform(MachineMap(ram_bytes=2 << 20))
        self.hv = Hypervisor(self.platform, seed=seed)
        self.platform.run(self.hv.boot())
        self.oracle = Oracle()
        self.registers = Registers(self.platform, self.hv.device.bars[4][0])
        frames = self.hv.frames
        self.xen = {n for n in range(frames.frames) if frames.owner(n) == OWNER_XEN} - io_tables(self.platform).frames
        """Frames that the hypervisor has from boot on, the IOMMU's tables apart."""
        self._steps: Callable[[str], None] | None = None
        self._watch_accesses()

    # --- calls -----------------------------------------------------------------------------------

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run to the end, and let the hardware finish."""
        (result,) = self.platform.run(coroutine)
        self.platform.settle()
        return result

    def perform(self, caller: Guest, ops: Sequence[Op]) -> None:
        """One call by itself, or several as a multicall."""
        base, memory = caller.scratch * PAGE, caller.domain.memory
        places = [base + n * ROOM for n in range(len(ops))]
        sizes = []
        for op, place in zip(ops, places, strict=True):
            data = op.data(place)
            assert len(data) <= ROOM
            memory.write(place, data)
            sizes.append(len(data))
        if len(ops) == 1:
            results = [self.run(caller.domain.vmcall(ops[0].number, *ops[0].registers(places[0])))]
        else:
            entries = base + PAGE
            for n, (op, place) in enumerate(zip(ops, places, strict=True)):
                words = (op.number, 77, *op.registers(place))
                memory.write(entries + n * 64, build(64, *((8 * k, "Q", word) for k, word in enumerate(words))))
            assert self.run(caller.domain.vmcall(MULTICALL, entries, len(ops))) == 0
            results = [at(memory.read(entries + n * 64, 64), 8, "q") for n in range(len(ops))]
        for op, place, size, result in zip(ops, places, sizes, results, strict=True):
            op.check(result, memory.read(place, size))

    def perform_beside(self, doomed: Guest, last: Op, caller: Guest, op: Op) -> None:
        """`op` ends a domain while that domain's `last` call is under way; what that one gives is nothing to anybody."""
        places = [guest.scratch * PAGE for guest in (doomed, caller)]
        data = op.data(places[1])
        doomed.domain.memory.write(places[0], last.data(places[0]))
        caller.domain.memory.write(places[1], data)

        async def dying() -> None:
            with suppress(DomainCrashedError):
                await doomed.domain.vmcall(last.number, *last.registers(places[0]))

        _, result = self.platform.run(dying(), caller.domain.vmcall(op.number, *op.registers(places[1])))
        self.platform.settle()
        op.check(result, caller.domain.memory.read(places[1], len(data)))

    def frame(self, domain: Domain, gfn: int) -> int:
        """Where a page has come to be: the guest's own bytes must stand there."""
        frame = domain.p2m.frame(gfn)
        assert frame is not None
        assert domain.memory.read(gfn * PAGE, PAGE) == self.platform.memory.read(frame * PAGE, PAGE)
        return frame

    # --- revocation ------------------------------------------------------------------------------

    def _watch_accesses(self) -> None:
        post, get = self.platform.mmio_write, self.platform.mmio_read
        control, iommu = self.hv.device.bars[4][0], self.platform.machine.iommu

        def posting(address: int, data: bytes) -> None:
            if self._steps is not None:
                if address == iommu + Iommu.IQT_LO:
                    self._steps("invalidate")
                elif address == control + NicControl.FENCE:
                    self._steps("fence")
                elif address >= control + NicControl.WINDOW_BASE and address - control < NicControl.BYTES:
                    self._steps("window")
            post(address, data)

        async def getting(address: int, size: int) -> bytes:
            data = await get(address, size)
            if self._steps is not None:
                offset = address - control
                if offset == NicControl.FENCE:
                    self._steps("fenced")
                elif 0 <= offset - NicControl.ENDPOINT_STATUS < 64 * NicControl.ENDPOINT_STRIDE and not (
                    (offset - NicControl.ENDPOINT_STATUS) % NicControl.ENDPOINT_STRIDE
                ):
                    self._steps("idle")
            return data

        self.platform.mmio_write = posting  # type: ignore[method-assign]
        self.platform.mmio_read = getting  # type: ignore[method-assign]

    def revoking(self, endpoint: Endpoint, mappings: Iterable[Mapping], work: Callable[[], None]) -> None:
        """Do `work`, which takes an endpoint's mappings and pins away, and check the order.

        Entries first; then, with the pages still held, the NIC says that nothing is in flight, and what is cached is dropped.
        """
        mappings = list(mappings)
        pinned = [frame for ring in endpoint.rings.values() for frame in ring.pinned] if endpoint.enabled else []
        held = self.oracle.counts()[0]
        frames = {*(m.frame for m in mappings), *pinned}
        left = [m for m in self.oracle.live if m.kind == "device" and m not in mappings]
        changed = {
            m.home
            for m in mappings
            if not any(o.granter == m.granter and o.home == m.home and (o.write or not m.write) for o in left)
        }
        seen: list[str] = []

        def step(kind: str) -> None:
            if kind == "window":
                # a fence that was started before says nothing of this window
                seen.clear()
            elif all(self.hv.frames.references(frame) >= held[frame] for frame in frames) and (
                kind == "fence" or self._gone(endpoint, mappings, left)
            ):
                seen.append(kind)

        self._steps = step
        try:
            work()
        finally:
            self._steps = None
        wanted = {
            Mode.IOMMU: ["idle", "invalidate"] if changed else [],
            Mode.WINDOWS: ["fence", "fenced"] if mappings else [],
            Mode.VALIDATED: ["idle"] if endpoint.enabled and frames else [],
            Mode.NATIVE: ["idle"] if mappings else [],
        }[endpoint.mode]
        rest = iter(seen)
        assert all(kind in rest for kind in wanted), f"{wanted} in this order, with the pages still held: {seen}"

    def retiring(self, endpoint: Endpoint, work: Callable[[], None]) -> None:
        """Do `work`, which unpins what a validated endpoint has passed: a fence has ended before."""
        pinned = [frame for ring in endpoint.rings.values() for frame in ring.pinned[: ring.sent - ring.retired]]
        held = self.oracle.counts()[0]
        seen: list[str] = []

        def step(kind: str) -> None:
            if all(self.hv.frames.references(frame) >= held[frame] for frame in pinned):
                seen.append(kind)

        self._steps = step
        try:
            work()
        finally:
            self._steps = None
        rest = iter(seen)
        assert not pinned or all(kind in rest for kind in ("fence", "fenced")), f"fenced with the pages still held: {seen}"

    def _gone(self, endpoint: Endpoint, mappings: Sequence[Mapping], left: Sequence[Mapping]) -> bool:
        """The device's own entries of these mappings are gone, as far as others do not need them."""
        if endpoint.mode is Mode.VALIDATED:
            return not self.registers.enabled(endpoint.number)
        if endpoint.mode is Mode.WINDOWS:
            valid = self.registers.windows(endpoint.number, range(WINDOW_ROWS))
            return not any((m.address >> 12 & 0xFF) in valid for m in mappings)
        if endpoint.mode is Mode.IOMMU:
            leaves = io_tables(self.platform).leaves
            for mapping in mappings:
                same = [m for m in left if (m.granter, m.home) == (mapping.granter, mapping.home)]
                leaf = leaves.get((0x0101 + endpoint.number, mapping.home))
                if leaf is not None and (not same or leaf[1] > any(m.write for m in same)):
                    return False
        return True
