"""Frames of several guests through hypervisor, driver and reference NIC: bit-exact, once, in order."""

from __future__ import annotations

import random

import pytest

from sw.abi.registers import Form, Mode, NicControl, Status
from sw.guest.virtual_nic import NicError, SendForm, VirtualNic
from sw.platform import PlatformTimeoutError
from tb.ethernet import on_line
from tests.model.model_support import PAGE, WAIT_NS, frames_of, machine, random_frames, send_all

FORMS = (SendForm.INLINE, SendForm.PUSHED, SendForm.FETCHED, SendForm.FETCHED)


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
@pytest.mark.parametrize("ring", [16, 128])
def test_four_guests_in_all_forms(seed: int, ring: int) -> None:
    platform, hv = machine(seed)
    guests = [hv.create_domain(f"guest{n}", 256) for n in range(len(FORMS))]
    shares = [random_frames(100 * seed + n, 200) for n in range(len(FORMS))]
    nics: dict[int, int] = {}

    async def guest(n: int) -> None:
        nic = VirtualNic(guests[n], FORMS[n], ring, buffer_pages=32)
        await nic.open()
        nics[nic.endpoint] = n
        await send_all(nic, shares[n])
        assert nic.completions[Status.OK] == sum(nic.completions) == len(shares[n])
        await nic.close()

    async def all_guests() -> None:
        await platform.gather(guest(n) for n in range(len(FORMS)))

    platform.run(all_guests())
    assert sorted(nics) == [0, 1, 2, 3]
    for endpoint, n in nics.items():
        assert frames_of(platform, endpoint) == [on_line(frame) for frame in shares[n]]
        lengths = [c.length for c in platform.completions if c.endpoint == endpoint]
        assert lengths == [len(frame) for frame in shares[n]]
    assert hv.entries.data_path == 0
    assert hv.entries.setup > 0
    assert hv.entries.faults == 0 and platform.iommu.faults == 0
    assert platform.nic.counters[NicControl.MMIO_DROPPED] == 0


@pytest.mark.parametrize("form", list(SendForm))
def test_native_owner_uses_the_same_driver(form: SendForm) -> None:
    platform, hv = machine()
    owner = hv.create_domain("owner", 256, mode=Mode.NATIVE)
    other = hv.create_domain("other", 64)
    frames = random_frames(5, 300)
    nic = VirtualNic(owner, form, 1024, buffer_pages=32)

    async def run() -> None:
        await nic.open()
        with pytest.raises(RuntimeError, match="native owner"):
            await VirtualNic(other, form).open()
        await send_all(nic, frames)
        await nic.close()

    platform.run(run())
    assert frames_of(platform, 0) == [on_line(frame) for frame in frames]
    assert hv.entries.data_path == 0
    assert platform.iommu.faults == 0


@pytest.mark.parametrize("form", list(SendForm))
def test_pieces_of_any_alignment(form: SendForm) -> None:
    platform, hv = machine()
    dom = hv.create_domain("guest0", 128)
    nic = VirtualNic(dom, form, 64, buffer_pages=16)
    rng = random.Random(11)
    frames: list[bytes] = []

    async def run() -> None:
        await nic.open()
        base = nic.buffers.base
        dom.memory.write(base, rng.randbytes(16 * PAGE))
        for n in range(300):
            pieces = []
            for _ in range(rng.randint(1, 12)):
                length = rng.choice((1, 2, 15, 16, 17, rng.randint(1, 700)))
                # every alignment, page crossings included
                pieces.append((base + 64 * rng.randrange(900) + n % 64, length))
            frames.append(b"".join(dom.memory.read(*piece) for piece in pieces))
            while not nic.xmit(pieces):
                await nic.wait_for_room(WAIT_NS)
        await nic.drain(WAIT_NS)

    platform.run(run())
    assert frames_of(platform, 0) == [on_line(frame) for frame in frames]


@pytest.mark.parametrize("form", list(SendForm))
@pytest.mark.parametrize("ring", [16, 64, 1024])
def test_queue_stops_and_wakes_and_indices_wrap(form: SendForm, ring: int) -> None:
    platform, hv = machine()
    dom = hv.create_domain("guest1", 256)
    frames = [n.to_bytes(4, "big") * 20 for n in range(70_000 if ring == 1024 and form is SendForm.PUSHED else 3000)]
    log: list[tuple[int, int, int]] = []
    nic = VirtualNic(dom, form, ring, buffer_pages=64, completion_log=log)
    stops = 0

    async def run() -> None:
        nonlocal stops
        await nic.open()
        for frame in frames:
            while not nic.send(frame):
                stops += 1
                assert nic.stopped and nic.in_flight
                await nic.wait_for_room(WAIT_NS)
                assert not nic.stopped
        await nic.drain(WAIT_NS)
        assert nic.in_flight == 0

    platform.run(run())
    assert stops > len(frames) // ring // 2
    assert frames_of(platform, 0) == [on_line(frame) for frame in frames]
    slots = 6 if form is SendForm.INLINE else 1
    assert [index for index, _, _ in log] == [(n + 1) * slots & 0xFFFF for n in range(len(frames))]


