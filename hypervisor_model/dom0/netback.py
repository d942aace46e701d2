"""netback: the control domain's end of one vif, a port of its bridge.

Source: Xen `xen/include/public/io/netif.h`; behaviour as in Linux `xen-netback`. A front end that breaks the protocol loses its
own connection, and nobody else's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from hypervisor_model.dom0.bridge import Bridge
from hypervisor_model.dom0.counts import NetbackCounts
from hypervisor_model.dom0.credit import Credit, Rate
from hypervisor_model.dom0.foreign import ForeignFrames
from hypervisor_model.dom0.netback_receive import BackReceiver
from hypervisor_model.dom0.netback_transmit import BackTransmitter, TxMode
from hypervisor_model.dom0.packet import Packet
from hypervisor_model.dom0.port_filter import PortFilter
from hypervisor_model.switch import PortPolicy
from sw.guest.machine import GuestMachine
from sw.guest.notifier import Notifier
from sw.guest.shared_ring import BackRing, RingBrokenError
from sw.platform import PlatformTimeoutError
from sw.xen.errno import HypercallError
from sw.xen.grant_table import GrantStatus
from sw.xen.io.netif import RX_SLOT_BYTES, TX_SLOT_BYTES
from sw.xen.io.vif import BackFeatures, FrontKeys

IDLE_NS: Final = 1_000_000_000
"""The loop looks again after so long, simulated, even if nothing has happened."""
FRAME_OVERHEAD: Final = 18
"""Header and one VLAN tag, beside the MTU."""


class ConnectError(RuntimeError):
    """A front end's rings or ports cannot be used; the message says which and why."""


@dataclass(frozen=True)
class NetbackConfig:
    """One vif. Raises `ValueError` naming field and limit."""

    mac: bytes
    mtu: int = 1500
    tx: TxMode = TxMode.COPY
    policy: PortPolicy = field(default_factory=PortPolicy)
    rate: Rate | None = None
    """Limit of what the guest sends; None: not limited."""
    max_frame: int = 9018
    """Bytes of a frame that the line takes."""
    gso: bool = True
    """Offer to take TCP packets that are to be cut."""

    def __post_init__(self) -> None:
        if len(self.mac) != 6 or self.mac[0] & 1:
            raise ValueError(f"mac is {self.mac.hex(':')}: six bytes, not a group's")
        if not 68 <= self.mtu <= 9000:
            raise ValueError(f"mtu is {self.mtu}: 68 to 9000")

    @property
    def features(self) -> BackFeatures:
        """What the back end offers."""
        return BackFeatures(gso_tcpv4=self.gso, gso_tcpv6=self.gso, persistent=self.tx is TxMode.PERSISTENT)


@dataclass
class _Link:
    """A connected front end."""

    rings: list[tuple[int, int]]
    """Guest frame and handle of each mapped ring page."""
    ports: list[int]
    notifier: Notifier
    transmitter: BackTransmitter
    receiver: BackReceiver


