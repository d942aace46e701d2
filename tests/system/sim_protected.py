"""Runs in the simulator: modes WINDOWS and VALIDATED on the RTL, against the reference NIC, the closed form and bounds."""

from __future__ import annotations

import os
import random
from typing import Any, Final

import cocotb
from cocotb.handle import SimHandleBase
from cocotb.triggers import gather

from sw.abi.registers import Form, Mode, NicControl, Status, TraceKind
from sw.platform import CYCLE_NS, PAGE_SIZE
from tb.bench.bounds import wire_gbps
from tb.cosim.platform import HostConfig, ReadError, RtlPlatform
from tb.ethernet import on_line
from tb.ledger.decode import EndpointSetup, decode
from tb.ledger.receive import decode_receive
from tb.ledger.stages import PacketForm, Stamp
from tb.model.latency import LOOKUP, Machine, Ring, receive_stages, stages
from tb.model.platform import ModelPlatform
from tests.system.protected import BIG_BYTES, PAD, Port, chain
from tests.system.protected_cases import CASES, PEER, STRANGER, frame, open_ports
from tests.system.sim_traffic import disturbances

REVOCATIONS: Final = 40
WARM: Final = 6
WRAP: Final = 66_000
"""Frames, and descriptors, past 2^16."""
PIECES: Final = 12
FULL: Final = 0.98
"""Of the wire's rate, at least."""
HELD: Final = 150
"""Trials."""
HOT: Final = 8
"""Pages that are sent from and taken away."""
FETCHED_AHEAD: Final = 12
"""Buffers that the NIC has all fetched: no fetch is under way when a frame comes."""


def seed() -> int:
    return int(os.environ["COCOTB_RANDOM_SEED"])


async def against_model(dut: SimHandleBase, name: str, *, disturb: bool) -> None:
    """The case holds on the RTL, and everything that it looks at is the same on the reference NIC."""
    settings: dict[str, Any] = disturbances(seed()) if disturb else {}
    settings |= {"mps": 128, "mrrs": 512}
    cocotb.log.info("seed %d %s", seed(), settings)
    outcome = await CASES[name](RtlPlatform(dut, HostConfig(seed=seed(), **settings)), seed())
    model = ModelPlatform()

    async def job() -> list[Any]:
        return await CASES[name](model, seed())

    assert [outcome] == model.run(job())


