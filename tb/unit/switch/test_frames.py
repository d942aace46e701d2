"""The frame buffer with its two servers: order of the ends, errors in the middle, nobody waits for another's trouble."""

from __future__ import annotations

from typing import Any

import cocotb

from sw.abi.registers import Status, Switch
from tb.unit.switch.frames import SLOTS, Frames, Pace, Sent
from tb.unit.switch.oracle import BROADCAST, MAC_CONTROL, Frame, Group, Port

GUESTS = 6
OUTSIDER = 40
"""An endpoint whose port is not in the switch."""
MCAST = "01:00:5e:00:00:01"
CHAINS = 1200
LOOK_CYCLES = 3
"""From the cycle of the last byte's arrival to the first in which the MAC is offered the frame."""


def mac(number: int) -> str:
    """An address of our own."""
    return f"02:4d:59:52:00:{number:02x}"


async def bench(dut: Any) -> Frames:
    env = Frames(dut, cocotb.RANDOM_SEED)
    await env.start()
    for number in range(GUESTS):
        await env.set_port(number, Port(mac(number), 5 * (number % 2), enable=True, check_mac=True, check_vlan=True,
                                        promiscuous=number == GUESTS - 1, broadcast=True))
    await env.set_groups([Group(MCAST, {0, 2, 3})])
    return env


def frame(env: Frames, endpoint: int, dst: str, *, forged: bool = False, kind: int = 0x0800, size: int = 0) -> Sent:
    """A frame of a guest as its port wants it, or from a wrong source."""
    src = mac(endpoint + 1) if forged else mac(endpoint)
    header = Frame(dst, src, 5 if endpoint % 2 else None, kind)
    return Sent(endpoint, header.encode(env.random.randbytes(size or env.random.randrange(4, 90))), header)


def any_frame(env: Frames) -> Sent:
    """Wire, sibling, both, nobody; whole or broken; by any way in."""
    rng = env.random
    if rng.random() < 0.15:
        made = Sent(OUTSIDER, rng.randbytes(rng.randint(1, 80)))
    else:
        endpoint = rng.randrange(GUESTS)
        dst = rng.choice([mac(rng.randrange(GUESTS)), mac(99), BROADCAST, MCAST])
        made = frame(env, endpoint, dst, forged=rng.random() < 0.1, kind=MAC_CONTROL if rng.random() < 0.05 else 0x0800)
    made.inline = rng.random() < 0.3
    made.pieces = 0 if made.inline else rng.randint(1, 4) if len(made.data) > 4 else 1
    if not made.inline and rng.random() < 0.1:
        made.read_status = rng.choice([Status.READ_UR, Status.READ_TIMEOUT])
    if rng.random() < 0.05:
        made.close_status = Status.BAD_LENGTH
    if rng.random() < 0.15 and made.header is not None:
        # what came in has another header: only the edited one counts
        made.edit = made.data[:rng.randint(18, len(made.data))]
        made.data = rng.randbytes(len(made.edit)) + made.data[len(made.edit):]
    return made


def chain_frames(env: Frames) -> list[Sent]:
    first = any_frame(env)
    rest = [any_frame(env) for _ in range(env.random.choice([0, 0, 0, 1, 3]))]
    return [first, *(other for other in rest if other.endpoint == first.endpoint)]


def some_pace(env: Frames) -> Pace:
    """Servers of some speed, each with its own."""
    rng = env.random
    slow, lazy, blocked = rng.choice([0, 30]), rng.choice([1.0, 0.2]), rng.choice([0.0, 0.7])
    return Pace(read=lambda: rng.randint(0, slow), mac=lambda: rng.randint(12, 25),
                receive=lambda: rng.randint(0, 4 * slow), job_ready=lambda: rng.random() < lazy,
                full=lambda: rng.getrandbits(64) if rng.random() < blocked else 0)


def steady_pace(mac_cycles: int, receive_cycles: int) -> Pace:
    """Servers that always take as long."""
    return Pace(mac=lambda: mac_cycles, receive=lambda: receive_cycles)


