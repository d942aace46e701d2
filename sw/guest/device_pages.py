"""Guest pages that an endpoint may reach: allocated, granted, mapped, and given back in the right order."""

from __future__ import annotations

from typing import Final

from sw.abi.registers import Mode
from sw.guest.machine import EndpointGrant, GuestMachine
from sw.platform import PAGE_SHIFT
from sw.xen.grant_table import GrantStatus

SUPERPAGE: Final = 512
"""Pages of a 2 MiB window."""
LARGE_RUN: Final = 64
"""Runs of more pages use such windows: an endpoint has 256 of either size."""


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

    async def map_run(self, count: int, *, readonly: bool, ring: bool = False) -> int:
        """Allocate and map `count` consecutive pages; the first GFN (0 when there are none).

        `ring`: the device, too, must see consecutive addresses, and reaches the pages by itself.
        """
        if count == 0:
            return 0
        mode, kernel = self._grant.mode, self._machine.kernel
        if mode is Mode.VALIDATED and not ring:
            # Each descriptor is checked and pinned when it is used.
            gfn = kernel.allocate_pages(count)
            self._runs.append((gfn, count))
            self.addresses.update((page, page << PAGE_SHIFT) for page in range(gfn, gfn + count))
            return gfn
        if mode is Mode.WINDOWS and not ring and count > LARGE_RUN and kernel.longest_run() >= SUPERPAGE:
            return await self._map_large(count, readonly=readonly)
        # Where the device names pages by machine address a run must be one there, too: memory comes in powers of two.
        order = (count - 1).bit_length() if mode in (Mode.NATIVE, Mode.VALIDATED) else 0
        taken = max(count, 1 << order)
        gfn = kernel.allocate_pages(taken)
        self._runs.append((gfn, taken))
        if order:
            await self._machine.hypercall.memory_exchange(gfn, order)
        await self._map(range(gfn, gfn + count), readonly=readonly)
        return gfn

    async def _map(self, pages: range, *, readonly: bool) -> None:
        """Grant pages and register them together."""
        machine, endpoint = self._machine, self._grant.endpoint
        references = [await machine.kernel.grant_access(page, readonly=readonly) for page in pages]
        mappings = await machine.hypercall.grant_map_run_to_device(endpoint, references, readonly=readonly)
        for page, reference, mapping in zip(pages, references, mappings, strict=True):
            if mapping.status is not GrantStatus.OKAY:
                raise DevicePagesError(f"endpoint {endpoint}: mapping page {page:#x} gave {mapping.status.name}")
            self.mappings.append((mapping.handle, reference))
            self.addresses[page] = mapping.device_address

    async def _map_large(self, count: int, *, readonly: bool) -> int:
        """Windows are few: one of 2 MiB for each 512 pages."""
        machine = self._machine
        taken = -(-count // SUPERPAGE) * SUPERPAGE
        gfn = machine.kernel.allocate_pages(taken)
        self._runs.append((gfn, taken))
        for first in range(gfn, gfn + taken, SUPERPAGE):
            await machine.hypercall.memory_exchange(first, SUPERPAGE.bit_length() - 1)
            base = await machine.hypercall.map_superpage_to_device(self._grant.endpoint, first, readonly=readonly)
            self.addresses.update((first + n, base + (n << PAGE_SHIFT)) for n in range(SUPERPAGE))
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
