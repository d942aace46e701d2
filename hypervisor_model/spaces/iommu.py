"""Mode IOMMU: device frame numbers are guest frame numbers, translated by a second-level table of the endpoint's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hypervisor_model.grants import GrantError, Mapping
from hypervisor_model.iommu import IommuDriver
from hypervisor_model.memory import FrameAllocator
from hypervisor_model.p2m import P2M
from hypervisor_model.second_level import SecondLevelTable
from hypervisor_model.spaces.space import SUPERPAGE_ORDER, Superpages, Wait
from sw.platform import PAGE_SHIFT
from sw.xen.errno import Errno, HypercallError
from sw.xen.grant_table import GrantStatus


@dataclass
class _DevicePage:
    frame: int
    readers: int = 0
    writers: int = 0


class IommuSpace:
    """Implements `AddressSpace`."""

    def __init__(
        self, frames: FrameAllocator, iommu: IommuDriver, requester: int, iommu_domain: int, domid: int, quiesce: Wait
    ) -> None:
        """`quiesce` returns when nothing of the endpoint is in flight."""
        self._iommu = iommu
        self._requester = requester
        self._domain = iommu_domain
        self._quiesce = quiesce
        self.table = SecondLevelTable(frames)
        self._pages: dict[int, _DevicePage] = {}
        """Device frame number to what is mapped there."""
        self._revoking: set[int] = set()
        """Device frames whose invalidation has not completed."""
        self._superpages = Superpages(frames, domid)
        iommu.attach(requester, self.table, iommu_domain)

    @property
    def pages(self) -> int:
        """Pages mapped."""
        return len(self._pages)

    def install(self, mappings: Sequence[Mapping]) -> list[int]:
        """Device addresses equal guest-physical ones."""
        done: list[Mapping] = []
        try:
            for mapping in mappings:
                self._install(mapping)
                done.append(mapping)
        except GrantError:
            for mapping in done:
                # Installed just now and not yet told to anybody; what may be cached is at most as much as before.
                self._remove(mapping)
            raise
        return [mapping.gfn << PAGE_SHIFT for mapping in mappings]

    def _install(self, mapping: Mapping) -> None:
        dfn = mapping.gfn
        if dfn in self._revoking:
            raise GrantError(GrantStatus.EAGAIN)
        page = self._pages.get(dfn)
        if page is None:
            page = _DevicePage(mapping.frame)
        elif page.frame != mapping.frame:
            # The guest has put another frame at this GFN; the old one is still mapped for the device.
            raise GrantError(GrantStatus.NO_DEVICE_SPACE)
        if page.readers + page.writers == 0 or (mapping.write and page.writers == 0):
            # More permission than before: no invalidation needed (no caching mode).
            try:
                self.table.map(dfn, mapping.frame, write=mapping.write)
            except ValueError as error:
                raise GrantError(GrantStatus.NO_DEVICE_SPACE) from error
        self._pages[dfn] = page
        if mapping.write:
            page.writers += 1
        else:
            page.readers += 1

    async def revoke(self, mappings: Sequence[Mapping]) -> None:
        """Entries first, then quiet, then IOTLB invalidation with drain."""
        changed = [mapping.gfn for mapping in mappings if self._remove(mapping)]
        self._revoking.update(changed)
        try:
            if changed:
                await self._quiesce()
                await self._iommu.invalidate(self._domain, changed)
        finally:
            self._revoking.difference_update(changed)

    def _remove(self, mapping: Mapping) -> bool:
        """Drop one count; True when the entry lost a permission."""
        page = self._pages[mapping.gfn]
        if mapping.write:
            page.writers -= 1
        else:
            page.readers -= 1
        if page.readers + page.writers == 0:
            self.table.unmap(mapping.gfn)
            del self._pages[mapping.gfn]
            return True
        if mapping.write and page.writers == 0:
            self.table.map(mapping.gfn, page.frame, write=False)
            return True
        return False

    def install_superpage(self, p2m: P2M, gfn: int, *, write: bool) -> int:
        """One entry of 2 MiB; GFN and frame must be aligned."""
        first = self._superpages.hold(p2m, gfn, aligned=True, write=write)
        try:
            self.table.map(gfn, first, write=write, order=SUPERPAGE_ORDER)
        except ValueError as error:
            self._superpages.undo()
            raise HypercallError(Errno.EINVAL, f"guest frame {gfn:#x}: {error}") from error
        return gfn << PAGE_SHIFT

    def check_ring(self, name: str, address: int, size: int, *, write: bool) -> None:
        """The IOMMU checks every access."""

    async def release(self) -> None:
        """The context entry goes first."""
        await self._iommu.detach(self._requester, self._domain)
        self._superpages.release()
        self.table.destroy()