@cocotb.test
async def mixture(dut: Any) -> None:
    """Random chains of seven endpoints, servers of changing speed: every end in order, every byte where it belongs."""
    env = await bench(dut)
    for policy in (Switch.VEB, Switch.BOTH, Switch.VEPA, Switch.VEB):
        env.set_policy(policy)
        env.pace = some_pace(env)
        for _ in range(CHAINS // 4):
            env.send(*chain_frames(env))
        await env.drain()
    statuses = {f.expected for frames in env.ended.values() for f in frames}
    assert statuses >= {Status.OK, Status.SPOOFED, Status.READ_UR, Status.BAD_LENGTH}
    assert sum(map(len, env.wired.values())) > CHAINS // 4 and sum(map(len, env.local.values())) > CHAINS // 4


@cocotb.test
async def order(dut: Any) -> None:
    """One endpoint's quick frames end behind its slow ones: wire, sibling, both, forged and broken in turn."""
    env = await bench(dut)
    for mac_cycles, receive_cycles in ((200, 0), (12, 300)):
        env.pace = steady_pace(mac_cycles, receive_cycles)
        bad = frame(env, 0, mac(2))
        bad.read_status = Status.READ_UR
        env.send(frame(env, 0, mac(99)))
        env.send(frame(env, 0, mac(2)))
        env.send(frame(env, 0, BROADCAST))
        env.send(bad)
        env.send(frame(env, 0, mac(2), forged=True))
        env.send(frame(env, 0, mac(0)))
        env.send(frame(env, 0, mac(4)))
        env.send(frame(env, 0, mac(99)))
        await env.drain()


@cocotb.test
async def strangers_do_not_wait(dut: Any) -> None:
    """While one endpoint's copies are never delivered, and another's completions wait, a third sends as ever."""
    env = await bench(dut)
    await env.set_port(GUESTS - 1, Port())  # would wait for all of them
    stuck = True
    env.pace = Pace(receive=lambda: 2000 if stuck else 0, full=lambda: 1 << 2 if stuck else 0)
    for _ in range(SLOTS // 4):
        env.send(frame(env, 0, mac(2)))
        env.send(frame(env, 2, mac(99)))
    for _ in range(10):
        env.send(frame(env, 1, mac(99)))
    for _ in range(1500):
        await env.step()
    assert len(env.ended[1]) == 10 and not env.ended[0] and not env.ended[2]
    stuck = False
    await env.drain()


@cocotb.test
async def error_in_a_chain(dut: Any) -> None:
    """The first error of a chain of frames stops the rest of it, is told once, and does not touch the next chain."""
    env = await bench(dut)
    for broken in range(4):
        for kind in ("read", "close", "forged"):
            chain = [frame(env, 0, mac(99), forged=kind == "forged" and n == broken) for n in range(4)]
            if kind == "read":
                chain[broken].read_status = Status.READ_CA
            if kind == "close":
                chain[broken].close_status = Status.BAD_LENGTH
            if broken < 3:  # a later error is not the one that is told
                chain[3].read_status = Status.READ_TIMEOUT
            sent = len(env.wired[0])
            env.send(*chain)
            env.send(frame(env, 0, mac(99)))
            env.send(frame(env, 1, mac(99)))
            await env.drain()
            assert len(env.wired[0]) == sent + broken + 1


@cocotb.test
async def short_frames(dut: Any) -> None:
    """Bytes that an earlier frame left in a slot lend no source address to a frame that is too short to have one."""
    env = await bench(dut)
    for size in range(1, 19):
        for _ in range(2):
            env.send(frame(env, 2, mac(99)))
            await env.drain()
        whole = Frame(mac(99), mac(2), None, 0x0800).encode()
        padded = whole[:size] + bytes(18)
        seen = Frame(padded[:6].hex(":"), padded[6:12].hex(":"), None, int.from_bytes(padded[12:14], "big"))
        env.send(Sent(2, whole[:size], seen))
        await env.drain()
        assert env.ended[2][-1].expected == (Status.SPOOFED if size < 12 else Status.OK), size


@cocotb.test
async def latency(dut: Any) -> None:
    """A frame is offered a fixed time after its last byte, whatever it is."""
    env = await bench(dut)
    for inline in (False, True):
        sent = frame(env, 0, mac(99))
        sent.inline = inline
        env.send(sent)
        arrived = offered = None
        for _ in range(200):
            await env.step()
            if arrived is None and (bool(dut.done_i.value) or inline and bool(dut.close_i.value)):
                arrived = env.cycle
            if offered is None and bool(dut.tx_valid_o.value):
                offered = env.cycle + 1  # seen after the cycle's edge
        assert arrived is not None and offered is not None and offered - arrived == LOOK_CYCLES
        await env.drain()
