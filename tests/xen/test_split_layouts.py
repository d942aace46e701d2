"""Layouts of rings and messages, byte by byte, and the keys that the two halves of a vif exchange."""

from __future__ import annotations

import pytest

from sw.guest.shared_ring import BackRing, FrontRing
from sw.xen.io import netif, ring
from sw.xen.io.vif import BackFeatures, FrontKeys


def test_ring_page() -> None:
    # req_prod, req_event, rsp_prod, rsp_event; slots from byte 64; 256 of each kind
    assert (ring.REQ_PROD, ring.REQ_EVENT, ring.RSP_PROD, ring.RSP_EVENT, ring.HEADER_BYTES) == (0, 4, 8, 12, 64)
    assert ring.ring_entries(12) == ring.ring_entries(8) == 256
    assert ring.ring_entries(64) == 32 and ring.ring_entries(4032) == 1 and ring.ring_entries(63) == 64
    page = memoryview(bytearray(b"\xaa" * 4096))
    front = FrontRing(page, netif.TX_SLOT_BYTES)
    assert page[:64] == bytes.fromhex("00000000 01000000 00000000 01000000") + bytes(48)
    for n in range(3):
        front.put(bytes([n]) * 12)
    assert page[:4] == bytes(4) and front.push() and page[:4] == bytes.fromhex("03000000")
    assert page[64:100] == b"\0" * 12 + b"\1" * 12 + b"\2" * 12
    back = BackRing(page, netif.TX_SLOT_BYTES)
    assert [back.take(), back.take()] == [b"\0" * 12, b"\1" * 12]
    back.put(b"\x55\x66\x77\x88")
    assert page[8:12] == bytes(4) and back.push() and page[8:12] == bytes.fromhex("01000000")
    assert page[64:76] == b"\x55\x66\x77\x88" + bytes(8)
    assert not back.arm(2) and page[4:8] == bytes.fromhex("04000000")
    assert front.arm() and page[12:16] == bytes.fromhex("01000000")


def test_messages() -> None:
    assert netif.TX_REQUEST.pack(0x11223344, 0x5566, 0x7788, 0x99AA, 0xBBCC) == bytes.fromhex("44332211 6655 8877 aa99 ccbb")
    assert netif.TX_RESPONSE.pack(0x1122, -2) == bytes.fromhex("2211 feff")
    assert netif.RX_REQUEST.pack(0x1122, 0x33445566) == bytes.fromhex("2211 0000 66554433")
    assert netif.RX_RESPONSE.pack(0x1122, 0x3344, 0x5566, -1) == bytes.fromhex("2211 4433 6655 ffff")
    assert netif.EXTRA_GSO.pack(1, 1, 0x05B4, 2, 0, 0) == bytes.fromhex("01 01 b405 02 00 0000")
    assert netif.EXTRA_MCAST.pack(2, 0, bytes(range(6))) == bytes.fromhex("02 00 000102030405")
    assert netif.EXTRA_HASH.pack(4, 0, 2, 1, bytes(range(4))) == bytes.fromhex("04 00 02 01 00010203")
    assert netif.EXTRA.unpack(bytes.fromhex("03 01 0a0b0c0d0e0f")) == (3, 1, bytes.fromhex("0a0b0c0d0e0f"))
    sizes = [netif.TX_REQUEST, netif.TX_RESPONSE, netif.RX_REQUEST, netif.RX_RESPONSE, netif.EXTRA, netif.EXTRA_GSO]
    assert [layout.size for layout in sizes] == [12, 4, 8, 8, 8, 8]


def test_numbers() -> None:
    tx, rx, status = netif.TxFlag, netif.RxFlag, netif.NetifStatus
    assert (tx.CSUM_BLANK, tx.DATA_VALIDATED, tx.MORE_DATA, tx.EXTRA_INFO) == (1, 2, 4, 8)
    assert (rx.DATA_VALIDATED, rx.CSUM_BLANK, rx.MORE_DATA, rx.EXTRA_INFO, rx.GSO_PREFIX) == (1, 2, 4, 8, 16)
    assert (status.DROPPED, status.ERROR, status.OKAY, status.NULL) == (-2, -1, 0, 1)
    assert [kind.value for kind in netif.ExtraType] == [0, 1, 2, 3, 4, 5]
    assert (netif.GsoType.TCPV4, netif.GsoType.TCPV6, netif.MAX_SLOTS, netif.MAX_TX_BYTES) == (1, 2, 18, 65535)


def test_keys_of_a_back_end() -> None:
    keys = BackFeatures(gso_tcpv6=False, persistent=True).to_keys()
    assert keys["feature-rx-copy"] == "1" and keys["feature-gso-tcpv4"] == "1" and keys["feature-gso-tcpv6"] == "0"
    assert BackFeatures.parse(keys) == BackFeatures(gso_tcpv6=False, persistent=True)
    nothing = BackFeatures(False, False, False, False, False, False, False)
    assert BackFeatures.parse({}) == nothing
    assert BackFeatures.parse({"feature-sg": "yes"}) == nothing


class Keys:
    """A front end's directory, read as a back end does."""

    def __init__(self, keys: dict[str, str]) -> None:
        self.keys = keys

    def number(self, key: str, low: int, high: int) -> int:
        value = int(self.keys[key])
        if not low <= value <= high:
            raise ValueError(key)
        return value

    def parse(self) -> FrontKeys:
        return FrontKeys.parse(lambda key: key in self.keys, self.number)


def test_keys_of_a_front_end() -> None:
    one = FrontKeys(9, 10, 3, 3, gso_tcpv4=True)
    assert one.to_keys()["event-channel"] == "3" and "event-channel-tx" not in one.to_keys()
    two = FrontKeys(9, 10, 3, 4, multicast_control=True, persistent=True, no_csum=True, ipv6_csum=False)
    assert (two.to_keys()["event-channel-tx"], two.to_keys()["event-channel-rx"]) == ("3", "4")
    for front in (one, two):
        assert Keys(front.to_keys()).parse() == front
    # what an old front end writes
    least = {"tx-ring-ref": "9", "rx-ring-ref": "10", "event-channel": "3", "request-rx-copy": "1"}
    assert Keys(least).parse() == FrontKeys(9, 10, 3, 3, sg=False, ipv6_csum=False)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("request-rx-copy", "0"),
        ("tx-ring-ref", str(1 << 32)),
        ("event-channel", "0"),
        ("feature-sg", "2"),
        ("multi-queue-num-queues", "2"),
    ],
)
def test_keys_that_make_no_sense(key: str, value: str) -> None:
    with pytest.raises(ValueError, match=key):
        Keys({**FrontKeys(9, 10, 3, 3).to_keys(), key: value}).parse()
