"""What a chain of send descriptors means, read from the ABI: pieces to be read, words to be copied, and how it ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from sw.abi.registers import DmaAddress, Mode, NicControl, SendDescriptor, Status

FIRST: Final = SendDescriptor.CONTROL_FIRST_M
CKSUM: Final = SendDescriptor.CONTROL_CKSUM_M
NO_TSO: Final = SendDescriptor.CONTROL_NO_TSO_M
INLINE: Final = SendDescriptor.CONTROL_INLINE_M
UNSUPPORTED: Final = SendDescriptor.CONTROL_TSO_PLD_M | SendDescriptor.CONTROL_RESERVED_M
MAX_FRAME: Final = NicControl.LIMITS_MAX_FRAME_VALUE
INLINE_MAX: Final = NicControl.LIMITS_INLINE_MAX_VALUE
MAX_PIECES: Final = 12
SLOT: Final = 16


@dataclass(frozen=True)
class Descriptor:
    """The card's send descriptor: 16 bytes, big-endian."""

    address: int
    length: int
    flags: int = FIRST | NO_TSO
    count: int = 1
    start: int = 0
    field: int = 0

    def pack(self) -> bytes:
        return (self.address.to_bytes(8, "big") + self.field.to_bytes(2, "big") + self.length.to_bytes(2, "big")
                + bytes((0, self.count, self.start, self.flags)))


@dataclass
class Frame:
    """One chain's end. `pieces`: (address, bytes, offset in the frame)."""

    status: int
    next: int
    length: int = 0
    pieces: list[tuple[int, int, int]] = field(default_factory=list)
    copied: bytes = b""
    checksum: tuple[int, int] | None = None
    """First byte of the sum, place of its field; None: nothing is to be inserted."""
    halts: bool = False


def plain(mode: int, address: int) -> int:
    """The address without its sequence number."""
    return address & (1 << DmaAddress.VALIDATED_SEQUENCE_S) - 1 if mode == Mode.VALIDATED else address


def sequence(index: int) -> int:
    """The sequence number of a validated descriptor, in its address."""
    return (index + 1) % (1 << 16) << DmaAddress.VALIDATED_SEQUENCE_S


def stale(mode: int, address: int, index: int) -> bool:
    return mode == Mode.VALIDATED and address >> DmaAddress.VALIDATED_SEQUENCE_S & 0xFFFF != (index + 1) % (1 << 16)


def execute(chain: Sequence[Descriptor | bytes | None], index: int, mode: int) -> Frame:
    """The chain whose head is descriptor number `index`: its slots, bytes of an inline frame, None for one never written."""
    head = chain[0]
    assert isinstance(head, Descriptor)
    end = index + len(chain)
    if stale(mode, head.address, index):
        return Frame(Status.STALE_DESCRIPTOR, index, halts=True)
    if not head.flags & FIRST or not 0 < head.count <= (INLINE_MAX // SLOT + 1 if head.flags & INLINE else MAX_PIECES):
        return Frame(Status.BAD_DESCRIPTOR, end)
    if head.flags & UNSUPPORTED or not head.flags & NO_TSO:
        return Frame(Status.UNSUPPORTED, end)
    checksum = (head.start, head.field) if head.flags & CKSUM else None
    if head.flags & INLINE:
        if not 0 < head.length <= INLINE_MAX:
            return Frame(Status.BAD_LENGTH, end)
        if head.count != -(-head.length // SLOT) + 1:
            return Frame(Status.BAD_DESCRIPTOR, end)
        data = b"".join(slot if isinstance(slot, bytes) else bytes(SLOT) for slot in chain[1:])[: head.length]
        return Frame(_fits(checksum, head.length), end, head.length, copied=data, checksum=checksum)
    frame = Frame(Status.OK, end, checksum=checksum)
    for at, piece in enumerate(chain):
        if piece is None:
            return Frame(Status.BAD_DESCRIPTOR, end, 0, frame.pieces, checksum=checksum)
        assert isinstance(piece, Descriptor)
        if stale(mode, piece.address, index + at):
            return Frame(Status.STALE_DESCRIPTOR, index, frame.length, frame.pieces, checksum=checksum, halts=True)
        if not piece.length or frame.length + piece.length > MAX_FRAME:
            return Frame(Status.BAD_LENGTH, end, 0, frame.pieces, checksum=checksum if frame.pieces else None)
        frame.pieces.append((plain(mode, piece.address), piece.length, frame.length))
        frame.length += piece.length
    frame.status = _fits(checksum, frame.length)
    return frame


def _fits(checksum: tuple[int, int] | None, length: int) -> int:
    if checksum is not None and (checksum[0] >= length or checksum[1] + 2 > length):
        return Status.BAD_OFFLOAD
    return Status.OK
