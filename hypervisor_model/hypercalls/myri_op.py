"""myri_op: endpoints of the NIC, their memory and their receive side."""

from __future__ import annotations

from collections.abc import Mapping as ReadOnly
from collections.abc import Sequence
from itertools import groupby
from typing import Final

from hypervisor_model import receive_side
from hypervisor_model.endpoints import Endpoint
from hypervisor_model.grants import GrantError, Mapping
from hypervisor_model.hypercalls.call import Call, Operation
from hypervisor_model.spaces.space import SUPERPAGE_ORDER
from hypervisor_model.spaces.validated import ValidatedSpace
from sw.abi.registers import Form, ReceiveBuffer, SendDescriptor
from sw.guest.machine import ReceiveSetup
from sw.platform import PAGE_SHIFT
from sw.xen import myri
from sw.xen.errno import Errno, HypercallError
from sw.xen.grant_table import GrantMapFlag, GrantStatus
from sw.xen.myri import FilterFlag, MapFlag, MyriOp, ValidatedRing
from sw.xen.xen import DOMID_CONTROL

MAX_BATCH: Final = 512
"""Entries of one map or unmap."""


def allocate(call: Call) -> int:
    """Reserve an endpoint and map its doorbell page (and the windows of pushed rings) into the caller's P2M."""
    at = call.argument(1)
    form, receive_form, *_ = call.unpack(myri.ALLOCATE, at)
    domain, endpoints = call.domain, call.hv.endpoints
    owner = call.hv.native_owner
    if owner not in (None, domain):
        raise HypercallError(Errno.ENODEV, f"the NIC is assigned to {owner.name}: it has a native owner and cannot be shared")
    receive = None if receive_form == myri.SEND_ONLY else _form("receive_form", receive_form)
    endpoint = endpoints.allocate(
        domain.domid, _form("form", form), domain.mode, receive, domain.port_policy, domain.mac_id
    )
    base = call.hv.aperture_gfn(domain, endpoint.number)
    for page, frame in endpoints.aperture_pages(endpoint):
        call.hv.iomem_permission(domain, frame, allow=True)
        call.hv.memory_mapping(domain, base + page, frame, add=True)
    call.pack(
        myri.ALLOCATE,
        at,
        form,
        receive_form,
        endpoint.number,
        endpoint.mode,
        endpoints.inline_max,
        endpoints.max_frame,
        endpoint.policy.vlan,
        endpoint.mac,
        base << PAGE_SHIFT,
    )
    return 0


async def release(call: Call) -> int:
    """Give an endpoint back: its device pages leave the P2M, its context entry goes."""
    (number,) = call.unpack(myri.ENDPOINT, call.argument(1))
    await call.hv.release_endpoint(call.domain, _owned(call, number))
    return 0


async def enable(call: Call) -> int:
    """Program ring sizes and bases (device addresses) and let the endpoint send, and receive if that is set up."""
    number, send_log2, cq_log2, receives, small_log2, big_log2, queue_log2, buffer_log2, small_bytes, max_frame, queues, rss, *bases = (
        call.unpack(myri.ENABLE, call.argument(1))
    )
    endpoint = _owned(call, number)
    send_base, cq_base, small_base, big_base, *queue_bases = bases
    setup = None
    if receives:
        if queues not in receive_side.QUEUES:
            limits = receive_side.QUEUES
            raise HypercallError(Errno.EINVAL, f"number of queue_bases is {queues}: {limits.start} to {limits.stop - 1}")
        setup = ReceiveSetup(
            small_log2, big_log2, queue_log2, buffer_log2, small_bytes, max_frame, tuple(queue_bases[:queues]),
            small_base, big_base, bool(rss),
        )  # fmt: skip
    await call.hv.endpoints.enable(endpoint, send_log2, cq_log2, send_base, cq_base, setup)
    return 0


async def disable(call: Call) -> int:
    """Stop an endpoint; on return nothing of it is in flight."""
    (number,) = call.unpack(myri.ENDPOINT, call.argument(1))
    await call.hv.endpoints.disable(_owned(call, number))
    return 0


