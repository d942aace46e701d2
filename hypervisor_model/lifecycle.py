"""The end of a domain: everything it has is taken back in an order in which no device and no guest can use it any more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hypervisor_model.grants import Mapping
from sw.platform import Platform, PlatformTimeoutError
from sw.xen.errno import Errno, HypercallError
from sw.xen.xen import DOMID_CONTROL

if TYPE_CHECKING:
    from hypervisor_model.domains import Domain
    from hypervisor_model.hypervisor import Hypervisor

CALLS_LIMIT_NS: Final = 10_000_000
"""Bound of the wait for hypercalls under way: each of them is bounded by less."""
POLL_NS: Final = 1_000


async def destroy(hv: Hypervisor, platform: Platform, domid: int) -> None:
    """End a domain. Order of contract C4: nothing runs, nothing in flight, translations gone, pages unpinned, frames free."""
    domain = hv.domains.get(domid)
    if domain is None:
        raise HypercallError(Errno.ESRCH, f"there is no domain {domid}")
    if domid == DOMID_CONTROL:
        raise HypercallError(Errno.EINVAL, f"{domain.name} is the control domain: it cannot be destroyed")
    if domain.dying:
        raise HypercallError(Errno.EBUSY, f"{domain.name} is being destroyed already")
    domain.die()
    await _calls_end(platform, domain)
    endpoints = hv.endpoints.of_domain(domid)
    for endpoint in endpoints:
        await hv.endpoints.disable(endpoint)
        hv.unmap_endpoint_interrupt(endpoint.number)
    domain.events.destroy()
    await _unmap_from_devices(hv, domid)
    for endpoint in endpoints:
        await hv.release_endpoint(domain, endpoint)
    for number in hv.endpoints.functions.of_domain(domid):
        hv.endpoints.deassign(number, domid)
    hv.grants.destroy(domid)
    domain.bury()
    del hv.domains[domid]
    hv.tell_of_death()


def leaks(hv: Hypervisor, domid: int) -> list[str]:
    """What a dead domain has left behind, in words."""
    found = []
    domain = hv.domains.get(domid)
    if domain is not None:
        found.append(f"the domain itself is {domain.state.value}")
    found += [f"endpoint {endpoint.number} is allocated" for endpoint in hv.endpoints.of_domain(domid)]
    found += [f"function {number} is assigned" for number in hv.endpoints.functions.of_domain(domid)]
    found += [f"physical interrupt {pirq} is mapped" for pirq in hv.pirqs_of(domid)]
    if handles := hv.grants.handles(domid):
        found.append(f"{len(handles)} device mappings of its grants are live")
    found += [
        f"frame {frame:#x} has {hv.frames.references(frame)} references" for frame in hv.frames.owned(domid)
    ]
    return found


async def _calls_end(platform: Platform, domain: Domain) -> None:
    """Hypercalls that were under way end by themselves; no new one begins."""
    deadline = platform.now() + CALLS_LIMIT_NS
    while domain.calls:
        if platform.now() >= deadline:
            raise PlatformTimeoutError(
                f"{domain.name} is to be destroyed: {domain.calls} of its hypercalls have not ended in {CALLS_LIMIT_NS} ns"
            )
        await platform.sleep(POLL_NS)


async def _unmap_from_devices(hv: Hypervisor, domid: int) -> None:
    by_endpoint: dict[int, list[Mapping]] = {}
    for handle in hv.grants.handles(domid):
        mapping = hv.grants.take(handle, domid)
        by_endpoint.setdefault(mapping.endpoint, []).append(mapping)
    for number, mappings in by_endpoint.items():
        await hv.endpoints.owned(number, domid).space.revoke(mappings)
        for mapping in mappings:
            hv.grants.unpin(mapping)
