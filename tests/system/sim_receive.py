"""Runs in the simulator: frames of many lengths into buffers of every alignment, small and big."""

from __future__ import annotations

import random
import struct

import cocotb
from cocotb.handle import SimHandleBase

from hypervisor_model.pci import PciBus
from sw.abi.registers import Aperture, NicControl
from tb.cosim.platform import HostConfig, RtlPlatform
from tb.ethernet import with_fcs
from tb.model.sums import ones_sum

ENDPOINT = 37
RQ = 0x10_0000
BUFFERS = 0x20_0000
STRIDE = 0x1000
BIG_BYTES = 2048
SMALL_MAX = 200
WAIT_NS = 30_000
GUARD = 0xA5
LENGTHS = [60, 60, 61, 62, 63, 64, 65, 67, 127, 200, 201, 300, 1514, 2046, 2047, 4094, 4095, 9018]


@cocotb.test
async def lengths_and_alignments(dut: SimHandleBase) -> None:
    """Bytes, neighbours of the bytes, checksum, length, buffer index and phase of each frame."""
    platform = RtlPlatform(dut, HostConfig(seed=1))
    rng = random.Random(3)
    machine = platform.machine
    device = await PciBus(platform, machine.nic_bus << 8).enumerate(max_payload=128, max_read=512)
    aperture, control = device.bars[2][0] + ENDPOINT * 0x1_0000, device.bars[4][0]

    def register(offset: int, value: int) -> None:
        platform.mmio_write(control + offset, value.to_bytes(4, "little"))

    at = ENDPOINT * NicControl.ENDPOINT_STRIDE
    register(NicControl.CTRL, 1)
    register(NicControl.PORT_POLICY + ENDPOINT * NicControl.PORT_STRIDE, 1 << 16 | 1 << 19)
    register(NicControl.ENDPOINT_RX_SIZES + at, 9018 << 16 | SMALL_MAX)
    register(NicControl.ENDPOINT_RQ0_BASE_LO + at, RQ)
    register(NicControl.ENDPOINT_RX_CTRL + at, 1 | 9 << 8 | 9 << 12 | 11 << 16 | 4 << 20)
    register(NicControl.ENDPOINT_CTRL + at, 1 | 4 << 8 | 4 << 12)

    used = {False: 0, True: 0}
    place = BUFFERS
    for number, length in enumerate(LENGTHS):
        frame = bytes.fromhex("020000000001020000000002") + rng.randbytes(length - 12)
        big = length > SMALL_MAX
        count = -(-(length + 2) // BIG_BYTES) if big else 1
        addresses = []
        for n in range(count):
            address = place + 2 * rng.randrange(32)
            place += STRIDE
            platform.memory.write(address - 64, bytes([GUARD]) * (STRIDE - 128))
            ring = Aperture.RX_BIG_RING if big else Aperture.RX_SMALL_RING
            platform.mmio_write(aperture + ring + 8 * (used[big] + n), struct.pack(">Q", address))
            addresses.append(address)
        entry = RQ + 16 * (number % 16)
        phase = ~(number // 16) & 1
        await platform.mmio_read(control + NicControl.ID, 4)  # behind it, all writes have arrived
        platform.wire_send(with_fcs(frame))
        for _ in range(WAIT_NS // 500):
            await cocotb.triggers.Timer(500, "ns")
            if platform.memory.read(entry + 15, 1)[0] & 3 == 2 | phase:
                break
        else:
            raise AssertionError(f"frame {number} of {length} bytes: no completion within {WAIT_NS} ns")
        got = platform.memory.read(entry, 16)
        _, _, buffer, size, checksum, _, flags = struct.unpack(">IIHHHBB", got)
        assert (buffer, size, flags & 0xF) == (used[big], length, 2 | phase | big << 2), (length, got.hex())
        assert checksum % 0xFFFF == ones_sum(frame[14:]) % 0xFFFF, length
        parts, rest, skip = b"", length, 2
        for address in addresses:
            take = min(rest, BIG_BYTES - skip) if big else rest
            assert platform.memory.read(address - 4, 4 + skip) == bytes([GUARD]) * (4 + skip), length
            parts += platform.memory.read(address + skip, take)
            assert platform.memory.read(address + skip + take, 8) == bytes([GUARD]) * 8, length
            rest, skip = rest - take, 0
        assert parts == frame, f"{length} bytes, buffers {[hex(a) for a in addresses]}"
        used[big] += count