def map_grants(call: Call) -> int:
    """Let own endpoints reach pages that the caller granted to the NIC's owner, the control domain.

    Neighbours in the batch with the same endpoint and flags are one registration: their device addresses are
    consecutive where the mode gives addresses of its own; all of them are mapped or none is.
    """
    at, layout = call.argument(1), myri.MAP_GRANT
    requests = [call.unpack(layout, at + n * layout.size)[:3] for n in range(_batch(call))]
    for number in {number for number, _, _ in requests}:
        _owned(call, number)
    done = 0
    for (number, flags), some in groupby(requests, key=lambda request: request[:2]):
        references = [reference for *_, reference in some]
        answers = _register(call, _owned(call, number), references, readonly=bool(flags & MapFlag.READONLY))
        for reference, answer in zip(references, answers, strict=True):
            call.pack(layout, at + done * layout.size, number, flags, reference, *answer)
            done += 1
    return 0


def _register(call: Call, endpoint: Endpoint, references: Sequence[int], *, readonly: bool) -> list[tuple[int, int, int]]:
    """One registration: status, handle and device address for each page."""
    flags = GrantMapFlag.DEVICE | (GrantMapFlag.READONLY if readonly else GrantMapFlag(0))
    grants, domid = call.hv.grants, call.domain.domid
    call.charge("page_registration", len(references))
    pinned: list[tuple[int, Mapping]] = []
    try:
        for reference in references:
            pinned.append(grants.pin(DOMID_CONTROL, domid, reference, endpoint.number, flags))
        addresses = endpoint.space.install([mapping for _, mapping in pinned])
    except GrantError as error:
        for handle, _ in pinned:
            grants.unpin(grants.take(handle, domid))
        return [(error.status, 0, 0)] * len(references)
    return [(GrantStatus.OKAY, handle, address) for (handle, _), address in zip(pinned, addresses, strict=True)]


async def unmap_grants(call: Call) -> int:
    """Undo device mappings, in the order of contract C4: pages are unpinned last."""
    at, layout = call.argument(1), myri.UNMAP_GRANT
    grants, domid = call.hv.grants, call.domain.domid
    statuses: list[tuple[int, GrantStatus]] = []
    by_endpoint: dict[int, list[Mapping]] = {}
    for n in range(_batch(call)):
        handle, _ = call.unpack(layout, at + n * layout.size)
        try:
            mapping = grants.take(handle, domid)
        except GrantError as error:
            statuses.append((handle, error.status))
            continue
        statuses.append((handle, GrantStatus.OKAY))
        by_endpoint.setdefault(mapping.endpoint, []).append(mapping)
    call.concerned.update(by_endpoint)
    for number, mappings in by_endpoint.items():
        await call.hv.endpoints.owned(number, domid).space.revoke(mappings)
        for mapping in mappings:
            grants.unpin(mapping)
        call.charge("page_registration", len(mappings))
    for n, status in enumerate(statuses):
        call.pack(layout, at + n * layout.size, *status)
    return 0


def map_superpage(call: Call) -> int:
    """Let an own endpoint reach 512 aligned pages in consecutive frames by one 2 MiB entry, until release."""
    at = call.argument(1)
    number, flags, gfn, _ = call.unpack(myri.MAP_SUPERPAGE, at)
    endpoint = _owned(call, number)
    call.charge("page_registration", 1 << SUPERPAGE_ORDER)
    address = endpoint.space.install_superpage(call.domain.p2m, gfn, write=not flags & MapFlag.READONLY)
    call.pack(myri.MAP_SUPERPAGE, at, number, flags, gfn, address)
    return 0


def enqueue(call: Call) -> int:
    """Mode VALIDATED: check descriptors or buffers and hand them to the NIC; returns how many there was room for."""
    number, ring, count, _, at = call.unpack(myri.ENQUEUE, call.argument(1))
    space = _validated(_owned(call, number))
    if count > myri.ENQUEUE_MAX:
        raise HypercallError(Errno.EINVAL, f"batch of {count}: at most {myri.ENQUEUE_MAX}")
    p2m = call.domain.p2m
    call.charge("pin_check", count)
    if ring == ValidatedRing.SEND:
        return space.enqueue_send(p2m, call.read(at, count * SendDescriptor.BYTES))
    names = {ValidatedRing.SMALL: "small", ValidatedRing.BIG: "big"}
    if ring not in names:
        raise HypercallError(Errno.EINVAL, f"ring is {ring}: 0 to {max(ValidatedRing)}")
    return space.enqueue_receive(p2m, names[ring], call.read(at, count * ReceiveBuffer.BYTES))


