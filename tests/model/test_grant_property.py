"""Random sequences of grant, map, unmap, revoke, give back and refill: what a device reaches is what is mapped."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from hypervisor_model.hypervisor import Hypervisor
from sw.abi.registers import Form
from sw.platform import PAGE_SIZE, MachineMap
from sw.xen.errno import HypercallError
from sw.xen.grant_table import GrantStatus
from tb.model.platform import ModelPlatform

PAGES = 3
OPERATIONS = ("grant", "map", "unmap", "end", "free", "fill")


@dataclass
class Live:
    reference: int
    gfn: int
    frame: int
    write: bool


@settings(max_examples=120, deadline=None, derandomize=True)
@given(
    st.lists(
        st.tuples(st.sampled_from(OPERATIONS), st.integers(0, 7), st.booleans()),
        min_size=1,
        max_size=40,
    )
)
def test_device_reaches_exactly_what_is_mapped(operations: list[tuple[str, int, bool]]) -> None:
    platform = ModelPlatform(MachineMap(ram_bytes=1 << 20))
    hv = Hypervisor(platform)
    platform.run(hv.boot())
    dom = hv.create_domain("guest", 8)
    base = dom.kernel.allocate_pages(PAGES)
    gfns = range(base, base + PAGES)
    references: list[int] = []
    live: dict[int, Live] = {}

    def check() -> None:
        for gfn in gfns:
            mapped = [m for m in live.values() if m.gfn == gfn]
            frames = {m.frame for m in mapped}
            assert len(frames) <= 1
            readable = platform.iommu.translate(0x0101, gfn * PAGE_SIZE, write=False)
            assert readable == (frames.pop() * PAGE_SIZE if frames else None)
            if not any(m.write for m in mapped):
                assert platform.iommu.translate(0x0101, gfn * PAGE_SIZE, write=True) is None
        for reference in references:
            pins = [m.write for m in live.values() if m.reference == reference]
            assert hv.grants.pins(dom.domid, reference) == (pins.count(False), pins.count(True))
        in_p2m = {dom.p2m.frame(gfn) for gfn in gfns} - {None}
        for frame in in_p2m | {m.frame for m in live.values()}:
            assert frame is not None
            assert hv.frames.owner(frame) == dom.domid
            assert hv.frames.references(frame) == (frame in in_p2m) + sum(m.frame == frame for m in live.values())

    async def run() -> None:
        call = dom.hypercall
        await call.endpoint_allocate(Form.PUSHED)
        for name, pick, flag in operations:
            gfn = gfns[pick % PAGES]
            if name == "grant":
                references.append(await dom.kernel.grant_access(gfn, readonly=flag))
            elif name == "map" and references:
                reference = references[pick % len(references)]
                mapping = await call.grant_map_to_device(0, reference, readonly=flag)
                if mapping.status is GrantStatus.OKAY:
                    target = mapping.device_address // PAGE_SIZE
                    frame = hv.grants.maptrack(dom.domid).get(mapping.handle)
                    assert frame is not None
                    live[mapping.handle] = Live(reference, target, frame.frame, not flag)
            elif name == "unmap" and live:
                handle = sorted(live)[pick % len(live)]
                assert await call.grant_unmap_from_device([handle]) == [GrantStatus.OKAY]
                del live[handle]
            elif name == "end" and references:
                reference = references[pick % len(references)]
                in_use = any(m.reference == reference for m in live.values())
                if dom.kernel.end_access(reference):
                    assert not in_use
                    references.remove(reference)
                else:
                    assert in_use
            elif name in ("free", "fill"):
                operation = call.decrease_reservation if name == "free" else call.populate_physmap
                populated = dom.p2m.frame(gfn) is not None
                try:
                    await operation(gfn)
                except HypercallError:
                    assert populated == (name == "fill")
            check()

    platform.run(run())
