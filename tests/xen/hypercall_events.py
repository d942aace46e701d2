"""Calls of event_channel_op, and what the oracle says must come of them."""

from __future__ import annotations

from tests.xen.grants_support import EINVAL, EPERM, ESRCH, SELF, at, build
from tests.xen.hypercall_domains import DOM_EXC
from tests.xen.hypercall_machine import EVENT_OP, Op
from tests.xen.hypercall_memory import MemoryCalls
from tests.xen.hypercall_oracle import INTERDOMAIN, IPI, UNBOUND, VIRQ, Channel, Guest

EEXIST = 17
BIND_INTERDOMAIN, BIND_VIRQ, CLOSE, SEND, EVENT_STATUS, ALLOC_UNBOUND, BIND_IPI, EVENT_UNMASK = 0, 1, 3, 4, 5, 6, 7, 9
PORTS = 64
"""Of which ports the bits are looked at: one word of them."""


class EventCalls(MemoryCalls):
    """Channels under the 2-level ABI."""

    def opened(self, guest: Guest, port: int, channel: Channel) -> None:
        assert 0 < port < PORTS and port not in guest.ports
        guest.ports[port] = channel

    def alloc_unbound_op(self, caller: Guest, domid: int, remote: int) -> Op:
        def check(result: int, answer: bytes) -> None:
            guest = self.target(caller, domid)
            if isinstance(guest, int):
                assert result == guest
                return
            assert result == 0
            self.opened(guest, at(answer, 4, "I"), Channel(UNBOUND, caller.domid if remote == SELF else remote))

        return Op(EVENT_OP, ALLOC_UNBOUND, lambda _: build(8, (0, "H", domid), (2, "H", remote)), check)

    def bind_interdomain_op(self, caller: Guest, remote: int, remote_port: int) -> Op:
        def check(result: int, answer: bytes) -> None:
            peer = self.oracle.guests.get(remote)
            if peer is None:
                assert result == -ESRCH
                return
            other = peer.ports.get(remote_port)
            if other is None or (other.kind, other.remote) != (UNBOUND, caller.domid):
                assert result == -EINVAL
                return
            assert result == 0
            port = at(answer, 8, "I")
            # pending: what was sent before it was bound is lost
            self.opened(caller, port, Channel(INTERDOMAIN, remote, remote_port, pending=True))
            other.kind, other.remote_port = INTERDOMAIN, port

        return Op(EVENT_OP, BIND_INTERDOMAIN, lambda _: build(12, (0, "H", remote), (4, "I", remote_port)), check)

    def bind_virq_op(self, caller: Guest, virq: int) -> Op:
        def check(result: int, answer: bytes) -> None:
            if virq == DOM_EXC and caller.domid:
                assert result == -EPERM
            elif any(channel.virq == virq for channel in caller.ports.values()):
                assert result == -EEXIST
            else:
                assert result == 0
                self.opened(caller, at(answer, 8, "I"), Channel(VIRQ, virq=virq))

        return Op(EVENT_OP, BIND_VIRQ, lambda _: build(12, (0, "I", virq)), check)

    def bind_ipi_op(self, caller: Guest) -> Op:
        def check(result: int, answer: bytes) -> None:
            assert result == 0
            self.opened(caller, at(answer, 4, "I"), Channel(IPI))

        return Op(EVENT_OP, BIND_IPI, lambda _: bytes(8), check)

    def send_op(self, caller: Guest, port: int) -> Op:
        def check(result: int, _: bytes) -> None:
            channel = caller.ports.get(port)
            assert result == (-EINVAL if channel is None or channel.kind == VIRQ else 0)
            if channel is not None and channel.kind == INTERDOMAIN:
                self.oracle.fire(channel.remote, channel.remote_port)
            elif channel is not None and channel.kind == IPI:
                self.oracle.fire(caller.domid, port)

        return Op(EVENT_OP, SEND, lambda _: build(4, (0, "I", port)), check)

    def close_op(self, caller: Guest, port: int) -> Op:
        def check(result: int, _: bytes) -> None:
            assert result == (0 if port in caller.ports else -EINVAL)
            if not result:
                self.oracle.close(caller.domid, port)

        return Op(EVENT_OP, CLOSE, lambda _: build(4, (0, "I", port)), check)

    def unmask_op(self, caller: Guest, port: int) -> Op:
        def check(result: int, _: bytes) -> None:
            assert result == (0 if port in caller.ports else -EINVAL)
            if not result:
                caller.ports[port].masked = False

        return Op(EVENT_OP, EVENT_UNMASK, lambda _: build(4, (0, "I", port)), check)

    def status_op(self, caller: Guest, port: int) -> Op:
        def check(result: int, answer: bytes) -> None:
            assert result == 0
            channel = caller.ports.get(port, Channel(0))
            detail = channel.virq if channel.kind == VIRQ else channel.remote
            found = [at(answer, offset, "I") for offset in (8, 12, 16, 20)]
            assert found == [channel.kind, 0, detail, channel.remote_port]

        return Op(EVENT_OP, EVENT_STATUS, lambda _: build(24, (0, "H", SELF), (4, "I", port)), check)
