"""The configuration space, bit by bit; every cycle compares what is read and what the other blocks are told."""

from __future__ import annotations

import random
from typing import Any, Final

import cocotb

from tb.unit.cfg_space.bench import (
    BAR2_BYTES,
    BAR4_BYTES,
    ENDPOINTS,
    MSIX,
    PCIE,
    REGISTERS,
    SPACE,
    SRIOV,
    TB,
    Write,
)
from tb.unit.streams import cycles

ROUNDS: Final = 400


async def begin(dut: Any, **options: Any) -> TB:
    bench = TB(dut.u_cfg_space, random.Random(cocotb.RANDOM_SEED), **options)
    await bench.start()
    return bench


@cocotb.test
async def whole_space(dut: Any) -> None:
    """Each of the 1024 DWs after reset; writing ones and zeros changes what can be written, and nothing else."""
    bench = await begin(dut)
    for data in (None, 0xFFFF_FFFF, 0):
        if data is not None:
            for address in range(0, SPACE, 4):
                bench.port.queue(Write(address, data))
            await bench.finish()
        for address in range(0, SPACE, 4):
            bench.dut.addr_i.value = address
            await cycles(bench.dut, 1)


@cocotb.test
async def byte_enables(dut: Any) -> None:
    """Each register that can be written, with each combination of bytes, from ones to zeros and back."""
    bench = await begin(dut)
    for address in (address for address, register in REGISTERS.items() if register.writable):
        for be in range(16):
            for before in (0, 0xFFFF_FFFF):
                bench.port.queue(Write(address, before))
                bench.port.queue(Write(address, before ^ 0xFFFF_FFFF, be))
                await bench.finish()
                bench.dut.addr_i.value = address
                await cycles(bench.dut, 1)


@cocotb.test
async def sizes(dut: Any) -> None:
    """Software finds two BARs of 64 bits by writing ones, 4 MiB and 1 MiB, and no other; what it writes then stays."""
    bench = await begin(dut)
    found: dict[int, int] = {}
    at = 0x10
    while at < 0x28:
        bench.port.queue(Write(at, 0xFFFF_FFFF))
        low = await bench.read(at)
        high = 0xFFFF_FFFF
        if low & 6 == 4:
            bench.port.queue(Write(at + 4, 0xFFFF_FFFF))
            high = await bench.read(at + 4)
        if low:
            found[at] = (1 << 64) - (high << 32 | low & ~0xF)
        at += 8 if low & 6 == 4 else 4
    assert found == {0x18: BAR2_BYTES, 0x20: BAR4_BYTES}
    for at, base in ((0x18, 0x12_3440_0000), (0x20, 0xFEDC_BA90_0010_0000)):
        bench.port.queue(Write(at, base & 0xFFFF_FFFF))
        bench.port.queue(Write(at + 4, base >> 32))
        assert await bench.read(at) == base & 0xFFFF_FFFF | 0xC and await bench.read(at + 4) == base >> 32


@cocotb.test
async def capabilities(dut: Any) -> None:
    """Both lists of capabilities, as software walks them, end, and hold what the function has."""
    bench = await begin(dut)
    assert await bench.read(0x04) >> 20 & 1, "there is a list"
    found: dict[int, int] = {}
    at = await bench.read(0x34) & 0xFC
    while at:
        assert at not in found.values() and len(found) < 8, "the list is a loop"
        header = await bench.read(at)
        found[header & 0xFF], at = at, header >> 8 & 0xFC
    assert found == {0x10: PCIE, 0x11: MSIX}
    header = await bench.read(SPACE // 16)
    assert (header & 0xFFFF, header >> 16 & 0xF, header >> 20) == (0x0010, 1, 0)


@cocotb.test
async def codes(dut: Any) -> None:
    """Max_Payload_Size and Max_Read_Request_Size take each code, up to what the function can."""
    bench = await begin(dut)
    for code in range(8):
        bench.port.queue(Write(PCIE + 8, code << 5))
        assert await bench.read(PCIE + 8) == min(code, 1) << 5
        bench.port.queue(Write(PCIE + 8, code << 12, 0b0010))
        assert await bench.read(PCIE + 8) == min(code, 1) << 5 | min(code, 5) << 12


@cocotb.test
async def functions(dut: Any) -> None:
    """Endpoint functions are there when all 64 are asked for, and enabled, in either order."""
    bench = await begin(dut)
    for number in (0, 1, 63, 64, 65, 64 + 256, 0xFFFF, ENDPOINTS):
        bench.port.queue(Write(SRIOV + 0x10, number))
        bench.port.queue(Write(SRIOV + 8, 1))
        await bench.finish()
        assert int(bench.dut.vf_enable_o.value) == (number == ENDPOINTS)
        bench.port.queue(Write(SRIOV + 8, 0xFFFF_FFFE))
        await bench.finish()
        assert not int(bench.dut.vf_enable_o.value)
    bench.port.queue(Write(SRIOV + 8, 1))
    await bench.finish()
    assert int(bench.dut.vf_enable_o.value)


@cocotb.test
async def bus_number(dut: Any) -> None:
    """Every write tells the bus number, also one to a read-only register or without a byte; no read does."""
    bench = await begin(dut)
    for address, be in ((0, 15), (0x04, 0), (0xFFC, 15), (0x18, 1)):
        number = bench.random.getrandbits(8)
        bench.port.queue(Write(address, 0, be, number))
        await bench.finish()
        bench.dut.bus_i.value = number ^ 0xFF
        await cycles(bench.dut, 3)
        assert int(bench.dut.bus_o.value) == number


@cocotb.test
@cocotb.parametrize(idle=["always", "bursts", "rare"])
async def traffic(dut: Any, idle: str) -> None:
    """Any writes anywhere, and a reset in between."""
    bench = await begin(dut, idle=idle)
    rng = bench.random
    for _ in range(2):
        for _ in range(ROUNDS if idle != "rare" else ROUNDS // 4):
            address = rng.choice((*REGISTERS, *REGISTERS, 4 * rng.randrange(SPACE // 4)))
            bench.port.queue(Write(address, rng.choice((rng.getrandbits(32), 0, 0xFFFF_FFFF)), rng.randrange(16), rng.getrandbits(8)))
        await bench.finish()
        bench.dut.rst_i.value = 1
        await cycles(bench.dut, 2)
        bench.dut.rst_i.value = 0
