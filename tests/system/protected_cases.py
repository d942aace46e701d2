"""What endpoints in the modes WINDOWS and VALIDATED may and may not do: the same on the RTL and on the reference NIC."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Any, Final

from sw.abi.registers import Form, Mode, NicControl, Refusal, SendDescriptor, Status
from sw.platform import PAGE_SIZE
from tb.ethernet import on_line
from tests.system.protected import READY_NS, Area, Host, Line, Port, chain, window_address

STRANGER: Final = bytes.fromhex("0202deadbeef")
PEER: Final = bytes.fromhex("020000000001")
KIND: Final = b"\x88\xb5"
ROUNDS: Final = 12
CANARY: Final = bytes(range(1, 252)) * 17
MSI_PAGE: Final = 0xFEE0_0000
FREE: Final = 250
"""A window that nobody registers."""
EXTRA: Final = 240
EXTRA_LARGE: Final = 230

Case = Callable[[Line, int], Awaitable[list[Any]]]


async def open_ports(platform: Line, seed: int, kinds: list[tuple[Mode, Form, int, bool]],
                     buffers: int = 60, max_payload: int = 128, max_read: int = 512) -> tuple[Host, list[Port]]:
    """Endpoints with so many buffers of each size."""
    host = Host(platform, seed=seed, max_payload=max_payload, max_read=max_read)
    await host.start()
    ports = [Port(host, 5 + 19 * n, mode, form, log2, 0xFFFE - n, large) for n, (mode, form, log2, large) in enumerate(kinds)]
    for port in ports:
        await port.enable()
    await platform.sleep(READY_NS)
    for port in ports:
        for big in (False, True):
            port.post(buffers, big=big)
    await platform.sleep(READY_NS)
    return host, ports


def frame(to: bytes, source: bytes, rng: random.Random, length: int) -> bytes:
    return to + source + KIND + rng.randbytes(length - 14)


async def traffic(platform: Line, seed: int) -> list[Any]:
    """Frames of all lengths, cut anywhere, to each other, to the wire and from it."""
    rng = random.Random(seed)
    host, ports = await open_ports(platform, seed, [
        (Mode.WINDOWS, Form.PUSHED, 6, False), (Mode.WINDOWS, Form.FETCHED, 10, False), (Mode.VALIDATED, Form.FETCHED, 6, False),
        (Mode.WINDOWS, Form.FETCHED, 6, True)])
    outcome: list[Any] = []
    for _ in range(ROUNDS):
        due: list[list[bytes]] = [[] for _ in ports]
        for n, port in enumerate(ports):
            offset = 0
            for _ in range(4):
                length = rng.choice([60, 61, 123, 124, 125, 126, 1514, 4094, 4095, 8190, 9018, rng.randint(60, 9018)])
                to = rng.randrange(len(ports) + 1)
                data = frame(ports[to].mac if to < len(ports) else STRANGER, port.mac, rng, length)
                offset += rng.choice([0, 0, rng.randrange(PAGE_SIZE)])
                port.send(data, offset, sorted(rng.sample(range(1, length), rng.choice([0, 0, 1, 3, 11]))))
                offset += length
                if to < len(ports) and to != n:
                    due[to].append(data)
            data = frame(port.mac, PEER, rng, rng.choice([60, 124, 125, 1514, 9018]))
            platform.wire_send(on_line(data))
            due[n].append(data)
        for n, port in enumerate(ports):
            ended = await port.completions(4)
            assert [status for _, _, status in ended] == [Status.OK] * 4, ended
            assert ended[-1][0] == port.send_index & 0xFFFF
            got = await port.received(len(due[n]))
            assert sorted(got) == sorted(due[n]), f"endpoint {port.number}"
            outcome.append((ended, sorted(got)))
    assert await host.refusal() is None
    outcome += [await host.read(register) for register in (NicControl.AUTH_DENIED, NicControl.FAILED_CHAINS)]
    assert outcome[-2:] == [0, 0]
    return outcome


async def neighbours(host: Host, ports: list[Port], rng: random.Random) -> None:
    """The others lose nothing."""
    for port in ports:
        data = frame(port.mac, PEER, rng, 1000)
        host.platform.wire_send(on_line(data))
        port.send(frame(STRANGER, port.mac, rng, 2000), 0, [700])
        [(_, length, status)] = await port.completions(1)
        assert (length, status) == (2000, Status.OK)
        assert await port.received(1) == [data]


async def refused_reads(platform: Line, seed: int) -> list[Any]:
    """Each way to name what the endpoint may not read ends its chain, is recorded, and costs nobody else."""
    rng = random.Random(seed)
    host, (port, *others) = await open_ports(platform, seed, [(Mode.WINDOWS, Form.PUSHED, 6, False),
                                                              (Mode.WINDOWS, Form.FETCHED, 6, False),
                                                              (Mode.VALIDATED, Form.FETCHED, 6, False)])
    own, other = port.sequence, others[0].sequence
    good, first = port.data.name, port.window_of(port.data)
    last = port.area(1)
    host.register(others[0].number, EXTRA, others[0].data.pages[0], other, writable=True)
    host.register(port.number, EXTRA_LARGE, host.large_page(), own, writable=False, large=True)
    host.register(port.number, 255, port.data.pages[0], own, writable=False)
    large_end = window_address(EXTRA_LARGE, own, (2 << 20) - 10, large=True)
    nowhere = window_address(FREE, own)
    bad: list[tuple[int, int, Refusal, int]] = [
        (good ^ 1 << 40, 100, Refusal.SEQUENCE, 0), (good ^ 1 << 55, 100, Refusal.SEQUENCE, 0),
        (nowhere, 100, Refusal.INVALID, 0), (window_address(EXTRA, other), 100, Refusal.INVALID, 0),
        (window_address(EXTRA, own), 100, Refusal.INVALID, 0), (window_address(first, other), 100, Refusal.SEQUENCE, 0),
        (window_address(first, own, large=True), 100, Refusal.SIZE, 0),
        (window_address(EXTRA_LARGE, own), 100, Refusal.SIZE, 0),
        (good | 1 << 20, 100, Refusal.RESERVED, 0), (good | 1 << 39, 100, Refusal.RESERVED, 0),
        (good | 1 << 56, 100, Refusal.RESERVED, 0), (good | 1 << 62, 100, Refusal.RESERVED, 0),
        (window_address(EXTRA_LARGE, own, large=True) | 1 << 29, 100, Refusal.RESERVED, 0),
        # over the end: the piece behind it is refused, and with it the frame
        (last.name + PAGE_SIZE - 10, 100, Refusal.INVALID, 10),
        (large_end, 100, Refusal.INVALID, 10),
        (window_address(255, own, PAGE_SIZE - 10), 100, Refusal.RESERVED, 10),
        (port.data.pages[0], 100, Refusal.SEQUENCE if port.data.pages[0] < 1 << 20 else Refusal.RESERVED, 0),
        ((1 << 64) - 50, 100, Refusal.RESERVED, 0),
    ]
    outcome: list[Any] = []
    for address, length, reason, before in bad:
        denied = await host.read(NicControl.AUTH_DENIED)
        port.queue(chain([(good, 60), (address, length)]))
        [(after, none, status)] = await port.completions(1)
        assert (after, none, status) == (port.send_index, 0, Status.NOT_AUTHORISED), f"{address:#x}: {status!r}"
        record = await host.refusal()
        assert record is not None and not record.write and record.endpoint == port.number, f"{address:#x}"
        assert (record.reason, record.address) == (reason, address + before & (1 << 64) - 1), f"{address:#x}: {record}"
        assert await host.read(NicControl.AUTH_DENIED) == denied + 1
        outcome.append((after, record))
        await neighbours(host, others, rng)
    # what is not a whole entry is none: revoked, or any of its words written
    for what in (0, 4, 8, 12):
        at = (port.number * 256 + first) * NicControl.WINDOW_STRIDE
        host.write(NicControl.WINDOW_BASE + at + what, port.data.pages[0] & 0xFFFF_F000 if what == 0 else 0)
        port.queue(chain([(good, 200)]))
        assert (await port.completions(1))[0][2] is Status.NOT_AUTHORISED
        record = await host.refusal()
        assert record is not None and record.reason is Refusal.INVALID
        host.register(port.number, first, port.data.pages[0], own, writable=False)
        port.send(frame(STRANGER, port.mac, rng, 200), 0)
        assert (await port.completions(1))[0][2] is Status.OK
    # two before the record is taken: the first one, and the news that there were more
    for address in (nowhere, nowhere + 8):
        port.queue(chain([(address, 100)]))
        assert (await port.completions(1))[0][2] is Status.NOT_AUTHORISED
    record = await host.refusal()
    assert record is not None and record.overflow and record.address == nowhere
    assert await host.refusal() is None
    return outcome


async def refused_writes(platform: Line, seed: int) -> list[Any]:
    """Each way to name what the endpoint may not write: the frame is dropped, memory stays as it is."""
    rng = random.Random(seed)
    host, (port, *others) = await open_ports(platform, seed, [(Mode.WINDOWS, Form.FETCHED, 6, False),
                                                              (Mode.WINDOWS, Form.PUSHED, 6, True),
                                                              (Mode.VALIDATED, Form.FETCHED, 6, False)])
    own, other = port.sequence, others[0].sequence
    await neighbours(host, [port, *others], rng)
    watched = [port.data.pages[0], port.buffers.pages[63], others[0].buffers.pages[0], host.page()]
    for page in watched:
        platform.memory.write(page, CANARY[:PAGE_SIZE])
    last = port.window_of(port.buffers, 63 * PAGE_SIZE)
    host.register(port.number, EXTRA, MSI_PAGE, own, writable=True)
    host.register(others[0].number, EXTRA, watched[3], other, writable=True)
    small = window_address(last, own)
    bad = [(port.data.name, Refusal.READ_ONLY), (small ^ 1 << 41, Refusal.SEQUENCE), (small + 2, Refusal.END),
           (small + 0xFFE, Refusal.SEQUENCE), (window_address(last, own, large=True), Refusal.SIZE),
           (window_address(EXTRA, other), Refusal.SEQUENCE), (window_address(FREE, own), Refusal.INVALID),
           (window_address(EXTRA, own), Refusal.RANGE), (small | 1 << 30, Refusal.RESERVED),
           (others[0].buffers.name, Refusal.SIZE), (watched[3], Refusal.RESERVED)]
    # the window behind the last buffer's is the small buffers': registered, but another sequence makes it a hole
    host.register(port.number, last + 1, port.small.pages[0], own ^ 0x40, writable=True)
    outcome: list[Any] = []
    length = PAGE_SIZE - 2
    # buffers that are posted already go first
    spent = 60 - (await port.index() >> 16)
    for _ in range(spent + 1):
        platform.wire_send(on_line(frame(port.mac, PEER, rng, length)))
    await port.received(spent + 1, repost=False)
    for address, reason in bad:
        denied = await host.read(NicControl.AUTH_DENIED)
        port.post(1, big=True, address=address)
        await platform.sleep(READY_NS)
        platform.wire_send(on_line(frame(port.mac, PEER, rng, length)))
        await platform.sleep(READY_NS)
        record = await host.refusal()
        assert record is not None and record.write and record.endpoint == port.number, f"{address:#x}"
        assert (record.reason, record.address) == (reason, address + 2), f"{address:#x}: {record}"
        assert await host.read(NicControl.AUTH_DENIED) == denied + 1
        outcome.append(record)
        await neighbours(host, others[1:], rng)
    # one buffer that is refused is enough, though the next one is not
    port.post(1, big=True, address=bad[0][0])
    port.post(1, big=True, address=small)
    await platform.sleep(READY_NS)
    platform.wire_send(on_line(frame(port.mac, PEER, rng, 6000)))
    await platform.sleep(2 * READY_NS)
    record = await host.refusal()
    assert record is not None and (record.reason, record.overflow) == (bad[0][1], False)
    refusals = NicControl.STATISTICS_REFUSED + port.number * NicControl.STATISTICS_STRIDE
    assert await host.read(refusals) == len(bad) + 1
    for page in watched:
        assert platform.memory.read(page, PAGE_SIZE) == CANARY[:PAGE_SIZE], f"page {page:#x} was written"
    host.register(port.number, last + 1, port.small.pages[0], own, writable=True)
    outcome += await lost_rings(host, port, others, rng)
    return outcome


async def lost_rings(host: Host, port: Port, others: list[Port], rng: random.Random) -> list[Any]:
    """Completions without a window are lost; descriptors without one halt the endpoint until it is enabled again."""
    platform = host.platform
    outcome: list[Any] = []
    before = platform.memory.read(port.cq.pages[0], PAGE_SIZE)
    host.register(port.number, port.window_of(port.cq), port.cq.pages[0], port.sequence, writable=False)
    port.send(frame(STRANGER, port.mac, rng, 60), 0)
    await platform.sleep(READY_NS)
    record = await host.refusal()
    assert record is not None and (record.write, record.reason) == (True, Refusal.READ_ONLY)
    assert record.address == port.cq.name + port.cq_index % 64 * 16
    assert platform.memory.read(port.cq.pages[0], PAGE_SIZE) == before
    host.register(port.number, port.window_of(port.cq), port.cq.pages[0], port.sequence, writable=True)
    port.cq_index += 1
    port.send(frame(STRANGER, port.mac, rng, 60), 0)
    assert (await port.completions(1))[0][2] is Status.OK
    host.revoke(port.number, port.window_of(port.rq))
    port.post(1, big=False)
    await platform.sleep(READY_NS)
    platform.wire_send(on_line(frame(port.mac, PEER, rng, 60)))
    await platform.sleep(READY_NS)
    record = await host.refusal()
    assert record is not None and (record.write, record.reason) == (True, Refusal.INVALID)
    assert record.address == port.rq.name + port.rq_index % 64 * 16
    outcome.append(record)
    host.register(port.number, port.window_of(port.rq), port.rq.pages[0], port.sequence, writable=True)
    host.revoke(port.number, port.window_of(port.ring))
    slot = port.send_index % 64 * SendDescriptor.BYTES
    port.send(frame(STRANGER, port.mac, rng, 60), 0)
    assert (await port.completions(1))[0][2] is Status.FETCH_ERROR
    record = await host.refusal()
    assert record is not None and (record.write, record.reason) == (False, Refusal.INVALID)
    assert record.address == port.ring.name + slot
    assert await port.status() & NicControl.ENDPOINT_STATUS_HALTED_M
    host.register(port.number, port.window_of(port.ring), port.ring.pages[0], port.sequence, writable=False)
    await port.enable()
    await platform.sleep(READY_NS)
    port.post(60, big=False)
    port.post(60, big=True)
    await platform.sleep(READY_NS)
    await neighbours(host, [port, *others], rng)
    return outcome


def tso_chain(area: Area, header: int, pieces: int) -> list[bytes]:
    """One segment: a header in two pieces, then payload in pieces of 100 bytes."""
    tso, start = SendDescriptor.CONTROL_TSO_PLD_M, SendDescriptor.CONTROL_FIRST_M
    head = chain([(area.name, 34), (area.name + 34, header - 34)], SendDescriptor.CONTROL_SMALL_M | start)
    head[1] = head[1][:13] + bytes([1, 0, SendDescriptor.CONTROL_SMALL_M])
    # MSS, and where the TCP header is
    found = [head[0][:8] + (100 * pieces).to_bytes(2, "big") + head[0][10:14] + bytes([34]) + head[0][15:], head[1]]
    for n in range(pieces):
        flags = tso | (start | SendDescriptor.CONTROL_CKSUM_M if n == 0 else SendDescriptor.CONTROL_CKSUM_M)
        piece = chain([(area.name + 200 + 100 * n, 100)], flags)[0]
        count = pieces if n == 0 else 1
        found.append(piece[:13] + bytes([count]) + piece[14:])
    return found


def tcp_header(source: bytes) -> bytes:
    """Ethernet, IPv4 and TCP, 54 bytes, its sums to be made."""
    ip = bytes([0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2])
    tcp = bytes([0, 80, 0, 81, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x18, 0xFF, 0xFF, 0, 0, 0, 0])
    return STRANGER + source + b"\x08\x00" + ip + tcp


async def stale_sends(platform: Line, seed: int) -> list[Any]:
    """Replayed and unwritten descriptors, wherever in a chain: nothing leaves, the endpoint stands still until enabled."""
    rng = random.Random(seed)
    host, (port, *others) = await open_ports(platform, seed, [(Mode.VALIDATED, Form.FETCHED, 6, False),
                                                              (Mode.WINDOWS, Form.FETCHED, 6, False)])
    area = port.data
    inline = bytes(SendDescriptor.BYTES)
    outcome: list[Any] = []

    def spoil(descriptor: bytes, by: int, index: int) -> bytes:
        """With the sequence number of another index."""
        return (index + 1 + by & 0xFFFF).to_bytes(2, "big") + descriptor[2:]

    plain = chain([(area.name + 100 * n, 100) for n in range(12)])
    tso = tso_chain(area, 54, 3)
    inline_head = chain([(0, 16)], SendDescriptor.CONTROL_NO_TSO_M | SendDescriptor.CONTROL_FIRST_M
                        | SendDescriptor.CONTROL_INLINE_M)[0]
    inline_head = inline_head[:13] + bytes([2]) + inline_head[14:]
    trials = [(plain[:1] if n == 0 else plain, n, by) for n in (0, 1, 11) for by in (-1, 1, -64, 1 << 15)]
    trials += [(tso, n, -64) for n in (0, 1, 2, 3, 4)] + [([inline_head, inline], 0, -64)]
    for descriptors, at, by in trials:
        if len(descriptors) > 1 and at == 0 and descriptors is plain:
            continue
        port.store(area, 0, tcp_header(port.mac))
        port.store(area, 200, rng.randbytes(1400))
        lap = rng.choice([0, 3, 64, 70])
        for n in range(lap):
            port.send(frame(STRANGER, port.mac, rng, 60), 4096)
            if n % 8 == 7 or n == lap - 1:
                ended = await port.completions(n % 8 + 1)
                assert all(status is Status.OK for _, _, status in ended), ended
        port.store(area, 0, tcp_header(port.mac))
        head = port.send_index
        made = [struct_address(d, index, area) for index, d in enumerate(descriptors, head)]
        made[at] = spoil(made[at], by, head + at)
        port.queue(made, fresh=False)
        [(after, length, status)] = await port.completions(1)
        assert (after, length, status) == (head & 0xFFFF, 0, Status.STALE_DESCRIPTOR), f"{at} by {by}: {status!r}"
        record = await host.refusal()
        assert record is not None and (record.endpoint, record.write, record.reason) == (port.number, False, Refusal.STALE)
        assert record.address == int.from_bytes(made[at][:8], "big")
        outcome.append((after, record))
        # it stands still: neither a doorbell nor a frame moves anything of it
        port.queue(chain([(area.name, 60)]))
        platform.wire_send(on_line(frame(port.mac, PEER, rng, 60)))
        await neighbours(host, others, rng)
        await platform.sleep(READY_NS)
        word = await port.status()
        assert word & NicControl.ENDPOINT_STATUS_HALTED_M and not word & NicControl.ENDPOINT_STATUS_BUSY_M
        assert (word & NicControl.ENDPOINT_STATUS_ERROR_M) >> NicControl.ENDPOINT_STATUS_ERROR_S == Status.STALE_DESCRIPTOR
        assert port.load(port.cq, port.cq_index % 64 * 16 + 15, 1)[0] & 1 == port.cq_index >> 6 & 1, "a completion more"
        assert port.load(port.rq, 15, 1)[0] & 1 == 0 and await host.refusal() is None
        await port.enable()
        await platform.sleep(READY_NS)
        # whole again; and the TSO chain as it should be is sent
        port.store(area, 0, tcp_header(port.mac))
        port.queue(tso)
        assert (await port.completions(1))[0][1:] == (354, Status.OK)
        await port.enable()
        await platform.sleep(READY_NS)
    # a doorbell beyond what was written: the ring still holds what was executed a lap ago
    for _ in range(64):
        port.send(frame(STRANGER, port.mac, rng, 60), 4096)
        assert (await port.completions(1))[0][2] is Status.OK
    port.ring_send(port.send_index + 3)
    [(after, _, status)] = await port.completions(1)
    assert (after, status) == (64, Status.STALE_DESCRIPTOR)
    record = await host.refusal()
    assert record is not None and record.address >> 48 == 1, "the descriptor of index 0, where that of index 64 was due"
    outcome.append(record)
    return outcome


def struct_address(descriptor: bytes, index: int, area: Area) -> bytes:
    """The descriptor with the sequence number of its index."""
    return (index + 1 & 0xFFFF).to_bytes(2, "big") + descriptor[2:]


async def stale_buffers(platform: Line, seed: int) -> list[Any]:
    """Stale receive buffers, the first or the last of a frame; and rings by PIO, which a guest could write."""
    rng = random.Random(seed)
    host, (port, *others) = await open_ports(platform, seed, [(Mode.VALIDATED, Form.FETCHED, 6, False),
                                                              (Mode.WINDOWS, Form.FETCHED, 6, False)])
    outcome: list[Any] = []
    for at, length in ((0, 60), (0, 4094), (1, 4095), (2, 9018), (0, 9018)):
        await port.enable()
        await platform.sleep(READY_NS)
        big = length > 124
        area, offset = port.buffer(at, big=big)
        port.post(at, big=big)
        stale = area.name + offset | (at + 1 + rng.choice([-64, 64, 1, -1]) & 0xFFFF) << 48
        port.post(1, big=big, address=stale, fresh=False)
        port.post(2, big=big)
        await platform.sleep(READY_NS)
        before = [port.load(port.buffer(n, big=big)[0], port.buffer(n, big=big)[1], 256) for n in range(3)]
        data = frame(port.mac, PEER, rng, length)
        platform.wire_send(on_line(data))
        await platform.sleep(2 * READY_NS)
        record = await host.refusal()
        assert record is not None and (record.endpoint, record.write, record.reason) == (port.number, True, Refusal.STALE)
        assert record.address == stale + (2 if at == 0 else 0)
        outcome.append(record)
        assert before == [port.load(port.buffer(n, big=big)[0], port.buffer(n, big=big)[1], 256) for n in range(3)]
        word = await port.status()
        assert word & NicControl.ENDPOINT_STATUS_HALTED_M
        assert (word & NicControl.ENDPOINT_STATUS_ERROR_M) >> NicControl.ENDPOINT_STATUS_ERROR_S == Status.STALE_DESCRIPTOR
        # neither does it send
        port.send(frame(STRANGER, port.mac, rng, 60), 4096)
        await neighbours(host, others, rng)
        assert port.load(port.cq, 15, 1)[0] & 1 == 0
    refused = NicControl.STATISTICS_REFUSED + port.number * NicControl.STATISTICS_STRIDE
    outcome.append(await host.read(refused))
    # a lap later: what the ring still holds is too old
    await port.enable()
    await platform.sleep(READY_NS)
    port.post(64, big=False)
    await platform.sleep(READY_NS)
    for n in range(64):
        data = frame(port.mac, PEER, rng, 60)
        platform.wire_send(on_line(data))
        assert await port.received(1, repost=False) == [data]
        if n == 40:
            port.ring_receive(65, big=False)
    await platform.sleep(READY_NS)
    platform.wire_send(on_line(frame(port.mac, PEER, rng, 60)))
    await platform.sleep(READY_NS)
    record = await host.refusal()
    assert record is not None and (record.reason, record.address >> 48) == (Refusal.STALE, 1)
    outcome += [record, await host.read(refused)]
    # rings by PIO
    at = port.number * NicControl.ENDPOINT_STRIDE
    port.form = Form.PUSHED
    await port.enable()
    assert not await host.read(NicControl.ENDPOINT_CTRL + at) & NicControl.ENDPOINT_CTRL_ENABLE_M
    port.form = Form.FETCHED
    await port.enable()
    receive = await host.read(NicControl.ENDPOINT_RX_CTRL + at)
    port.host.write(NicControl.ENDPOINT_CTRL + at, 0)
    port.host.write(NicControl.ENDPOINT_RX_CTRL + at, receive & ~NicControl.ENDPOINT_RX_CTRL_FORM_M)
    port.host.write(NicControl.ENDPOINT_CTRL + at, 1 | Form.FETCHED << 1 | Mode.VALIDATED << 4 | 6 << 8 | 6 << 12)
    await platform.sleep(READY_NS)
    dropped = await host.read(NicControl.MMIO_DROPPED)
    port.form = Form.PUSHED
    port.post(1, big=False)
    platform.wire_send(on_line(frame(port.mac, PEER, rng, 60)))
    await platform.sleep(READY_NS)
    assert await host.read(NicControl.MMIO_DROPPED) == dropped + 1
    assert port.load(port.rq, 15, 1)[0] & 1 == 0 and await host.refusal() is None
    await neighbours(host, others, rng)
    return outcome


CASES: Final[dict[str, Case]] = {
    "traffic": traffic, "refused_reads": refused_reads, "refused_writes": refused_writes, "stale_sends": stale_sends,
    "stale_buffers": stale_buffers,
}