def test_completion_ring_smaller_than_send_ring_never_overflows() -> None:
    platform, hv = machine()
    dom = hv.create_domain("guest0", 128)
    nic = VirtualNic(dom, SendForm.FETCHED, 256, cq_entries=16, buffer_pages=32)
    frames = random_frames(9, 200, 1500)

    async def run() -> None:
        await nic.open()
        await send_all(nic, frames)

    platform.run(run())
    assert nic.completions[Status.OK] == len(frames)


def test_two_nics_of_one_guest_and_reopening() -> None:
    platform, hv = machine()
    dom = hv.create_domain("guest0", 512)
    free = dom.kernel.longest_run()
    frames = random_frames(3, 50)
    owned_before = sum(hv.frames.owner(f) == dom.domid for f in range(hv.frames.frames))

    async def run() -> None:
        first = VirtualNic(dom, SendForm.PUSHED, 32, buffer_pages=32)
        second = VirtualNic(dom, SendForm.FETCHED, 32, buffer_pages=32)
        for _ in range(3):
            await first.open()
            await second.open()
            with pytest.raises(NicError, match="open already"):
                await first.open()
            await send_all(first, frames)
            await send_all(second, frames)
            await first.close()
            await second.close()

    platform.run(run())
    expected = [on_line(frame) for frame in frames] * 3
    assert frames_of(platform, 0) == expected and frames_of(platform, 1) == expected
    assert dom.kernel.longest_run() == free
    # one grant-table page is all that stays
    assert sum(hv.frames.owner(f) == dom.domid for f in range(hv.frames.frames)) == owned_before + 1
    assert hv.entries.data_path == 0


def test_frame_of_9014_bytes_becomes_pieces_within_pages() -> None:
    platform, hv = machine()
    hv.create_domain("guest0", 16)
    dom = hv.create_domain("guest1", 64)
    nic = VirtualNic(dom, SendForm.PUSHED, 16, buffer_pages=8)

    async def run() -> None:
        await nic.open()
        placed = nic.buffers.place(bytes(9014))
        assert placed is not None
        pieces, _ = placed
        assert len(pieces) == 3 and sum(length for _, length in pieces) == 9014
        assert all(gpa // PAGE == (gpa + length - 1) // PAGE for gpa, length in pieces)
        # odd guests live above 4 GiB
        assert all(gpa >= 1 << 32 for gpa, _ in pieces)

    platform.run(run())


def test_wait_says_what_it_waited_for() -> None:
    platform, hv = machine()
    dom = hv.create_domain("guest0", 64)
    nic = VirtualNic(dom, SendForm.PUSHED, 16, buffer_pages=8)

    async def run() -> None:
        await nic.open()
        hv.endpoints.write(NicControl.CTRL, 0)
        assert nic.send(b"x" * 60)
        with pytest.raises(PlatformTimeoutError, match="endpoint 0 waited for all frames to complete"):
            await nic.drain(50_000)

    platform.run(run())


@pytest.mark.parametrize("entries", [8, 48, 2048])
def test_ring_size_is_checked(entries: int) -> None:
    _, hv = machine()
    with pytest.raises(NicError, match=f"ring_entries is {entries}"):
        VirtualNic(hv.create_domain("guest0", 16), SendForm.PUSHED, entries)


def test_same_seed_same_run() -> None:
    def run() -> tuple[object, object, int]:
        platform, hv = machine(7)
        nics = [VirtualNic(hv.create_domain(f"g{n}", 128), form, 32, buffer_pages=16) for n, form in enumerate(FORMS)]

        async def guest(n: int) -> None:
            await nics[n].open()
            await send_all(nics[n], random_frames(n, 60))

        platform.run(*(guest(n) for n in range(4)))
        return platform.frames, platform.completions, platform.now()

    assert run() == run()


def test_mode_of_a_sharing_guest_is_iommu() -> None:
    platform, hv = machine()
    dom = hv.create_domain("guest0", 16)

    async def run() -> None:
        grant = await dom.hypercall.endpoint_allocate(Form.PUSHED)
        assert grant.mode is Mode.IOMMU and grant.inline_max == 192 and grant.max_frame == 9018

    platform.run(run())
