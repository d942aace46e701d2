"""Runs in the simulator: single sends with nothing else going on, every stage against the closed form."""

from __future__ import annotations

import json
import os
import random
from typing import Final

import cocotb
from cocotb.handle import SimHandleBase

from hypervisor_model.hypervisor import Hypervisor
from sw.abi.registers import Form, Mode, NicControl
from sw.guest.virtual_nic import MAX_PIECES, SendForm, VirtualNic
from sw.platform import PAGE_SHIFT
from tb.cosim.platform import HostConfig, RtlPlatform
from tb.ledger.decode import EndpointSetup, decode
from tb.ledger.stages import PacketForm
from tb.model.latency import Machine, Ring, stages
from tests.system.traffic import cut, payload, place

RING: Final = 64
WARM: Final = 20
WARM_SIZE: Final = 4000
"""Frames that touch every page of the buffers."""
WAIT_NS: Final = 1_000_000
SIZES: Final = [60, 61, 63, 64, 65, 127, 128, 129, 187, 191, 192, 193, 255, 256, 257, 500, 511, 512, 513, 1000, 1514, 1518,
                2048, 4096, 4097, 5000, 8192, 9000, 9014, 9018]


@cocotb.test
async def run(dut: SimHandleBase) -> None:
    job = json.loads(os.environ["MYR_JOB"])
    rng = random.Random(job["seed"])
    config = HostConfig(mps=job["mps"], mrrs=job["mrrs"], read_latency=job["read_latency"])
    platform = RtlPlatform(dut, config)
    native = job["native"]
    hypervisor = Hypervisor(platform, max_payload=config.mps, max_read=config.mrrs)
    await hypervisor.boot()
    tags = await hypervisor.endpoints.read(NicControl.CAPS) >> NicControl.CAPS_READ_TAGS_S & 0xFF
    machine = Machine(config.read_latency, config.write_latency, config.mps, config.mrrs, tags)
    checked = 0
    for form in SendForm:
        domain = hypervisor.create_domain(form.value, 128, mode=Mode.NATIVE if native else Mode.IOMMU)
        nic = VirtualNic(domain, form, RING, buffer_pages=8, buffer_alignment=1)
        await nic.open()
        ring_gpa = nic.ring_gfn << PAGE_SHIFT
        [(ring_address, _)] = nic.device_pieces([(ring_gpa, 1)]) if form is SendForm.FETCHED else [(0, 0)]
        ring = Ring(ring_address, RING)
        setup = {nic.endpoint: EndpointSetup(Form.FETCHED if form is SendForm.FETCHED else Form.PUSHED, RING)}
        platform.trace()
        for number, size in enumerate([WARM_SIZE] * WARM + [rng.choice([size, rng.randint(60, 9018)]) for size in SIZES * 2]):
            count = rng.choice([1, 1, rng.randint(1, MAX_PIECES // 3 if native else MAX_PIECES)])
            frame = cut(rng, payload(rng, 0, number, size), 1 if number < WARM else count, 70)
            placed = place(nic, frame)
            assert placed is not None
            pieces, held = placed
            assert nic.xmit(pieces, held)
            nic.kick()
            await nic.drain(WAIT_NS)
            await platform.sleep(500)
            [packet] = decode(platform.trace(), setup)
            if number < WARM:
                continue  # the IOTLB learns the pages
            bus = nic.device_pieces(pieces)
            expected = stages(PacketForm(packet.form), size, bus, machine, ring, packet.head)
            what = f"{form.name} frame {number}: {size} bytes in {bus}"
            assert packet.stages() == expected, f"{what}: {packet.stages()}, expected {expected}"
            checked += 1
        await nic.close()
        # a native owner has the card until it is gone
        await hypervisor.destroy_domain(domain.domid)
    cocotb.log.info("%d sends equal", checked)
    assert checked > 60
