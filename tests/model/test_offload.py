"""Checksum insertion and segmentation of the reference NIC against scapy."""

from __future__ import annotations

import random
import struct

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Packet

from sw.abi.registers import Status
from tb.model.sums import ones_sum
from tests.model.bare_nic import DATA, BareNic

ETHER = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
CKSUM, NO_TSO, FIRST, PLD, HDR = 0x08, 0x10, 0x02, 0x20, 0x01


def slot(address: int, length: int, flags: int, *, count: int = 1, start: int = 0, field: int = 0) -> bytes:
    return struct.pack(">QHHBBBB", address, field, length, 0, count, start, flags)


def tso_flags(header: int, pieces: list[int], mss: int) -> list[tuple[int, int]]:
    """Flags and rdma_count of each payload piece: the loop of Linux's myri10ge_xmit, restated."""
    flags: list[int] = []
    counts: list[int] = []
    cumulative, rdma, following = 0, 0, PLD | FIRST | HDR
    for length in pieces:
        total = cumulative + length
        if rdma:
            counts[-rdma] = rdma + 1
        now, begins = following, rdma
        following = now & ~FIRST
        chop = total > mss
        cumulative = total % mss
        first = cumulative == 0
        now |= 0x10 if chop else 0
        following |= FIRST if first else 0
        rdma = begins + 1
        if chop or first:
            rdma = 1 if chop and not first else 0
        flags.append(now)
        counts.append(1)
    for n in reversed(range(len(flags))):
        flags[n] |= CKSUM
        if flags[n] & (FIRST | 0x10):
            break
    return list(zip(flags, counts, strict=True))


@pytest.mark.parametrize("seed", range(6))
def test_checksums_of_udp_and_tcp_equal_scapys(seed: int) -> None:
    rng = random.Random(seed)
    bench = BareNic()
    bench.open(0)
    expected = []
    at = DATA
    for n in range(60):
        transport = rng.choice((UDP(sport=n, dport=2), TCP(sport=n, dport=4, seq=rng.getrandbits(32))))
        ip = rng.choice((IP(src="10.0.0.1", dst="10.0.0.2"), IPv6(src="fe80::1", dst="fe80::2")))
        ether = rng.choice((ETHER, ETHER / Dot1Q(vlan=3)))
        whole = bytes(ether / ip / transport / rng.randbytes(rng.randint(0, 3000)))
        start = len(whole) - len(bytes(Ether(whole)[type(transport)]))
        field = start + (6 if isinstance(transport, UDP) else 16)
        expected.append(whole)
        addresses = bytes(ip)[12:20] if isinstance(ip, IP) else bytes(ip)[8:40]
        length = len(whole) - start
        pseudo = ones_sum(addresses + struct.pack(">II", length, 17 if isinstance(transport, UDP) else 6))
        frame = bytearray(whole)
        frame[field : field + 2] = pseudo.to_bytes(2, "big")
        bench.platform.memory.write(at, frame)
        cut = rng.randint(1, len(frame) - 1)
        common = CKSUM | NO_TSO
        bench.send(
            0,
            2 * n,
            [
                slot(at, cut, FIRST | common, count=2, start=start, field=field),
                slot(at + cut, len(frame) - cut, common, field=field),
            ],
        )
        bench.settle()
        at += 4096
    frames = bench.platform.wire_frames()
    assert [frame.data[: len(whole)] for frame, whole in zip(frames, expected, strict=True)] == expected


@pytest.mark.parametrize(("start", "field"), [(60, 0), (255, 0), (0, 59), (0, 65535)])
def test_checksum_fields_outside_the_frame(start: int, field: int) -> None:
    bench = BareNic()
    bench.open(0)
    bench.send(0, 0, [slot(DATA, 60, FIRST | CKSUM | NO_TSO, start=start, field=field)])
    bench.settle()
    assert bench.send_completion(0, 0) == (1, 0, Status.BAD_OFFLOAD)
    assert not bench.platform.frames


def test_a_checksum_of_zero_is_written_as_ones() -> None:
    bench = BareNic()
    bench.open(0)
    bench.platform.memory.write(DATA, b"\xff" * 2 + bytes(58))
    bench.send(0, 0, [slot(DATA, 60, FIRST | CKSUM | NO_TSO, field=10)])
    bench.settle()
    assert bench.platform.frames[0].data[10:12] == b"\xff\xff"


def tcp_header(six: bool, tagged: bool, options: int) -> Packet:
    ip = IPv6(src="fe80::1", dst="fe80::2") if six else IP(src="10.0.0.1", dst="10.0.0.2", id=0xFFFE)
    tcp = TCP(sport=1, dport=2, seq=0xFFFF_FF00, flags="FPAC", options=[("NOP", None)] * (4 * options))
    return (ETHER / Dot1Q(vlan=5) if tagged else ETHER) / ip / tcp


