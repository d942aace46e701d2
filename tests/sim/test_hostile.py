"""The hostile guest of modes native and split on the reference NIC: everything is caught, and a hole anywhere is seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest

from hypervisor_model.dom0 import requests
from hypervisor_model.dom0.netback import Netback
from hypervisor_model.dom0.netback_transmit import BackTransmitter
from hypervisor_model.dom0.port_filter import PortFilter
from hypervisor_model.domains import Domain
from hypervisor_model.events.channels import EventChannels
from hypervisor_model.events.ports import Unbound
from hypervisor_model.grant_copy import GrantCopier, Side
from hypervisor_model.grant_table import GrantTable
from hypervisor_model.hypercalls import domctl
from hypervisor_model.hypercalls.call import Call
from hypervisor_model.hypervisor import Hypervisor
from hypervisor_model.sharing import Sharing
from hypervisor_model.xenstore import operations
from hypervisor_model.xenstore.permissions import Access, Permissions, access_of
from sw.guest.kernel import GuestKernel
from sw.guest.shared_ring import BackRing
from sw.xen.domctl import DomctlOp
from sw.xen.xen import DOMID_SELF
from tb.sim.attempts import Attempt
from tb.sim.capture import SHIPPED, load
from tb.sim.reference import run_reference

FRAMES: Final = load(SHIPPED)[:60]
Patch = Callable[[pytest.MonkeyPatch], None]


def attempts(sharing: Sharing) -> list[Attempt]:
    result, _ = run_reference(FRAMES, 2, 1, sharing)
    return result.attempts


def replaced(owner: Any, name: str, value: object) -> Patch:
    return lambda patch: patch.setattr(owner, name, value)


@pytest.mark.parametrize(
    ("sharing", "count", "ends"),
    [
        (
            Sharing.SPLIT, 48,
            {
                # netif.h: what is refused, and what is dropped
                "ERROR": 8, "2 x ERROR": 4, "3 x ERROR": 1, "19 x ERROR": 1, "ERROR, NULL": 3, "DROPPED": 4,
                "EACCES": 5, "EINVAL": 2, "EPERM": 1, "vif shut down": 11, "refused": 4,
            },
        ),
        (
            Sharing.NATIVE, 51,
            {
                "trapped and dropped": 7, "EPERM": 20, "ENODEV": 11, "EINVAL": 7,
                "GENERAL_ERROR": 4, "PERMISSION_DENIED": 2,
            },
        ),
    ],
)  # fmt: skip
def test_everything_is_caught(sharing: Sharing, count: int, ends: dict[str, int]) -> None:
    found = attempts(sharing)
    assert [a for a in found if not a.caught] == []
    assert len(found) == count == len({a.name for a in found})
    for end, times in ends.items():
        assert sum(a.expected.partition(":")[0] == end for a in found) == times, end


@pytest.mark.parametrize("sharing", [Sharing.NATIVE, Sharing.SPLIT])
def test_how_it_ends_does_not_depend_on_time(sharing: Sharing) -> None:
    """The guests' traffic is another one, and with it when the control domain gets round to the hostile guest."""
    other, _ = run_reference(FRAMES * 4, 5, 2, sharing)
    assert other.attempts == attempts(sharing)


def answers_all(ring: BackRing) -> int:
    return min((int.from_bytes(ring._page[:4], "little") - ring._consumed) & 0xFFFF_FFFF, 200)


def any_domain(call: Call, domid: int) -> Domain:
    return call.domain if domid == DOMID_SELF else call.hv.domains[domid]


def domctl_for_all(command: DomctlOp) -> Callable[[Call], int]:
    checked = domctl._header

    def header(call: Call) -> int:
        return call.argument(0) if domctl.command(call) == command else checked(call)

    return header


def readable(domid: int, permissions: Permissions) -> Access:
    """Everything, by everybody."""
    return access_of(domid, permissions) | Access.READ


def permit_and_refuse(call: Call) -> int:
    """The check comes too late."""
    if domctl.command(call) == DomctlOp.IRQ_PERMISSION:
        call.domain.irqs.add(16)
    return HEADER(call)


def any_frame(copier: GrantCopier, caller: int, side: Side) -> GrantTable:
    return copier._grants.living(caller if side.domid == DOMID_SELF else side.domid)


