"""Placement, drops, switch and interrupts of the reference NIC, without driver and hypervisor."""

from __future__ import annotations

import random

import pytest
from scapy.utils import checksum as scapy_checksum

from sw.abi.registers import Aperture, Form, NicControl, RxDrop, Status, Switch
from tb.ethernet import with_fcs
from tests.model.bare_nic import BIG, BIG_RING, DATA, EACH, SMALL, BareNic, mac_of
from tests.model.test_offload import FIRST, NO_TSO, slot

BROADCAST = b"\xff" * 6
POLICY_BROADCAST = NicControl.PORT_POLICY_BROADCAST_M
CHECKS = NicControl.PORT_POLICY_CHECK_MAC_M | NicControl.PORT_POLICY_CHECK_VLAN_M
PROMISCUOUS = NicControl.PORT_POLICY_PROMISCUOUS_M
GROUP = bytes.fromhex("01005e000001")
BRIDGE = bytes.fromhex("0180c200000e")
OUTSIDE = bytes.fromhex("020000009999")


def frame(destination: bytes, source: bytes = OUTSIDE, *, vlan: int = 0, length: int = 60, seed: int = 0) -> bytes:
    tag = b"\x81\0" + vlan.to_bytes(2, "big") if vlan else b""
    head = destination + source + tag + b"\x88\xb5"
    return head + random.Random(seed).randbytes(length - len(head))


def send_frame(bench: BareNic, endpoint: int, number: int, data: bytes) -> int:
    """Status of the chain."""
    at = endpoint * EACH + DATA
    bench.platform.memory.write(at, data)
    bench.send(endpoint, number, [slot(at, len(data), FIRST | NO_TSO)])
    bench.settle()
    return bench.send_completion(endpoint, number)[2]


