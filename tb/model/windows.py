"""Window table of the reference NIC, and the record of what was refused."""

from __future__ import annotations

from typing import Final, NamedTuple

from sw.abi.registers import DmaAddress, NicControl, Refusal
from sw.platform import PAGE_SHIFT

WINDOWS: Final = NicControl.WINDOW_LIMITS_WINDOWS_VALUE
"""Of each endpoint."""
_LARGE_SHIFT: Final = DmaAddress.LARGE_INDEX_S
_LAST: Final = NicControl.WINDOW_CONTROL
_WRITABLE: Final = {
    NicControl.WINDOW_ADDRESS_LO: NicControl.WINDOW_ADDRESS_LO_ADDRESS_M,
    NicControl.WINDOW_ADDRESS_HI: NicControl.WINDOW_ADDRESS_HI_ADDRESS_M,
    NicControl.WINDOW_CONTROL: NicControl.WINDOW_CONTROL_VALID_M
    | NicControl.WINDOW_CONTROL_WRITABLE_M
    | NicControl.WINDOW_CONTROL_LARGE_M
    | NicControl.WINDOW_CONTROL_SEQUENCE_M,
}


class RefusedError(Exception):
    """A DMA that must not become a TLP."""

    def __init__(self, reason: Refusal, address: int) -> None:
        super().__init__(f"{reason.name} at {address:#x}")
        self.reason = reason
        self.address = address
        """First byte of what was refused, as the endpoint names it."""


class _Name(NamedTuple):
    """A window address, taken apart."""

    number: int
    offset: int
    sequence: int
    large: bool
    reserved: int


def _parse(address: int) -> _Name:
    sequence = (address & DmaAddress.WINDOW_SEQUENCE_M) >> DmaAddress.WINDOW_SEQUENCE_S
    if address & DmaAddress.WINDOW_LARGE_M:
        reserved = address & (DmaAddress.LARGE_RESERVED_M | DmaAddress.LARGE_RESERVED2_M)
        index = (address & DmaAddress.LARGE_INDEX_M) >> DmaAddress.LARGE_INDEX_S
        return _Name(index, address & DmaAddress.LARGE_OFFSET_M, sequence, True, reserved)
    reserved = address & (DmaAddress.WINDOW_RESERVED_M | DmaAddress.WINDOW_RESERVED2_M)
    index = (address & DmaAddress.WINDOW_INDEX_M) >> DmaAddress.WINDOW_INDEX_S
    return _Name(index, address & DmaAddress.WINDOW_OFFSET_M, sequence, False, reserved)


class WindowTable:
    """Windows of all endpoints: written through the control BAR only."""

    def __init__(self) -> None:
        self._rows: dict[int, dict[int, int]] = {}

    def read(self, offset: int) -> int:
        """A word, `offset` in the control BAR."""
        row, register = divmod(offset - NicControl.WINDOW_BASE, NicControl.WINDOW_STRIDE)
        return self._rows.get(row, {}).get(register + NicControl.WINDOW_BASE, 0)

    def write(self, offset: int, value: int) -> None:
        """A word: whichever but the last one makes the window invalid."""
        row, register = divmod(offset - NicControl.WINDOW_BASE, NicControl.WINDOW_STRIDE)
        register += NicControl.WINDOW_BASE
        words = self._rows.setdefault(row, dict.fromkeys(_WRITABLE, 0))
        words[_LAST] &= ~NicControl.WINDOW_CONTROL_VALID_M
        if register in _WRITABLE:
            words[register] = value & _WRITABLE[register]

    def translate(self, endpoint: int, address: int, length: int, *, write: bool) -> int:
        """Machine address of a range inside one window. Raises `RefusedError`."""
        name = _parse(address)
        if name.reserved:
            raise RefusedError(Refusal.RESERVED, address)
        words = self._rows.get(endpoint * WINDOWS + name.number, {})
        control = words.get(NicControl.WINDOW_CONTROL, 0)
        if not control & NicControl.WINDOW_CONTROL_VALID_M:
            raise RefusedError(Refusal.INVALID, address)
        if bool(control & NicControl.WINDOW_CONTROL_LARGE_M) != name.large:
            raise RefusedError(Refusal.SIZE, address)
        if control >> NicControl.WINDOW_CONTROL_SEQUENCE_S != name.sequence:
            raise RefusedError(Refusal.SEQUENCE, address)
        if write and not control & NicControl.WINDOW_CONTROL_WRITABLE_M:
            raise RefusedError(Refusal.READ_ONLY, address)
        shift = _LARGE_SHIFT if name.large else PAGE_SHIFT
        if name.offset + length > 1 << shift:
            raise RefusedError(Refusal.END, address)
        machine = words[NicControl.WINDOW_ADDRESS_HI] << 32 | words[NicControl.WINDOW_ADDRESS_LO]
        return machine >> shift << shift | name.offset


class RefusalLog:
    """The registers REFUSAL: the first refusal since they were cleared."""

    def __init__(self) -> None:
        self._word = 0
        self._address = 0

    def record(self, endpoint: int, refused: RefusedError, *, write: bool) -> None:
        """A DMA of this endpoint has been refused."""
        if self._word & NicControl.REFUSAL_VALID_M:
            self._word |= NicControl.REFUSAL_OVERFLOW_M
            return
        self._address = refused.address
        self._word = (
            self._word & NicControl.REFUSAL_OVERFLOW_M
            | NicControl.REFUSAL_VALID_M
            | write << NicControl.REFUSAL_WRITE_S
            | refused.reason << NicControl.REFUSAL_REASON_S
            | endpoint << NicControl.REFUSAL_ENDPOINT_S
        )

    def read(self, register: int) -> int:
        """REFUSAL or one half of its address."""
        if register == NicControl.REFUSAL:
            return self._word
        return self._address >> 32 if register == NicControl.REFUSAL_ADDRESS_HI else self._address & 0xFFFF_FFFF

    def clear(self, value: int) -> None:
        """A write to REFUSAL: ones clear its two flags."""
        self._word &= ~(value & (NicControl.REFUSAL_VALID_M | NicControl.REFUSAL_OVERFLOW_M))