def expected_segments(header: Packet, payload: bytes, mss: int) -> list[bytes]:
    """Each segment built by scapy from the fields of the whole."""
    frames = []
    for n, offset in enumerate(range(0, len(payload), mss)):
        frame = header.copy()
        last = offset + mss >= len(payload)
        frame[TCP].seq = frame[TCP].seq + offset & 0xFFFF_FFFF
        flags = "A" + ("FP" if last else "") + ("C" if n == 0 else "")
        frame[TCP].flags = flags
        if IP in frame:
            frame[IP].id = frame[IP].id + n & 0xFFFF
        frames.append(bytes(frame / payload[offset : offset + mss]))
    return frames


def run_tso(header: Packet, pieces: list[int], mss: int, seed: int = 0) -> tuple[BareNic, list[bytes], int]:
    """Bench after the chain, expected frames, descriptors."""
    bench = BareNic()
    bench.open(0)
    payload = random.Random(seed).randbytes(sum(pieces))
    head = bytes(header)
    six = IPv6 in header
    tcp = len(head) - len(bytes(header[TCP]))
    memory = bench.platform.memory
    memory.write(DATA, head)
    memory.write(DATA + 0x1000, payload)
    start = len(head) - tcp if six else tcp
    cut = len(head) // 2
    chain = [
        slot(DATA, cut, HDR | FIRST, count=2, start=start, field=mss),
        slot(DATA + cut, len(head) - cut, HDR, field=mss),
    ]
    at = DATA + 0x1000
    for length, (flags, count) in zip(pieces, tso_flags(len(head), pieces, mss), strict=True):
        chain.append(slot(at, length, flags, count=count, field=mss))
        at += length
    bench.send(0, 0, chain)
    bench.settle()
    return bench, expected_segments(header, payload, mss), len(chain)


def test_worked_example_of_the_reference() -> None:
    assert tso_flags(54, [200, 2048, 2048, 1000], 1448) == [(0x23, 2), (0x31, 2), (0x31, 2), (0x39, 1)]
    bench, expected, slots = run_tso(tcp_header(False, False, 0), [200, 2048, 2048, 1000], 1448)
    assert [len(frame) - 54 for frame in expected] == [1448, 1448, 1448, 952]
    assert [frame.data[:-4] for frame in bench.platform.frames] == expected
    assert bench.send_completion(0, 0) == (slots, len(expected[-1]), Status.OK)


@pytest.mark.parametrize("six", [False, True])
@pytest.mark.parametrize("tagged", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_segments_equal_scapys(six: bool, tagged: bool, seed: int) -> None:
    rng = random.Random(seed)
    mss = rng.choice((100, 536, 1448, 8900))
    pieces = [rng.choice((mss, 2 * mss, rng.randint(1, 4096), rng.randint(1, 64))) for _ in range(rng.randint(1, 20))]
    bench, expected, slots = run_tso(tcp_header(six, tagged, rng.randint(0, 10)), pieces, mss, seed)
    frames = [frame.data for frame in bench.platform.frames]
    assert [data[: len(want)] for data, want in zip(frames, expected, strict=True)] == expected
    assert bench.send_completion(0, 0) == (slots, len(expected[-1]), Status.OK)


@pytest.mark.parametrize(
    ("change", "value"),
    [("mss", 0), ("count", 0), ("count", 13), ("start", 33), ("payload flags", 0x2B & ~PLD), ("payload count", 2)],
)
def test_a_malformed_chain_ends_and_the_next_frame_leaves(change: str, value: int) -> None:
    bench = BareNic()
    bench.open(0)
    header = bytes(tcp_header(False, False, 0))
    bench.platform.memory.write(DATA, header + bytes(500))
    fields = {"mss": 1448, "count": 1, "start": 34, "payload flags": 0x2B, "payload count": 1} | {change: value}
    bench.send(0, 2, [slot(DATA, 60, FIRST | NO_TSO)])
    mss = fields["mss"]
    chain = [
        slot(DATA, 54, HDR | FIRST, count=fields["count"], start=fields["start"], field=mss),
        slot(DATA + 54, 500, fields["payload flags"], count=fields["payload count"], field=mss),
    ]
    bench.send(0, 0, chain)
    bench.settle()
    assert bench.send_completion(0, 0)[1:] == (0, Status.BAD_OFFLOAD)
    assert bench.send_completion(0, 1 if change != "payload flags" else 2)[2] == Status.OK
    assert len(bench.platform.frames) == 1
