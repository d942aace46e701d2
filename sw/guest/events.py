"""The guest's half of event channels: handlers, masks, and the scans of the 2-level and the FIFO ABI."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from sw.platform import PAGE_SIZE, PlatformTimeoutError
from sw.xen.errno import HypercallError
from sw.xen.event_channel import (
    FIFO_CONTROL_BYTES,
    FIFO_HEADS,
    FIFO_LINK_MASK,
    FIFO_LINKED,
    FIFO_MASKED,
    FIFO_PENDING,
    FIFO_PRIORITIES,
    FIFO_READY,
    FIFO_WORD,
    FIFO_WORDS_PER_PAGE,
)
from sw.xen.shared_bits import clear_bit, set_bit, test_bit
from sw.xen.xen import (
    EVENT_MASK,
    EVENT_PENDING,
    EVENT_PORTS,
    EVENT_WORD_BITS,
    EVENT_WORDS,
    PENDING_SELECTOR,
    UPCALL_PENDING,
    VCPU_INFO_BYTES,
    VCPU_INFO_COUNT,
)

if TYPE_CHECKING:
    from sw.guest.machine import GuestMachine

SETUP_NS: Final = 1_000_000
"""Bound for another coroutine's two hypercalls."""
_WORD: Final = struct.Struct("<Q")
_WORD_BITS: Final = 8 * FIFO_WORD.size
_ALL: Final = (1 << EVENT_WORD_BITS) - 1


