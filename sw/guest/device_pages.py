"""Guest pages that an endpoint may reach: allocated, granted, mapped, and given back in the right order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

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


class DeviceSpaceError(DevicePagesError):
    """The endpoint's address space has no room for as many pages at once."""


class DevicePage(NamedTuple):
    """One page that an endpoint may reach."""

    handle: int
    reference: int
    device_address: int


async def map_pages(machine: GuestMachine, endpoint: int, gfns: Sequence[int], *, readonly: bool) -> list[DevicePage]:
    """Grant pages and register them together. Raises `DevicePagesError`: then none is granted or mapped."""
    references: list[int] = []
    handles: list[int] = []
    try:
        for gfn in gfns:
            references.append(await machine.kernel.grant_access(gfn, readonly=readonly))
        mappings = await machine.hypercall.grant_map_run_to_device(endpoint, references, readonly=readonly)
        handles += [mapping.handle for mapping in mappings if mapping.status is GrantStatus.OKAY]
        for gfn, mapping in zip(gfns, mappings, strict=True):
            if mapping.status is not GrantStatus.OKAY:
                kind = DeviceSpaceError if mapping.status is GrantStatus.NO_DEVICE_SPACE else DevicePagesError
                raise kind(f"endpoint {endpoint}: mapping page {gfn:#x} gave {mapping.status.name}")
    except Exception:
        await unmap_pages(machine, endpoint, handles, references)
        raise
    return [
        DevicePage(mapping.handle, reference, mapping.device_address)
        for reference, mapping in zip(references, mappings, strict=True)
    ]


async def unmap_pages(machine: GuestMachine, endpoint: int, handles: Sequence[int], references: Sequence[int]) -> None:
    """Unmap in one call, then revoke the grants: no DMA reaches the pages on return. Raises `DevicePagesError`."""
    statuses = await machine.hypercall.grant_unmap_from_device(handles)
    if any(status is not GrantStatus.OKAY for status in statuses):
        raise DevicePagesError(f"endpoint {endpoint}: unmapping its pages gave {statuses}")
    for reference in references:
        if not machine.kernel.end_access(reference):
            raise DevicePagesError(f"endpoint {endpoint}: grant {reference} is still in use after unmap")


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
        self._registered: dict[int, DevicePage] = {}

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
        mapped = await map_pages(self._machine, self._grant.endpoint, pages, readonly=readonly)
        for page, (handle, reference, address) in zip(pages, mapped, strict=True):
            self.mappings.append((handle, reference))
            self.addresses[page] = address

    async def register(self, pages: Sequence[int]) -> None:
        """Let the endpoint read pages that the kernel has already. Raises `DevicePagesError`."""
        mapped = await map_pages(self._machine, self._grant.endpoint, pages, readonly=True)
        for page, entry in zip(pages, mapped, strict=True):
            self._registered[page] = entry
            self.addresses[page] = entry.device_address

    async def deregister(self, pages: Sequence[int]) -> None:
        """Undo `register`."""
        entries = [self._registered.pop(page) for page in pages]
        for page in pages:
            del self.addresses[page]
        handles, references = [entry.handle for entry in entries], [entry.reference for entry in entries]
        await unmap_pages(self._machine, self._grant.endpoint, handles, references)

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
        await self.deregister(list(self._registered))
        handles, references = [handle for handle, _ in self.mappings], [reference for _, reference in self.mappings]
        await unmap_pages(self._machine, self._grant.endpoint, handles, references)
        for gfn, count in self._runs:
            self._machine.kernel.free_pages(gfn, count)
        self.mappings.clear()
        self.addresses.clear()
        self._runs.clear()