class Netback:
    """One vif. Implements `hypervisor_model.dom0.bridge.BridgePort`."""

    def __init__(
        self, machine: GuestMachine, domid: int, bridge: Bridge, foreign: ForeignFrames, config: NetbackConfig
    ) -> None:
        """`machine` is the control domain, `domid` the front end's."""
        self._machine = machine
        self._domid = domid
        self._bridge = bridge
        self._foreign = foreign
        self.config = config
        self._filter = PortFilter(config.mac, config.policy)
        self._credit = Credit(config.rate if config.rate is not None else Rate(1, 0), machine.now)
        self._signal = machine.signal()
        self._idle = machine.signal()
        self._link: _Link | None = None
        self._busy = False
        self._serving = 0
        self.counts = NetbackCounts()
        self.events_sent = 0
        """Notifications of front ends that have gone; `notifications` has all."""
        self.reason = ""
        """Why the ring was given up, if it was."""

    @property
    def connected(self) -> bool:
        """A front end is served."""
        return self._link is not None and not self.reason

    @property
    def notifications(self) -> int:
        """Notifications of the front end: one hypercall each."""
        return self.events_sent + (self._link.notifier.sent if self._link is not None else 0)

    async def connect(self, front: FrontKeys) -> None:
        """Map the rings, bind the ports, join the bridge. Raises `ConnectError`, undone."""
        if self._link is not None:
            raise ConnectError("a front end is connected already")
        rings: list[tuple[int, int]] = []
        ports: list[int] = []
        try:
            self._link = await self._attach(front, rings, ports)
        except (RingBrokenError, HypercallError) as error:
            await self._undo(rings, ports)
            raise ConnectError(f"vif of domain {self._domid}: {error}") from error
        except ConnectError:
            await self._undo(rings, ports)
            raise
        self.reason = ""
        self._filter.reset(all_multicast=not front.multicast_control)
        policy = self.config.policy
        self._bridge.attach(self, (self.config.mac,) if policy.check_mac else ())
        for port in ports:
            await self._machine.kernel.bind_event(port, self._signal.notify)
        self._signal.notify()

    async def disconnect(self) -> None:
        """Leave the bridge, unmap rings and pages, close ports. Nothing of the front end's is held on return."""
        link, self._link = self._link, None
        if link is None:
            return
        self._bridge.detach(self)
        while self._busy:
            if not await self._idle.wait(IDLE_NS):
                raise PlatformTimeoutError(f"vif of domain {self._domid}: a round has not ended after {IDLE_NS} ns")
        await link.transmitter.close()
        link.receiver.close()
        self.events_sent += link.notifier.sent
        for port in link.ports:
            await self._machine.kernel.unbind_event(port)
        await self._undo(link.rings, [])

    async def run(self) -> None:
        """Serve front ends, one after the other, until `stop`: a task of the control domain."""
        self._serving += 1
        turn = self._serving
        while turn == self._serving:
            link = self._link
            if link is None or self.reason:
                await self._signal.wait(IDLE_NS)
                continue
            self._busy = True
            try:
                progress = await link.transmitter.round()
                progress |= await link.receiver.round()
                await link.notifier.flush()
                idle = not progress and not link.transmitter.arm()
                wait_ns = link.transmitter.credit_wait_ns or IDLE_NS
            except (RingBrokenError, HypercallError) as error:
                self._give_up(str(error))
                idle, wait_ns = True, IDLE_NS
            finally:
                self._busy = False
                self._idle.notify()
            if idle:
                await self._signal.wait(wait_ns)

    def stop(self) -> None:
        """End `run`."""
        self._serving += 1
        self._signal.notify()

    def deliver(self, packet: Packet) -> bool:
        """A packet of the bridge; it is queued or dropped, and never held for its sender."""
        link = self._link
        if link is not None and not self.reason:
            if self._filter.gets(packet.frame):
                link.receiver.queue(packet)
            else:
                self.counts.rx_dropped_refused += 1
        return False

    def _give_up(self, reason: str) -> None:
        """The front end has broken the protocol: it is not served until it connects again."""
        self.reason = reason
        self.counts.rings_broken += 1
        self._bridge.detach(self)

    async def _attach(self, front: FrontKeys, rings: list[tuple[int, int]], ports: list[int]) -> _Link:
        """Map rings and bind ports, and note both for `_undo`."""
        machine, config = self._machine, self.config
        for reference in (front.tx_ring, front.rx_ring):
            gfn = self._foreign.take()
            status, handle = await machine.hypercall.grant_map(self._domid, reference, gfn, readonly=False)
            if status is not GrantStatus.OKAY:
                self._foreign.give(gfn)
                raise ConnectError(f"vif of domain {self._domid}: ring {reference} gave {status.name}")
            rings.append((gfn, handle))
        for remote in dict.fromkeys((front.tx_port, front.rx_port)):
            ports.append(await machine.hypercall.event_bind_interdomain(self._domid, remote))
        pages = [machine.memory.page(gfn) for gfn, _ in rings]
        tx_ring, rx_ring = BackRing(pages[0], TX_SLOT_BYTES), BackRing(pages[1], RX_SLOT_BYTES)
        notifier = Notifier(machine)
        mode = config.tx
        if mode is TxMode.PERSISTENT and not front.persistent:
            mode = TxMode.COPY
        transmitter = BackTransmitter(
            machine,
            self._domid,
            tx_ring,
            ports[0],
            mode,
            config.max_frame,
            filter_=self._filter,
            credit=self._credit,
            bridge=self._bridge,
            bridge_port=self,
            foreign=self._foreign,
            notifier=notifier,
            counts=self.counts,
            wake=self._signal.notify,
        )
        receiver = BackReceiver(
            machine,
            self._domid,
            rx_ring,
            ports[-1],
            front,
            config.mtu + FRAME_OVERHEAD,
            notifier=notifier,
            counts=self.counts,
            wake=self._signal.notify,
        )
        return _Link(rings, ports, notifier, transmitter, receiver)

    async def _undo(self, rings: list[tuple[int, int]], ports: list[int]) -> None:
        for port in ports:
            await self._machine.hypercall.event_close(port)
        if rings:
            await self._machine.hypercall.grant_unmap(rings)
            for gfn, _ in rings:
                self._foreign.give(gfn)