@pytest.mark.parametrize("form", list(Form))
@pytest.mark.parametrize("buffer_log2", [11, 12])
@pytest.mark.parametrize("seed", range(3))
def test_frames_of_all_sizes_lie_where_they_should(form: Form, buffer_log2: int, seed: int) -> None:
    rng = random.Random(seed)
    bench = BareNic()
    bench.port(0)
    bench.open(0, form=form, small=126, log2=9, buffer_log2=buffer_log2, rq_log2=10)
    size = 1 << buffer_log2
    small = [SMALL + 256 * n + 2 * rng.randrange(32) for n in range(512)]
    big = [BIG + 4100 * n - n % 2 * 2 for n in range(512)]
    for n in range(512):
        if form is Form.PUSHED:
            bench.post(0, n, small[n], big=False)
            bench.post(0, n, big[n])
        else:
            bench.platform.memory.write(0x18_0000 + 8 * n, small[n].to_bytes(8, "big"))
            bench.platform.memory.write(BIG_RING + 8 * n, big[n].to_bytes(8, "big"))
    if form is Form.FETCHED:
        bench.doorbell(0, Aperture.RX_SMALL_DOORBELL, 512)
        bench.doorbell(0, Aperture.RX_BIG_DOORBELL, 512)
    lengths = [60, 126, 127, size - 2, size - 1, 2 * size - 2, 2 * size - 1, 9018]
    lengths += [rng.randint(60, 9018) for _ in range(100)]
    used = [0, 0]
    for n, length in enumerate(lengths):
        data = frame(mac_of(0), length=length, seed=n)
        bench.arrive(data)
        entry = bench.entry(0, n, rq_log2=10)
        is_big = length > 126
        count = -(-(length + 2) // size) if is_big else 1
        assert (entry.length, entry.big, entry.buffer, entry.phase) == (length, is_big, used[is_big], 1)
        # scapy's sum is the complement
        assert entry.checksum == ~scapy_checksum(data[14:]) & 0xFFFF
        addresses = (big if is_big else small)[used[is_big] : used[is_big] + count]
        pieces = [bench.memory(address, size if is_big else 128) for address in addresses]
        assert b"".join(pieces)[2 : 2 + length] == data
        used[is_big] += count
    assert bench.read(NicControl.ENDPOINT_RX_INDEX) == used[0] | used[1] << 16
    assert bench.read(NicControl.STATISTICS_FRAMES) == bench.read(NicControl.RX_FRAMES) == len(lengths)
    assert bench.read(NicControl.STATISTICS_BYTES) == sum(lengths)
    assert not bench.nic.receiver.drops


def test_an_endpoint_without_buffers_drops_its_own_frames_only() -> None:
    bench = BareNic()
    for endpoint in (0, 1):
        bench.port(endpoint)
        bench.open(endpoint, small=126)
    bench.post(0, 0, BIG)
    bench.post(1, 0, EACH + BIG)
    bench.arrive(frame(mac_of(0), length=5000))
    bench.arrive(frame(mac_of(0)))
    bench.arrive(frame(mac_of(1), length=200))
    assert [(d.reason, d.endpoint) for d in bench.nic.receiver.drops] == [(RxDrop.NO_BIG, 0), (RxDrop.NO_SMALL, 0)]
    assert bench.read(NicControl.STATISTICS_NO_BIG) == bench.read(NicControl.STATISTICS_NO_SMALL) == 1
    assert bench.read(NicControl.RX_NO_BUFFER) == 2
    assert bench.read(NicControl.ENDPOINT_RX_INDEX) == 0
    assert bench.entry(1, 0).length == 200


def test_limits_of_an_endpoint_and_refused_addresses() -> None:
    bench = BareNic()
    bench.port(0)
    bench.port(1)
    bench.open(0, max_frame=1518)
    bench.open(1, receives=False)
    bench.post(0, 0, 0xFEE0_0000)
    bench.arrive(frame(mac_of(0), length=1519))
    bench.arrive(frame(mac_of(0)))
    bench.arrive(frame(mac_of(1)))
    reasons = [RxDrop.TOO_LONG, RxDrop.REFUSED, RxDrop.DISABLED]
    assert [d.reason for d in bench.nic.receiver.drops] == reasons
    assert bench.read(NicControl.STATISTICS_TOO_LONG) == bench.read(NicControl.STATISTICS_REFUSED) == 1
    assert bench.read(NicControl.AUTH_DENIED) == 1
    assert bench.read(NicControl.RX_LAST_DROP) == RxDrop.DISABLED | 1 << 8


def test_what_the_mac_does_not_let_in() -> None:
    bench = BareNic()
    bench.port(0)
    bench.open(0)
    good = with_fcs(frame(mac_of(0)))
    pause = with_fcs(bytes.fromhex("0180c2000001020000000001880800010010").ljust(60, b"\0"))
    bench.nic.receive(good[:-1] + bytes((good[-1] ^ 1,)))
    bench.nic.receive(with_fcs(frame(mac_of(0), length=59)))
    bench.nic.receive(with_fcs(frame(mac_of(0), length=9019)))
    bench.nic.receive(good, error=True)
    bench.nic.receive(pause)
    bench.arrive(frame(OUTSIDE))
    bench.arrive(frame(GROUP))
    registers = (
        NicControl.RX_BAD_FCS,
        NicControl.RX_RUNT,
        NicControl.RX_OVERSIZE,
        NicControl.RX_BAD_FRAMING,
        NicControl.RX_PAUSE,
        NicControl.RX_FILTERED_UNICAST,
        NicControl.RX_FILTERED_MULTICAST,
    )
    assert [bench.read(register) for register in registers] == [1] * 7
    assert bench.read(NicControl.RX_FRAMES) == 2


def takers(bench: BareNic, since: int = 0) -> list[int]:
    return [record.endpoint for record in bench.nic.receiver.received[since:]]


def switch_bench(policy: Switch) -> BareNic:
    """Ports 0 and 1 plain, 2 in VLAN 7 and checked, 3 promiscuous, 4 outside the switch; all have buffers."""
    bench = BareNic()
    bench.control(NicControl.SWITCH_CTRL, policy)
    bench.port(0, flags=POLICY_BROADCAST | CHECKS)
    bench.port(1, flags=POLICY_BROADCAST | CHECKS)
    bench.port(2, vlan=7, flags=POLICY_BROADCAST | CHECKS)
    bench.port(3, flags=PROMISCUOUS)
    bench.group(5, GROUP, 0b00011)
    for endpoint in range(5):
        bench.open(endpoint)
        for n in range(16):
            bench.post(endpoint, n, endpoint * EACH + BIG + 4096 * n)
    return bench


@pytest.mark.parametrize(
    ("destination", "vlan", "expected"),
    [
        (mac_of(0), 0, [0, 3]),
        (mac_of(0), 7, [3]),
        (mac_of(2), 7, [2, 3]),
        (mac_of(2), 0, [3]),
        (BROADCAST, 0, [0, 1, 3]),
        (BROADCAST, 7, [2, 3]),
        (GROUP, 0, [0, 1, 3]),
        (GROUP, 7, [3]),
        (BRIDGE, 0, [3]),
        (OUTSIDE, 0, [3]),
    ],
)
def test_who_gets_a_frame_of_the_line(destination: bytes, vlan: int, expected: list[int]) -> None:
    bench = switch_bench(Switch.VEB)
    bench.arrive(frame(destination, vlan=vlan))
    assert takers(bench) == expected


@pytest.mark.parametrize(
    ("policy", "destination", "inside", "wire"),
    [
        (Switch.VEB, mac_of(1), [1, 3], 0),
        (Switch.VEB, OUTSIDE, [3], 1),
        (Switch.VEB, BROADCAST, [1, 3], 1),
        (Switch.VEB, GROUP, [1, 3], 1),
        (Switch.VEB, mac_of(2), [3], 1),
        (Switch.VEPA, mac_of(1), [], 1),
        (Switch.VEPA, BROADCAST, [], 1),
        (Switch.BOTH, mac_of(1), [1, 3], 1),
        (Switch.BOTH, OUTSIDE, [3], 1),
    ],
)
def test_where_a_sent_frame_goes(policy: Switch, destination: bytes, inside: list[int], wire: int) -> None:
    bench = switch_bench(policy)
    data = frame(destination, mac_of(0))
    assert send_frame(bench, 0, 0, data) == Status.OK
    assert takers(bench) == inside
    assert len(bench.platform.wire_frames()) == wire
    assert bench.read(NicControl.LOCAL_FRAMES) == bool(inside)
    for endpoint in inside:
        assert bench.entry(endpoint, 0).local
        assert bench.memory(endpoint * EACH + BIG + 2, len(data)) == data


@pytest.mark.parametrize(
    ("endpoint", "data"),
    [
        (0, frame(mac_of(1), mac_of(1))),
        (0, frame(mac_of(1), mac_of(0), vlan=7)),
        (2, frame(mac_of(1), mac_of(2))),
        (0, mac_of(1) + mac_of(0) + b"\x88\x08" + bytes(46)),
        (2, mac_of(1) + mac_of(2) + b"\x81\0\0\x07\x88\x08" + bytes(46)),
    ],
)
def test_spoofed_frames_go_nowhere(endpoint: int, data: bytes) -> None:
    bench = switch_bench(Switch.BOTH)
    assert send_frame(bench, endpoint, 0, data) == Status.SPOOFED
    assert not bench.platform.frames and not takers(bench)
    counters = (
        NicControl.PORT_SPOOFED + endpoint * NicControl.PORT_STRIDE,
        NicControl.SPOOFED_FRAMES,
        NicControl.FAILED_CHAINS,
    )
    assert [bench.read(register) for register in counters] == [1, 1, 1]


def test_ports_outside_the_switch_and_privileged_ones_are_not_checked() -> None:
    bench = switch_bench(Switch.VEB)
    assert send_frame(bench, 4, 0, frame(mac_of(1), mac_of(1))) == Status.OK
    assert send_frame(bench, 3, 0, mac_of(9) + mac_of(3) + b"\x88\x08" + bytes(46)) == Status.OK
    assert len(bench.platform.frames) == 2 and not takers(bench)
    assert send_frame(bench, 0, 0, frame(mac_of(0), mac_of(0), vlan=0)) == Status.OK
    assert takers(bench) == [3], "never back to the sender"


def test_queues_follow_the_hash() -> None:
    bench = BareNic()
    bench.port(0)
    bench.open(0, queues=3, rss=True)
    for n in range(10):
        bench.control(NicControl.RSS_KEY + 4 * n, 0x6D5A56DA)
    table = [n % 4 for n in range(128)]
    for n in range(8):
        bench.control(NicControl.RSS_TABLE + 4 * n, sum(table[16 * n + k] << 2 * k for k in range(16)))
    indices = [0] * 4
    for n in range(16):
        bench.post(0, n, BIG + 4096 * n)
        packet = bytes.fromhex("450000280001000040110000") + bytes((10, 0, 0, n, 10, 0, 0, 2)) + bytes(26)
        bench.arrive(mac_of(0) + OUTSIDE + b"\x08\0" + packet)
        queue = bench.nic.receiver.received[-1].queue
        entry = bench.entry(0, indices[queue], queue=queue)
        named = table[entry.hash & 0x7F]
        assert queue == (named if named < 3 else 0) and entry.kind == 2
        indices[queue] += 1
    assert sum(indices) == 16 and all(indices[:3]) and not indices[3]


# --- interrupts --------------------------------------------------------------------------------------


def interrupt_bench(*, cycles: int = 0, count: int = 0) -> BareNic:
    bench = BareNic()
    bench.port(0)
    bench.open(0)
    bench.vector(0, cycles=cycles, count=count)
    return bench


def arrive(bench: BareNic, number: int) -> None:
    bench.post(0, number % 16, BIG)
    bench.arrive(frame(mac_of(0)))


def test_an_armed_queue_interrupts_once_and_at_once_if_it_is_late() -> None:
    bench = interrupt_bench()
    arrive(bench, 0)
    bench.settle()
    assert not bench.interrupts, "never armed: polled"
    bench.arm(0, 1, 0)
    bench.settle()
    assert [what[1:] for what in bench.interrupts] == [(0xFEE0_0000, 0x40)]
    arrive(bench, 1)
    bench.settle()
    assert len(bench.interrupts) == 1
    bench.arm(0, 1, 2)
    bench.settle()
    assert len(bench.interrupts) == 1
    arrive(bench, 2)
    bench.settle()
    assert len(bench.interrupts) == bench.read(NicControl.INTERRUPTS) == 2


def test_moderation_by_time_and_by_count() -> None:
    bench = interrupt_bench(cycles=1000, count=3)
    bench.arm(0, 1, 0)
    arrive(bench, 0)
    begin = bench.platform.now()
    bench.run(3000)
    assert not bench.interrupts
    bench.run(3000)
    first = bench.interrupts[0][0] - begin
    bench.arm(0, 1, 1)
    for n in range(1, 4):
        arrive(bench, n)
    begin = bench.platform.now()
    bench.run(3000)
    assert first - (bench.interrupts[1][0] - begin) == 4000
    bench.settle()
    assert len(bench.interrupts) == 2


def test_a_masked_vector_stays_pending() -> None:
    bench = interrupt_bench()
    bench.control(NicControl.MSIX_CONTROL, 1)
    bench.arm(0, 1, 0)
    arrive(bench, 0)
    bench.settle()
    assert not bench.interrupts and bench.read(NicControl.PBA_LO) == 1
    bench.control(NicControl.MSIX_CONTROL, 0)
    bench.settle()
    assert len(bench.interrupts) == 1 and bench.read(NicControl.PBA_LO) == 0


@pytest.mark.parametrize("seed", range(4))
def test_no_wake_up_is_lost(seed: int) -> None:
    """Frames and armings at random times: a sleeper that has armed always learns of what it has not seen."""
    rng = random.Random(seed)
    bench = interrupt_bench(cycles=rng.choice((0, 50, 1000)), count=rng.choice((0, 2, 255)))
    platform = bench.platform
    total = 2500
    seen = 0
    trials = 0
    signal = platform.signal()

    def handler(address: int, data: int) -> None:
        signal.notify()

    platform._interrupt = handler

    async def source() -> None:
        for n in range(total):
            await platform.sleep(rng.choice((0, 1, 100, 200, rng.randint(0, 5000))))
            arrive(bench, n)

    async def sleeper() -> None:
        nonlocal seen, trials
        while seen < total:
            if bench.entry(0, seen).phase == ~(seen >> 6) & 1:
                seen += 1
                continue
            await platform.sleep(rng.choice((0, 0, rng.randint(0, 400))))
            bench.arm(0, 1, seen)
            trials += 1
            # longer than any pause of the source and any moderation
            assert await signal.wait(20_000), f"lost after entry {seen}"

    platform.run(source(), sleeper())
    assert trials > total // 10
