"""pcifront: the guest's PCI bus. Accesses to configuration space are operations that the back end carries out.

Source: Xen `xen/include/public/io/pciif.h`; handshake as in Linux `xen-pcifront`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from sw import pci
from sw.guest.machine import GuestMachine
from sw.guest.xenbus import FrontEnd
from sw.guest.xenstore import Xenstore
from sw.platform import PAGE_SIZE, PlatformTimeoutError
from sw.xen.io import pciif
from sw.xen.io.pciif import PciErr, PciOp
from sw.xen.io.xenbus import XenbusState
from sw.xen.shared_bits import clear_bit, set_bit, test_bit

KIND: Final = "pci"
OP_NS: Final = 2_000_000_000
"""Bound of the wait for an answer, as Linux has it."""
SLOTS: Final = 32
_ROOT: Final = re.compile(r"([0-9a-f]{4}):([0-9a-f]{2})")
_DWORD: Final = 4


class PcifrontError(RuntimeError):
    """The back end has refused an operation, or what it answers is no PCI; `err` is its number, 0 for the latter."""

    def __init__(self, err: int, reason: str) -> None:
        super().__init__(reason)
        self.err = err


class PciFront:
    """One `pci` device: a bus. Can be opened again after `close`. One operation at a time, in the order of calls."""

    def __init__(self, machine: GuestMachine, store: Xenstore, handle: int = 0) -> None:
        self._machine = machine
        self._store = store
        self._handle = handle
        self._front = FrontEnd(store, KIND, handle)
        self._gfn = 0
        self._reference = 0
        self._port = 0
        self._root = (0, 0)
        self._answered = machine.signal()
        self._free = machine.signal()
        self._busy = False

    async def open(self) -> None:
        """Wait for the back end, share a page with it, connect. Raises what `FrontEnd` raises."""
        machine, kernel = self._machine, self._machine.kernel
        front = self._front = FrontEnd(self._store, KIND, self._handle)
        await front.open()
        await front.ready()
        self._gfn = kernel.allocate_pages(1)
        machine.memory.page(self._gfn)[:] = bytes(PAGE_SIZE)
        self._reference = await kernel.grant_access(self._gfn, readonly=False, domid=front.backend_domid)
        self._port = await machine.hypercall.event_alloc_unbound(front.backend_domid)
        await kernel.bind_event(self._port, self._answered.notify)
        keys = {"pci-op-ref": str(self._reference), "event-channel": str(self._port), "magic": pciif.MAGIC}
        await front.connect(keys, XenbusState.INITIALISED)
        root = _ROOT.fullmatch(await front.read_backend("root-0") or "")
        if root is None:
            raise PcifrontError(0, f"{front.path}: the back end has published no bus as root-0")
        self._root = int(root[1], 16), int(root[2], 16)

    async def close(self) -> None:
        """Disconnect; the page is free when the back end has let go of it."""
        await self._front.close()
        await self._front.detach()
        await self._machine.kernel.unbind_event(self._port)
        if self._machine.kernel.end_access(self._reference):
            self._machine.kernel.free_pages(self._gfn, 1)

    async def find(self, vendor: int, device: int) -> PciFunction:
        """The first function of the bus with these IDs. Raises `PcifrontError` when there is none."""
        for devfn in range(0, 8 * SLOTS, 8):
            function = PciFunction(self, devfn)
            try:
                identity = await function.read(pci.VENDOR_ID, _DWORD)
            except PcifrontError as error:
                if error.err != PciErr.DEV_NOT_FOUND:
                    raise
                continue
            if identity == device << 16 | vendor:
                return function
        raise PcifrontError(0, f"{self._front.path}: no function is {vendor:04x}:{device:04x}")

    async def operate(
        self, cmd: PciOp, devfn: int, *, offset: int = 0, size: int = 0, value: int = 0, entries: Sequence[int] = ()
    ) -> tuple[int, list[int]]:
        """One operation: `value` of the answer, and the vectors of `entries`. Raises `PcifrontError`."""
        await self._take_turn()
        try:
            page = self._machine.memory.page(self._gfn)
            op = pciif.OP.pack(cmd, 0, *self._root, devfn, offset, size, value, 0)
            op += b"".join(pciif.VECTOR.pack(0, entry) for entry in entries)
            page[pciif.OP_AT : pciif.OP_AT + len(op)] = op
            # Last: the back end looks at nothing before.
            set_bit(page, 0, pciif.ACTIVE)
            await self._machine.hypercall.event_send(self._port)
            answered = await self._machine.kernel.timers.wait_until(
                lambda: not test_bit(page, 0, pciif.ACTIVE), self._answered, OP_NS
            )
            if not answered:
                clear_bit(page, 0, pciif.ACTIVE)
                raise PlatformTimeoutError(f"{self._front.path}: no answer to {cmd.name} of {devfn:#04x} in {OP_NS} ns")
            answer = bytes(page[pciif.OP_AT : pciif.OP_AT + pciif.OP_BYTES])
        finally:
            self._busy = False
            self._free.notify()
        _, err, *_, result, _ = pciif.OP.unpack_from(answer)
        if err != PciErr.SUCCESS:
            raise PcifrontError(err, f"{self._front.path}: {cmd.name} of {devfn:#04x}, offset {offset:#x} gave {err}")
        return result, [
            pciif.VECTOR.unpack_from(answer, pciif.VECTORS_AT + n * pciif.VECTOR.size)[0] for n in range(len(entries))
        ]

    async def _take_turn(self) -> None:
        while self._busy:
            if not await self._free.wait(OP_NS):
                raise PlatformTimeoutError(f"{self._front.path}: an operation has not ended after {OP_NS} ns")
        self._busy = True


class PciFunction:
    """One function of the bus, as its driver uses it."""

    def __init__(self, bus: PciFront, devfn: int) -> None:
        self._bus = bus
        self._devfn = devfn

    async def read(self, offset: int, size: int) -> int:
        """1, 2 or 4 bytes of configuration space. Raises `PcifrontError`, as all others."""
        value, _ = await self._bus.operate(PciOp.CONF_READ, self._devfn, offset=offset, size=size)
        return value & (1 << 8 * size) - 1

    async def write(self, offset: int, size: int, value: int) -> None:
        """The same for writes."""
        await self._bus.operate(PciOp.CONF_WRITE, self._devfn, offset=offset, size=size, value=value)

    async def command(self, *, on: int = 0, off: int = 0) -> int:
        """Set and clear bits of the command register; what it is then."""
        value = await self.read(pci.COMMAND, 2)
        await self.write(pci.COMMAND, 2, (value | on) & ~off)
        return await self.read(pci.COMMAND, 2)

    async def memory_bar(self, number: int) -> tuple[int, int]:
        """Address and size of a memory BAR. While it is sized the function's memory does not answer."""
        at = pci.BAR0 + pci.BAR_BYTES * number
        command = await self.read(pci.COMMAND, 2)
        await self.write(pci.COMMAND, 2, command & ~pci.COMMAND_MEMORY)
        base = await self.read(at, _DWORD)
        words = 2 if base & pci.BAR_TYPE_M == pci.BAR_64_BIT else 1
        offsets = range(at, at + words * pci.BAR_BYTES, pci.BAR_BYTES)
        base |= await self.read(offsets[1], _DWORD) << 32 if words == 2 else 0
        mask = 0
        for n, offset in enumerate(offsets):
            await self.write(offset, _DWORD, 0xFFFF_FFFF)
            mask |= await self.read(offset, _DWORD) << 32 * n
            await self.write(offset, _DWORD, base >> 32 * n & 0xFFFF_FFFF)
        await self.write(pci.COMMAND, 2, command)
        mask &= ~pci.BAR_FLAGS_M
        return base & ~pci.BAR_FLAGS_M, mask & -mask

    async def enable_msix(self, entries: Sequence[int]) -> list[int]:
        """Physical interrupts of the guest's for entries of the MSI-X table, to be bound."""
        left, vectors = await self._bus.operate(PciOp.ENABLE_MSIX, self._devfn, value=len(entries), entries=entries)
        if left or 0 in vectors:
            raise PcifrontError(0, f"function {self._devfn:#04x}: MSI-X gave {vectors}, {left} beside")
        return vectors

    async def disable_msix(self) -> None:
        """Give them back."""
        await self._bus.operate(PciOp.DISABLE_MSIX, self._devfn)
