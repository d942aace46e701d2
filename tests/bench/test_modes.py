"""The comparison of the ways of sharing, on the reference NIC: counts and times against the cost table, by hand."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache

import pytest
from rich.console import Console

from hypervisor_model.costs import CostTable
from hypervisor_model.host import UPLINK_RING
from hypervisor_model.sharing import Sharing
from sw.platform import PlatformTimeoutError
from tb.bench.__main__ import parse
from tb.bench.bounds import wire_gbps
from tb.bench.modes import (
    COUNTED,
    LINE_MESSAGES,
    REGISTERS,
    Flow,
    ModeMeasurement,
    Received,
    Share,
    Spent,
    Stream,
    break_even,
    rows,
    tables,
)
from tb.bench.modes_run import Bench, Pair
from tb.ethernet import with_fcs
from tb.model.platform import ModelPlatform
from tb.sim import report

BYPASS = [Sharing.NATIVE, Sharing.IOMMU, Sharing.WINDOWS]
FRAMES = 600
PACED = 10
ROUNDS = 3
SIZES = (1, 64, 1500, 65536)
COSTS = CostTable.load()
# Of costs.toml, ns.
COPY, BUILD, REAP, DOORBELL, BLOCKED, INTERRUPT = 0.1, 60, 40, 100, 5000, 700
HYPERCALL, PIN, REGISTER, BRIDGE = 200, 530, 300, 700
UNMAP = 1500
GRANTS = 1000 + UNMAP + 1060
"""Map, unmap, copy without its bytes."""
HARDWARE_NS = 1_500
"""The reference NIC and its bus need less for a short frame, and to quiesce."""


def pair_of(
    platform: ModelPlatform, sharing: Sharing, lost: int = 0, line: Callable[[bytes, int], None] | None = None
) -> Pair:
    def wire() -> Iterable[tuple[int, bytes]]:
        frames = [(frame.time, frame.data) for frame in platform.wire_frames()]
        return frames[lost:]

    send = platform.wire_send if line is None else line
    return Pair(Bench(platform, platform.gather, platform.start, wire, send), sharing, COSTS)


@cache
def measured(sharing: Sharing) -> ModeMeasurement:
    platform = ModelPlatform()
    pair = pair_of(platform, sharing)

    async def body() -> ModeMeasurement:
        await pair.build()
        latency = {size: await pair.latency(size, ROUNDS) for size in SIZES}
        streams = {COUNTED: await pair.stream(COUNTED, FRAMES)}
        runs = (1, 16) if sharing in REGISTERS else ()
        registration = {pages: await pair.registration(pages, ROUNDS) for pages in runs}
        received = {flow: await pair.received(flow, FRAMES, PACED) for flow in Flow}
        line_latency = {size: await pair.line_latency(size, ROUNDS) for size in LINE_MESSAGES}
        await pair.close()
        return ModeMeasurement(latency, streams, registration, received, line_latency)

    [found] = platform.run(body())
    assert isinstance(found, ModeMeasurement)
    return found


def spent(sharing: Sharing) -> Spent:
    return measured(sharing).streams[COUNTED].spent


@dataclass
class Pieces:
    """Send buffers of 64 pages in a ring; each frame starts at a multiple of 64 bytes, and is cut at page boundaries."""

    at: int

    def of(self, frames: int) -> int:
        count = 0
        for _ in range(frames):
            taken = -(-COUNTED // 64) * 64
            if self.at + taken > 64 * 4096:
                self.at = 0
            count += 2 if self.at // 4096 != (self.at + COUNTED - 1) // 4096 else 1
            self.at += taken
        return count


def descriptors() -> int:
    """The messages before the stream: 2 cold rounds and 3 of each size, MTU 9000, 14 bytes of header."""
    ring = Pieces(0)
    for size in SIZES:
        for _ in range(2 + ROUNDS):
            for at in range(0, size, 9000):
                taken = -(-(14 + min(9000, size - at)) // 64) * 64
                ring.at = taken if ring.at + taken > 64 * 4096 else ring.at + taken
    return ring.of(FRAMES)


def test_a_short_message_takes_what_the_table_says() -> None:
    # copied twice (15 bytes; padded to 60 or not), a descriptor, a doorbell, a wake-up, an interrupt, a completion
    software = 15 * 2 * COPY + BUILD + DOORBELL + BLOCKED + INTERRUPT + REAP
    for sharing in BYPASS:
        assert software <= measured(sharing).latency[1] <= software + HARDWARE_NS


def test_each_byte_is_copied_by_sender_and_receiver() -> None:
    copies = 2 * (1500 - 64) * COPY
    for sharing in BYPASS:
        longer = measured(sharing).latency[1500] - measured(sharing).latency[64]
        # one descriptor more where a frame lies across a page boundary
        assert copies - 10 <= longer <= copies + BUILD + 10


def test_a_validated_message_pays_for_its_hypercall_and_its_check() -> None:
    extra = measured(Sharing.VALIDATED).latency[1] - measured(Sharing.NATIVE).latency[1]
    assert extra == pytest.approx(HYPERCALL + PIN, abs=20)


def test_a_long_message_is_copied_by_both() -> None:
    # the sender copies all of it, the receiver at least the last of 8 frames after that
    copies = (65536 + 65536 - 7 * 9000) * COPY
    for sharing in (*BYPASS, Sharing.VALIDATED):
        assert measured(sharing).latency[65536] > copies
    # grants a page of its own for each 4096 bytes, and the control domain is woken before the receiver
    assert measured(Sharing.SPLIT).latency[65536] > 65536 * COPY + 65536 // 4096 * GRANTS + 2 * BLOCKED


@pytest.mark.parametrize("sharing", BYPASS)
def test_bypass_costs_the_guest_alone(sharing: Sharing) -> None:
    found = spent(sharing)
    assert (found.entries, found.hypercalls, found.interrupts) == (0, 0, 0)
    assert found.count("grant_map", "grant_unmap", "grant_copy", "grant_copy_byte", "pin_check") == 0
    assert found.operations["guest", "copy_byte"] == FRAMES * COUNTED
    assert found.operations["guest", "descriptor_build"] == descriptors()
    assert found.operations["guest", "completion_reap"] == FRAMES
    share = found.time["guest"]
    operations = {"copy_byte": COPY, "descriptor_build": BUILD, "completion_reap": REAP, "mmio_write": DOORBELL}
    assert share.own == pytest.approx(sum(found.operations["guest", name] * ns for name, ns in operations.items()))
    assert share.hypervisor == 0
    # polling fills the time that the frames need on the line: 1538 bytes each at 10 Gb/s
    assert share.own + share.poll == pytest.approx(FRAMES * 1538 * 0.8, rel=0.05)
    assert found.time.get("dom0", Share()) == Share()


def test_validated_checks_each_descriptor() -> None:
    found = spent(Sharing.VALIDATED)
    assert found.count("pin_check") == descriptors() == found.operations["guest", "descriptor_build"]
    # one enqueue for each 16 frames, at least; nothing else enters but what makes room
    assert FRAMES / 16 <= found.hypercalls == found.entries <= FRAMES / 4
    assert found.time["guest"].hypervisor == pytest.approx(descriptors() * PIN + found.hypercalls * HYPERCALL, rel=0.05)
    assert found.interrupts == 0


def test_split_maps_copies_the_header_and_unmaps() -> None:
    found = spent(Sharing.SPLIT)
    assert [found.count(name) for name in ("grant_map", "grant_unmap", "grant_copy")] == [FRAMES] * 3
    # Linux copies the first 128 bytes of a packet (XEN_NETBACK_TX_COPY_LEN) and maps the rest
    assert found.count("grant_copy_byte") == FRAMES * 128
    # its uplink's driver puts the frame into buffers of its own; the guest grants the page where it lies
    assert (found.operations["dom0", "copy_byte"], found.operations.get(("guest", "copy_byte"), 0)) == (FRAMES * COUNTED, 0)
    least = FRAMES * (GRANTS + 128 * COPY)
    calls = found.hypercalls * (HYPERCALL + BLOCKED)
    assert least <= found.time["dom0"].hypervisor <= least + calls
    assert found.time["dom0"].own >= FRAMES * (BRIDGE + COUNTED * COPY)


def test_rates() -> None:
    for sharing in BYPASS:
        assert measured(sharing).streams[COUNTED].gbps == pytest.approx(wire_gbps(COUNTED), rel=0.01)
    # one vCPU of the control domain does all of it, and is hardly ever idle
    share, ns = spent(Sharing.SPLIT).time["dom0"], COUNTED * 8 / measured(Sharing.SPLIT).streams[COUNTED].gbps
    busy_ns = (share.own + share.hypervisor) / FRAMES
    # what stood in the NIC's ring when the last frame left is unmapped after that
    assert busy_ns - UPLINK_RING * UNMAP / FRAMES <= ns < 1.1 * busy_ns
    assert ns > GRANTS + 128 * COPY + BRIDGE + COUNTED * COPY


# --- receiving ----------------------------------------------------------------------------------


def taken(sharing: Sharing, flow: Flow) -> Received:
    return measured(sharing).received[flow]


GUESTS_WORK = {
    "copy_byte": COPY, "descriptor_build": BUILD, "completion_reap": REAP, "mmio_write": DOORBELL, "interrupt_entry": INTERRUPT,
}  # fmt: skip


@pytest.mark.parametrize("flow", Flow)
@pytest.mark.parametrize("sharing", BYPASS)
def test_bypass_receives_by_interrupts_alone(sharing: Sharing, flow: Flow) -> None:
    found = taken(sharing, flow).stream.spent
    assert found.hypercalls == 0
    # nobody polls who has nothing to take, and nobody is interrupted who polls
    assert 0 < found.entries == found.interrupts == found.operations["guest", "interrupt_entry"] < FRAMES / 4
    assert found.count("grant_map", "grant_unmap", "grant_copy", "grant_copy_byte", "pin_check") == 0
    ends = 2 if flow is Flow.GUEST_TO_GUEST else 1
    assert found.operations["guest", "copy_byte"] == ends * FRAMES * COUNTED
    assert found.operations["guest", "completion_reap"] == ends * FRAMES
    assert found.time["guest"].own == pytest.approx(sum(found.operations["guest", name] * ns for name, ns in GUESTS_WORK.items()))
    # an interrupt wakes a vCPU, unless the sender's work has it awake: native, where the two are one system
    woken = found.time["guest"].hypervisor / BLOCKED
    assert woken == found.interrupts if sharing is not Sharing.NATIVE or flow is Flow.RX else woken <= found.interrupts
    assert found.time.get("dom0", Share()) == Share()


@pytest.mark.parametrize("flow", Flow)
@pytest.mark.parametrize("sharing", Sharing)
def test_who_sleeps_before_each_frame_is_interrupted_for_each(sharing: Sharing, flow: Flow) -> None:
    found = taken(sharing, flow).paced.spent
    split = sharing is Sharing.SPLIT
    # between guests of the bridge there is no device that could interrupt
    assert found.interrupts == (0 if split and flow is Flow.GUEST_TO_GUEST else PACED)
    assert found.operations["guest", "interrupt_entry"] == PACED
    assert found.operations.get(("dom0", "interrupt_entry"), 0) == (PACED if split else 0)
    assert found.entries == found.interrupts + found.hypercalls
    if sharing in BYPASS:
        assert found.hypercalls == 0
    if split:
        # each copy and each event; from a guest also mapping its page, and unmapping it
        assert found.hypercalls == PACED * (2 if flow is Flow.RX else 6)


def test_each_guest_pays_for_its_part() -> None:
    for sharing in Sharing:
        time = taken(sharing, Flow.GUEST_TO_GUEST).stream.spent.time
        if sharing is Sharing.NATIVE:
            assert time.keys() == {"guest"}
            continue
        for part in ("own", "hypervisor", "poll"):
            assert getattr(time["sender"], part) + getattr(time["receiver"], part) == pytest.approx(getattr(time["guest"], part))
        alone = taken(sharing, Flow.RX).stream.spent.time
        assert (alone["sender"].own, alone["receiver"].own) == (0, alone["guest"].own)


def test_validated_checks_each_buffer_that_is_posted() -> None:
    found = taken(Sharing.VALIDATED, Flow.RX).stream.spent
    # buffers are posted by the dozen, and a check that finds no room is made again
    assert FRAMES <= found.count("pin_check") <= 1.5 * FRAMES
    assert 0 < found.hypercalls < FRAMES / 3
    assert found.entries == found.hypercalls + found.interrupts


def test_split_copies_into_pages_that_the_guest_has_posted() -> None:
    found = taken(Sharing.SPLIT, Flow.RX).stream.spent
    assert [found.count(name) for name in ("grant_map", "grant_unmap", "grant_copy")] == [0, 0, FRAMES]
    assert found.count("grant_copy_byte") == FRAMES * COUNTED
    # out of the NIC's buffers by its driver; the guest takes the page as it is
    assert (found.operations["dom0", "copy_byte"], found.operations.get(("guest", "copy_byte"), 0)) == (FRAMES * COUNTED, 0)
    assert 0 < found.interrupts < FRAMES / 4
    least = FRAMES * (BRIDGE + REAP + COUNTED * COPY)
    assert found.time["dom0"].own >= least


def test_split_forwards_between_guests_without_the_nic() -> None:
    found = taken(Sharing.SPLIT, Flow.GUEST_TO_GUEST).stream.spent
    assert [found.count(name) for name in ("grant_map", "grant_unmap", "grant_copy")] == [FRAMES, FRAMES, 2 * FRAMES]
    assert found.count("grant_copy_byte") == FRAMES * (128 + COUNTED)
    assert found.count("copy_byte") == found.interrupts == 0


def test_receive_rates() -> None:
    for sharing in (*BYPASS, Sharing.VALIDATED):
        rate = taken(sharing, Flow.RX).stream.gbps
        # the first frame's wake-up is in it
        assert 0.97 * wire_gbps(COUNTED) < rate < wire_gbps(COUNTED)
    for flow in Flow:
        time = taken(Sharing.SPLIT, flow).stream.spent.time["dom0"]
        busy_ns = (time.own + time.hypervisor) / FRAMES
        assert busy_ns <= COUNTED * 8 / taken(Sharing.SPLIT, flow).stream.gbps < 1.1 * busy_ns


@pytest.mark.parametrize("sharing", BYPASS)
@pytest.mark.parametrize(("size", "copied"), [(1, 60), (1500, 1514)])
def test_a_frame_from_the_line_wakes_its_receiver(sharing: Sharing, size: int, copied: int) -> None:
    software = BLOCKED + INTERRUPT + REAP + copied * COPY
    assert software <= measured(sharing).line_latency[size] <= software + 500


def test_split_wakes_the_control_domain_and_the_guest() -> None:
    copies = 1514 * COPY * 2 + 1060
    assert measured(Sharing.SPLIT).line_latency[1500] > 2 * (BLOCKED + INTERRUPT) + copies + BRIDGE


@pytest.mark.parametrize("trouble", ["lost", "again", "other bytes"])
def test_frames_that_do_not_arrive_as_they_were_sent_are_an_error(trouble: str) -> None:
    platform = ModelPlatform()
    sent = 0

    def line(data: bytes, not_before: int) -> None:
        nonlocal sent
        sent += 1
        if sent == 7 and trouble == "lost":
            return
        if sent == 7 and trouble == "other bytes":
            data = with_fcs(data[:100] + b"!" + data[101:-4])
        platform.wire_send(data, not_before)
        if sent == 7 and trouble == "again":
            platform.wire_send(data, not_before)

    pair = pair_of(platform, Sharing.NATIVE, line=line)

    async def body() -> None:
        await pair.build()
        await pair.received(Flow.RX, 20, 0)

    error, message = (PlatformTimeoutError, "19 of 20 frames") if trouble == "lost" else (RuntimeError, "not those 20")
    with pytest.raises(error, match=message):
        platform.run(body())


def test_a_late_frame_from_the_line_is_not_taken_for_a_fast_one() -> None:
    platform = ModelPlatform()
    late = pair_of(platform, Sharing.NATIVE, line=lambda data, not_before: platform.wire_send(data, not_before + 3_000))

    async def body() -> None:
        await late.build()
        found = await late.line_latency(1, ROUNDS)
        assert found == pytest.approx(measured(Sharing.NATIVE).line_latency[1] + 3_000, abs=10)
        await late.close()

    platform.run(body())


# --- registrations and figures -------------------------------------------------------------------


@pytest.mark.parametrize("sharing", REGISTERS)
@pytest.mark.parametrize("pages", [1, 16])
def test_registration_is_two_hypercalls_and_the_pages(sharing: Sharing, pages: int) -> None:
    software = 2 * HYPERCALL / pages + 2 * REGISTER
    assert software <= measured(sharing).registration[pages] <= software + HARDWARE_NS / pages + 100


@pytest.mark.parametrize("sharing", sorted(set(Sharing) - set(REGISTERS)))
def test_nothing_is_registered_elsewhere(sharing: Sharing) -> None:
    platform = ModelPlatform()
    pair = pair_of(platform, sharing)

    async def body() -> None:
        await pair.build()
        with pytest.raises(ValueError, match=f"mode {sharing}"):
            await pair.registration(1, 1)
        await pair.close()

    platform.run(body())


def test_break_even_by_hand() -> None:
    # a page of 4096 bytes at 0.1 ns a byte is copied in 409.6 ns
    assert [break_even(ns, 0.1) for ns in (400, 410, 1000, 5000)] == [1, 2, 3, 13]
    # as dear as 4 copies (of exactly 1024 ns each): cheaper after the fifth
    assert break_even(4096, 0.25) == 5


def test_a_frame_that_is_not_on_the_wire_is_an_error() -> None:
    platform = ModelPlatform()
    pair = pair_of(platform, Sharing.NATIVE, lost=1)

    async def body() -> None:
        await pair.build()
        with pytest.raises(RuntimeError, match="19 frames on the wire, 20 of 1514 bytes sent"):
            await pair.stream(COUNTED, 20)

    platform.run(body())


def test_a_message_that_does_not_arrive_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    platform = ModelPlatform()
    pair = pair_of(platform, Sharing.NATIVE)

    async def body() -> None:
        await pair.build()
        monkeypatch.setattr(pair.sides[0].device, "send", lambda frame: True)
        await pair.latency(1, 1)

    with pytest.raises(PlatformTimeoutError, match="0 of 1 frames of a message"):
        platform.run(body())


def test_software_without_costs_is_refused() -> None:
    platform = ModelPlatform()
    bench = Bench(platform, platform.gather, platform.start, list, platform.wire_send)
    pair = Pair(bench, Sharing.NATIVE, CostTable.free())

    async def body() -> None:
        await pair.build()
        with pytest.raises(ValueError, match="free of costs"):
            await pair.stream(COUNTED, 1)

    platform.run(body())


def test_rows_divide_by_the_frames() -> None:
    operations = {
        ("guest", "copy_byte"): 600, ("dom0", "copy_byte"): 400, ("dom0", "grant_map"): 8, ("dom0", "grant_copy_byte"): 512,
        ("guest", "interrupt_entry"): 6, ("dom0", "interrupt_entry"): 2,
    }  # fmt: skip
    time = {"guest": Share(400, 200, 100), "dom0": Share(40, 20, 10), "sender": Share(300, 150, 75), "receiver": Share(100, 50, 25)}
    counted = Stream(4, 9.0, Spent(12, 8, 2, operations, time))
    paced = Stream(2, 1.0, Spent(4, 2, 2, {("guest", "interrupt_entry"): 3}, {}))
    received = {flow: Received(counted, paced) for flow in Flow}
    measurement = ModeMeasurement({64: 1500.0}, {COUNTED: counted}, {16: 1000.0}, received, {1: 6500.0})
    found = rows(Sharing.SPLIT, measurement, COSTS)
    values = {row.name.removeprefix("mode.split."): row.value for row in found}
    packet = {
        "packet.entries": 3, "packet.hypercalls": 2, "packet.interrupts": 0.5,
        "packet.upcalls.guest": 1.5, "packet.upcalls.dom0": 0.5,
        "packet.grant_map": 2, "packet.grant_unmap": 0, "packet.grant_copy": 0, "packet.pin_check": 0,
        "packet.bytes_copied.guest": 150, "packet.bytes_copied.dom0": 100, "packet.bytes_copied.grant_copy": 128,
        "packet.cpu_ns.guest.own": 100, "packet.cpu_ns.guest.hypervisor": 50, "packet.cpu_ns.guest.poll": 25,
        "packet.cpu_ns.dom0.own": 10, "packet.cpu_ns.dom0.hypervisor": 5, "packet.cpu_ns.dom0.poll": 2.5,
    }  # fmt: skip
    taken = {"gbps.1514": 9.0, **packet} | {
        "paced.entries": 2, "paced.hypercalls": 1, "paced.interrupts": 1, "paced.upcalls.guest": 1.5, "paced.upcalls.dom0": 0
    }
    apart = {
        "packet.cpu_ns.sender.own": 75, "packet.cpu_ns.sender.hypervisor": 37.5, "packet.cpu_ns.sender.poll": 18.75,
        "packet.cpu_ns.receiver.own": 25, "packet.cpu_ns.receiver.hypervisor": 12.5, "packet.cpu_ns.receiver.poll": 6.25,
    }  # fmt: skip
    assert values == {
        "latency_us.64": 1.5, "gbps.1514": 9.0, **packet, "registration_us.16": 1.0, "break_even_sends.16": 3,
        "rx.latency_us.1": 6.5, **{f"rx.{name}": value for name, value in taken.items()},
        **{f"guest_to_guest.{name}": value for name, value in (taken | apart).items()},
    }  # fmt: skip
    bounds = {row.name: row.bound for row in found}
    for name in ("mode.split.gbps.1514", "mode.split.rx.gbps.1514"):
        assert bounds[name] == pytest.approx(9.84, abs=0.005)


def test_a_table_has_a_column_for_each_mode_and_fits_a_page() -> None:
    found = {sharing: rows(sharing, measured(sharing), COSTS) for sharing in Sharing}
    out = io.StringIO()
    for table in tables(found):
        Console(file=out, width=report.PLAIN_WIDTH).print(table)
    sending, receiving, between = out.getvalue().split("Frames of 1514 bytes")
    assert "…" not in out.getvalue()
    for text, quantities in (
        (sending, ("latency_us.1", "packet.entries", "packet.cpu_ns.dom0.hypervisor")),
        (receiving, ("latency_us.1500", "paced.interrupts", "packet.cpu_ns.guest.own")),
        (between, ("packet.cpu_ns.guest.own", "paced.upcalls.guest")),
    ):
        lines = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.strip()}
        assert lines["quantity"] == ["unit", *Sharing]
        for quantity in quantities:
            numbers = [word for word in lines[quantity] if word.replace(",", "").replace(".", "").isdigit()]
            assert len(numbers) == len(Sharing)
    # a native owner is both guests
    assert between.count("cpu_ns.sender.own") == 1 and len(between.partition("cpu_ns.sender.own")[2].split("\n")[0].split()) == 5
    # nothing that was measured is missing
    printed = sum("." in line.split()[0] for line in out.getvalue().splitlines() if line.strip())
    assert printed == len({row.name.partition(f"{s}.")[2] for s, of_mode in found.items() for row in of_mode})


def test_the_option_wins_over_the_environment(capsys: pytest.CaptureFixture[str]) -> None:
    assert not parse([], {})
    assert parse([], {"MODES": "1"})
    assert parse(["--modes", "1"], {})
    assert not parse(["--modes", "0"], {"MODES": "1"})
    with pytest.raises(SystemExit) as ended:
        parse([], {"MODES": "yes"})
    assert ended.value.code == 2
    assert "MODES=yes: must be 0 or 1" in capsys.readouterr().err
