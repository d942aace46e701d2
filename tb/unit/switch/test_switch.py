"""The switch against the rules: random tables and frames, and the attacks by name."""

from __future__ import annotations

import random
from typing import Any

import cocotb

from sw.abi.registers import Switch
from tb.unit.switch.bench import GROUPS, Bench
from tb.unit.switch.oracle import BROADCAST, MAC_CONTROL, PAUSE_ADDRESS, PORTS, Frame, Group, Port, Verdict

ROUNDS = 12
LOOKS = 250
MCAST = "01:00:5e:00:00:01"
LLDP = "01:80:c2:00:00:0e"


async def bench(dut: Any) -> Bench:
    made = Bench(dut, cocotb.RANDOM_SEED)
    await made.start()
    return made


def mac(number: int) -> str:
    """An address of our own."""
    return f"02:4d:59:52:00:{number:02x}"


def guest(number: int, vlan: int = 0, **flags: bool) -> Port:
    """A guest's port as the hypervisor sets it up."""
    return Port(mac(number), vlan, enable=True, check_mac=True, check_vlan=True, broadcast=True, **flags)


def near(rng: random.Random, address: str) -> str:
    """The address, sometimes with one bit changed."""
    value = int(address.replace(":", ""), 16)
    if rng.random() < 0.2:
        value ^= 1 << rng.randrange(48)
    return value.to_bytes(6, "big").hex(":")


@cocotb.test
async def random_tables(dut: Any) -> None:
    """Random tables; frames near what is in them; both sides asked in the same cycle or alone, back to back."""
    env = await bench(dut)
    rng = env.random
    for _ in range(ROUNDS):
        macs = [near(rng, mac(rng.randrange(8))) for _ in range(6)] + [BROADCAST]
        groups = [MCAST, LLDP, PAUSE_ADDRESS, "33:33:00:00:00:01", "01:80:c2:00:00:10", "01:80:c2:00:01:0e"]
        vlans = [0, 1, 100, 4095]
        used = rng.sample(range(PORTS), rng.choice([3, 10, PORTS]))
        for number in range(PORTS):
            likely = (0.8, 0.5, 0.5, 0.1, 0.2, 0.5)
            flags = (rng.random() < part for part in likely)
            port = Port(rng.choice(macs), rng.choice(vlans), *flags) if number in used else Port()
            if port != env.rules.ports[number]:
                await env.set_port(number, port)
        rows = [Group(near(rng, rng.choice(groups)), set(rng.sample(range(PORTS), rng.randrange(5))), rng.random() < 0.8)
                for _ in range(rng.choice([0, 5, GROUPS]))]
        await env.set_groups(rows)
        env.set_policy(rng.choice(list(Switch)))

        def frame(macs: list[str] = macs, groups: list[str] = groups, vlans: list[int] = vlans) -> Frame:
            dst = near(rng, rng.choice([rng.choice(macs), rng.choice(groups), BROADCAST]))
            vid = rng.choice([None, *vlans, rng.randrange(4096)])
            return Frame(dst, near(rng, rng.choice(macs)), vid, rng.choice([0x0800, 0x86DD, MAC_CONTROL, 0x8809]))

        for _ in range(LOOKS):
            source = rng.choice([*used, rng.randrange(PORTS)])
            send = frame()
            if rng.random() < 0.7:  # mostly a frame that the sender may send
                own = env.rules.ports[source]
                send = Frame(send.dst, own.mac, own.vlan or rng.choice([None, 0]), send.ethertype)
            await env.look(frame() if rng.random() < 0.7 else None, (source, send) if rng.random() < 0.8 else None)


@cocotb.test
async def flooding(dut: Any) -> None:
    """Frames from any number of source addresses, a sibling's among them, change nobody's frames."""
    env = await bench(dut)
    for number in range(4):
        await env.set_port(number, guest(number))
    await env.set_port(4, Port(mac(4), enable=True, broadcast=True))  # unchecked: floods as it likes
    for n in range(300):
        await env.look(Frame(BROADCAST, f"06:00:00:00:{n >> 8:02x}:{n & 255:02x}"),
                       (4, Frame(BROADCAST, mac(1) if n % 3 == 0 else f"0a:00:00:00:{n >> 8:02x}:{n & 255:02x}")))
    for number in range(4):
        assert env.rules.from_wire(Frame(mac(number), mac(9))) == {number}
        await env.look(Frame(mac(number), mac(9)), (4, Frame(mac(number), mac(4))))
    assert env.rules.from_wire(Frame("0a:00:00:00:00:01", mac(9))) == set()
    await env.look(Frame("0a:00:00:00:00:01", mac(9)), (0, Frame("0a:00:00:00:00:01", mac(0))))