async def revocation(dut: SimHandleBase) -> None:
    """Windows are taken away under traffic in both directions: behind the fence nothing touches their pages."""
    platform = RtlPlatform(dut, HostConfig(seed=seed(), read_jitter=60, reorder=True, random_split=True, credit_ph=8,
                                           credit_pd=64, starvation_permille=300, peer_pause=True))
    rng = random.Random(seed())
    host, (port, other) = await open_ports(platform, seed(), [(Mode.WINDOWS, Form.FETCHED, 10, False),
                                                              (Mode.WINDOWS, Form.FETCHED, 6, False)])
    host.write(NicControl.READ_TIMEOUT, NicControl.READ_TIMEOUT_CYCLES_M)
    running = True
    statuses: list[Status] = []
    waits: list[int] = []

    async def sender() -> None:
        while running:
            count = rng.randint(1, 12)
            for _ in range(count):
                port.queue(chain([(port.data.name + rng.randrange(HOT * PAGE_SIZE), rng.randint(60, 4000))]))
            statuses.extend(status for _, _, status in await port.completions(count))

    async def line() -> None:
        # every buffer is used in turn; a refused one is posted again, too
        posted = 60
        while running:
            for _ in range(10):
                platform.wire_send(on_line(frame(port.mac, PEER, rng, rng.choice([1514, 4094]))))
            await platform.sleep(20_000)
            used = (await port.index() >> 16) - (posted - 60) & 0xFFFF
            port.post(used, big=True)
            posted += used

    async def neighbour() -> None:
        while running:
            data = frame(other.mac, PEER, rng, rng.randint(60, 4000))
            platform.wire_send(on_line(data))
            other.send(frame(STRANGER, other.mac, rng, 1000), 0)
            assert (await other.completions(1))[0][2] is Status.OK
            assert await other.received(1) == [data]

    async def hypervisor() -> None:
        nonlocal running
        for _ in range(REVOCATIONS):
            await platform.sleep(rng.randint(0, 15_000))
            area = rng.choice([port.data, port.buffers])
            # a buffer that is being written, or is next
            page = rng.randrange(HOT) if area is port.data else (await port.index() >> 16) + rng.randint(-2, 0) & 63
            window, machine = port.window_of(area, page * PAGE_SIZE), area.pages[page]
            host.revoke(port.number, window)
            waits.append(await host.fence())
            # from here on the page is somebody else's: reads of it fail, writes would show
            pattern = rng.randbytes(PAGE_SIZE)
            platform.memory.write(machine, pattern)
            platform.inject_read_error(machine, ReadError.CA)
            await platform.sleep(rng.randint(5_000, 30_000))
            assert platform.memory.read(machine, PAGE_SIZE) == pattern, f"page {page} was written behind the fence"
            platform.inject_read_error(machine, ReadError.NONE)
            host.register(port.number, window, machine, port.sequence, writable=area is port.buffers)
        running = False

    await gather(sender(), line(), neighbour(), hypervisor())
    cocotb.log.info("%d sends, %d refused, fences %d to %d ns", len(statuses), statuses.count(Status.NOT_AUTHORISED),
                    min(waits), max(waits))
    assert set(statuses) == {Status.OK, Status.NOT_AUTHORISED}, "a read of a page behind the fence"
    refused = await host.read(NicControl.STATISTICS_REFUSED + port.number * NicControl.STATISTICS_STRIDE)
    assert refused and await host.read(NicControl.READ_ERRORS) == 0
    assert max(waits) > 2 * min(waits), "no fence had anything to wait for"


async def held_reads(dut: SimHandleBase) -> None:
    """Reads that are authorised and wait for credits, or for a tag, are in flight for a fence, too."""
    platform = RtlPlatform(dut, HostConfig(seed=seed(), credit_nph=1, starvation_permille=700))
    rng = random.Random(seed())
    host, (port,) = await open_ports(platform, seed(), [(Mode.WINDOWS, Form.FETCHED, 6, False)])
    host.write(NicControl.READ_TIMEOUT, NicControl.READ_TIMEOUT_CYCLES_M)
    statuses: list[Status] = []
    for n in range(HELD):
        page = n % HOT
        window, machine = port.window_of(port.data, page * PAGE_SIZE), port.data.pages[page]
        port.queue(chain([(port.data.name + page * PAGE_SIZE, 600)]) + chain([(port.data.name + page * PAGE_SIZE, 60)]))
        await platform.sleep(rng.randint(0, 4_000))
        host.revoke(port.number, window)
        await host.fence()
        platform.inject_read_error(machine, ReadError.CA)
        statuses += [status for _, _, status in await port.completions(2)]
        platform.inject_read_error(machine, ReadError.NONE)
        host.register(port.number, window, machine, port.sequence, writable=False)
    cocotb.log.info("%d of %d refused", statuses.count(Status.NOT_AUTHORISED), len(statuses))
    assert set(statuses) == {Status.OK, Status.NOT_AUTHORISED}, "a read of a page behind the fence"


