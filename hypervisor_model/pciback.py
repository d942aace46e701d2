"""Back end of `pci`: serves a guest's accesses to the configuration space of the virtual function that it has.

Source: Xen `xen/include/public/io/pciif.h`; behaviour as in Linux `xen-pciback`. Each domain has one device of this kind, with one
function, which the guest sees as 0000:00:00.0.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from hypervisor_model.conf_space import VECTORS, ConfSpace, PciOpError
from hypervisor_model.dom0.foreign import ForeignFrames
from hypervisor_model.xenbus import Device, FrontEndError
from sw.guest.machine import GuestMachine
from sw.pci import slot
from sw.platform import PlatformTimeoutError
from sw.xen.errno import Errno, HypercallError
from sw.xen.event_channel import FIFO_PORTS
from sw.xen.grant_table import GrantStatus
from sw.xen.io import pciif
from sw.xen.io.pciif import PciErr, PciOp
from sw.xen.io.xenbus import XenbusState
from sw.xen.shared_bits import clear_bit, test_bit

if TYPE_CHECKING:
    from hypervisor_model.hypervisor import Hypervisor

PACE_NS: Final = 1_000
"""Between two operations of one guest: without a rest it could keep the control domain to itself."""
IDLE_NS: Final = 1_000_000_000
"""The loop looks again after so long, simulated, even if nothing has happened."""
_REFERENCE_MAX: Final = 0xFFFF_FFFF
_VIRTUAL: Final = (0, 0, 0)
"""Segment, bus and devfn by which the guest names its function."""
_SLOT: Final = re.compile(r"([0-9a-f]{4}):([0-9a-f]{2}):([01][0-9a-f])\.([0-7])")


@dataclass(frozen=True)
class _Link:
    """A connected front end."""

    page: memoryview
    gfn: int
    handle: int
    port: int
    space: ConfSpace


class PciBackEnd:
    """Implements `hypervisor_model.xenbus.BackEndDriver`."""

    def __init__(
        self,
        device: Device,
        hypervisor: Hypervisor,
        machine: GuestMachine,
        foreign: ForeignFrames,
        start: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        """`hypervisor`: for what the control domain would write into the function itself. Others as of `PciDrivers`."""
        self._device = device
        self._hv = hypervisor
        self._machine = machine
        self._foreign = foreign
        self._start = start
        self._requester = _requester(device.read("dev-0") or "")
        endpoint = hypervisor.device.vf_number(self._requester)
        if endpoint is None:
            raise ValueError(f"{device.backend}/dev-0: {slot(self._requester)} is no virtual function")
        self._endpoint = endpoint
        self._pirq = 0
        self._signal = machine.signal()
        self._idle = machine.signal()
        self._link: _Link | None = None
        self._busy = False

    def features(self) -> Mapping[str, str]:
        """Where the guest finds its function."""
        return {
            "vdev-0": "0000:00:00.00",
            "root_num": "1",
            "root-0": "0000:00",
            "state-0": str(XenbusState.INITIALISED.value),
        }

    async def connect(self) -> None:
        """Map the front end's page, bind its port, serve it. Raises `FrontEndError`."""
        device, machine = self._device, self._machine
        if (magic := device.read_front("magic")) != pciif.MAGIC:
            raise FrontEndError(f"{device.frontend}/magic is {(magic or 'missing')[:24]!r}: {pciif.MAGIC!r}")
        reference = device.front_number("pci-op-ref", 0, _REFERENCE_MAX)
        remote = device.front_number("event-channel", 1, FIFO_PORTS - 1)
        gfn = self._foreign.take()
        try:
            resources = self._hv.function_resources(device.domid, self._requester)
            status, handle = await machine.hypercall.grant_map(device.domid, reference, gfn, readonly=False)
            if status is not GrantStatus.OKAY:
                raise FrontEndError(f"{device.frontend}/pci-op-ref {reference}: mapping it gave {status.name}")
        except (HypercallError, FrontEndError) as error:
            self._foreign.give(gfn)
            raise FrontEndError(str(error)) from error
        try:
            port = await machine.hypercall.event_bind_interdomain(device.domid, remote)
        except HypercallError as error:
            await self._unmap(gfn, handle)
            raise FrontEndError(f"{device.frontend}/event-channel {remote}: {error}") from error
        space = ConfSpace(resources, self._set_master)
        self._link = _Link(machine.memory.page(gfn), gfn, handle, port, space)
        await machine.kernel.bind_event(port, self._signal.notify)
        self._start(self._serve(self._link))

    async def disconnect(self) -> None:
        """Let go of page and port, and reset the function."""
        link, self._link = self._link, None
        if link is None:
            return
        self._signal.notify()
        while self._busy:
            if not await self._idle.wait(IDLE_NS):
                raise PlatformTimeoutError(f"pci of domain {self._device.domid}: an operation has not ended after {IDLE_NS} ns")
        await self._machine.kernel.unbind_event(link.port)
        await self._unmap(link.gfn, link.handle)
        await self._disable_msix(link.space)
        await link.space.reset()

    async def _unmap(self, gfn: int, handle: int) -> None:
        await self._machine.hypercall.grant_unmap([(gfn, handle)])
        self._foreign.give(gfn)

    # --- operations ------------------------------------------------------------------------------

    async def _serve(self, link: _Link) -> None:
        """One operation after the other, until `disconnect`."""
        while self._link is link:
            if not test_bit(link.page, 0, pciif.ACTIVE):
                await self._signal.wait(IDLE_NS)
                continue
            self._busy = True
            try:
                await self._answer(link)
            finally:
                self._busy = False
                self._idle.notify()
            await self._machine.sleep(PACE_NS)

    async def _answer(self, link: _Link) -> None:
        page = link.page
        # Once, and before anything is looked at: the front end may write there all the while.
        op = bytes(page[pciif.OP_AT : pciif.OP_AT + pciif.OP_BYTES])
        vectors: list[int] = []
        try:
            value, vectors = await self._carry_out(link.space, op)
            err = int(PciErr.SUCCESS)
        except PciOpError as refused:
            err, value = refused.err, 0
        for at, number in ((pciif.OP_ERR, err), (pciif.OP_VALUE, value)):
            page[pciif.OP_AT + at : pciif.OP_AT + at + 4] = (number & 0xFFFF_FFFF).to_bytes(4, "little")
        for n, vector in enumerate(vectors):
            at = pciif.OP_AT + pciif.VECTORS_AT + n * pciif.VECTOR.size
            page[at : at + 2] = vector.to_bytes(2, "little")
        clear_bit(page, 0, pciif.ACTIVE)
        await self._machine.hypercall.event_send(link.port)

    async def _carry_out(self, space: ConfSpace, op: bytes) -> tuple[int, list[int]]:
        """`value` and the vectors of the answer. Raises `PciOpError`."""
        cmd, _, segment, bus, devfn, offset, size, value, _ = pciif.OP.unpack_from(op)
        if (segment, bus, devfn) != _VIRTUAL:
            raise PciOpError(PciErr.DEV_NOT_FOUND, f"segment {segment:#x}, bus {bus:#x}, devfn {devfn:#x} is no function")
        match cmd:
            case PciOp.CONF_READ:
                return space.read(offset, size), []
            case PciOp.CONF_WRITE:
                await space.write(offset, size, value)
                return value, []
            case PciOp.ENABLE_MSI:
                raise PciOpError(PciErr.OP_FAILED, "the function has no MSI capability")
            case PciOp.DISABLE_MSI:
                return 0, []
            case PciOp.ENABLE_MSIX:
                return 0, [await self._enable_msix(space, op, value)]
            case PciOp.DISABLE_MSIX:
                await self._disable_msix(space)
                return 0, []
        raise PciOpError(PciErr.NOT_IMPLEMENTED, f"there is no operation {cmd}")

    async def _enable_msix(self, space: ConfSpace, op: bytes, count: int) -> int:
        """Make the function's vector a physical interrupt of the guest's: its number."""
        if count > pciif.MAX_VECTORS:
            raise PciOpError(-Errno.EINVAL, f"{count} vectors: at most {pciif.MAX_VECTORS}")
        if space.msix:
            raise PciOpError(-Errno.EALREADY, "MSI-X is on")
        if not space.memory_enabled:
            raise PciOpError(-Errno.ENXIO, "memory is off: the table could not be reached")
        if count > VECTORS:
            raise PciOpError(-Errno.ENOSPC, f"{count} vectors: the function has {VECTORS}")
        entries = [pciif.VECTOR.unpack_from(op, pciif.VECTORS_AT + n * pciif.VECTOR.size)[1] for n in range(count)]
        if entries != [0]:
            raise PciOpError(-Errno.EINVAL, f"entries {entries}: the table has {VECTORS}")
        try:
            self._pirq = await self._machine.hypercall.map_pirq(self._endpoint, domid=self._device.domid)
        except HypercallError as error:
            raise PciOpError(-error.errno, str(error)) from error
        space.msix = True
        return self._pirq

    async def _disable_msix(self, space: ConfSpace) -> None:
        if not space.msix:
            return
        space.msix = False
        try:
            await self._machine.hypercall.unmap_pirq(self._pirq, domid=self._device.domid)
        except HypercallError as error:
            # The guest has given it back itself, or with its endpoint, or is no more.
            if error.errno not in (Errno.EINVAL, Errno.ESRCH):
                raise

    async def _set_master(self, on: bool) -> bool:
        try:
            await self._hv.set_bus_master(self._device.domid, self._requester, on=on)
        except HypercallError:
            return False
        return on


class PciDrivers:
    """Makes the driver of each device of kind `pci`: for `BackEndBus`."""

    def __init__(
        self,
        hypervisor: Hypervisor,
        machine: GuestMachine,
        foreign: ForeignFrames,
        start: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        """`machine` is the control domain, `foreign` where it maps pages of others, `start` runs a coroutine as its task."""
        self._hv = hypervisor
        self._machine = machine
        self._foreign = foreign
        self._start = start

    def __call__(self, device: Device) -> PciBackEnd:
        """The toolstack has plugged a device. Raises `ValueError` for keys that make no sense."""
        return PciBackEnd(device, self._hv, self._machine, self._foreign, self._start)


def _requester(text: str) -> int:
    found = _SLOT.fullmatch(text)
    if found is None:
        raise ValueError(f"dev-0 is {text!r}: segment, bus, device and function as 0000:01:00.1")
    segment, bus, device, function = (int(part, 16) for part in found.groups())
    return segment << 16 | bus << 8 | device << 3 | function
