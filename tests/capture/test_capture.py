"""The shipped capture is what the README says it is, judged by scapy; and what cannot be replayed is refused."""

from __future__ import annotations

import gzip
from collections import Counter
from pathlib import Path

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6ND_NS
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet
from scapy.utils import PcapNgWriter, PcapWriter, rdpcap

from tb.sim import make_capture
from tb.sim.capture import MAX_FRAME, SHIPPED, CaptureError, load, share


@pytest.fixture(scope="module")
def packets() -> list[Packet]:
    return list(rdpcap(str(SHIPPED)))


def test_generator_makes_the_shipped_bytes(tmp_path: Path) -> None:
    made = tmp_path / "capture.pcap.gz"
    make_capture.write(made)
    # the deflate stream may differ between zlib versions, the capture may not
    assert gzip.decompress(made.read_bytes()) == gzip.decompress(SHIPPED.read_bytes())


def test_contents(packets: list[Packet]) -> None:
    assert len(packets) >= 2000
    lengths = [len(bytes(p)) for p in packets]
    assert (min(lengths), max(lengths)) == (60, 9014)
    assert 1_400_000 < sum(lengths) < 2_500_000
    assert sum(60 <= n <= 200 for n in lengths) > 1000
    assert sum(n > 8000 for n in lengths) >= 24
    kinds = Counter(
        kind.__name__ for p in packets for kind in (ARP, ICMP, UDP, TCP, Dot1Q, ICMPv6ND_NS, ICMPv6ND_NA) if kind in p
    )
    assert all(kinds[name] >= 30 for name in ("ARP", "ICMP", "UDP", "TCP", "Dot1Q", "ICMPv6ND_NS", "ICMPv6ND_NA"))
    assert {IP in p for p in packets if Dot1Q in p} == {True, False}


def test_checksums_are_right(packets: list[Packet]) -> None:
    for number, packet in enumerate(packets, 1):
        fresh = packet.copy()
        for layer in (IP, TCP, UDP, ICMP):
            if layer in fresh:
                del fresh[layer].chksum
        if fresh.haslayer("ICMPv6 Neighbor Discovery - Neighbor Solicitation"):
            del fresh[ICMPv6ND_NS].cksum
        assert bytes(fresh) == bytes(packet), f"frame {number}"


def test_load_gives_the_frames(packets: list[Packet]) -> None:
    assert load(SHIPPED) == [bytes(p) for p in packets]


@pytest.mark.parametrize("guests", [1, 4, 64])
def test_shares_are_a_partition(guests: int) -> None:
    frames = [bytes([n]) for n in range(200)]
    shares = share(frames, guests)
    assert len(shares) == guests
    assert shares[0][:2] == [frames[0], frames[guests]]
    assert sorted(f for s in shares for f in s) == frames


def test_pcapng_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "x.pcapng"
    frame = Ether() / IP(dst="10.0.0.1") / UDP()
    with PcapNgWriter(str(path)) as writer:
        writer.write(frame)
    assert load(path) == [bytes(frame)]


def written(path: Path, *frames: bytes, linktype: int = 1) -> Path:
    with PcapWriter(str(path), linktype=linktype) as writer:
        writer.write_header(None)
        for frame in frames:
            writer.write_packet(frame, sec=0, usec=0)
    return path


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="PCAP=.*none.pcap: not a readable"):
        load(tmp_path / "none.pcap")


@pytest.mark.parametrize("content", [b"", b"\xd4\xc3", b"hello, this is not a capture at all"])
def test_not_a_capture(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.pcap"
    path.write_bytes(content)
    with pytest.raises(CaptureError, match="x.pcap: (not a readable|no frames)"):
        load(path)


def test_empty_capture(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="no frames"):
        load(written(tmp_path / "x.pcap"))


@pytest.mark.parametrize("size", [13, MAX_FRAME + 1])
def test_length_out_of_limits_names_the_first_and_the_count(tmp_path: Path, size: int) -> None:
    path = written(tmp_path / "x.pcap", bytes(60), bytes(size), bytes(60), bytes(size))
    with pytest.raises(CaptureError, match=rf"frame 2 has {size} bytes, limits are 14 to {MAX_FRAME} .*\(2 such of 4"):
        load(path)


def test_longest_and_shortest_are_taken(tmp_path: Path) -> None:
    assert [len(f) for f in load(written(tmp_path / "x.pcap", bytes(14), bytes(MAX_FRAME)))] == [14, MAX_FRAME]


def test_cut_frame(tmp_path: Path) -> None:
    path = written(tmp_path / "x.pcap", bytes(60), bytes(100))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CaptureError, match="frame 2 is cut: 99 of its 100 bytes"):
        load(path)


def test_other_link_type(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="frame 1 has link type 101"):
        load(written(tmp_path / "x.pcap", bytes(60), linktype=101))
