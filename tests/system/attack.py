"""What tests of attacks and overload share: the machine, frames that name themselves, and the switch's rules on bytes."""

from __future__ import annotations

import os
import random
from typing import Final

from cocotb.handle import SimHandleBase

from hypervisor_model.domains import Domain
from hypervisor_model.hypervisor import Hypervisor
from hypervisor_model.switch import PortPolicy, SwitchConfig
from sw.abi.registers import NicControl
from sw.guest.virtual_nic import ReceiveConfig, ReceivedFrame, SendForm, VirtualNic
from tb.cosim.platform import HostConfig, RtlPlatform
from tb.unit.switch.oracle import Frame, Port, Rules

WAIT_NS: Final = 5_000_000
SILENCE_NS: Final = 20_000
"""Nothing for so long at the end: nothing more comes."""
READY_NS: Final = 5_000
"""After open: the NIC fetches the first buffers."""
MIN_FRAME: Final = 60
ETHERTYPE: Final = b"\x88\xb5"
BROADCAST: Final = b"\xff" * 6
STRANGER: Final = bytes.fromhex("0202deadbeef")
PEER: Final = bytes.fromhex("020000000001")
QUIET: Final = ("RX_BAD_FCS", "RX_RUNT", "RX_OVERSIZE", "RX_BAD_FRAMING", "RX_PAUSE", "RX_OVERFLOW", "TX_PAUSE",
                "READ_TIMEOUTS", "UNEXPECTED_CPL", "MMIO_DROPPED")
"""Counters that stay 0 when nothing goes wrong on the line, in the receive buffer or on the bus."""


def seed() -> int:
    """Of this run."""
    return int(os.environ["COCOTB_RANDOM_SEED"])


async def boot(dut: SimHandleBase, switch: SwitchConfig | None = None) -> tuple[RtlPlatform, Hypervisor]:
    """A machine with a far end that does not stop for pause frames, so that each one that leaves is seen."""
    platform = RtlPlatform(dut, HostConfig(seed=seed()))
    hypervisor = Hypervisor(platform, seed=seed(), switch=switch)
    await hypervisor.boot()
    return platform, hypervisor


def pages_for(receive: ReceiveConfig) -> int:
    """Memory of a guest with such a receive side."""
    return 128 + receive.entries * (receive.big_bytes + receive.small + 200) // 4096


class Guest:
    """A guest with one NIC; what it has received and what its sends ended with."""

    def __init__(self, hypervisor: Hypervisor, name: str, receive: ReceiveConfig, policy: PortPolicy | None = None, *,
                 form: SendForm = SendForm.INLINE, privileged: bool = False, posted: bool = False) -> None:
        self.policy = policy if policy is not None else PortPolicy()
        self.domain: Domain = hypervisor.create_domain(name, pages_for(receive), privileged=privileged, posted=posted,
                                                       port_policy=self.policy)
        self.log: list[tuple[int, int, int]] = []
        self.nic = VirtualNic(self.domain, form, 256, buffer_pages=32, completion_log=self.log, receive=receive)
        self.received: list[ReceivedFrame] = []

    @property
    def statuses(self) -> list[int]:
        """Of its chains, in order."""
        return [status for _, _, status in self.log]

    async def send(self, frames: list[bytes]) -> None:
        """Send all, as fast as the ring takes them."""
        for data in frames:
            while not self.nic.send(data):
                await self.nic.wait_for_room(WAIT_NS)
            self.nic.kick()
        await self.nic.drain(WAIT_NS)

    async def receive(self, count: int) -> None:
        """Until `count` frames have come, and then whatever comes before a silence."""
        while len(self.received) < count:
            fresh = await self.nic.receive(WAIT_NS)
            assert fresh, f"{self.domain.name} has {len(self.received)} of {count} frames, and none in {WAIT_NS} ns more"
            self.received += fresh
        while fresh := await self.nic.receive(SILENCE_NS):
            self.received += fresh

    def port(self, *, promiscuous: bool = False, all_multicast: bool = False) -> Port:
        """Its row of the port table."""
        policy = self.policy
        return Port(self.nic.mac.hex(":"), policy.vlan, True, policy.check_mac, policy.check_vlan, promiscuous,
                    all_multicast, policy.broadcast)


async def open_all(platform: RtlPlatform, guests: list[Guest]) -> None:
    """Open them; their buffers are with the NIC afterwards."""
    for guest in guests:
        await guest.nic.open()
    await platform.sleep(READY_NS)


def named(head: bytes, number: int, length: int) -> bytes:
    """A frame of `length` bytes (60 at least) that starts with `head` and ends with its number."""
    return head + random.Random(number).randbytes(length - len(head) - 4) + number.to_bytes(4, "big")


def number_of(data: bytes) -> int:
    """Of a named frame."""
    return int.from_bytes(data[-4:], "big")


def classify(data: bytes) -> Frame:
    """What the switch looks at: addresses, one 802.1Q tag (0x8100) or none, the type behind it."""
    padded = data.ljust(MIN_FRAME, b"\0")
    vid = int.from_bytes(padded[14:16], "big") & 0xFFF if padded[12:14] == b"\x81\x00" else None
    at = 12 if vid is None else 16
    return Frame(padded[:6].hex(":"), padded[6:12].hex(":"), vid, int.from_bytes(padded[at : at + 2], "big"))


def rules_of(guests: list[Guest]) -> Rules:
    """The switch as the hypervisor has set it up for these guests."""
    rules = Rules()
    for guest in guests:
        rules.ports[guest.nic.endpoint] = guest.port()
    return rules


async def counter(hypervisor: Hypervisor, name: str) -> int:
    """A control register by its name."""
    return await hypervisor.endpoints.read(getattr(NicControl, name))


async def check_quiet(hypervisor: Hypervisor) -> None:
    """Nothing of `QUIET` has happened."""
    found = {name: await counter(hypervisor, name) for name in QUIET}
    assert not any(found.values()), found
