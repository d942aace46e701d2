"""Runs in the simulator: the line towards the NIC, its far end and pause, measured at the NIC's pins."""

from __future__ import annotations

import os
import random
from typing import Final

import cocotb
import numpy as np
import numpy.typing as npt
from cocotb.handle import SimHandleBase

from hypervisor_model.hypervisor import Hypervisor
from sw.abi.registers import NicControl, RxDrop, TraceKind
from sw.guest.virtual_nic import SendForm, VirtualNic
from sw.platform import CYCLE_NS
from tb.cosim.platform import WIRE_SEND_MAX, HostConfig, RtlPlatform
from tb.ethernet import with_fcs
from tests.system.line import CYCLE_BYTES, GAP, PREAMBLE, check_line

WAIT_NS: Final = 5_000_000
QUANTUM: Final = 64
"""Bytes of a pause quantum, 512 bit times."""
OWN: Final = bytes.fromhex("00607a5b3c1d")
PEER: Final = bytes.fromhex("02c0ffee0001")
GROUP: Final = bytes.fromhex("0180c2000001")


def frame(rng: random.Random, length: int) -> bytes:
    """A good frame of `length` bytes with FCS, from the peer to nobody here."""
    return with_fcs(PEER[::-1] + PEER + b"\x88\xb5" + rng.randbytes(length - 18))


def pause(quanta: int, destination: bytes = GROUP, source: bytes = PEER) -> bytes:
    return with_fcs((destination + source + b"\x88\x08\x00\x01" + quanta.to_bytes(2, "big")).ljust(60, b"\0"))


async def boot(dut: SimHandleBase, *, peer_pause: bool = False) -> tuple[RtlPlatform, Hypervisor]:
    platform = RtlPlatform(dut, HostConfig(seed=int(os.environ["COCOTB_RANDOM_SEED"]), peer_pause=peer_pause))
    hypervisor = Hypervisor(platform)
    await hypervisor.boot()
    platform.trace()
    return platform, hypervisor


