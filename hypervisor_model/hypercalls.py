"""The hypercalls of one domain: each is counted, then checked against who calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hypervisor_model import receive_side
from hypervisor_model.faults import HypercallError
from hypervisor_model.grants import GrantError, Mapping
from sw.abi.registers import Form, Mode
from sw.guest.machine import DeviceMapping, EndpointGrant, ReceiveSetup
from sw.guest.xen_abi import DOMID_CONTROL, GrantMapFlag, GrantStatus
from sw.platform import PAGE_SHIFT

if TYPE_CHECKING:
    from hypervisor_model.domains import Domain
    from hypervisor_model.endpoints import Endpoint
    from hypervisor_model.hypervisor import Hypervisor

_EINVAL = 22
_EPERM = 1
_ENOMEM = 12


class DomainHypercalls:
    """Implements `sw.guest.machine.Hypercalls`."""

    def __init__(self, hypervisor: Hypervisor, domain: Domain) -> None:
        self._hv = hypervisor
        self._domain = domain

    async def setup_table(self, frames: int) -> list[int]:
        """grant_table_op setup_table: grow to `frames` shared pages, mapped after the domain's RAM."""
        self._enter("setup_table")
        table = self._hv.grants.table(self._domain.domid)
        have = len(table.frames)
        try:
            fresh = self._hv.grants.grow(self._domain.domid, frames)
        except GrantError as error:
            raise HypercallError(_ENOMEM, f"grant table of {frames} pages: {error.status.name}") from error
        for n, frame in enumerate(fresh, have):
            self._domain.p2m.add_ram(self._domain.ram.stop + n, frame)
        return [self._domain.ram.stop + n for n in range(len(table.frames))]

    async def memory_exchange(self, gfn: int, count: int) -> None:
        """memory_op exchange: back pages by consecutive, naturally aligned machine frames. Contents are lost."""
        self._enter("memory_exchange")
        p2m = self._domain.p2m
        if count < 1 or any(gfn + n not in self._domain.ram or p2m.frame(gfn + n) is None for n in range(count)):
            raise HypercallError(_EINVAL, f"guest frames {gfn:#x} to {gfn + count - 1:#x} are not all RAM")
        frames = self._hv.frames
        first = frames.allocate_run(self._domain.domid, count, 1 << (count - 1).bit_length())
        for n in range(count):
            p2m.remove_ram(gfn + n)
            p2m.add_ram(gfn + n, first + n)

    async def decrease_reservation(self, gfn: int) -> None:
        """memory_op decrease_reservation: the page leaves the guest; its frame stays as long as it is pinned."""
        self._enter("decrease_reservation")
        if gfn not in self._domain.ram or self._domain.p2m.frame(gfn) is None:
            raise HypercallError(_EINVAL, f"guest frame {gfn:#x} is not RAM")
        self._domain.p2m.remove_ram(gfn)

    async def populate_physmap(self, gfn: int) -> None:
        """memory_op populate_physmap: back an empty guest frame by a zeroed machine frame."""
        self._enter("populate_physmap")
        if gfn not in self._domain.ram or self._domain.p2m.frame(gfn) is not None:
            raise HypercallError(_EINVAL, f"guest frame {gfn:#x} is populated or outside the reservation")
        self._domain.p2m.add_ram(gfn, self._hv.frames.allocate(self._domain.domid))

    async def endpoint_allocate(self, form: Form, receive_form: Form | None = None) -> EndpointGrant:
        """Reserve an endpoint and map its doorbell page (and the windows of pushed rings) into the caller's P2M."""
        self._enter("endpoint_allocate", control=True)
        mode = Mode.NATIVE if self._domain.owns_device else Mode.IOMMU
        endpoints = self._hv.endpoints
        endpoint = endpoints.allocate(self._domain.domid, form, mode, receive_form, self._domain.port_policy)
        base = self._aperture_gfn(endpoint.number)
        for page, frame in endpoints.aperture_pages(endpoint):
            self._hv.iomem_permission(self._domain, frame, allow=True)
            self._hv.memory_mapping(self._domain, base + page, frame, add=True)
        return EndpointGrant(
            endpoint.number,
            mode,
            base << PAGE_SHIFT,
            endpoints.inline_max,
            endpoints.max_frame,
            endpoint.mac,
            endpoint.policy.vlan if endpoint.policy is not None else 0,
        )

    async def grant_map_to_device(self, endpoint: int, reference: int, *, readonly: bool) -> DeviceMapping:
        """Let an own endpoint reach a page that the caller granted to the NIC's owner, the control domain."""
        self._enter("grant_map_to_device", endpoint)
        target = self._owned(endpoint)
        flags = GrantMapFlag.DEVICE | (GrantMapFlag.READONLY if readonly else GrantMapFlag(0))
        grants = self._hv.grants
        try:
            handle, mapping = grants.pin(DOMID_CONTROL, self._domain.domid, reference, endpoint, flags)
        except GrantError as error:
            return DeviceMapping(error.status)
        try:
            address = self._hv.endpoints.install(target, mapping)
        except GrantError as error:
            grants.unpin(grants.take(handle, self._domain.domid))
            return DeviceMapping(error.status)
        return DeviceMapping(GrantStatus.OKAY, handle, address)

    async def grant_unmap_from_device(self, handles: list[int]) -> list[GrantStatus]:
        """Undo device mappings, in the order of contract C4: pages are unpinned last."""
        self._enter("grant_unmap_from_device", *self._endpoints_of(handles))
        statuses: list[GrantStatus] = []
        by_endpoint: dict[int, list[Mapping]] = {}
        grants = self._hv.grants
        for handle in handles:
            try:
                mapping = grants.take(handle, self._domain.domid)
            except GrantError as error:
                statuses.append(error.status)
                continue
            statuses.append(GrantStatus.OKAY)
            by_endpoint.setdefault(mapping.endpoint, []).append(mapping)
        for endpoint, mappings in by_endpoint.items():
            await self._hv.endpoints.revoke(self._owned(endpoint), mappings)
            for mapping in mappings:
                grants.unpin(mapping)
        return statuses

    async def map_superpage_to_device(self, endpoint: int, gfn: int, *, readonly: bool) -> int:
        """Let an own endpoint reach 512 aligned pages in consecutive frames by one 2 MiB entry, until release."""
        self._enter("map_superpage_to_device", endpoint)
        target = self._owned(endpoint)
        return self._hv.endpoints.map_superpage(target, self._domain.p2m, gfn, write=not readonly)

    async def endpoint_enable(
        self,
        endpoint: int,
        send_log2: int,
        cq_log2: int,
        send_base: int,
        cq_base: int,
        receive: ReceiveSetup | None = None,
    ) -> None:
        """Program ring sizes and bases (device addresses) and let the endpoint send, and receive if that is set up."""
        self._enter("endpoint_enable", endpoint)
        target = self._owned(endpoint)
        await self._hv.endpoints.enable(target, send_log2, cq_log2, send_base, cq_base, receive)

    async def endpoint_disable(self, endpoint: int) -> None:
        """Stop an endpoint; on return nothing of it is in flight."""
        self._enter("endpoint_disable", endpoint, control=True)
        await self._hv.endpoints.disable(self._owned(endpoint))

    async def endpoint_release(self, endpoint: int) -> None:
        """Give an endpoint back: its device pages leave the P2M, its context entry goes."""
        self._enter("endpoint_release", endpoint)
        target = self._owned(endpoint)
        pages = self._hv.endpoints.aperture_pages(target)
        self._hv.unbind_interrupt(endpoint)
        receive_side.reset_moderation(self._hv.endpoints.write, endpoint)
        await self._hv.endpoints.release(target)
        base = self._aperture_gfn(endpoint)
        for page, frame in pages:
            self._hv.memory_mapping(self._domain, base + page, frame, add=False)
            self._hv.iomem_permission(self._domain, frame, allow=False)

    async def endpoint_rss(self, endpoint: int, key: bytes, table: Sequence[int]) -> None:
        """Toeplitz key and indirection table of an own endpoint."""
        self._enter("endpoint_rss", endpoint, control=True)
        self._owned(endpoint)
        receive_side.set_rss(self._hv.endpoints.write, endpoint, key, table)
        await self._hv.endpoints.settle()

    async def endpoint_moderation(self, endpoint: int, ns: int, frames: int) -> None:
        """Interrupt moderation of an own endpoint."""
        self._enter("endpoint_moderation", endpoint, control=True)
        self._owned(endpoint)
        receive_side.set_moderation(self._hv.endpoints.write, endpoint, ns, frames)
        await self._hv.endpoints.settle()

    async def endpoint_multicast(self, endpoint: int, group: bytes, *, join: bool) -> bool:
        """Let an own endpoint join or leave a multicast group. False: all group entries hold other groups."""
        self._enter("endpoint_multicast", endpoint, control=True)
        self._owned(endpoint)
        joined = True
        if join:
            joined = self._hv.endpoints.switch.join(endpoint, group)
        else:
            self._hv.endpoints.switch.leave(endpoint, group)
        await self._hv.endpoints.settle()
        return joined

    async def endpoint_filter(self, endpoint: int, *, promiscuous: bool, all_multicast: bool) -> None:
        """Let an own endpoint receive more; everybody's frames only if the caller is privileged."""
        self._enter("endpoint_filter", endpoint, control=True)
        target = self._owned(endpoint)
        if promiscuous and not self._domain.privileged:
            raise HypercallError(_EPERM, f"{self._domain.name} is not privileged: no promiscuous mode")
        self._hv.endpoints.set_filter(target, promiscuous=promiscuous, all_multicast=all_multicast)
        await self._hv.endpoints.settle()

    async def endpoint_statistics(self, endpoint: int) -> dict[str, int]:
        """Counters of an own endpoint since it was first enabled."""
        self._enter("endpoint_statistics", endpoint, control=True)
        return await self._hv.endpoints.statistics(self._owned(endpoint))

    async def map_shared_info(self) -> int:
        """memory_op add_to_physmap, space shared_info: where the page is mapped."""
        self._enter("map_shared_info", control=True)
        return self._domain.map_shared_info()

    async def bind_endpoint_interrupt(self, endpoint: int) -> int:
        """map_pirq and bind_pirq: route an own endpoint's vector to the caller's core, as a masked event channel."""
        self._enter("bind_endpoint_interrupt", endpoint, control=True)
        self._owned(endpoint)
        return await self._hv.bind_interrupt(self._domain, endpoint)

    async def event_unmask(self, port: int) -> None:
        """event_channel_op unmask."""
        self._enter("event_unmask")
        self._domain.events.unmask(port)

    async def event_close(self, port: int) -> None:
        """event_channel_op close."""
        self._enter("event_close", control=True)
        endpoint = self._domain.events.ports.get(port)
        if endpoint is None:
            raise HypercallError(_EINVAL, f"event channel {port} is closed")
        self._hv.unbind_interrupt(endpoint)

    def _owned(self, endpoint: int) -> Endpoint:
        return self._hv.endpoints.owned(endpoint, self._domain.domid)

    def _aperture_gfn(self, endpoint: int) -> int:
        return self._domain.device_gfn + endpoint * self._hv.endpoints.stride_pages

    def _endpoints_of(self, handles: list[int]) -> list[int]:
        return sorted({m.endpoint for h in handles if (m := self._hv.grants.peek(h)) is not None})

    def _enter(self, name: str, *endpoints: int, control: bool = False) -> None:
        self._hv.enter(self._domain, name, endpoints, control=control)