async def fence_timeout(dut: SimHandleBase) -> None:
    """A read that is never answered holds a fence up until its time-out, no longer; others behind it become one."""
    platform = RtlPlatform(dut, HostConfig(seed=seed()))
    host, (port,) = await open_ports(platform, seed(), [(Mode.WINDOWS, Form.FETCHED, 6, False)])
    timeout = 2_000
    host.write(NicControl.READ_TIMEOUT, timeout)
    quick = await host.fence()
    platform.inject_read_error(port.data.pages[3], ReadError.DROPPED)
    port.queue(chain([(port.data.name + 3 * PAGE_SIZE, 100)]))
    await platform.sleep(1_000)
    ended = await host.read(NicControl.FENCE) >> NicControl.FENCE_ENDED_S
    for _ in range(5):
        host.write(NicControl.FENCE, NicControl.FENCE_START_M)
    word = await host.read(NicControl.FENCE)
    assert word & NicControl.FENCE_BUSY_M and word >> NicControl.FENCE_ENDED_S == ended
    took = await host.fence()
    assert timeout * CYCLE_NS - 3_000 < took < timeout * CYCLE_NS + 2_000, (quick, took)
    assert (await port.completions(1))[0][2] is Status.READ_TIMEOUT
    assert await host.read(NicControl.FENCE) >> NicControl.FENCE_ENDED_S == ended + 2
    assert quick < 2_000


