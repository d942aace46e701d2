"""TLPs of the upstream and downstream streams: build, take apart, and to and from 64-bit beats."""

from __future__ import annotations

from dataclasses import dataclass, replace

LAST = 1 << 65
HALF = 1 << 64
MASK32 = (1 << 32) - 1

MRD, MWR, CPL, CPLD = "MRd", "MWr", "Cpl", "CplD"
CFGRD, CFGWR, IORD, IOWR = "CfgRd0", "CfgWr0", "IORd", "IOWr"
_CODES = {MRD: 0x00, MWR: 0x40, CPL: 0x0A, CPLD: 0x4A, CFGRD: 0x04, CFGWR: 0x44, IORD: 0x02, IOWR: 0x42}


@dataclass(frozen=True)
class Tlp:
    """One TLP. `sid` is the requester of a request and the completer of a completion; sizes in bytes and DW.

    A configuration request has its target (bus, device, function) in address bits 31:16.
    """

    kind: str
    sid: int = 0
    tag: int = 0
    address: int = 0
    length: int = 1
    first_be: int = 15
    last_be: int = 0
    data: bytes = b""
    at: int = 0
    tc: int = 0
    attr: int = 0
    long: bool = False
    status: int = 0
    byte_count: int = 0
    requester: int = 0
    lower: int = 0
    poisoned: bool = False

    def words(self) -> list[int]:
        """Header and payload DWs as the stream carries them."""
        request = self.kind not in (CPL, CPLD)
        four = request and (self.long or self.address >= 1 << 32)
        code = _CODES[self.kind] | (0x20 if four else 0)
        length = 0 if self.kind == CPL else self.length & 0x3FF
        words = [code << 24 | self.tc << 20 | (self.attr >> 2) << 18 | self.poisoned << 14 | (self.attr & 3) << 12
                 | self.at << 10 | length]
        if request:
            words.append(self.sid << 16 | self.tag << 8 | self.last_be << 4 | self.first_be)
            words += [self.address >> 32] if four else []
            words.append(self.address & MASK32)
        else:
            words.append(self.sid << 16 | self.status << 13 | self.byte_count & 0xFFF)
            words.append(self.requester << 16 | self.tag << 8 | self.lower)
        return words + [int.from_bytes(self.data[i : i + 4], "little") for i in range(0, len(self.data), 4)]

    def beats(self) -> list[int]:
        """66-bit beats: last, half, data."""
        words = self.words()
        beats = [words[i] | words[i + 1] << 32 for i in range(0, len(words) - 1, 2)]
        if len(words) % 2:
            beats.append(HALF | words[-1])
        beats[-1] |= LAST
        return beats

    def moved(self, address: int) -> Tlp:
        """The same request at another address, with a header of the same size."""
        return replace(self, address=address, long=self.long or self.address >= 1 << 32)


def parse(beats: list[int]) -> Tlp:
    """The TLP in these beats. Raises `ValueError` for one that is not well formed."""
    words: list[int] = []
    for beat in beats:
        words += [beat & MASK32] if beat & HALF else [beat & MASK32, beat >> 32 & MASK32]
    code = words[0] >> 24
    kinds = {0x00: MRD, 0x20: MRD, 0x40: MWR, 0x60: MWR, 0x0A: CPL, 0x4A: CPLD}
    if code not in kinds:
        raise ValueError(f"TLP type 0x{code:02x} is not known")
    kind, four = kinds[code], bool(code & 0x20)
    header = 4 if four else 3
    data = b"".join(word.to_bytes(4, "little") for word in words[header:])
    if len(data) != (4 * ((words[0] & 0x3FF) or 1024) if code & 0x40 else 0):
        raise ValueError(f"{kind}: {len(data)} bytes of payload do not match the length field")
    common = Tlp(
        kind,
        sid=words[1] >> 16,
        length=(words[0] & 0x3FF) or 1024 if kind != CPL else 1,
        data=data,
        at=words[0] >> 10 & 3,
        tc=words[0] >> 20 & 7,
        attr=(words[0] >> 18 & 1) << 2 | words[0] >> 12 & 3,
    )
    if kind in (CPL, CPLD):
        return replace(
            common,
            status=words[1] >> 13 & 7,
            byte_count=words[1] & 0xFFF,
            requester=words[2] >> 16,
            tag=words[2] >> 8 & 0xFF,
            lower=words[2] & 0x7F,
        )
    address = words[2] << 32 | words[3] if four else words[2]
    return replace(
        common,
        tag=words[1] >> 8 & 0xFF,
        last_be=words[1] >> 4 & 15,
        first_be=words[1] & 15,
        address=address,
        long=four,
    )


def read(sid: int, tag: int, address: int, length: int = 1, *, at: int = 0) -> Tlp:
    """A memory read of `length` DW."""
    return Tlp(MRD, sid, tag, address, length, last_be=15 if length > 1 else 0, at=at, long=address >= 1 << 32)


def write(sid: int, address: int, data: bytes, *, at: int = 0) -> Tlp:
    """A memory write of whole DWs."""
    last_be = 15 if len(data) > 4 else 0
    return Tlp(MWR, sid, 0, address, len(data) // 4, last_be=last_be, data=data, at=at, long=address >= 1 << 32)


def enabled_bytes(tlp: Tlp) -> tuple[int, int]:
    """(byte count, low two address bits) of a read, from its byte enables: PCIe 3.0, tables 2-38 and 2-39."""
    lanes = [bool(tlp.first_be >> i & 1) for i in range(4)]
    if tlp.length > 1:
        lanes += [True] * (4 * (tlp.length - 2)) + [bool(tlp.last_be >> i & 1) for i in range(4)]
    on = [i for i, lane in enumerate(lanes) if lane]
    return (on[-1] - on[0] + 1, on[0]) if on else (1, 0)


def refusal(tlp: Tlp) -> Tlp:
    """The completion with Unsupported Request that answers a refused read."""
    count, skip = enabled_bytes(tlp)
    return Tlp(
        CPL,
        sid=0,
        tag=tlp.tag,
        tc=tlp.tc,
        attr=tlp.attr,
        status=1,
        byte_count=count & 0xFFF,
        requester=tlp.sid,
        lower=tlp.address & 0x7C | skip,
    )