@cocotb.test
async def vlan_escape(dut: Any) -> None:
    """No tag, or lack of one, takes a frame into or out of another port's VLAN."""
    env = await bench(dut)
    for number, vlan in enumerate((0, 10, 10, 20)):
        await env.set_port(number, guest(number, vlan, all_multicast=True))
    for source, own in enumerate((0, 10, 10, 20)):
        for vid in (None, 0, 10, 20, 4095):
            for target in (mac(0), mac(1), mac(2), mac(3), BROADCAST, MCAST):
                frame = Frame(target, mac(source), vid)
                verdict = env.rules.sent(source, frame, Switch.VEB)
                assert verdict.spoofed == ((vid or 0) != own)
                assert all(env.rules.ports[n].vlan == own for n in verdict.siblings)
                await env.look(frame, (source, frame))


@cocotb.test
async def spoofed_source(dut: Any) -> None:
    """A frame with a sibling's, an unknown or a nearly right source goes nowhere, and is counted for its sender."""
    env = await bench(dut)
    for number in range(3):
        await env.set_port(number, guest(number))
    forged = [mac(2), mac(9), BROADCAST, *(f"{int(mac(1).replace(':', ''), 16) ^ 1 << bit:012x}" for bit in range(48))]
    for policy in Switch:
        env.set_policy(policy)
        for source in forged:
            text = source if ":" in source else bytes.fromhex(source).hex(":")
            frame = Frame(mac(2), text)
            assert env.rules.sent(1, frame, policy) == Verdict(frozenset(), False, True)
            await env.look(sent=(1, frame))
    assert [await env.spoofed(n) for n in range(3)] == [0, len(forged) * len(Switch), 0]
    await env.look(sent=(1, Frame(mac(2), mac(1))))
    await env.set_port(1, guest(1))
    assert await env.spoofed(1) == len(forged) * len(Switch), "writing a port's row does not clear its counter"


@cocotb.test
async def pause_from_a_guest(dut: Any) -> None:
    """A MAC control frame, tagged or not, to whatever address, leaves a promiscuous port only."""
    env = await bench(dut)
    await env.set_port(0, guest(0))
    await env.set_port(1, Port(mac(1), enable=True))  # nothing is checked but this
    await env.set_port(2, guest(2, promiscuous=True))
    for source in range(3):
        for target in (PAUSE_ADDRESS, mac(0), mac(5), BROADCAST):
            for vid in (None, 0):
                frame = Frame(target, mac(source), vid, MAC_CONTROL)
                assert env.rules.sent(source, frame, Switch.VEB).spoofed == (source != 2)
                await env.look(sent=(source, frame))


@cocotb.test
async def groups(dut: Any) -> None:
    """Broadcast reaches all but the sender; reserved addresses only members; a promiscuous port everything."""
    env = await bench(dut)
    for number in range(PORTS):
        await env.set_port(number, guest(number, all_multicast=number % 2 == 0, promiscuous=number == 63))
    await env.set_groups([Group(LLDP, {5}), Group(MCAST, {7, 62}), Group(MCAST, {9})])
    everyone = frozenset(range(PORTS))
    for source in (0, 31, 63):
        broadcast = Frame(BROADCAST, mac(source))
        assert env.rules.sent(source, broadcast, Switch.VEB) == Verdict(everyone - {source}, True)
        await env.look(broadcast, (source, broadcast))
    assert env.rules.from_wire(Frame(LLDP, mac(99), None, 0x88CC)) == {5, 63}
    await env.look(Frame(LLDP, mac(99), None, 0x88CC), (0, Frame(LLDP, mac(0), None, 0x88CC)))
    assert env.rules.from_wire(Frame(MCAST, mac(99))) == {*range(0, PORTS, 2), 7, 9, 63}
    await env.look(Frame(MCAST, mac(99)), (7, Frame(MCAST, mac(7))))
    assert env.rules.sent(3, Frame(mac(4), mac(3)), Switch.VEB) == Verdict(frozenset({4, 63}), False)
    await env.look(Frame(mac(4), mac(99)), (3, Frame(mac(4), mac(3))))
    assert env.rules.sent(3, Frame(mac(3), mac(3)), Switch.VEB) == Verdict(frozenset({63}), False)
    await env.look(sent=(3, Frame(mac(3), mac(3))))


@cocotb.test
async def outside(dut: Any) -> None:
    """A port that is not enabled sends to the wire what it likes, and receives nothing, whatever else its row says."""
    env = await bench(dut)
    await env.set_port(0, Port(mac(0), check_mac=True, check_vlan=True, promiscuous=True, broadcast=True))
    await env.set_port(1, guest(1))
    for target in (mac(0), mac(1), BROADCAST, MCAST):
        for policy in Switch:
            env.set_policy(policy)
            wild = Frame(target, mac(9), 77, MAC_CONTROL)
            assert env.rules.sent(0, wild, policy) == Verdict(frozenset(), True)
            await env.look(Frame(target, mac(9)), (0, wild))
            await env.look(Frame(target, mac(9)), (1, Frame(target, mac(1))))