async def arrived(platform: RtlPlatform) -> None:
    """Until everything that was sent to the NIC is there, and its verdicts are."""
    for _ in range(WAIT_NS // 1000):
        if not platform.wire_waiting():
            await platform.sleep(100)
            return
        await platform.sleep(1000)
    raise AssertionError(f"{platform.wire_waiting()} frames for the NIC did not leave in {WAIT_NS} ns")


def cycles(trace: npt.NDArray[np.void], kind: TraceKind) -> list[int]:
    return [int(c) for c in trace["cycle"][trace["kind"] == int(kind)]]


def mac_drops(trace: npt.NDArray[np.void]) -> npt.NDArray[np.void]:
    """Without those of the switch: nobody is here to receive."""
    drops: npt.NDArray[np.void] = trace[trace["kind"] == int(TraceKind.RX_DROP)]
    return np.extract(drops["info"] <= int(RxDrop.OVERFLOW), drops)


async def rate(dut: SimHandleBase) -> None:
    """Back to back: frame n's preamble is on the line when the bytes before it, with preambles and gaps, have passed."""
    platform, hypervisor = await boot(dut)
    rng = random.Random(int(os.environ["COCOTB_RANDOM_SEED"]))
    lengths = [*range(64, 90), *rng.choices(range(64, 1519), k=30), 9022, 64, 64, 9021]
    for length in lengths:
        platform.wire_send(frame(rng, length))
    await arrived(platform)
    trace = platform.trace()
    first, last = cycles(trace, TraceKind.RX_FIRST), cycles(trace, TraceKind.RX_LAST)
    at = 0
    for number, length in enumerate(lengths):
        assert first[number] == first[0] + at // CYCLE_BYTES, f"frame {number}"
        final = at + PREAMBLE + (length - 1) // 8 * 8
        assert last[number] == first[0] + final // CYCLE_BYTES, f"frame {number}"
        at += PREAMBLE + length + GAP
    rows = trace[trace["kind"] == int(TraceKind.RX_LAST)]
    assert rows["info"].tolist() == [length - 4 for length in lengths]
    assert rows["index"].tolist() == list(range(len(lengths)))
    assert not len(mac_drops(trace))
    assert await hypervisor.endpoints.read(NicControl.RX_FRAMES) == len(lengths)


async def earliest(dut: SimHandleBase) -> None:
    """A frame with a time is there in that very cycle when the line is free, and after its predecessor otherwise."""
    platform, _ = await boot(dut)
    rng = random.Random(3)
    start = platform.now() + 1000
    for offset in (0, 400, 2003, 2004):
        platform.wire_send(frame(rng, 64), start + offset)
    await arrived(platform)
    first = cycles(platform.trace(), TraceKind.RX_FIRST)
    base = start // CYCLE_NS
    # 2003 is rounded up to whole cycles; the next one follows by 84 byte times
    assert first == [base, base + 100, base + 501, base + 501 + 84 // 5]


async def bad_frames(dut: SimHandleBase) -> None:
    """Each kind of bad frame is dropped, traced with its number, and counted once; good ones between pass."""
    platform, hypervisor = await boot(dut)
    rng = random.Random(4)
    good = frame(rng, 100)
    bad = {RxDrop.BAD_FCS: (good[:-1] + bytes([good[-1] ^ 1]), False, NicControl.RX_BAD_FCS),
           RxDrop.RUNT: (frame(rng, 63), False, NicControl.RX_RUNT),
           RxDrop.OVERSIZE: (frame(rng, 9023), False, NicControl.RX_OVERSIZE),
           RxDrop.BAD_FRAMING: (frame(rng, 200), True, NicControl.RX_BAD_FRAMING),
           RxDrop.PAUSE: (pause(0), False, NicControl.RX_PAUSE)}
    for data, error, _ in bad.values():
        platform.wire_send(data, error=error)
        platform.wire_send(good)
    platform.wire_send(frame(rng, WIRE_SEND_MAX))
    await arrived(platform)
    trace = platform.trace()
    drops = mac_drops(trace)
    assert drops["info"].tolist() == [int(reason) for reason in bad] + [int(RxDrop.OVERSIZE)]
    assert drops["index"].tolist() == [0, 2, 4, 6, 8, 10]
    for reason, (_, _, counter) in bad.items():
        assert await hypervisor.endpoints.read(counter) == 1 + (reason is RxDrop.OVERSIZE), reason
    assert await hypervisor.endpoints.read(NicControl.RX_FRAMES) == len(bad)
    last = await hypervisor.endpoints.read(NicControl.RX_LAST_DROP)
    assert last & 0xFF == int(RxDrop.OVERSIZE)
    for length in (0, WIRE_SEND_MAX + 1):
        try:
            platform.wire_send(bytes(length))
        except ValueError as error:
            assert str(length) in str(error)
        else:
            raise AssertionError("ValueError expected")


async def pause_received(dut: SimHandleBase) -> None:
    """Frames that wait start when the pause time has passed since the pause frame's end, to the cycle; 0 ends it."""
    platform, hypervisor = await boot(dut)
    nic = VirtualNic(hypervisor.create_domain("guest", 64), SendForm.PUSHED, 64, buffer_pages=8)
    await nic.open()
    body = bytes(range(100))

    async def first_after(quanta: int, destination: bytes, *, release_ns: int = 0) -> tuple[int, int]:
        """Cycles of the pause frame's last beat and of the preamble of a frame that was sent during the pause."""
        platform.trace()
        platform.wire_send(pause(quanta, destination))
        if release_ns:
            platform.wire_send(pause(0), platform.now() + release_ns)
        await arrived(platform)
        for _ in range(2):
            assert nic.send(body)
        nic.kick()
        await nic.drain(WAIT_NS)
        frames = platform.wire_frames()
        check_line(frames)
        assert [f.data for f in frames] == [with_fcs(body)] * 2
        # back to back whatever the byte within the cycle at which the pause ended
        return cycles(platform.trace(), TraceKind.RX_LAST)[-1], frames[0].first_cycle

    for destination in (GROUP, OWN):
        hypervisor.endpoints.write(NicControl.MAC_HI, int.from_bytes(OWN[:4], "big"))
        hypervisor.endpoints.write(NicControl.MAC_LO, int.from_bytes(OWN[4:], "big"))
        hypervisor.endpoints.write(NicControl.SWITCH_CTRL, NicControl.SWITCH_CTRL_PAUSE_RX_M)
        for quanta in (200, 201, 202, 203, 204, 1000):
            heard, began = await first_after(quanta, destination)
            assert began == heard + 1 + quanta * QUANTUM // CYCLE_BYTES, (quanta, began - heard)
        heard, began = await first_after(0xFFFF, destination, release_ns=20_000)
        assert began - heard < 2000
        platform.wire_send(pause(0xFFFF, destination))
        await arrived(platform)
        hypervisor.endpoints.write(NicControl.SWITCH_CTRL, 0)
        heard, began = await first_after(1000, destination)
        assert began - heard < 1000 * QUANTUM // CYCLE_BYTES, "pause_rx is off, and the pause of before is over"
    assert await hypervisor.endpoints.read(NicControl.RX_PAUSE) == 2 * 10


async def peer_stops(dut: SimHandleBase) -> None:
    """XOFF at the limit: the far end stops, at once and only between frames; XON: it goes on, to the cycle."""
    platform, hypervisor = await boot(dut, peer_pause=True)
    hypervisor.endpoints.write(NicControl.MAC_HI, int.from_bytes(OWN[:4], "big"))
    hypervisor.endpoints.write(NicControl.MAC_LO, int.from_bytes(OWN[4:], "big"))
    # a limit that each frame reaches; the buffer is empty again soon after it
    hypervisor.endpoints.write(NicControl.PAUSE_LIMITS, 100)
    hypervisor.endpoints.write(NicControl.SWITCH_CTRL, NicControl.SWITCH_CTRL_PAUSE_TX_M)
    assert not await platform.wire_wait(1000)
    rng = random.Random(5)
    for _ in range(3):
        platform.wire_send(frame(rng, 1518))
    assert await platform.wire_wait(WAIT_NS)
    assert await platform.wire_wait(WAIT_NS), "until wire_frames has returned it"
    await arrived(platform)
    await platform.sleep(2000)
    trace, frames = platform.trace(), platform.wire_frames()
    check_line(frames)
    assert [f.data for f in frames] == [pause(0xFFFF, source=OWN), pause(0, source=OWN)] * 3
    starts, ends = cycles(trace, TraceKind.RX_FIRST), cycles(trace, TraceKind.RX_LAST)
    for off, on, end, start in zip(frames[::2], frames[1::2], ends, starts[1:], strict=False):
        assert off.last_cycle < end < on.last_cycle
        assert start == on.last_cycle + 1, "the far end waits for the whole frame and no longer"
    assert await hypervisor.endpoints.read(NicControl.TX_PAUSE) == len(frames)
    assert await hypervisor.endpoints.read(NicControl.FRAMES) == 0


CASES: Final = {case.__name__: case for case in (rate, earliest, bad_frames, pause_received, peer_stops)}


@cocotb.test
async def run(dut: SimHandleBase) -> None:
    await CASES[os.environ["MYR_CASE"]](dut)
