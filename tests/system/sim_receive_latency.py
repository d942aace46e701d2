"""Runs in the simulator: single frames with nothing else going on, every receive stage against the closed form."""

from __future__ import annotations

import json
import os
import random
from typing import Final

import cocotb
from cocotb.handle import SimHandleBase

from hypervisor_model.domains import Domain
from hypervisor_model.hypervisor import Hypervisor
from sw.abi.registers import Mode, NicControl, ReceiveBuffer
from sw.guest.virtual_nic import ReceiveConfig, SendForm, VirtualNic
from tb.cosim.platform import HostConfig, RtlPlatform
from tb.ethernet import on_line
from tb.ledger.receive import decode_receive
from tb.model.latency import Machine, receive_stages
from tests.system.exchange import PEER

ENTRIES: Final = 16
WARM: Final = 2 * ENTRIES + 4
"""Frames that touch every buffer, so that the IOTLB knows their pages."""
SIZES: Final = [60, 61, 62, 63, 64, 65, 66, 125, 126, 127, 128, 129, 130, 253, 254, 255, 256, 257, 510, 511, 1000, 1514,
                1518, 2046, 4093, 4094, 4095, 4096, 5000, 8190, 8191, 9000, 9014, 9018]
WAIT_NS: Final = 200_000
QUIET_NS: Final = 3_000
"""Buffers are posted and fetched again."""
PAD: Final = 2


async def place(hypervisor: Hypervisor, platform: RtlPlatform, owner: Domain, nic: VirtualNic, length: int
                ) -> list[tuple[int, int]]:
    """Where the next frame's bytes will go: device address and bytes in each buffer, from the guest's own ring."""
    big = length > nic.receiver.config.small
    ring = nic.receiver.rings()[-1 if big else 0]
    register = NicControl.ENDPOINT_RX_INDEX + nic.endpoint * NicControl.ENDPOINT_STRIDE
    indices = await hypervisor.endpoints.read(register)
    index = indices >> NicControl.ENDPOINT_RX_INDEX_BIG_S if big else indices & NicControl.ENDPOINT_RX_INDEX_SMALL_M
    # native owners name machine addresses, others their own
    memory = platform.memory if owner.mode is Mode.NATIVE else owner.memory
    entries = memory.read(ring.base, ENTRIES * ReceiveBuffer.BYTES)
    found = []
    left, pad = length, PAD
    while left:
        at = index % ENTRIES * ReceiveBuffer.BYTES
        part = min(left, nic.receiver.config.big_bytes - pad) if big else left
        found.append((int.from_bytes(entries[at : at + ReceiveBuffer.BYTES], "big") + pad, part))
        left, pad, index = left - part, 0, index + 1
    return found


@cocotb.test
async def run(dut: SimHandleBase) -> None:
    job = json.loads(os.environ["MYR_JOB"])
    rng = random.Random(job["seed"])
    config = HostConfig(mps=job["mps"], write_latency=job["write_latency"])
    platform = RtlPlatform(dut, config)
    native = job["native"]
    hypervisor = Hypervisor(platform, max_payload=config.mps)
    await hypervisor.boot()
    tags = await hypervisor.endpoints.read(NicControl.CAPS) >> NicControl.CAPS_READ_TAGS_S & 0xFF
    machine = Machine(config.read_latency, config.write_latency, config.mps, config.mrrs, tags)
    guests: list[tuple[Domain, VirtualNic]] = []
    for name, mtu in [("low", 9000)] if native else [("low", 9000), ("high", 1500)]:
        domain = hypervisor.create_domain(name, 256, mode=Mode.NATIVE if native else Mode.IOMMU)
        receive = ReceiveConfig(mtu=mtu, entries=ENTRIES, interrupts=False)
        nic = VirtualNic(domain, SendForm.PUSHED, 64, buffer_pages=8, receive=receive)
        await nic.open()
        guests.append((domain, nic))
    await platform.sleep(QUIET_NS)
    checked = 0
    for domain, nic in guests:
        limit = nic.receiver.config.max_frame
        sizes = [min(size, limit) for size in SIZES] + [rng.randint(60, limit) for _ in SIZES]
        # small and big buffers in turn
        for step, size in enumerate([(60, limit)[n % 2] for n in range(WARM)] + sizes):
            frame = (nic.mac + PEER + b"\x88\xb5" + rng.randbytes(size))[:size]
            buffers = await place(hypervisor, platform, domain, nic, size)
            platform.trace()
            platform.wire_send(on_line(frame))
            [got] = await nic.receive(WAIT_NS)
            assert got.data == frame
            await platform.sleep(QUIET_NS)
            if step < WARM:
                continue
            [delivery] = decode_receive(platform.trace()).deliveries
            expected = receive_stages(size, buffers, machine)
            what = f"frame {step}: {size} bytes to {buffers}"
            assert delivery.stages() == expected, f"{what}: {delivery.stages()}, expected {expected}"
            checked += 1
    cocotb.log.info("%d frames equal", checked)
    assert checked == 2 * len(SIZES) * len(guests)
