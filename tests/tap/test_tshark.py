"""What counts as bad in a capture: each kind of spoilt packet is found, and nothing else is."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import Ether

from tb.sim import pcapng
from tb.tap import tshark

ETHER = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
V4 = ETHER / IP(src="10.77.0.1", dst="10.77.0.2")
V6 = ETHER / IPv6(src="fd77::1", dst="fd77::2")
DATA = b"some data" * 20
GOOD = {
    "tcp": bytes(V4 / TCP() / DATA),
    "udp": bytes(V6 / UDP(sport=9999, dport=9999) / DATA),
    "icmp": bytes(V4 / ICMP() / DATA),
    "icmpv6": bytes(V6 / ICMPv6EchoRequest(data=DATA)),
}


def bad(folder: Path, frames: list[bytes], *, fcs: bool = False) -> int:
    path = folder / "capture.pcapng"
    pcapng.write(path, ["test"], ((0, n, frame) for n, frame in enumerate(frames)), fcs_bytes=4 if fcs else 0)
    return tshark.count(path, tshark.BAD)


def spoilt(frame: bytes, at: int) -> bytes:
    return frame[:at] + bytes([frame[at] ^ 1]) + frame[at + 1 :]


def test_good_packets(tmp_path: Path) -> None:
    assert bad(tmp_path, list(GOOD.values())) == 0


@pytest.mark.parametrize("kind", GOOD)
def test_a_changed_byte_of_data(tmp_path: Path, kind: str) -> None:
    assert bad(tmp_path, [*GOOD.values(), spoilt(GOOD[kind], len(GOOD[kind]) - 1)]) == 1


def test_a_changed_byte_of_an_ip_header(tmp_path: Path) -> None:
    assert bad(tmp_path, [spoilt(GOOD["tcp"], 18)]) == 1


def test_a_truncated_header(tmp_path: Path) -> None:
    assert bad(tmp_path, [bytes(V4 / TCP(dataofs=15))]) == 1


def test_frame_check_sequence(tmp_path: Path) -> None:
    frame = GOOD["tcp"]
    fcs = zlib.crc32(frame).to_bytes(4, "little")
    assert bad(tmp_path, [frame + fcs], fcs=True) == 0
    assert bad(tmp_path, [frame + fcs, frame + spoilt(fcs, 0)], fcs=True) == 1


def test_both_zeros_of_a_tcp_checksum(tmp_path: Path) -> None:
    """0xFFFF for 0 is right, 0xFFFF for anything else is not."""
    # a word of data that is what is missing to all ones
    frame = bytes(V4 / TCP() / bytes(V4 / TCP() / b"\0\0")[50:52])
    assert frame[50:52] == b"\0\0"
    other = frame[:50] + b"\xff\xff" + frame[52:]
    assert bad(tmp_path, [frame, other]) == 0
    assert bad(tmp_path, [spoilt(other, 38)]) == 1
