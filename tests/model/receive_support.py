"""Shared by the receive tests on the model: a machine with a line, guests that receive, independent sums."""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence

from hypervisor_model.domains import Domain
from hypervisor_model.hypervisor import Hypervisor
from sw.abi.registers import Form
from sw.guest.virtual_nic import ReceiveConfig, ReceivedFrame, SendForm, VirtualNic
from tb.ethernet import on_line
from tb.model.platform import ModelPlatform
from tests.model.model_support import WAIT_NS

PEER = bytes.fromhex("020000000001")
BROADCAST = b"\xff" * 6
IPV4 = b"\x08\x00"
BEAT_NS = 4
FORMS = list(Form)


def frame(rng: random.Random, destination: bytes, size: int, *, source: bytes = PEER, vlan: int = 0) -> bytes:
    """A frame of `size` bytes without FCS, its payload random."""
    tag = b"\x81\x00" + vlan.to_bytes(2, "big") if vlan else b""
    header = destination + source + tag + IPV4
    return header + rng.randbytes(size - len(header))


def wire(platform: ModelPlatform, frames: Sequence[bytes]) -> None:
    """Put frames on the line, with padding and FCS."""
    for data in frames:
        platform.wire_send(on_line(data))


def sum_from_14(data: bytes) -> int:
    """Ones' complement sum of big-endian words from byte 14 on, by residues; independent of driver and model."""
    body = data[14:] + b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f">{len(body) // 2}H", body))
    return 0 if total == 0 else (total - 1) % 0xFFFF + 1


def receiver_nic(domain: Domain, config: ReceiveConfig, form: SendForm = SendForm.PUSHED) -> VirtualNic:
    return VirtualNic(domain, form, 64, buffer_pages=16, receive=config)


async def collect(nic: VirtualNic, count: int, timeout_ns: int = WAIT_NS) -> list[ReceivedFrame]:
    """Receive until there are `count` frames, or nothing comes for `timeout_ns`."""
    frames: list[ReceivedFrame] = []
    while len(frames) < count:
        fresh = await nic.receive(timeout_ns)
        if not fresh:
            break
        frames += fresh
    return frames


def owned(hv: Hypervisor, domid: int) -> int:
    """Machine frames of a domain."""
    return sum(hv.frames.owner(n) == domid for n in range(hv.frames.frames))
