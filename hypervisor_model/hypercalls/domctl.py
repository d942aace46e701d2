"""domctl: the control domain makes, changes and ends other domains."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from inspect import isawaitable
from typing import TYPE_CHECKING, Final

from hypervisor_model.domains import DomainState
from hypervisor_model.hypercalls.call import Call, Operation
from hypervisor_model.p2m import GFN_LIMIT
from hypervisor_model.vcpus import VcpuState
from sw.platform import PAGE_SHIFT
from sw.xen import domctl as abi
from sw.xen.domctl import CreateFlag, DomainFlag, DomctlOp
from sw.xen.errno import Errno, HypercallError
from sw.xen.vcpu import RunstateState
from sw.xen.xen import DOMID_CONTROL, DOMID_INVALID

if TYPE_CHECKING:
    from hypervisor_model.domains import Domain

_KB_SHIFT: Final = PAGE_SHIFT - 10
_CREATE_FLAGS: Final = int(CreateFlag.HVM | CreateFlag.HAP | CreateFlag.IOMMU)


def command(call: Call) -> int:
    """`cmd` of the structure that the caller points to; 0, which is none, where it cannot be read."""
    try:
        cmd, *_ = call.unpack(abi.HEADER, call.argument(0))
    except HypercallError:
        return 0
    return int(cmd)


def unreadable(call: Call) -> int:
    """There is no command 0: most likely the structure could not be read."""
    call.read(call.argument(0), abi.HEADER.size)
    raise HypercallError(Errno.ENOSYS, "there is no domctl 0")


def create(call: Call) -> int:
    """A domain without memory, paused: max_mem and populate_physmap give it some, unpausedomain starts it."""
    at = _header(call)
    _, _, flags, _, vcpus, max_port, *_ = call.unpack(abi.CREATEDOMAIN, at + abi.HEADER.size)
    _, _, wanted = call.unpack(abi.HEADER, at)
    if wanted not in (0, DOMID_INVALID):
        raise HypercallError(Errno.EOPNOTSUPP, f"domain number {wanted} is asked for: the hypervisor gives numbers")
    if not flags & CreateFlag.HVM or flags & ~_CREATE_FLAGS:
        raise HypercallError(Errno.EINVAL, f"flags are {flags:#x}: translated guests only, {CreateFlag.HVM:#x} must be set")
    domain = call.hv.create_domain(f"domain{call.hv.last_domid + 1}", 0, vcpus=vcpus, max_port=max_port)
    domain.hold()
    call.pack(abi.HEADER, at, DomctlOp.CREATEDOMAIN, abi.INTERFACE_VERSION, domain.domid)
    return 0


async def destroy(call: Call, domain: Domain, at: int) -> None:
    """End a domain and take back what it has."""
    # The caller may be preempted meanwhile: hypercalls of the other domain have to end first.
    async with call.domain.vcpu.blocked():
        await call.hv.destroy_domain(domain.domid)


def pause(call: Call, domain: Domain, at: int) -> None:
    """Stop the vCPUs of another domain."""
    if domain is call.domain:
        raise HypercallError(Errno.EINVAL, f"{domain.name} cannot pause itself")
    domain.pause()


def unpause(call: Call, domain: Domain, at: int) -> None:
    """Let a domain run again, or for the first time."""
    domain.unpause()


def get_info(call: Call, domain: Domain, at: int) -> None:
    """State, memory and time of a domain."""
    running = sum(vcpu.runstate().times[RunstateState.RUNNING] for vcpu in domain.vcpus)
    online = sum(vcpu.is_up for vcpu in domain.vcpus)
    call.pack(
        abi.GETDOMAININFO,
        at,
        domain.domid,
        _flags(domain),
        call.hv.frames.pages(domain.domid),
        call.hv.frames.limit(domain.domid),
        0,
        0,
        0,
        domain.shared_info_frame,
        running,
        online,
        len(domain.vcpus) - 1,
        0,
        bytes(16),
        0,
        (GFN_LIMIT - 1).bit_length() + PAGE_SHIFT,
    )


def _flags(domain: Domain) -> int:
    flags = int(DomainFlag.HVM_GUEST)
    if domain.dying:
        flags |= DomainFlag.DYING
    if domain.shutdown_reason is not None:
        flags |= DomainFlag.SHUTDOWN | domain.shutdown_reason << abi.SHUTDOWN_REASON_SHIFT
    elif domain.state in (DomainState.PAUSED, DomainState.BUILT):
        flags |= DomainFlag.PAUSED
    states = {vcpu.state for vcpu in domain.vcpus}
    if VcpuState.RUNNING in states:
        flags |= DomainFlag.RUNNING
    elif VcpuState.BLOCKED in states and VcpuState.RUNNABLE not in states:
        flags |= DomainFlag.BLOCKED
    return flags


def max_mem(call: Call, domain: Domain, at: int) -> None:
    """Limit of a domain's memory; of one that is being built the size of its RAM."""
    (kib,) = call.unpack(abi.MAX_MEM, at)
    pages = kib >> _KB_SHIFT
    if pages > call.hv.frames.frames:
        raise HypercallError(Errno.EINVAL, f"{kib} KiB: the machine has {call.hv.frames.frames << _KB_SHIFT}")
    domain.set_max_pages(pages)


def irq_permission(call: Call, domain: Domain, at: int) -> None:
    """May a physical interrupt be bound to the domain?"""
    pirq, allow = call.unpack(abi.IRQ_PERMISSION, at)
    call.hv.irq_permission(domain, pirq, allow=bool(allow))