async def retire(call: Call) -> int:
    """Mode VALIDATED: unpin what the NIC has passed, so that there is room again."""
    (number,) = call.unpack(myri.ENDPOINT, call.argument(1))
    await call.hv.endpoints.retire(_owned(call, number))
    return 0


def _validated(endpoint: Endpoint) -> ValidatedSpace:
    if not isinstance(endpoint.space, ValidatedSpace):
        raise HypercallError(Errno.EINVAL, f"endpoint {endpoint.number} is not validated: it has rings of its own")
    return endpoint.space


async def set_rss(call: Call) -> int:
    """Toeplitz key and indirection table of an own endpoint."""
    number, key, table = call.unpack(myri.SET_RSS, call.argument(1))
    _owned(call, number)
    receive_side.set_rss(call.hv.endpoints.write, number, key, table)
    await call.hv.endpoints.settle()
    return 0


async def set_moderation(call: Call) -> int:
    """Interrupt moderation of an own endpoint."""
    number, ns, frames = call.unpack(myri.SET_MODERATION, call.argument(1))
    _owned(call, number)
    receive_side.set_moderation(call.hv.endpoints.write, number, ns, frames)
    await call.hv.endpoints.settle()
    return 0


async def multicast(call: Call) -> int:
    """Let an own endpoint join or leave a multicast group."""
    at = call.argument(1)
    number, join, group, _ = call.unpack(myri.MULTICAST, at)
    _owned(call, number)
    switch = call.hv.endpoints.switch
    joined = True
    if join:
        joined = switch.join(number, group)
    else:
        switch.leave(number, group)
    await call.hv.endpoints.settle()
    call.pack(myri.MULTICAST, at, number, join, group, joined)
    return 0


async def set_filter(call: Call) -> int:
    """Let an own endpoint receive more; everybody's frames only if the caller is privileged."""
    number, flags = call.unpack(myri.FILTER, call.argument(1))
    endpoint = _owned(call, number)
    if flags & FilterFlag.PROMISCUOUS and not call.domain.privileged:
        raise HypercallError(Errno.EPERM, f"{call.domain.name} is not privileged: no promiscuous mode")
    call.hv.endpoints.set_filter(
        endpoint, promiscuous=bool(flags & FilterFlag.PROMISCUOUS), all_multicast=bool(flags & FilterFlag.ALL_MULTICAST)
    )
    await call.hv.endpoints.settle()
    return 0


async def statistics(call: Call) -> int:
    """Counters of an own endpoint since it was first enabled; returns how many there are, 0 before."""
    number, wanted, to = call.unpack(myri.STATISTICS, call.argument(1))
    counters = await call.hv.endpoints.statistics(_owned(call, number))
    values = [counters[name] for name in myri.STATISTICS_NAMES[:wanted] if name in counters]
    call.write(to, b"".join(value.to_bytes(8, "little") for value in values))
    return len(values)


def _form(field: str, value: int) -> Form:
    try:
        return Form(value)
    except ValueError as error:
        raise HypercallError(Errno.EINVAL, f"{field} is {value}: 0 to {max(Form)}") from error


def _batch(call: Call) -> int:
    count = call.argument(2)
    if count > MAX_BATCH:
        raise HypercallError(Errno.EINVAL, f"batch of {count}: at most {MAX_BATCH}")
    return count


def _owned(call: Call, number: int) -> Endpoint:
    call.concerned.add(number)
    return call.hv.endpoints.owned(number, call.domain.domid)


OPERATIONS: Final[ReadOnly[int, Operation]] = {
    MyriOp.ALLOCATE: Operation(allocate, control=True),
    MyriOp.RELEASE: Operation(release),
    MyriOp.ENABLE: Operation(enable),
    MyriOp.DISABLE: Operation(disable, control=True),
    MyriOp.MAP_GRANTS: Operation(map_grants),
    MyriOp.UNMAP_GRANTS: Operation(unmap_grants),
    MyriOp.MAP_SUPERPAGE: Operation(map_superpage),
    MyriOp.SET_RSS: Operation(set_rss, control=True),
    MyriOp.SET_MODERATION: Operation(set_moderation, control=True),
    MyriOp.MULTICAST: Operation(multicast, control=True),
    MyriOp.FILTER: Operation(set_filter, control=True),
    MyriOp.STATISTICS: Operation(statistics, control=True),
    MyriOp.ENQUEUE: Operation(enqueue),
    MyriOp.RETIRE: Operation(retire),
}
