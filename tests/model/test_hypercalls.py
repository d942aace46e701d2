"""The numbered entry: any number and any arguments give a result or an errno, and cost nobody but the caller."""

from __future__ import annotations

import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypervisor_model.hypervisor import Hypervisor
from sw.abi.registers import Form
from sw.platform import PAGE_SIZE, MachineMap
from tb.model.platform import ModelPlatform
from tests.model.model_support import RawEndpoint, machine

# from Xen's public headers
MEMORY_OP, GRANT_TABLE_OP, EVENT_CHANNEL_OP, PHYSDEV_OP, MYRI_OP = 12, 20, 32, 33, 55
EPERM, EFAULT, EINVAL, ENOSYS = 1, 14, 22, 38
SELF = 0x7FF0


@pytest.mark.parametrize(
    ("arguments", "errno"),
    [
        ((7,), ENOSYS),
        ((MEMORY_OP, 99, 0), ENOSYS),
        ((1 << 63, 0, 0), ENOSYS),
        ((GRANT_TABLE_OP, 2, 0xDEAD000, 1), EFAULT),
        ((EVENT_CHANNEL_OP, 9, (1 << 64) - 2), EFAULT),
        ((MYRI_OP, 4, 0, 513), EINVAL),
    ],
)
def test_refused(arguments: tuple[int, ...], errno: int) -> None:
    platform, hv = machine()
    dom = hv.create_domain("guest", 16)
    assert platform.run(dom.vmcall(*arguments)) == [-errno]
    assert dom.refusal
    assert sum(hv.entries.hypercalls.values()) == hv.entries.setup == 1


def test_structures_stand_where_the_headers_say() -> None:
    """Arguments built byte by byte, without the guest's own wrappers."""
    platform, hv = machine()
    dom = hv.create_domain("guest", 16)
    at = dom.ram.start * PAGE_SIZE
    # gnttab_setup_table: domid @0, nr_frames @4, status @8, frame_list @16
    dom.memory.write(at, struct.pack("<HHIIIQ", SELF, 0, 2, 0xFFFF, 0, at + 64))
    assert platform.run(dom.vmcall(GRANT_TABLE_OP, 2, at, 1)) == [0]
    assert dom.memory.read(at + 8, 2) == b"\0\0"
    assert dom.memory.read(at + 64, 16) == struct.pack("<QQ", dom.ram.stop, dom.ram.stop + 1)
    # xen_add_to_physmap: domid @0, size @2, space @4 (0: shared_info), idx @8, gpfn @16
    dom.memory.write(at, struct.pack("<HHIQQ", SELF, 0, 0, 0, dom.ram.stop + 9))
    assert platform.run(dom.vmcall(MEMORY_OP, 7, at)) == [0]
    assert dom.p2m.frame(dom.ram.stop + 9) is not None
    # xen_memory_reservation: extent_start @0, nr_extents @8, order @16, flags @20, domid @24
    dom.memory.write(at, struct.pack("<QQIIHHI", at + 64, 2, 0, 0, SELF, 0, 0))
    dom.memory.write(at + 64, struct.pack("<QQ", dom.ram.start + 5, dom.ram.start + 7))
    assert platform.run(dom.vmcall(MEMORY_OP, 1, at)) == [2]
    assert [gfn for gfn in dom.ram if dom.p2m.frame(gfn) is None] == [dom.ram.start + 5, dom.ram.start + 7]
    # a batch that fails on the way says how far it came
    dom.memory.write(at + 64, struct.pack("<QQ", dom.ram.start + 6, dom.ram.start + 7))
    assert platform.run(dom.vmcall(MEMORY_OP, 1, at)) == [1]
    assert platform.run(dom.vmcall(MEMORY_OP, 1, at)) == [-EINVAL]
    # nobody acts for another domain
    dom.memory.write(at, struct.pack("<QQIIHHI", at + 64, 1, 0, 0, 2, 0, 0))
    assert platform.run(dom.vmcall(MEMORY_OP, 1, at)) == [-EPERM]


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.integers(0, 1 << 32))
def test_no_argument_hurts_anybody_else(seed: int) -> None:
    """Random numbers, commands, structures and addresses; the other guest's endpoint works on."""
    rng = random.Random(seed)
    platform = ModelPlatform(MachineMap(ram_bytes=4 << 20))
    hv = Hypervisor(platform, seed=seed)
    platform.run(hv.boot())
    victim, hostile = hv.create_domain("victim", 16), hv.create_domain("hostile", 32)
    raw = RawEndpoint(victim, Form.PUSHED)
    platform.run(raw.open())
    before = {gfn: victim.p2m.frame(gfn) for gfn in victim.ram}
    pages = hostile.ram.start * PAGE_SIZE
    numbers = [MEMORY_OP, GRANT_TABLE_OP, EVENT_CHANNEL_OP, PHYSDEV_OP, MYRI_OP]
    small = [0, 1, 2, 4, 9, SELF, 0x7FFF, 0xFFFF_FFFF, 1 << 40, (1 << 64) - 1]

    async def run() -> None:
        for _ in range(40):
            words = [rng.choice([*small, pages + rng.randrange(4 * PAGE_SIZE), rng.getrandbits(64)]) for _ in range(24)]
            gfn = next((gfn for gfn in hostile.ram if hostile.p2m.frame(gfn) is not None), None)
            if gfn is None:
                return
            width = rng.choice(["<24Q", "<24I", "<24H"])
            bits = {"Q": 64, "I": 32, "H": 16}[width[-1]]
            hostile.memory.write(gfn * PAGE_SIZE, struct.pack(width, *(word & (1 << bits) - 1 for word in words)))
            at = rng.choice([gfn * PAGE_SIZE, gfn * PAGE_SIZE + rng.randrange(64), rng.getrandbits(64)])
            result = await hostile.vmcall(rng.choice(numbers), rng.randrange(32), at, rng.choice(small))
            assert -256 < result < 1 << 36

    platform.run(run())
    assert {gfn: victim.p2m.frame(gfn) for gfn in victim.ram} == before
    assert [e.number for e in hv.endpoints.of_domain(victim.domid) if e.enabled] == [raw.number]
    raw.push(0, struct.pack(">QHHBBBB", raw.buffer, 0, 60, 0, 1, 0, 0x12))
    platform.settle()
    assert raw.completion(0).status == 0
