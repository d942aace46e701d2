"""Machine frames: references, types, limits and claims, runs, and the machine-to-physical table."""

from __future__ import annotations

import random
import struct

import pytest

from hypervisor_model.memory import OWNER_NONE, OWNER_XEN, FrameAllocator, OutOfFramesError, PageType
from hypervisor_model.p2m import P2M, Kind
from tb.model.platform import ModelMemory

PAGE = 4096
INVALID = (1 << 64) - 1
SHARED = [PageType.PAGE_TABLE, PageType.GRANT_TABLE, PageType.SHARED_INFO]


def allocator(megabytes: int = 2, seed: int = 1) -> tuple[ModelMemory, FrameAllocator]:
    memory = ModelMemory(megabytes << 20)
    return memory, FrameAllocator(memory, seed)


def test_a_frame_has_one_type_at_a_time() -> None:
    _, frames = allocator()
    frame = frames.allocate(5)
    assert frames.type_of(frame) == (PageType.NONE, 0)
    assert frames.get(frame, 5, PageType.WRITABLE) and frames.get_type(frame, PageType.WRITABLE)
    assert frames.type_of(frame) == (PageType.WRITABLE, 2)
    assert not frames.get_type(frame, PageType.PAGE_TABLE)
    # without a type it may be read
    assert frames.get(frame, 5)
    assert not frames.get(frame, 6) and not frames.get(frame, 5, PageType.GRANT_TABLE)
    assert frames.references(frame) == 3
    frames.put_type(frame, PageType.WRITABLE)
    frames.put(frame, PageType.WRITABLE)
    assert frames.get(frame, 5, PageType.PAGE_TABLE)
    assert not frames.get_type(frame, PageType.WRITABLE)
    with pytest.raises(AssertionError, match="not in use as WRITABLE"):
        frames.put_type(frame, PageType.WRITABLE)
    frames.put(frame, PageType.PAGE_TABLE)
    frames.put(frame)
    frames.put(frame)
    assert frames.owner(frame) == OWNER_NONE
    with pytest.raises(AssertionError, match="free frame"):
        frames.put(frame)


@pytest.mark.parametrize("kind", SHARED)
def test_tables_and_shared_info_are_never_writable_and_never_given(kind: PageType) -> None:
    _, frames = allocator()
    frame = frames.allocate(5, kind)
    assert not frames.get(frame, 5, PageType.WRITABLE)
    p2m = P2M(frames)
    with pytest.raises(AssertionError, match="no guest memory"):
        p2m.add_ram(3, frame)
    with pytest.raises(AssertionError, match="while in use"):
        frames.give(frame, 6)
    assert frames.get(frame, 5, kind)
    frames.put(frame, kind)
    with pytest.raises(AssertionError, match="type count"):
        frames.put_type(frame, kind)
    frames.put(frame)
    assert (frames.owner(frame), frames.type_of(frame)) == (OWNER_NONE, (PageType.NONE, 0))


def test_a_frame_in_use_is_neither_freed_nor_given() -> None:
    _, frames = allocator()
    frame = frames.allocate(5)
    assert frames.get(frame, 5)
    with pytest.raises(AssertionError, match="while in use"):
        frames.give(frame, 6)
    frames.put(frame)
    assert frames.get_type(frame, PageType.WRITABLE)
    with pytest.raises(AssertionError, match="freed while in use"):
        frames.put(frame)


def test_limits_count_a_domains_memory_and_nothing_else() -> None:
    _, frames = allocator()
    frames.set_limit(5, 10)
    mine = [frames.allocate(5) for _ in range(6)]
    frames.allocate(5, PageType.GRANT_TABLE)
    assert (frames.pages(5), frames.limit(5), frames.limit(6)) == (6, 10, 512)
    frames.allocate_run(5, 4, 4)
    for attempt in (lambda: frames.allocate(5), lambda: frames.allocate_run(5, 2), lambda: frames.give(frames.allocate(6), 5)):
        with pytest.raises(OutOfFramesError, match="maximum"):
            attempt()
    # what somebody still refers to counts on
    assert frames.get(mine[0], 5)
    frames.put(mine[0])
    assert frames.pages(5) == 10
    frames.put(mine[0])
    frames.allocate(5)
    # an exchange is not stopped by the limit it is at
    assert frames.allocate_run(5, 4, 4, replaced=4) % 4 == 0


