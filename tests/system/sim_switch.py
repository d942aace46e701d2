"""Runs in the simulator: guests behind the switch send to each other, to the wire and with forged headers."""

from __future__ import annotations

import os
import random
from typing import Final

import cocotb
from cocotb.handle import SimHandleBase
from cocotb.triggers import gather

from hypervisor_model.hypervisor import Hypervisor
from sw.abi.registers import NicControl, Status, Switch, TraceKind
from sw.guest.virtual_nic import SendForm, VirtualNic
from tb.cosim.platform import HostConfig, RtlPlatform
from tb.unit.switch.bench import words
from tb.unit.switch.oracle import BROADCAST, MAC_CONTROL, Frame, Port, Rules, Verdict

WAIT_NS: Final = 2_000_000
FRAMES: Final = 60
OUTSIDE: Final = "02:aa:00:00:00:01"


def mac(number: int) -> str:
    """An address of our own."""
    return f"02:4d:59:52:00:{number:02x}"


def plan(rng: random.Random, guest: int, port: Port) -> list[tuple[Frame, bytes]]:
    """Frames of one guest: most as its port wants them, some with another's source, VLAN, or as MAC control."""
    found = []
    for number in range(FRAMES):
        dst = rng.choice([*(mac(n) for n in range(4)), OUTSIDE, BROADCAST])
        vid = port.vlan or None
        header = Frame(dst, mac(guest), vid, 0x88B5)
        if rng.random() < 0.25:
            header = rng.choice([Frame(dst, mac(guest ^ 1), vid, 0x88B5), Frame(dst, mac(guest), 77, 0x88B5),
                                 Frame(dst, mac(guest), vid, MAC_CONTROL)])
        found.append((header, header.encode(bytes([guest, number]) + rng.randbytes(rng.choice([44, 100, 900])))))
    return found


def guest_of(data: bytes) -> int:
    """The guest that a frame's payload names."""
    return data[18] if data[12:14] == b"\x81\x00" else data[14]


async def send(nic: VirtualNic, frames: list[tuple[Frame, bytes]]) -> None:
    for _, data in frames:
        while not nic.send(data):
            await nic.wait_for_room(WAIT_NS)
        nic.kick()
    await nic.drain(WAIT_NS)


@cocotb.test
async def run(dut: SimHandleBase) -> None:
    """Statuses, wire, traces and counters are those of the rules, for each switch policy."""
    seed = int(os.environ["COCOTB_RANDOM_SEED"])
    rng = random.Random(seed)
    platform = RtlPlatform(dut, HostConfig(seed=seed, read_jitter=40, reorder=True))
    hypervisor = Hypervisor(platform)
    await hypervisor.boot()
    registers = hypervisor.endpoints
    rules = Rules()
    nics: list[VirtualNic] = []
    logs: list[list[tuple[int, int, int]]] = []
    for guest, form in enumerate((SendForm.PUSHED, SendForm.FETCHED, SendForm.INLINE, SendForm.FETCHED)):
        logs.append([])
        nic = VirtualNic(hypervisor.create_domain(f"guest{guest}", 256), form, 64, completion_log=logs[guest])
        await nic.open()
        nics.append(nic)
        # the last one is not in the switch: what it sends is nobody's business
        port = Port(mac(guest), 9 * (guest == 1), guest != 3, True, True, broadcast=True)
        rules.ports[nic.endpoint] = port
        high, low = words(port.mac)
        base = nic.endpoint * NicControl.PORT_STRIDE
        registers.write(base + NicControl.PORT_MAC_HI, high)
        registers.write(base + NicControl.PORT_MAC_LO, low)
        registers.write(base + NicControl.PORT_POLICY, port.vlan | port.enable * NicControl.PORT_POLICY_ENABLE_M
                        | NicControl.PORT_POLICY_CHECK_MAC_M | NicControl.PORT_POLICY_CHECK_VLAN_M
                        | NicControl.PORT_POLICY_BROADCAST_M)
        assert await registers.read(base + NicControl.PORT_MAC_HI) == high
    totals: dict[str, int] = dict.fromkeys(("forged", "local"), 0)
    forged: dict[int, int] = dict.fromkeys((nic.endpoint for nic in nics), 0)
    for policy in Switch:
        registers.write(NicControl.SWITCH_CTRL, int(policy) << NicControl.SWITCH_CTRL_POLICY_S)
        await registers.read(NicControl.SWITCH_CTRL)
        platform.trace()
        platform.wire_frames()
        plans = [plan(rng, guest, rules.ports[nic.endpoint]) for guest, nic in enumerate(nics)]
        for log in logs:
            log.clear()
        await gather(*(send(nic, frames) for nic, frames in zip(nics, plans, strict=True)))
        trace = platform.trace()
        wire = [frame.data[:-4] for frame in platform.wire_frames()]
        for guest, (nic, frames) in enumerate(zip(nics, plans, strict=True)):
            verdicts = [rules.sent(nic.endpoint, header, policy) for header, _ in frames]
            what = f"{policy.name}, guest {guest}"
            expected = [Status.SPOOFED if verdict.spoofed else Status.OK for verdict in verdicts]
            assert [status for _, _, status in logs[guest]] == expected, what
            lengths = [0 if verdict.spoofed else len(data) for verdict, (_, data) in zip(verdicts, frames, strict=True)]
            assert [length for _, length, _ in logs[guest]] == lengths, what
            sent = [data for verdict, (_, data) in zip(verdicts, frames, strict=True) if verdict.to_wire]
            assert [data for data in wire if guest_of(data) == guest] == sent, what
            mine = trace[trace["endpoint"] == nic.endpoint]
            count = sum(verdict.spoofed for verdict in verdicts)
            failed = mine[mine["kind"] == TraceKind.FAILED]
            assert failed["info"].tolist() == [Status.SPOOFED] * count, what
            copied = sum(bool(verdict.siblings) for verdict in verdicts)
            assert len(mine[mine["kind"] == TraceKind.RX_LOCAL]) == copied, what
            if policy == Switch.VEB and guest in (0, 2):  # the plan has frames to a sibling, and to itself
                assert copied and Verdict(frozenset(), False) in verdicts, what
            totals["forged"] += count
            totals["local"] += copied
            forged[nic.endpoint] += count
    assert totals["forged"] and await registers.read(NicControl.SPOOFED_FRAMES) == totals["forged"]
    assert await registers.read(NicControl.FAILED_CHAINS) == totals["forged"]
    assert await registers.read(NicControl.LOCAL_FRAMES) == totals["local"]
    for endpoint, count in forged.items():
        assert await registers.read(NicControl.PORT_SPOOFED + endpoint * NicControl.PORT_STRIDE) == count
    for nic in nics:
        await nic.close()
