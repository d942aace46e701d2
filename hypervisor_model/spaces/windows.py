"""Mode WINDOWS: addresses name entries of the NIC's window table, which the hypervisor alone writes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from hypervisor_model.grants import GrantError, Mapping
from hypervisor_model.memory import FrameAllocator
from hypervisor_model.p2m import P2M
from hypervisor_model.spaces.native import PassThrough
from hypervisor_model.spaces.space import Superpages, Wait
from sw.abi.registers import DmaAddress, NicControl
from sw.platform import PAGE_SHIFT
from sw.xen.errno import Errno, HypercallError
from sw.xen.grant_table import GrantStatus

WINDOWS: Final = NicControl.WINDOW_LIMITS_WINDOWS_VALUE
"""Of each endpoint, as on the card."""
_SEQUENCES: Final = 1 << 16


class WindowSpace:
    """Implements `AddressSpace`. A registration takes consecutive windows of one sequence number."""

    def __init__(
        self,
        frames: FrameAllocator,
        pass_through: PassThrough,
        endpoint: int,
        domid: int,
        write: Callable[[int, int], None],
        fence: Wait,
    ) -> None:
        """`write` posts a control-register write; `fence` returns when DMA that was authorised before has ended."""
        self._pass_through = pass_through
        self._first = endpoint * WINDOWS * NicControl.WINDOW_STRIDE
        self._write = write
        self._fence = fence
        self._used = [False] * WINDOWS
        self._numbers: dict[Mapping, int] = {}
        self._sequence = 0
        self._superpages = Superpages(frames, domid)
        pass_through.attach()

    @property
    def pages(self) -> int:
        """Windows of 4 KiB in use."""
        return len(self._numbers)

    def install(self, mappings: Sequence[Mapping]) -> list[int]:
        """Consecutive windows; NO_DEVICE_SPACE when no run is as long."""
        first, sequence = self._take(len(mappings))
        addresses = []
        for number, mapping in enumerate(mappings, first):
            self._fill(number, mapping.frame, sequence, write=mapping.write, large=False)
            self._numbers[mapping] = number
            addresses.append(sequence << DmaAddress.WINDOW_SEQUENCE_S | number << DmaAddress.WINDOW_INDEX_S)
        return addresses

    async def revoke(self, mappings: Sequence[Mapping]) -> None:
        """Entries invalid, then the NIC's fence: what used them has ended, and nothing will."""
        await self._clear([self._numbers.pop(mapping) for mapping in mappings])

    def install_superpage(self, p2m: P2M, gfn: int, *, write: bool) -> int:
        """One window of 2 MiB."""
        try:
            number, sequence = self._take(1)
        except GrantError as error:
            raise HypercallError(Errno.ENOSPC, f"all {WINDOWS} windows are in use") from error
        try:
            first = self._superpages.hold(p2m, gfn, aligned=False, write=write)
        except HypercallError:
            self._used[number] = False
            raise
        self._fill(number, first, sequence, write=write, large=True)
        return (
            DmaAddress.LARGE_LARGE_M
            | sequence << DmaAddress.LARGE_SEQUENCE_S
            | number << DmaAddress.LARGE_INDEX_S
        )

    def check_ring(self, name: str, address: int, size: int, *, write: bool) -> None:
        """The NIC checks every access."""

    async def release(self) -> None:
        """Every window goes."""
        await self._clear([number for number, used in enumerate(self._used) if used])
        self._numbers.clear()
        self._superpages.release()
        await self._pass_through.detach()

    def _take(self, count: int) -> tuple[int, int]:
        """First of `count` consecutive free windows, and a sequence number."""
        for first in range(WINDOWS - count + 1):
            if not any(self._used[first : first + count]):
                self._used[first : first + count] = [True] * count
                self._sequence = (self._sequence + 1) % _SEQUENCES
                return first, self._sequence
        raise GrantError(GrantStatus.NO_DEVICE_SPACE)

    def _fill(self, number: int, frame: int, sequence: int, *, write: bool, large: bool) -> None:
        at = self._first + number * NicControl.WINDOW_STRIDE
        address = frame << PAGE_SHIFT
        self._write(NicControl.WINDOW_ADDRESS_LO + at, address & 0xFFFF_FFFF)
        self._write(NicControl.WINDOW_ADDRESS_HI + at, address >> 32)
        # The word with sequence and valid bit goes last: the entry must be whole.
        self._write(
            NicControl.WINDOW_CONTROL + at,
            NicControl.WINDOW_CONTROL_VALID_M
            | write << NicControl.WINDOW_CONTROL_WRITABLE_S
            | large << NicControl.WINDOW_CONTROL_LARGE_S
            | sequence << NicControl.WINDOW_CONTROL_SEQUENCE_S,
        )

    async def _clear(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            at = self._first + number * NicControl.WINDOW_STRIDE
            self._write(NicControl.WINDOW_CONTROL + at, 0)
        if numbers:
            await self._fence()
        # Not before: a new registration must not get the number while DMA of the old one is under way.
        for number in numbers:
            self._used[number] = False