async def latency(dut: SimHandleBase) -> None:
    """Stages of single frames: one cycle for each look-up, where the closed form has it."""
    rng = random.Random(seed())
    config = HostConfig(seed=seed())
    platform = RtlPlatform(dut, config)
    tags = 15
    checked = 0
    _, ports = await open_ports(platform, seed(), [
        (Mode.WINDOWS, Form.FETCHED, 6, False), (Mode.WINDOWS, Form.PUSHED, 6, False), (Mode.WINDOWS, Form.FETCHED, 10, True),
        (Mode.VALIDATED, Form.FETCHED, 6, False)], FETCHED_AHEAD)
    for port in ports:
        machine = Machine(config.read_latency, config.write_latency, config.mps, config.mrrs, tags,
                          lookup=LOOKUP if port.mode is Mode.WINDOWS else 0)
        entries = 1 << port.send_log2
        setup = {port.number: EndpointSetup(port.form, entries)}
        platform.trace()
        for number in range(40):
            length = rng.choice([60, 61, 64, 124, 512, 513, 1514, 4094, 4096, 8192, 9018, rng.randint(60, 9018)])
            offset = rng.randrange(4 * PAGE_SIZE)
            cuts = sorted(rng.sample(range(1, length), rng.choice([0, 0, 0, 1, 4])))
            data = frame(STRANGER, port.mac, rng, length)
            head = port.send_index
            port.send(data, offset, cuts)
            await port.completions(1)
            await platform.sleep(500)
            trace = platform.trace()
            [packet] = decode(trace, setup)
            ends = [*cuts, length]
            pieces = [(port.data.name + offset + a, b - a) for a, b in zip([0, *ends], ends, strict=False)]
            form = PacketForm.FETCHED if port.form is Form.FETCHED else PacketForm.PUSHED
            expected = stages(form, length, pieces, machine, Ring(port.ring.name, entries), head)
            if number >= WARM:
                assert packet.stages() == expected, f"{port.number}: {length} at {offset} {cuts}: {packet.stages()} {expected}"
                checked += 1
            data = frame(port.mac, PEER, rng, length)
            platform.wire_send(on_line(data))
            big = length > 124
            first = port.posted[big] - FETCHED_AHEAD
            assert await port.received(1) == [data]
            await platform.sleep(2_000)
            [delivery] = decode_receive(platform.trace()).deliveries
            buffers = []
            left = length
            for n in range(-(-(length + PAD) // BIG_BYTES) if big else 1):
                area, at = port.buffer(first + n, big=big)
                pad = PAD if n == 0 else 0
                size = min(left, BIG_BYTES - pad)
                buffers.append((area.machine(at) + pad, size))
                left -= size
            wanted = receive_stages(length, buffers, machine)
            if number >= WARM:
                assert delivery.stages() == wanted, f"{port.number}: {length}: {delivery.stages()}, expected {wanted}"
    assert checked > 120


async def rates(dut: SimHandleBase) -> None:
    """One endpoint alone keeps the wire full, in both modes, both directions, with long and with short frames."""
    platform = RtlPlatform(dut, HostConfig(seed=seed()))
    rng = random.Random(seed())
    _, ports = await open_ports(platform, seed(), [(Mode.WINDOWS, Form.FETCHED, 10, False),
                                                      (Mode.VALIDATED, Form.FETCHED, 10, False)])
    for port in ports:
        for length, most in ((1514, 400), (60, 1600)):
            data = frame(STRANGER, port.mac, rng, length)
            for n in range(40):
                port.store(port.data, n * 2048, data)
            platform.trace()
            sent = done = 0
            while done < most:
                while sent < most and sent - done < 48:
                    port.queue(chain([(port.data.name + sent % 40 * 2048, length)]), ring=False)
                    sent += 1
                port.ring_send(port.send_index)
                await port.completions(8)
                done += 8
            trace = platform.trace()
            beats = trace[trace["kind"] == TraceKind.WIRE_FIRST]["cycle"].tolist()[most // 4 :]
            out = rate(beats, length)
            for _ in range(most):
                platform.wire_send(on_line(frame(port.mac, PEER, rng, length)))
            for _ in range(most):
                await port.received(1)
            came = [d.stamps[Stamp.RX_DATA_OUT] for d in decode_receive(platform.trace()).deliveries]
            assert len(came) == most
            back = rate(came[most // 4 :], length)
            bound = wire_gbps(length)
            cocotb.log.info("%s %d bytes: out %.3f Gb/s, %.3f Mpps; in %.3f Gb/s, %.3f Mpps; wire %.3f Gb/s", port.mode.name,
                            length, out, out * 125 / length, back, back * 125 / length, bound)
            for found in (out, back):
                assert found > FULL * bound, f"{port.mode.name}: {length} bytes: {out} out, {back} in, {bound} Gb/s"


def rate(beats: list[int], length: int) -> float:
    """Gb/s of frames without FCS."""
    return (len(beats) - 1) * length * 8 / ((beats[-1] - beats[0]) * CYCLE_NS)


async def wrap(dut: SimHandleBase) -> None:
    """Sequence numbers over 2^16, in both rings; a descriptor of 2^16 - 64 indices ago is stale then, too."""
    config = HostConfig(seed=seed(), mps=256, mrrs=4096)
    platform = RtlPlatform(dut, config)
    host, (port,) = await open_ports(platform, seed(), [(Mode.VALIDATED, Form.FETCHED, 10, False)], max_payload=config.mps,
                                     max_read=config.mrrs)
    rng = random.Random(seed())
    port.store(port.data, 0, frame(STRANGER, port.mac, rng, 60))
    pieces = chain([(port.data.name + 5 * n, 5) for n in range(PIECES)])

    async def sends() -> None:
        while port.send_index < WRAP:
            for n in range(8):
                port.queue(pieces, ring=n == 7)
            ended = await port.completions(8)
            assert all(status is Status.OK for _, _, status in ended), (port.send_index, ended)

    async def receives() -> None:
        data = on_line(frame(port.mac, PEER, rng, 60))
        while port.rq_index < WRAP:
            for _ in range(32):
                platform.wire_send(data)
            await receive_quickly(port, 32)

    await gather(sends(), receives())
    assert await host.read(NicControl.FAILED_CHAINS) == 0 and await host.refusal() is None
    port.ring_send(port.send_index + 1)
    assert (await port.completions(1))[0][2] is Status.STALE_DESCRIPTOR


async def receive_quickly(port: Port, count: int) -> None:
    """Wait for the last of so many frames, and post their buffers again."""
    port.rq_index += count - 1
    await port.received(1, repost=False)
    port.post(count, big=False)


@cocotb.test
async def run(dut: SimHandleBase) -> None:
    """The case that the environment names: one machine is one process."""
    name, *arguments = os.environ["MYR_CASE"].split()
    others = {"revocation": revocation, "held_reads": held_reads, "fence_timeout": fence_timeout, "latency": latency, "rates": rates, "wrap": wrap}
    if name in CASES:
        await against_model(dut, name, disturb="disturb" in arguments)
    else:
        await others[name](dut)