def test_claims_keep_frames_free_for_a_domain() -> None:
    _, frames = allocator(1)
    free = frames.frames - 1 - len(frames.m2p.frames)
    frames.set_limit(5, 200)
    for pages in (201, -1):
        with pytest.raises(ValueError, match="claim"):
            frames.claim(5, pages)
    frames.claim(5, 200)
    with pytest.raises(ValueError, match="claim"):
        frames.claim(5, 100)
    with pytest.raises(OutOfFramesError, match="claimed"):
        frames.claim(6, free - 199)
    others = [frames.allocate(6) for _ in range(free - 200)]
    with pytest.raises(OutOfFramesError, match="200 of them claimed"):
        frames.allocate(6)
    with pytest.raises(OutOfFramesError, match="claimed"):
        frames.allocate_run(6, 2)
    frames.allocate_run(5, 2)
    for _ in range(198):
        frames.allocate(5)
    with pytest.raises(OutOfFramesError):
        frames.allocate(6)
    frames.put(others[0])
    frames.allocate(6)
    frames.put(others[1])
    frames.claim(5, 0)
    frames.allocate(6)


@pytest.mark.parametrize("seed", range(4))
def test_runs_are_the_topmost_free_ones(seed: int) -> None:
    """Against a search of every place."""
    rng = random.Random(seed)
    _, frames = allocator(1, seed)
    held: list[int] = []
    for _ in range(150):
        if rng.random() < 0.4 and held:
            frames.put(held.pop(rng.randrange(len(held))))
            continue
        if rng.random() < 0.5:
            try:
                held.append(frames.allocate(1))
            except OutOfFramesError:
                pass
            continue
        count = rng.choice((1, 2, 3, 8))
        alignment = rng.choice([n for n in (1, 2, 4, 8) if n <= max(count, 1)])
        places = [
            start
            for start in range(1, frames.frames - count + 1)
            if start % alignment == 0 and all(frames.owner(n) == OWNER_NONE for n in range(start, start + count))
        ]
        if places:
            assert frames.allocate_run(1, count, alignment) == max(places), f"seed {seed}"
            held += range(max(places), max(places) + count)
        else:
            with pytest.raises(OutOfFramesError):
                frames.allocate_run(1, count, alignment)


def test_the_m2p_lies_in_machine_memory_and_follows_the_p2m() -> None:
    memory, frames = allocator()
    table = frames.m2p.frames
    assert len(table) == 1 and {frames.owner(n) for n in table} == {OWNER_XEN}

    def entry(frame: int) -> int:
        return int(struct.unpack("<Q", memory.read(table.start * PAGE + frame * 8, 8))[0])

    assert {entry(n) for n in range(frames.frames)} == {INVALID}
    p2m = P2M(frames)
    first, second, shared = frames.allocate(5), frames.allocate(5), frames.allocate(5, PageType.GRANT_TABLE)
    p2m.add_ram(7, first)
    p2m.add_ram(8, second)
    p2m.add_xen(9, shared)
    assert (entry(first), entry(second), entry(shared)) == (7, 8, 9)
    p2m.add_ram(1 << 35, p2m.take_ram(7))
    assert entry(first) == 1 << 35
    p2m.remove_ram(8)
    p2m.remove_xen(9)
    assert (entry(second), entry(shared)) == (INVALID, INVALID)
    # pages of others are at their owner's place
    other = P2M(frames)
    other.add_grant(3, first, write=False)
    assert entry(first) == 1 << 35
    other.remove_grant(3)
    assert entry(first) == 1 << 35


def test_entries_of_one_kind_are_not_removed_as_another() -> None:
    _, frames = allocator()
    p2m = P2M(frames, reserved=range(100, 110))
    frame = frames.allocate(5)
    p2m.add_ram(7, frame)
    for remove in (p2m.remove_grant, p2m.remove_foreign, p2m.remove_xen, p2m.remove_mmio):
        with pytest.raises(KeyError):
            remove(7)
    entry = p2m.entry(7)
    assert entry is not None and (entry.frame, entry.kind) == (frame, Kind.RAM)
    with pytest.raises(ValueError, match="mapped already"):
        p2m.add_mmio(7, 0xC0000)
    with pytest.raises(ValueError, match="mapped already"):
        p2m.add_grant(7, frame, write=True)
    assert [p2m.is_vacant(gfn) for gfn in (0, 7, 8, 99, 100, 109, 110, (1 << 36) - 1, 1 << 36)] == [
        False, False, True, True, False, False, True, True, False,
    ]  # fmt: skip