def any_grantee(table: GrantTable, reference: int, grantee: int, *, pinned: bool, write: bool, mapping: bool) -> int:
    flags, _ = table.header(reference)
    return flags


def any_binder(channels: EventChannels, remote: EventChannels, port: int) -> int:
    remote._ports[port].binding = Unbound(channels.domid)
    return BIND(channels, remote, port)


def long_frames(transmitter: BackTransmitter, *arguments: Any, **options: Any) -> None:
    """Longer ones than the NIC takes."""
    MAKE(transmitter, *arguments, **options)
    transmitter._max_frame = 20_000


HEADER: Final = domctl._header
BIND: Final = EventChannels.bind_interdomain
MAKE: Final = BackTransmitter.__init__
HOLES: Final[dict[str, tuple[Sharing, Patch, set[str]]]] = {
    "the port's filter": (
        Sharing.SPLIT, replaced(PortFilter, "may_send", lambda *_: True),
        {"another guest's source address", "a group as source address", "another VLAN", "a pause frame"},
    ),
    "most slots of a packet": (Sharing.SPLIT, replaced(requests, "MAX_SLOTS", 20), {"19 slots"}),
    "shortest packet": (Sharing.SPLIT, replaced(requests, "ETHERNET_BYTES", 1), {"shorter than an Ethernet header"}),
    "smallest segment": (Sharing.SPLIT, replaced(requests, "MIN_MSS", 1), {"segments smaller than any"}),
    "longest frame": (Sharing.SPLIT, replaced(BackTransmitter, "__init__", long_frames), {"longer than the line takes"}),
    "a page's end": (
        Sharing.SPLIT, replaced(requests, "PAGE_SIZE", 1 << 16),
        {"a slot across the end of its page", "a second slot behind the end of its page"},
    ),
    "fatal slots": (Sharing.SPLIT, replaced(requests, "FATAL_SLOTS", 30), {"21 slots"}),
    "the ring's index": (
        Sharing.SPLIT, replaced(BackRing, "requests", answers_all),
        {"one request more than the ring has", "an index far ahead", "an index that goes back"},
    ),
    "giving up": (Sharing.SPLIT, replaced(Netback, "_give_up", lambda *_: None), {"21 slots", "segments of no type"}),
    "a grant in use": (Sharing.SPLIT, replaced(GuestKernel, "end_access", lambda *_: True), {"take the ring's grant back while it is mapped"}),
    "whom a page is granted to": (Sharing.SPLIT, replaced(GrantTable, "set_status", any_grantee), {"a grant for another domain"}),
    "who may bind a port": (Sharing.NATIVE, replaced(EventChannels, "bind_interdomain", any_binder), {"bind a port reserved for another"}),
    "xenstore's permissions": (
        Sharing.SPLIT, replaced(operations, "access_of", readable),
        {"xenstore: read another guest's rings"},
    ),
    "a trap's record": (Sharing.NATIVE, replaced(Hypervisor, "guest_fault", lambda *_: None), {"write a control register"}),
    "for whom a domain may act": (
        Sharing.NATIVE, replaced(Call, "target", any_domain), {"look at the owner's port", "unmap the owner's interrupt"},
    ),
    "iomem_permission": (
        Sharing.NATIVE, replaced(domctl, "_header", domctl_for_all(DomctlOp.IOMEM_PERMISSION)),
        {"permit itself the owner's doorbell page", "permit itself a control register"},
    ),
    "irq_permission": (
        Sharing.NATIVE, replaced(domctl, "_header", domctl_for_all(DomctlOp.IRQ_PERMISSION)),
        {"permit itself the owner's interrupt"},
    ),
    "an effect before the refusal": (
        Sharing.NATIVE, replaced(domctl, "_header", permit_and_refuse), {"permit itself the owner's interrupt"},
    ),
    "whose frame is copied": (Sharing.NATIVE, replaced(GrantCopier, "_table", any_frame), {"copy from the owner's frame"}),
    "an interrupt's owner": (
        Sharing.NATIVE, replaced(Hypervisor, "_own_pirq", lambda hv, _, pirq: hv._pirqs[pirq]),
        {"bind the owner's interrupt"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("hole", HOLES)
def test_a_hole_is_seen(hole: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sharing, patch, escapes = HOLES[hole]
    patch(monkeypatch)
    assert escapes <= {a.name for a in attempts(sharing) if not a.caught}
