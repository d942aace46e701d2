"""Receive side of an endpoint on the control BAR: set-up, scaling over queues, moderation, counters."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from sw.abi.registers import Form, NicControl
from sw.guest.machine import ReceiveSetup
from sw.platform import CYCLE_NS
from sw.xen.errno import Errno, HypercallError

BUFFER_RING_LOG2: Final = range(4, 10)
QUEUE_LOG2: Final = range(4, 11)
BUFFER_LOG2: Final = range(11, 13)
QUEUES: Final = range(1, 5)
PAD: Final = 2
"""A frame starts this many bytes after its buffer's address."""
RSS_KEY_BYTES: Final = 40
RSS_TABLE_ENTRIES: Final = 128
MODERATION_NS: Final = NicControl.IRQ_MODERATION_CYCLES_M * CYCLE_NS
MODERATION_FRAMES: Final = NicControl.IRQ_MODERATION_COUNT_M >> NicControl.IRQ_MODERATION_COUNT_S
COUNTERS: Final = {
    "rx_packets": (NicControl.STATISTICS_FRAMES, NicControl.STATISTICS_STRIDE),
    "rx_bytes": (NicControl.STATISTICS_BYTES, NicControl.STATISTICS_STRIDE),
    "rx_dropped_no_small": (NicControl.STATISTICS_NO_SMALL, NicControl.STATISTICS_STRIDE),
    "rx_dropped_no_big": (NicControl.STATISTICS_NO_BIG, NicControl.STATISTICS_STRIDE),
    "rx_dropped_too_long": (NicControl.STATISTICS_TOO_LONG, NicControl.STATISTICS_STRIDE),
    "rx_dropped_refused": (NicControl.STATISTICS_REFUSED, NicControl.STATISTICS_STRIDE),
    "tx_dropped_spoofed": (NicControl.PORT_SPOOFED, NicControl.PORT_STRIDE),
}
"""Name to register of endpoint 0 and stride."""
COUNTER_MASK: Final = 0xFFFF_FFFF

_QUEUE_BASE_STRIDE = NicControl.ENDPOINT_RQ1_BASE_LO - NicControl.ENDPOINT_RQ0_BASE_LO

Write = Callable[[int, int], None]
"""Posts a write to a control register."""


def check(setup: ReceiveSetup, max_frame: int) -> None:
    """Raise `HypercallError` naming the field that the hardware could not take."""
    for name, value, limits in (
        ("small_log2", setup.small_log2, BUFFER_RING_LOG2),
        ("big_log2", setup.big_log2, BUFFER_RING_LOG2),
        ("queue_log2", setup.queue_log2, QUEUE_LOG2),
        ("buffer_log2", setup.buffer_log2, BUFFER_LOG2),
        ("small_bytes", setup.small_bytes, range(max_frame + 1)),
        ("max_frame", setup.max_frame, range(1, max_frame + 1)),
        ("number of queue_bases", len(setup.queue_bases), QUEUES),
    ):
        if value not in limits:
            raise HypercallError(Errno.EINVAL, f"{name} is {value}: {limits.start} to {limits.stop - 1}")
    for name, value in (
        ("small_base", setup.small_base),
        ("big_base", setup.big_base),
        *((f"queue_bases[{n}]", base) for n, base in enumerate(setup.queue_bases)),
    ):
        if value & 0xF or not 0 <= value < 1 << 64:
            raise HypercallError(Errno.EINVAL, f"{name} is {value:#x}: must be a multiple of 16 below 2^64")


