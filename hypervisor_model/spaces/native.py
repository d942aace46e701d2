"""Mode NATIVE: machine addresses, which nobody checks; and what the other modes without an IOMMU table share with it."""

from __future__ import annotations

from collections.abc import Sequence

from hypervisor_model.grants import Mapping
from hypervisor_model.iommu import IommuDriver
from hypervisor_model.p2m import P2M
from hypervisor_model.spaces.space import Wait
from sw.platform import PAGE_SHIFT
from sw.xen.errno import Errno, HypercallError


class PassThrough:
    """The physical function's context entry: machine addresses pass while any endpoint uses it."""

    def __init__(self, iommu: IommuDriver, requester: int, iommu_domain: int) -> None:
        self._iommu = iommu
        self._requester = requester
        self._domain = iommu_domain
        self._users = 0

    def attach(self) -> None:
        """One endpoint more."""
        if not self._users:
            self._iommu.attach_pass_through(self._requester, self._domain)
        self._users += 1

    async def detach(self) -> None:
        """One endpoint less; the last one takes the entry away."""
        self._users -= 1
        if not self._users:
            await self._iommu.detach(self._requester, self._domain)


class NativeSpace:
    """Implements `AddressSpace` for one trusted owner."""

    def __init__(self, pass_through: PassThrough, quiesce: Wait) -> None:
        """`quiesce` returns when nothing of the endpoint is in flight."""
        self._pass_through = pass_through
        self._quiesce = quiesce
        self._pages = 0
        pass_through.attach()

    @property
    def pages(self) -> int:
        """Pages that the owner has pinned."""
        return self._pages

    def install(self, mappings: Sequence[Mapping]) -> list[int]:
        """Machine addresses: the owner could use any."""
        self._pages += len(mappings)
        return [mapping.frame << PAGE_SHIFT for mapping in mappings]

    async def revoke(self, mappings: Sequence[Mapping]) -> None:
        """There is nothing to take away; the owner is trusted not to use the pages again."""
        self._pages -= len(mappings)
        await self._quiesce()

    def install_superpage(self, p2m: P2M, gfn: int, *, write: bool) -> int:
        """Refused: there is no table that a large entry would save."""
        raise HypercallError(Errno.EINVAL, "a native endpoint has no I/O page table")

    def check_ring(self, name: str, address: int, size: int, *, write: bool) -> None:
        """Nobody checks."""

    async def release(self) -> None:
        """The function's context entry goes with its last endpoint."""
        await self._pass_through.detach()
