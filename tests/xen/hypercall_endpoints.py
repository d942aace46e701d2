"""Calls of myri_op, and what the oracle says must come of them."""

from __future__ import annotations

import struct

from hypervisor_model.memory import PageType
from sw.abi.registers import DmaAddress, Form, Mode
from tests.model.model_support import descriptor
from tests.xen.grants_support import BAD_HANDLE, EINVAL, OKAY, PAGE, at, build
from tests.xen.hypercall_grants import GrantCalls
from tests.xen.hypercall_machine import ENODEV, MYRI_OP, Op
from tests.xen.hypercall_oracle import NO_DEVICE_SPACE, Endpoint, Guest, Mapping, RefusedError, Ring

ALLOCATE, RELEASE, ENABLE, DISABLE, MAP_GRANTS, UNMAP_GRANTS, ENQUEUE, RETIRE = 0, 1, 2, 3, 4, 5, 12, 13
RINGS = "<IIIIIIIIIIIIQQQQ4Q"
"""Argument of ENABLE."""
RING_ENTRIES = 16
SENT = 60
"""Bytes of a frame, from a page's start."""
RQ, CQ = 1024, 2048
"""Offsets of completion rings in their page."""


class EndpointCalls(GrantCalls):
    """Endpoints of the NIC and their memory."""

    def own_endpoint(self, caller: Guest, number: int) -> Endpoint | None:
        endpoint = caller.endpoint
        return endpoint if endpoint is not None and endpoint.number == number else None

    def allocate_op(self, caller: Guest, *, receives: bool, pushed: bool) -> Op:
        form = Form.PUSHED if pushed else Form.FETCHED
        data = build(48, (0, "B", form), (1, "B", Form.FETCHED if receives else 0xFF))

        def check(result: int, answer: bytes) -> None:
            others = [g for g in self.oracle.guests.values() if g is not caller]
            mine = caller.mode is Mode.NATIVE
            if any(g.mode is Mode.NATIVE or (mine and g.endpoint) for g in others):
                assert result == -ENODEV
                return
            if caller.mode is Mode.VALIDATED and form is Form.PUSHED:
                assert result == -EINVAL
                return
            assert result == 0
            number, mode, aperture = at(answer, 4, "H"), at(answer, 6, "B"), at(answer, 24, "Q")
            assert mode == caller.mode and not any(g.endpoint and g.endpoint.number == number for g in others)
            caller.endpoint = Endpoint(number, Mode(mode), aperture, receives, form is Form.PUSHED)

        return Op(MYRI_OP, ALLOCATE, lambda _: data, check)

    def release_op(self, caller: Guest, number: int) -> Op:
        def check(result: int, _: bytes) -> None:
            endpoint = self.own_endpoint(caller, number)
            if endpoint is None:
                assert result == -ENODEV
            elif endpoint.enabled or self.oracle.device(caller.domid):
                assert result == -EINVAL
            else:
                assert result == 0
                caller.endpoint = None

        return Op(MYRI_OP, RELEASE, lambda _: build(4, (0, "I", number)), check)

    def enable_op(self, caller: Guest, address: int) -> Op:
        endpoint = caller.endpoint
        assert endpoint is not None
        fields = (
            endpoint.number, 4, 4, int(endpoint.receives), 4, 4, 4, 12, 128, 1518, 1, 0,
            0, address + CQ, 0, 0, address + RQ, 0, 0, 0,
        )  # fmt: skip

        def check(result: int, _: bytes) -> None:
            if self.own_endpoint(caller, endpoint.number) is None:
                assert result == -ENODEV
                return
            validated = endpoint.mode is Mode.VALIDATED
            named = any(m.write and m.address == address for m in self.oracle.device(caller.domid))
            if endpoint.enabled or (validated and not named):
                assert result == -EINVAL
                return
            assert result == 0
            endpoint.enabled, endpoint.slot = True, 0
            if validated:
                endpoint.rings = {0: Ring(PageType.NONE)}
                if endpoint.receives:
                    endpoint.rings |= {1: Ring(PageType.WRITABLE), 2: Ring(PageType.WRITABLE)}

        return Op(MYRI_OP, ENABLE, lambda _: struct.pack(RINGS, *fields), check)

    def disable_op(self, caller: Guest, number: int) -> Op:
        def check(result: int, _: bytes) -> None:
            endpoint = self.own_endpoint(caller, number)
            assert result == (0 if endpoint is not None else -ENODEV)
            if endpoint is not None:
                endpoint.enabled = False
                endpoint.rings.clear()

        return Op(MYRI_OP, DISABLE, lambda _: build(4, (0, "I", number)), check)

    def device_map_op(self, caller: Guest, references: list[int], *, readonly: bool, number: int | None = None) -> Op:
        """One registration: all of it or nothing."""
        if number is None:
            number = caller.endpoint.number if caller.endpoint is not None else 63
        data = b"".join(build(32, (0, "I", number), (4, "I", int(readonly)), (8, "I", r), (12, "h", 77)) for r in references)

        def check(result: int, answer: bytes) -> None:
            endpoint = self.own_endpoint(caller, number)
            if endpoint is None:
                assert result == -ENODEV
                return
            assert result == 0
            made: list[Mapping] = []
            expected = OKAY
            try:
                for reference in references:
                    frame, home = self.oracle.activate(0, caller.domid, reference, write=not readonly, mapping=True)
                    made.append(Mapping("device", 0, caller.domid, reference, frame, not readonly, home, home))
                    self.oracle.live.append(made[-1])
                if endpoint.mode is Mode.IOMMU and any(
                    m.home == other.home and m.frame != other.frame for m in made for other in self.oracle.device(caller.domid)
                ):
                    raise RefusedError(NO_DEVICE_SPACE)
            except RefusedError as refused:
                expected = refused.status
                for mapping in made:
                    self.oracle.live.remove(mapping)
            answers = [answer[n * 32 : n * 32 + 32] for n in range(len(references))]
            assert [at(one, 12, "h") for one in answers] == [expected] * len(references)
            if expected == OKAY:
                for mapping, one in zip(made, answers, strict=True):
                    mapping.handle, mapping.address = at(one, 16, "I"), at(one, 24, "Q")
                    self.add(mapping)
                self.check_addresses(endpoint, made)

        return Op(MYRI_OP, MAP_GRANTS, lambda _: data, check, len(references))

    def check_addresses(self, endpoint: Endpoint, made: list[Mapping]) -> None:
        """What device addresses mean is fixed by the mode."""
        addresses = [mapping.address for mapping in made]
        if endpoint.mode is Mode.IOMMU:
            assert addresses == [mapping.home * PAGE for mapping in made]
        elif endpoint.mode is not Mode.WINDOWS:
            assert addresses == [mapping.frame * PAGE for mapping in made]
        else:
            first = addresses[0]
            assert addresses == [first + (n << DmaAddress.WINDOW_INDEX_S) for n in range(len(made))]
            assert not any(a in endpoint.addresses for a in addresses), "an address is not given twice"
        endpoint.addresses += addresses

    def device_unmap_op(self, caller: Guest, handles: list[int]) -> Op:
        def check(result: int, answer: bytes) -> None:
            assert result == 0
            taken = False
            for n, handle in enumerate(handles):
                mapping = self.named(caller.domid, handle, "device")
                assert at(answer, n * 8 + 4, "h") == (BAD_HANDLE if mapping is None else OKAY)
                if mapping is not None:
                    self.oracle.forget(mapping)
                    taken = True
            endpoint = caller.endpoint
            if taken and endpoint is not None and endpoint.mode is Mode.VALIDATED and endpoint.enabled:
                # the NIC does not check its completion rings: it has to stop
                endpoint.enabled = False
                endpoint.rings.clear()

        data = b"".join(build(8, (0, "I", handle), (4, "h", 77)) for handle in handles)
        return Op(MYRI_OP, UNMAP_GRANTS, lambda _: data, check, len(handles))

    def enqueue_op(self, caller: Guest, number: int, ring: int, gfns: list[int]) -> Op:
        def fields(where: int) -> bytes:
            head = build(24, (0, "I", number), (4, "I", ring), (8, "I", len(gfns)), (16, "Q", where + 24))
            if ring == 0:
                return head + b"".join(descriptor(gfn * PAGE, SENT) for gfn in gfns)
            return head + b"".join(struct.pack(">Q", gfn * PAGE) for gfn in gfns)

        def check(result: int, _: bytes) -> None:
            endpoint = self.own_endpoint(caller, number)
            if endpoint is None:
                assert result == -ENODEV
                return
            into = endpoint.rings.get(ring)
            if endpoint.mode is not Mode.VALIDATED or into is None:
                assert result == -EINVAL
                return
            done = 0
            for gfn in gfns:
                if len(into.pinned) == RING_ENTRIES:
                    break
                frame = self.pinnable(caller, gfn)
                if frame is None or (into.held is PageType.WRITABLE and frame in caller.tables):
                    assert result == -EINVAL
                    return
                into.pinned.append(frame)
                into.producer += 1
                done += 1
            assert result == done

        return Op(MYRI_OP, ENQUEUE, fields, check)

    def pinnable(self, caller: Guest, gfn: int) -> int | None:
        """A page of the caller's own, wherever it has it."""
        mapping = self.oracle.mapped_at(caller.domid, gfn)
        if mapping is not None:
            return mapping.frame if mapping.granter == caller.domid else None
        return caller.own(gfn)

    def retire_op(self, caller: Guest, number: int) -> Op:
        def check(result: int, _: bytes) -> None:
            endpoint = self.own_endpoint(caller, number)
            if endpoint is None:
                assert result == -ENODEV
                return
            assert result == (0 if endpoint.mode is Mode.VALIDATED else -EINVAL)
            if 0 in endpoint.rings:
                ring = endpoint.rings[0]
                del ring.pinned[: ring.sent - ring.retired]

        return Op(MYRI_OP, RETIRE, lambda _: build(4, (0, "I", number)), check)