def program(write: Write, endpoint: int, setup: ReceiveSetup, form: Form) -> None:
    """Write sizes, bases and control; they count from the endpoint's next enable on."""
    at = endpoint * NicControl.ENDPOINT_STRIDE
    bases = [
        (NicControl.ENDPOINT_RX_SMALL_BASE_LO, setup.small_base),
        (NicControl.ENDPOINT_RX_BIG_BASE_LO, setup.big_base),
    ]
    for queue, base in enumerate(setup.queue_bases):
        bases.append((NicControl.ENDPOINT_RQ0_BASE_LO + queue * _QUEUE_BASE_STRIDE, base))
    for register, base in bases:
        write(register + at, base & 0xFFFF_FFFF)
        write(register + at + 4, base >> 32)
    write(
        NicControl.ENDPOINT_RX_SIZES + at,
        setup.small_bytes | setup.max_frame << NicControl.ENDPOINT_RX_SIZES_MAX_FRAME_S,
    )
    write(
        NicControl.ENDPOINT_RX_CTRL + at,
        NicControl.ENDPOINT_RX_CTRL_ENABLE_M
        | form << NicControl.ENDPOINT_RX_CTRL_FORM_S
        | setup.rss << NicControl.ENDPOINT_RX_CTRL_RSS_S
        | len(setup.queue_bases) - 1 << NicControl.ENDPOINT_RX_CTRL_QUEUES_S
        | setup.small_log2 << NicControl.ENDPOINT_RX_CTRL_SMALL_LOG2_S
        | setup.big_log2 << NicControl.ENDPOINT_RX_CTRL_BIG_LOG2_S
        | setup.buffer_log2 << NicControl.ENDPOINT_RX_CTRL_BUFFER_LOG2_S
        | setup.queue_log2 << NicControl.ENDPOINT_RX_CTRL_RQ_LOG2_S,
    )


def switch_off(write: Write, endpoint: int) -> None:
    """The endpoint's next enable finds no receive side."""
    write(NicControl.ENDPOINT_RX_CTRL + endpoint * NicControl.ENDPOINT_STRIDE, 0)


def set_rss(write: Write, endpoint: int, key: bytes, table: Sequence[int]) -> None:
    """Toeplitz key and indirection table. Raises `HypercallError` naming what does not fit."""
    if len(key) != RSS_KEY_BYTES:
        raise HypercallError(Errno.EINVAL, f"key has {len(key)} bytes: {RSS_KEY_BYTES}")
    if len(table) != RSS_TABLE_ENTRIES:
        raise HypercallError(Errno.EINVAL, f"table has {len(table)} entries: {RSS_TABLE_ENTRIES}")
    wrong = next((queue for queue in table if not 0 <= queue < QUEUES.stop - 1), None)
    if wrong is not None:
        raise HypercallError(Errno.EINVAL, f"table names queue {wrong}: 0 to {QUEUES.stop - 2}")
    at = endpoint * NicControl.RSS_STRIDE
    for n in range(0, RSS_KEY_BYTES, 4):
        write(NicControl.RSS_KEY + at + n, int.from_bytes(key[n : n + 4], "big"))
    for n in range(0, RSS_TABLE_ENTRIES, 16):
        word = sum(queue << 2 * k for k, queue in enumerate(table[n : n + 16]))
        write(NicControl.RSS_TABLE + at + n // 4, word)


def set_moderation(write: Write, endpoint: int, ns: int, frames: int) -> None:
    """Interrupt `ns` after the first completion, rounded up to cycles, or with the `frames`-th.

    `ns` 0: at once. `frames` 0: after `ns`, or with as many completions as the hardware can count.
    """
    for name, value, limit in (("ns", ns, MODERATION_NS), ("frames", frames, MODERATION_FRAMES)):
        if not 0 <= value <= limit:
            raise HypercallError(Errno.EINVAL, f"{name} is {value}: 0 to {limit}")
    write(
        NicControl.IRQ_MODERATION + endpoint * NicControl.IRQ_STRIDE,
        -(-ns // CYCLE_NS) | (frames or MODERATION_FRAMES) << NicControl.IRQ_MODERATION_COUNT_S,
    )


def reset_moderation(write: Write, endpoint: int) -> None:
    """Interrupt at once."""
    write(NicControl.IRQ_MODERATION + endpoint * NicControl.IRQ_STRIDE, 0)


async def read_counters(read: Callable[[int], Awaitable[int]], endpoint: int) -> dict[str, int]:
    """The endpoint's counters since reset of the NIC, modulo 2^32."""
    return {name: await read(register + endpoint * stride) for name, (register, stride) in COUNTERS.items()}
