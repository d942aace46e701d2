"""Calls of domctl and sched_op by the control domain, and what the oracle says must come of them."""

from __future__ import annotations

from collections.abc import Callable

from sw.abi.registers import Mode
from tests.xen.grants_support import EBUSY, EINVAL, ESRCH, at, build
from tests.xen.hypercall_machine import DOMCTL, ENODEV, SCHED_OP, Op
from tests.xen.hypercall_memory import MemoryCalls

VERSION = 0x17
CREATE, DESTROY, PAUSE, UNPAUSE, GETINFO, MAX_MEM, ASSIGN, DEASSIGN = 1, 2, 3, 4, 5, 11, 37, 47
HVM_HAP_IOMMU = 0b100011
"""Flags of createdomain."""
REMOTE_SHUTDOWN = 4
POWEROFF, CRASH = 0, 3
DOM_EXC = 3
BOOT_PAGES = 4
"""A kernel does not start with less."""


class DomainCalls(MemoryCalls):
    """Life of domains, and the whole card."""

    def domctl(
        self, cmd: int, domid: int, expected: Callable[[], int], then: Callable[[], None], *fields: tuple[int, str, int]
    ) -> Op:
        data = build(144, (0, "I", cmd), (4, "I", VERSION), (8, "H", domid), *((16 + o, c, v) for o, c, v in fields))

        def check(result: int, _: bytes) -> None:
            assert result == expected()
            if not result:
                then()

        return Op(DOMCTL, None, lambda _: data, check)

    def create_op(self, domids: list[int]) -> Op:
        """A domain of one vCPU; its number goes into `domids`."""

        def check(result: int, answer: bytes) -> None:
            assert result == 0
            domids.append(at(answer, 8, "H"))

        fields = (36, "I", HVM_HAP_IOMMU), (44, "I", 1), (48, "i", 1023)
        data = build(144, (0, "I", CREATE), (4, "I", VERSION), *fields)
        return Op(DOMCTL, None, lambda _: data, check)

    def unpause_op(self, domid: int) -> Op:
        def expected() -> int:
            guest = self.oracle.guests.get(domid)
            if guest is None:
                return -ESRCH
            first = guest.life == "built" and guest.pauses == 1
            return -EINVAL if not guest.pauses or (first and len(guest.ram) < BOOT_PAGES) else 0

        def running() -> None:
            guest = self.oracle.guests[domid]
            if guest.life == "built" and guest.pauses == 1:
                guest.life = "running"
            guest.pauses -= 1

        return self.domctl(UNPAUSE, domid, expected, running)

    def pause_op(self, domid: int) -> Op:
        def paused() -> None:
            self.oracle.guests[domid].pauses += 1

        return self.domctl(PAUSE, domid, lambda: self.oracle.exists(domid) or (0 if domid else -EINVAL), paused)

    def destroy_op(self, domid: int) -> Op:
        def gone() -> None:
            self.oracle.destroy(domid)
            self.oracle.raise_virq(0, DOM_EXC)

        return self.domctl(DESTROY, domid, lambda: self.oracle.exists(domid) or (0 if domid else -EINVAL), gone)

    def max_mem_op(self, domid: int, pages: int) -> Op:
        def limited() -> None:
            self.oracle.guests[domid].limit = pages

        def expected() -> int:
            return self.oracle.exists(domid) or (-EINVAL if pages < self.oracle.pages(domid) else 0)

        return self.domctl(MAX_MEM, domid, expected, limited, (0, "Q", pages * 4))

    def shutdown_op(self, domid: int, reason: int) -> Op:
        def check(result: int, _: bytes) -> None:
            assert result == self.oracle.exists(domid)
            guest = self.oracle.guests.get(domid)
            if guest is not None and not guest.stopped:
                guest.life = "crashed" if reason == CRASH else "shut down"
                if guest.endpoint is not None and reason == CRASH:
                    # told to stop, and not waited for: what it has pinned stays
                    guest.endpoint.enabled = False
                self.oracle.raise_virq(0, DOM_EXC)

        return Op(SCHED_OP, REMOTE_SHUTDOWN, lambda _: build(8, (0, "H", domid), (4, "I", reason)), check)

    def device_op(self, cmd: int, domid: int) -> Op:
        """The whole card is assigned to one domain, or not any more."""

        def expected() -> int:
            guest = self.oracle.guests.get(domid)
            if guest is None:
                return -ESRCH
            if cmd == DEASSIGN:
                return -ENODEV if guest.mode is not Mode.NATIVE else -EBUSY if guest.endpoint else 0
            return -EBUSY if any(g.mode is Mode.NATIVE or g.endpoint for g in self.oracle.guests.values()) else 0

        def done() -> None:
            self.oracle.guests[domid].mode = Mode.NATIVE if cmd == ASSIGN else Mode.IOMMU

        card = self.machine.platform.machine.nic_bus << 8
        return self.domctl(cmd, domid, expected, done, (8, "I", card))

    def info_op(self, domid: int) -> Op:
        def check(result: int, answer: bytes) -> None:
            assert result == self.oracle.exists(domid)
            guest = self.oracle.guests.get(domid)
            if guest is not None:
                found = at(answer, 24, "Q"), at(answer, 32, "Q"), at(answer, 64, "Q"), at(answer, 20, "I") & 0xE
                shut = guest.stopped
                flags = 2 | 4 * shut | 8 * bool(guest.pauses and not shut)
                assert found == (self.oracle.pages(domid), guest.limit, guest.shared_info, flags)

        data = build(144, (0, "I", GETINFO), (4, "I", VERSION), (8, "H", domid))
        return Op(DOMCTL, None, lambda _: data, check)
