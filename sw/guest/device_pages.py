"""Guest pages that an endpoint may reach: allocated, granted, mapped, and given back in the right order."""

from __future__ import annotations

from sw.abi.registers import Mode
from sw.guest.machine import EndpointGrant, GuestMachine
from sw.xen.grant_table import GrantStatus


class DevicePagesError(RuntimeError):
    """Mapping or unmapping was refused: the message names endpoint, page and status."""


class DevicePages:
    """Pages of one open endpoint."""

    def __init__(self, machine: GuestMachine, grant: EndpointGrant) -> None:
        self._machine = machine
        self._grant = grant
        self._runs: list[tuple[int, int]] = []
        self.mappings: list[tuple[int, int]] = []
        """Handle and grant reference of each page, in order of mapping."""
        self.addresses: dict[int, int] = {}
        """GFN to device address."""

    async def map_run(self, count: int, *, readonly: bool) -> int:
        """Allocate, grant and map `count` consecutive pages; the first GFN (0 when there are none)."""
        if count == 0:
            return 0
        machine = self._machine
        # Where the device names pages by machine address a run must be one there, too: memory comes in powers of two.
        order = (count - 1).bit_length() if self._grant.mode is Mode.NATIVE else 0
        taken = max(count, 1 << order)
        gfn = machine.kernel.allocate_pages(taken)
        self._runs.append((gfn, taken))
        if order:
            await machine.hypercall.memory_exchange(gfn, order)
        for page in range(gfn, gfn + count):
            reference = await machine.kernel.grant_access(page, readonly=readonly)
            mapping = await machine.hypercall.grant_map_to_device(self._grant.endpoint, reference, readonly=readonly)
            if mapping.status is not GrantStatus.OKAY:
                raise DevicePagesError(
                    f"endpoint {self._grant.endpoint}: mapping page {page:#x} gave {mapping.status.name}"
                )
            self.mappings.append((mapping.handle, reference))
            self.addresses[page] = mapping.device_address
        return gfn

    async def release(self) -> None:
        """Unmap everything, revoke the grants, free the pages. The endpoint must be disabled."""
        number = self._grant.endpoint
        statuses = await self._machine.hypercall.grant_unmap_from_device([handle for handle, _ in self.mappings])
        if any(status is not GrantStatus.OKAY for status in statuses):
            raise DevicePagesError(f"endpoint {number}: unmapping its pages gave {statuses}")
        for _, reference in self.mappings:
            if not self._machine.kernel.end_access(reference):
                raise DevicePagesError(f"endpoint {number}: grant {reference} is still in use after unmap")
        for gfn, count in self._runs:
            self._machine.kernel.free_pages(gfn, count)
        self.mappings.clear()
        self.addresses.clear()
        self._runs.clear()