class TwoLevelEvents:
    """Pending and mask bits in the shared-info page."""

    def __init__(self, shared: memoryview) -> None:
        self._shared = shared
        self._last: dict[int, int] = {}
        """Port that each vCPU served last."""
        self._owned = {0: [_ALL] * EVENT_WORDS}
        """Ports that each vCPU serves. A word may hold ports of several."""
        shared[EVENT_MASK : EVENT_MASK + EVENT_PORTS // 8] = b"\xff" * (EVENT_PORTS // 8)
        # With all masked nothing is notified: what was before will be again when its port is unmasked.
        for info in range(0, VCPU_INFO_COUNT * VCPU_INFO_BYTES, VCPU_INFO_BYTES):
            shared[info + UPCALL_PENDING] = 0
            _WORD.pack_into(shared, info + PENDING_SELECTOR, 0)

    async def prepare(self, port: int, vcpu: int) -> None:
        """Have `vcpu` serve a masked port."""
        word, bit = divmod(port, EVENT_WORD_BITS)
        for owned in self._owned.values():
            owned[word] &= ~(1 << bit)
        self._owned.setdefault(vcpu, [0] * EVENT_WORDS)[word] |= 1 << bit

    def mask(self, port: int) -> None:
        """No notification until it is unmasked, by hypercall."""
        set_bit(self._shared, EVENT_MASK, port)

    def is_masked(self, port: int) -> bool:
        """As `mask` has left it."""
        return test_bit(self._shared, EVENT_MASK, port)

    def serve(self, vcpu: int, handle: Callable[[int], None]) -> None:
        """One scan: `handle` each port of the vCPU's that is pending and not masked."""
        shared = self._shared
        at = vcpu * VCPU_INFO_BYTES + PENDING_SELECTOR
        (selector,) = _WORD.unpack_from(shared, at)
        _WORD.pack_into(shared, at, 0)
        owned = self._owned.get(vcpu, [0] * EVENT_WORDS)
        # Go on after the port that was served last: no port can keep the others waiting.
        first = (self._last.get(vcpu, 0) + 1) % EVENT_PORTS
        start = first // EVENT_WORD_BITS
        for n in range(EVENT_WORDS + 1):
            word = (start + n) % EVENT_WORDS
            if not selector >> word & 1:
                continue
            (pending,) = _WORD.unpack_from(shared, EVENT_PENDING + word * _WORD.size)
            (masked,) = _WORD.unpack_from(shared, EVENT_MASK + word * _WORD.size)
            ready = pending & ~masked & owned[word]
            low = (1 << first % EVENT_WORD_BITS) - 1
            # The first word is looked at twice: its upper ports now, its lower ones at the end.
            ready &= ~low if n == 0 else low if n == EVENT_WORDS else _ALL
            while ready:
                port = word * EVENT_WORD_BITS + (ready & -ready).bit_length() - 1
                ready &= ready - 1
                self._last[vcpu] = port
                clear_bit(shared, EVENT_PENDING, port)
                handle(port)


class FifoEvents:
    """Event words and control blocks in pages of the guest's own."""

    def __init__(self, machine: GuestMachine) -> None:
        self._machine = machine
        self._control_gfn = machine.kernel.allocate_pages(1)
        machine.memory.page(self._control_gfn)[:] = bytes(PAGE_SIZE)
        self._array_gfns: list[int] = []
        self._array: list[memoryview] = []
        self._control: dict[int, memoryview] = {}
        self._heads: dict[int, list[int]] = {}
        """Next port of each queue of a vCPU; 0: the control block says."""
        self._growing = False
        self._grown = machine.signal()

    def free(self) -> None:
        """The hypervisor has let go of the pages."""
        for gfn in (self._control_gfn, *self._array_gfns):
            self._machine.kernel.free_pages(gfn, 1)

    async def prepare(self, port: int, vcpu: int) -> None:
        """See to it that the port has an event word, and the vCPU its queues. `PlatformTimeoutError`."""
        while self._growing:
            if not await self._grown.wait(SETUP_NS):
                raise PlatformTimeoutError(f"event array: no page for port {port} in {SETUP_NS} ns, another coroutine adds one")
        self._growing = True
        try:
            if vcpu not in self._control:
                await self._add_queues(vcpu)
            while port >= len(self._array) * FIFO_WORDS_PER_PAGE:
                await self._add_words()
        finally:
            self._growing = False
            self._grown.notify()

    def mask(self, port: int) -> None:
        """No notification until it is unmasked, by hypercall."""
        page, bits = self._word(port)
        set_bit(page, 0, bits + FIFO_MASKED)

    def serve(self, vcpu: int, handle: Callable[[int], None]) -> None:
        """Empty the vCPU's queues, the first priority first; `handle` what is pending and not masked."""
        heads, ready = self._heads.get(vcpu), 0
        if heads is None:
            return
        while ready := ready | self._take_ready(vcpu):
            priority = (ready & -ready).bit_length() - 1
            at = FIFO_HEADS + priority * FIFO_WORD.size
            port = heads[priority] or FIFO_WORD.unpack_from(self._control[vcpu], at)[0]
            page, bits = self._word(port)
            (word,) = FIFO_WORD.unpack_from(page, bits // 8)
            FIFO_WORD.pack_into(page, bits // 8, word & ~(FIFO_LINK_MASK | 1 << FIFO_LINKED))
            heads[priority] = word & FIFO_LINK_MASK
            if not heads[priority]:
                ready &= ~(1 << priority)
            if test_bit(page, 0, bits + FIFO_PENDING) and not test_bit(page, 0, bits + FIFO_MASKED):
                clear_bit(page, 0, bits + FIFO_PENDING)
                handle(port)

    def _take_ready(self, vcpu: int) -> int:
        control = self._control[vcpu]
        (ready,) = FIFO_WORD.unpack_from(control, FIFO_READY)
        FIFO_WORD.pack_into(control, FIFO_READY, 0)
        return int(ready)

    async def _add_queues(self, vcpu: int) -> None:
        offset = vcpu * FIFO_CONTROL_BYTES
        block = self._machine.memory.page(self._control_gfn)[offset : offset + FIFO_CONTROL_BYTES]
        # Known here first: an upcall may come before the call returns.
        self._control[vcpu], self._heads[vcpu] = block, [0] * FIFO_PRIORITIES
        try:
            await self._machine.hypercall.event_init_control(self._control_gfn, offset, vcpu)
        except HypercallError:
            del self._control[vcpu], self._heads[vcpu]
            raise

    async def _add_words(self) -> None:
        gfn = self._machine.kernel.allocate_pages(1)
        page = self._machine.memory.page(gfn)
        page[:] = FIFO_WORD.pack(1 << FIFO_MASKED) * FIFO_WORDS_PER_PAGE
        self._array_gfns.append(gfn)
        self._array.append(page)
        await self._machine.hypercall.event_expand_array(gfn)

    def _word(self, port: int) -> tuple[memoryview, int]:
        """Page of the port's event word, and the word's bit offset."""
        page, index = divmod(port, FIFO_WORDS_PER_PAGE)
        return self._array[page], index * _WORD_BITS


class GuestEvents:
    """Handlers by port. A handler must not block."""

    def __init__(self, machine: GuestMachine) -> None:
        self._machine = machine
        self._shared: memoryview | None = None
        self._abi: TwoLevelEvents | FifoEvents | None = None
        self._handlers: dict[int, Callable[[], None]] = {}
        self._vcpus: dict[int, int] = {}
        """vCPU that each port with a handler notifies."""
        self._serving: set[int] = set()
        self.unhandled = 0
        """Events of ports without a handler: notified while the port was being closed."""

    async def bind(self, port: int, handler: Callable[[], None], vcpu: int) -> None:
        """Run `handler` at each event of a port that notifies `vcpu`; those that wait are delivered now."""
        abi = await self._ready()
        await abi.prepare(port, vcpu)
        self._handlers[port], self._vcpus[port] = handler, vcpu
        try:
            await self._machine.hypercall.event_unmask(port)
        except HypercallError:
            del self._handlers[port], self._vcpus[port]
            raise

    async def unbind(self, port: int) -> None:
        """Close the port."""
        await self._machine.hypercall.event_close(port)
        del self._handlers[port], self._vcpus[port]

    async def mask(self, port: int) -> None:
        """Events of the port wait until `event_unmask`."""
        (await self._ready()).mask(port)

    async def move(self, port: int, vcpu: int) -> None:
        """Have a port with a handler notify another vCPU. An event that waits goes along."""
        abi = await self._ready()
        abi.mask(port)
        try:
            await self._machine.hypercall.event_bind_vcpu(port, vcpu)
            await abi.prepare(port, vcpu)
            self._vcpus[port] = vcpu
        finally:
            await self._machine.hypercall.event_unmask(port)

    async def use_fifo(self) -> None:
        """Switch to the FIFO ABI, while nobody binds. What is pending or masked stays so."""
        old = await self._ready()
        if isinstance(old, FifoEvents):
            return
        # Masked, an event is not served by the old scan once the hypervisor has taken it over.
        unmasked = [port for port in self._vcpus if not old.is_masked(port)]
        for port in unmasked:
            old.mask(port)
        fifo = FifoEvents(self._machine)
        try:
            # The first control block makes the switch.
            await fifo.prepare(0, 0)
            self._abi = fifo
            for port, vcpu in self._vcpus.items():
                await fifo.prepare(port, vcpu)
        finally:
            for port in unmasked:
                await self._machine.hypercall.event_unmask(port)

    async def reset(self) -> None:
        """Close all ports and go back to the 2-level ABI: another kernel can take over."""
        old = await self._ready()
        await self._machine.hypercall.event_reset()
        assert self._shared is not None
        self._handlers, self._vcpus, self._abi = {}, {}, TwoLevelEvents(self._shared)
        if isinstance(old, FifoEvents):
            old.free()

    def upcall(self, vcpu: int) -> None:
        """Entered by the hypervisor: serve until nothing has come meanwhile. Not nested: the outer call goes on."""
        if self._shared is None or self._abi is None or vcpu in self._serving:
            return
        at = vcpu * VCPU_INFO_BYTES + UPCALL_PENDING
        self._serving.add(vcpu)
        try:
            while self._shared[at]:
                self._shared[at] = 0
                self._abi.serve(vcpu, self._handle)
        finally:
            self._serving.discard(vcpu)

    def _handle(self, port: int) -> None:
        handler = self._handlers.get(port)
        if handler is None:
            self.unhandled += 1
        else:
            handler()

    async def _ready(self) -> TwoLevelEvents | FifoEvents:
        """The ABI in use; before the first event the shared-info page is mapped."""
        if self._abi is None:
            page = self._machine.memory.page(await self._machine.hypercall.map_shared_info())
            # Somebody else may have been here while the call was under way.
            if self._abi is None:
                self._shared, self._abi = page, TwoLevelEvents(page)
        return self._abi