def iomem_permission(call: Call, domain: Domain, at: int) -> None:
    """May device frames be mapped into the domain?"""
    first, count, allow = call.unpack(abi.IOMEM_PERMISSION, at)
    frames = _device_frames(call, first, count)
    for frame in frames:
        call.hv.iomem_permission(domain, frame, allow=bool(allow))


def memory_mapping(call: Call, domain: Domain, at: int) -> None:
    """Device frames into or out of the domain's P2M: all of them or none."""
    gfn, first, count, add = call.unpack(abi.MEMORY_MAPPING, at)
    if count > abi.MAPPING_MAX_FRAMES:
        raise HypercallError(Errno.E2BIG, f"mapping of {count} frames: at most {abi.MAPPING_MAX_FRAMES}")
    if gfn + count > GFN_LIMIT:
        raise HypercallError(Errno.EINVAL, f"guest frames {gfn:#x} to {gfn + count:#x}: below {GFN_LIMIT:#x}")
    frames = _device_frames(call, first, count)
    done = 0
    try:
        for frame in frames:
            call.hv.memory_mapping(domain, gfn + done, frame, add=bool(add))
            done += 1
    except HypercallError:
        for n in range(done):
            call.hv.memory_mapping(domain, gfn + n, first + n, add=not add)
        raise


def assign_device(call: Call, domain: Domain, at: int) -> None:
    """The domain alone uses the NIC from now on."""
    call.hv.assign_device(domain, _device(call, at))


def test_assign_device(call: Call, domain: Domain, at: int) -> None:
    """Could the device be assigned?"""
    call.hv.check_assignable(_device(call, at))


def deassign_device(call: Call, domain: Domain, at: int) -> None:
    """The device can be shared again."""
    call.hv.deassign_device(domain, _device(call, at))


async def bind_pt_irq(call: Call, domain: Domain, at: int) -> None:
    """The interrupt of an endpoint of the domain becomes one of its physical interrupts."""
    pirq, kind, *_ = call.unpack(abi.BIND_PT_IRQ, at)
    if kind != abi.IRQ_TYPE_MSI:
        raise HypercallError(Errno.EOPNOTSUPP, f"interrupt type {kind}: only MSI, {abi.IRQ_TYPE_MSI}")
    await call.hv.bind_pt_irq(domain, pirq)


def _device(call: Call, at: int) -> int:
    kind, _, sbdf = call.unpack(abi.ASSIGN_DEVICE, at)
    if kind != abi.DEVICE_PCI:
        raise HypercallError(Errno.EINVAL, f"device type {kind}: only PCI, {abi.DEVICE_PCI}")
    return int(sbdf)


def _device_frames(call: Call, first: int, count: int) -> range:
    """Frames that all lie in one BAR of the NIC; the control domain holds them."""
    frames = range(first, first + count)
    for address, size in call.hv.device.bars.values():
        bar = range(address >> PAGE_SHIFT, (address + size) >> PAGE_SHIFT)
        if count and frames.start in bar and frames.stop <= bar.stop:
            return frames
    raise HypercallError(Errno.EPERM, f"{count} frames from {first:#x} on are not in a BAR of the NIC")


def _header(call: Call) -> int:
    """Check the structure and the caller; where it is."""
    at = call.argument(0)
    _, version, _ = call.unpack(abi.HEADER, at)
    if version != abi.INTERFACE_VERSION:
        raise HypercallError(Errno.EACCES, f"domctl interface version {version:#x}: {abi.INTERFACE_VERSION:#x}")
    if call.domain.domid != DOMID_CONTROL:
        raise HypercallError(Errno.EPERM, f"{call.domain.name} is not the control domain")
    return at


_Handler = Callable[[Call, "Domain", int], Awaitable[None] | None]


async def _of_domain(handler: _Handler, call: Call) -> int:
    """An operation on one domain; the handler gets it, and where its own structure is."""
    at = _header(call)
    _, _, domid = call.unpack(abi.HEADER, at)
    done = handler(call, call.target(domid), at + abi.HEADER.size)
    if isawaitable(done):
        await done
    return 0


_ON_DOMAINS: Final[Mapping[DomctlOp, _Handler]] = {
    DomctlOp.DESTROYDOMAIN: destroy,
    DomctlOp.PAUSEDOMAIN: pause,
    DomctlOp.UNPAUSEDOMAIN: unpause,
    DomctlOp.GETDOMAININFO: get_info,
    DomctlOp.MAX_MEM: max_mem,
    DomctlOp.IRQ_PERMISSION: irq_permission,
    DomctlOp.IOMEM_PERMISSION: iomem_permission,
    DomctlOp.ASSIGN_DEVICE: assign_device,
    DomctlOp.BIND_PT_IRQ: bind_pt_irq,
    DomctlOp.MEMORY_MAPPING: memory_mapping,
    DomctlOp.TEST_ASSIGN_DEVICE: test_assign_device,
    DomctlOp.DEASSIGN_DEVICE: deassign_device,
}
OPERATIONS: Final[Mapping[int, Operation]] = {
    0: Operation(unreadable, control=True),
    DomctlOp.CREATEDOMAIN: Operation(create, control=True),
    **{number: Operation(partial(_of_domain, handler), control=True) for number, handler in _ON_DOMAINS.items()},
}
