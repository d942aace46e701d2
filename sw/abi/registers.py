"""Registers, descriptors and trace records. Generated from rtl/regs/myrmidon.rdl by rtl/regs/generate.py; do not edit."""

from enum import IntEnum
from typing import Final


class Status(IntEnum):
    """`status_e` of the register source."""

    OK = 0
    """The frame's last beat has left on the wire."""
    BAD_DESCRIPTOR = 1
    """Chain count is 0 or above 12, FIRST is missing, or a slot of the chain was never written."""
    BAD_LENGTH = 2
    """A piece has length 0, or the frame is longer than MAX_FRAME or, inline, than INLINE_MAX."""
    UNSUPPORTED = 3
    """A flag asks for an offload that this NIC does not have."""
    NOT_AUTHORISED = 4
    """The NIC refused the address before any TLP was built."""
    READ_UR = 5
    """A read of the frame was completed with Unsupported Request (an IOMMU fault is one)."""
    READ_CA = 6
    """A read of the frame was completed with Completer Abort."""
    READ_POISONED = 7
    """A completion of the frame's reads was poisoned (EP set)."""
    READ_TIMEOUT = 8
    """A completion of the frame's reads did not arrive within READ_TIMEOUT."""
    FETCH_ERROR = 9
    """The descriptor fetch itself failed; the endpoint is halted until it is re-enabled."""
    SPOOFED = 10
    """The frame's source address or VLAN is not the endpoint's, or it is a MAC control frame."""
    BAD_OFFLOAD = 11
    """Checksum or TSO fields do not fit the frame, or its headers are not what the offload can edit."""
    STALE_DESCRIPTOR = 12
    """VALIDATED: a descriptor's sequence number is not that of its index; the endpoint is halted until it is re-enabled."""


class TraceKind(IntEnum):
    """`trace_kind_e` of the register source."""

    DOORBELL = 0
    """Last beat of a doorbell or ring write arrived. index: producer written (FETCHED) or first slot written (PUSHED); info: slots written (PUSHED)."""
    FETCH_OUT = 1
    """Last beat of a descriptor-fetch MRd left. index: first descriptor; info: descriptors."""
    FETCH_BACK = 2
    """The fetch's last descriptor is in SRAM. index: first descriptor; info: descriptors."""
    GRANT = 3
    """The scheduler granted the endpoint. index: chain head."""
    AUTHORISED = 4
    """The chain's first piece (or inline frame) was authorised. index: chain head."""
    READ_OUT = 5
    """Last beat of the chain's first payload MRd left. index: chain head."""
    DATA_IN = 6
    """The frame's last byte is in the frame buffer. index: chain head."""
    WIRE_FIRST = 7
    """First beat (preamble) on the wire. index: chain head."""
    WIRE_LAST = 8
    """Beat with the last FCS byte on the wire. index: chain head; info: frame bytes."""
    CPL_OUT = 9
    """Last beat of a completion MWr left. index: first completion-ring index; info: MWr tag << 24 | entries."""
    CPL_VISIBLE = 10
    """Host side: a send-completion MWr is visible in memory. endpoint: low byte of the requester ID; index: the MWr's tag; info: payload bytes."""
    FAILED = 11
    """A chain ended with an error. index: chain head; info: status."""
    RX_FIRST = 12
    """A frame's preamble arrived from the wire. index: frame number."""
    RX_LAST = 13
    """Its beat with the last FCS byte arrived. index: frame number; info: bytes without FCS."""
    RX_LOCAL = 14
    """A frame of a sibling is handed to the receive side. endpoint: sender; index: chain head; info: frame number."""
    RX_GRANT = 15
    """A frame has its receive buffers. endpoint: receiver; index: frame number; info: bytes."""
    RX_WRITE = 16
    """Last beat of the frame's first payload MWr left. endpoint: receiver; index: frame number."""
    RX_DATA_OUT = 17
    """Last beat of the frame's last payload MWr left. endpoint: receiver; index: frame number; info: queue << 16 | its receive-completion index."""
    RX_CPL_OUT = 18
    """Last beat of a receive-completion MWr left. endpoint; index: first completion index; info: MWr tag << 24 | queue << 16 | entries."""
    RX_DROP = 19
    """A frame was dropped, for one receiver or altogether. endpoint: receiver where there is one; index: frame number; info: rx_drop_e."""
    IRQ_OUT = 20
    """Last beat of an interrupt MWr left. endpoint: vector; index: interrupts of this vector so far, modulo 2^16."""
    RX_CPL_VISIBLE = 21
    """Host side: a receive-completion MWr is visible in memory. endpoint: low byte of the requester ID; index: the MWr's tag; info: payload bytes."""
    IRQ_VISIBLE = 22
    """Host side: an interrupt MWr has reached the interrupt controller. endpoint: low byte of the requester ID; info: message data."""


class Switch(IntEnum):
    """`switch_e` of the register source."""

    VEB = 0
    """Frames for a sibling stay inside; other frames and groups go to the wire (groups: inside, too)."""
    VEPA = 1
    """Every frame goes to the wire; nothing stays inside."""
    BOTH = 2
    """Frames for a sibling stay inside and also go to the wire."""


class RxDrop(IntEnum):
    """`rx_drop_e` of the register source."""

    BAD_FCS = 0
    """Frame check sequence."""
    RUNT = 1
    """Fewer than 64 bytes with FCS."""
    OVERSIZE = 2
    """More than MAX_FRAME bytes without FCS."""
    BAD_FRAMING = 3
    """The line did not start or end a frame by the rules, or signalled an error in it."""
    PAUSE = 4
    """A pause frame: consumed by the MAC."""
    OVERFLOW = 5
    """The receive buffer was full."""
    FILTERED_UNICAST = 6
    """No endpoint takes this address and VLAN."""
    FILTERED_MULTICAST = 7
    """No endpoint takes this group and VLAN."""
    NO_SMALL = 8
    """The endpoint has no small buffer posted."""
    NO_BIG = 9
    """The endpoint has too few big buffers posted."""
    TOO_LONG = 10
    """Longer than the endpoint's own limit."""
    REFUSED = 11
    """The NIC refused a buffer's address before any TLP was built."""
    DISABLED = 12
    """The endpoint's receive side is off."""


class Refusal(IntEnum):
    """`refusal_e` of the register source."""

    BUS = 0
    """Bus mastering or the endpoint's function is off, or the mode is none of mode_e."""
    RANGE = 1
    """A byte lies outside the 48-bit bus space, or is written where interrupts are made."""
    RESERVED = 2
    """Reserved bits of a window address are set."""
    INVALID = 3
    """The endpoint has no such window."""
    SIZE = 4
    """The address and its window differ in bit large."""
    SEQUENCE = 5
    """The address and its window differ in sequence."""
    READ_ONLY = 6
    """A write to a window that is not writable."""
    END = 7
    """The range reaches past its window's end."""
    STALE = 8
    """VALIDATED: a sequence number is not that of its index; the endpoint is halted."""


class Form(IntEnum):
    """`form_e` of the register source."""

    PUSHED = 0
    """Descriptors (and inline frames) are written by PIO into the ring in NIC SRAM."""
    FETCHED = 1
    """Descriptors are fetched by DMA from a ring in guest memory after a doorbell."""


class Mode(IntEnum):
    """`mode_e` of the register source."""

    NATIVE = 0
    """Machine addresses, requester ID of the physical function, one trusted owner."""
    IOMMU = 1
    """I/O virtual addresses, requester ID of the endpoint's own function."""
    WINDOWS = 2
    """Window number, sequence and offset, checked by the NIC; requester ID of the physical function."""
    VALIDATED = 3
    """Machine addresses in rings that only the hypervisor writes, with sequence numbers that the NIC checks; form FETCHED; requester ID of the physical function."""


class Aperture:
    """Endpoint aperture: byte offsets; of each field, its mask (`_M`) and shift (`_S`)."""

    BYTES: Final = 0xA000
    SEND_DOORBELL: Final = 0x0
    SEND_DOORBELL_PRODUCER_M: Final = 0xFFFF
    SEND_DOORBELL_PRODUCER_S: Final = 0
    RX_SMALL_DOORBELL: Final = 0x4
    RX_SMALL_DOORBELL_PRODUCER_M: Final = 0xFFFF
    RX_SMALL_DOORBELL_PRODUCER_S: Final = 0
    RX_BIG_DOORBELL: Final = 0x8
    RX_BIG_DOORBELL_PRODUCER_M: Final = 0xFFFF
    RX_BIG_DOORBELL_PRODUCER_S: Final = 0
    ARM: Final = 0xC
    ARM_INDEX_M: Final = 0xFFFF
    ARM_INDEX_S: Final = 0
    ARM_QUEUE_M: Final = 0x70000
    ARM_QUEUE_S: Final = 16
    SEND_RING: Final = 0x4000
    SEND_RING_BYTES: Final = 0x4000
    RX_SMALL_RING: Final = 0x8000
    RX_SMALL_RING_BYTES: Final = 0x1000
    RX_BIG_RING: Final = 0x9000
    RX_BIG_RING_BYTES: Final = 0x1000


class SendDescriptor:
    """Send descriptor: byte offsets; of each field, its mask (`_M`) and shift (`_S`)."""

    BYTES: Final = 0x10
    ADDR_HI: Final = 0x0
    ADDR_HI_ADDR_HI_M: Final = 0xFFFFFFFF
    ADDR_HI_ADDR_HI_S: Final = 0
    ADDR_LO: Final = 0x4
    ADDR_LO_ADDR_LO_M: Final = 0xFFFFFFFF
    ADDR_LO_ADDR_LO_S: Final = 0
    LENGTH: Final = 0x8
    LENGTH_LENGTH_M: Final = 0xFFFF
    LENGTH_LENGTH_S: Final = 0
    LENGTH_PSEUDO_HDR_OFFSET_M: Final = 0xFFFF0000
    LENGTH_PSEUDO_HDR_OFFSET_S: Final = 16
    CONTROL: Final = 0xC
    CONTROL_SMALL_M: Final = 0x1
    CONTROL_SMALL_S: Final = 0
    CONTROL_FIRST_M: Final = 0x2
    CONTROL_FIRST_S: Final = 1
    CONTROL_ALIGN_ODD_M: Final = 0x4
    CONTROL_ALIGN_ODD_S: Final = 2
    CONTROL_CKSUM_M: Final = 0x8
    CONTROL_CKSUM_S: Final = 3
    CONTROL_NO_TSO_M: Final = 0x10
    CONTROL_NO_TSO_S: Final = 4
    CONTROL_TSO_PLD_M: Final = 0x20
    CONTROL_TSO_PLD_S: Final = 5
    CONTROL_INLINE_M: Final = 0x40
    CONTROL_INLINE_S: Final = 6
    CONTROL_RESERVED_M: Final = 0x80
    CONTROL_RESERVED_S: Final = 7
    CONTROL_CKSUM_OFFSET_M: Final = 0xFF00
    CONTROL_CKSUM_OFFSET_S: Final = 8
    CONTROL_RDMA_COUNT_M: Final = 0xFF0000
    CONTROL_RDMA_COUNT_S: Final = 16
    CONTROL_PAD_M: Final = 0xFF000000
    CONTROL_PAD_S: Final = 24


class Completion:
    """Send completion: byte offsets; of each field, its mask (`_M`) and shift (`_S`)."""

    BYTES: Final = 0x10
    STAMP_HI: Final = 0x0
    STAMP_HI_STAMP_HI_M: Final = 0xFFFFFFFF
    STAMP_HI_STAMP_HI_S: Final = 0
    STAMP_LO: Final = 0x4
    STAMP_LO_STAMP_LO_M: Final = 0xFFFFFFFF
    STAMP_LO_STAMP_LO_S: Final = 0
    INDEX: Final = 0x8
    INDEX_LENGTH_M: Final = 0xFFFF
    INDEX_LENGTH_S: Final = 0
    INDEX_INDEX_M: Final = 0xFFFF0000
    INDEX_INDEX_S: Final = 16
    STATUS: Final = 0xC
    STATUS_PHASE_M: Final = 0x1
    STATUS_PHASE_S: Final = 0
    STATUS_RESERVED2_M: Final = 0xFE
    STATUS_RESERVED2_S: Final = 1
    STATUS_STATUS_M: Final = 0xFF00
    STATUS_STATUS_S: Final = 8
    STATUS_RESERVED_M: Final = 0xFFFF0000
    STATUS_RESERVED_S: Final = 16


class ReceiveBuffer:
    """Receive buffer: byte offsets; of each field, its mask (`_M`) and shift (`_S`)."""

    BYTES: Final = 0x8
    ADDR_HI: Final = 0x0
    ADDR_HI_ADDR_HI_M: Final = 0xFFFFFFFF
    ADDR_HI_ADDR_HI_S: Final = 0
    ADDR_LO: Final = 0x4
    ADDR_LO_ADDR_LO_M: Final = 0xFFFFFFFF
    ADDR_LO_ADDR_LO_S: Final = 0


class ReceiveCompletion:
    """Receive completion: byte offsets; of each field, its mask (`_M`) and shift (`_S`)."""

    BYTES: Final = 0x10
    HASH: Final = 0x0
    HASH_HASH_M: Final = 0xFFFFFFFF
    HASH_HASH_S: Final = 0
    STAMP_LO: Final = 0x4
    STAMP_LO_STAMP_LO_M: Final = 0xFFFFFFFF
    STAMP_LO_STAMP_LO_S: Final = 0
    LENGTH: Final = 0x8
    LENGTH_LENGTH_M: Final = 0xFFFF
    LENGTH_LENGTH_S: Final = 0
    LENGTH_BUFFER_M: Final = 0xFFFF0000
    LENGTH_BUFFER_S: Final = 16
    STATUS: Final = 0xC
    STATUS_PHASE_M: Final = 0x1
    STATUS_PHASE_S: Final = 0
    STATUS_RECEIVE_M: Final = 0x2
    STATUS_RECEIVE_S: Final = 1
    STATUS_BIG_M: Final = 0x4
    STATUS_BIG_S: Final = 2
    STATUS_LOCAL_M: Final = 0x8
    STATUS_LOCAL_S: Final = 3
    STATUS_RESERVED2_M: Final = 0x10
    STATUS_RESERVED2_S: Final = 4
    STATUS_HASH_KIND_M: Final = 0xE0
    STATUS_HASH_KIND_S: Final = 5
    STATUS_RESERVED_M: Final = 0xFF00
    STATUS_RESERVED_S: Final = 8
    STATUS_CHECKSUM_M: Final = 0xFFFF0000
    STATUS_CHECKSUM_S: Final = 16


class DmaAddress:
    """DMA address: byte offsets; of each field, its mask (`_M`) and shift (`_S`)."""

    BYTES: Final = 0x18
    WINDOW: Final = 0x0
    WINDOW_OFFSET_M: Final = 0xFFF
    WINDOW_OFFSET_S: Final = 0
    WINDOW_INDEX_M: Final = 0xFF000
    WINDOW_INDEX_S: Final = 12
    WINDOW_RESERVED_M: Final = 0xFFFFF00000
    WINDOW_RESERVED_S: Final = 20
    WINDOW_SEQUENCE_M: Final = 0xFFFF0000000000
    WINDOW_SEQUENCE_S: Final = 40
    WINDOW_RESERVED2_M: Final = 0x7F00000000000000
    WINDOW_RESERVED2_S: Final = 56
    WINDOW_LARGE_M: Final = 0x8000000000000000
    WINDOW_LARGE_S: Final = 63
    LARGE: Final = 0x8
    LARGE_OFFSET_M: Final = 0x1FFFFF
    LARGE_OFFSET_S: Final = 0
    LARGE_INDEX_M: Final = 0x1FE00000
    LARGE_INDEX_S: Final = 21
    LARGE_RESERVED_M: Final = 0xFFE0000000
    LARGE_RESERVED_S: Final = 29
    LARGE_SEQUENCE_M: Final = 0xFFFF0000000000
    LARGE_SEQUENCE_S: Final = 40
    LARGE_RESERVED2_M: Final = 0x7F00000000000000
    LARGE_RESERVED2_S: Final = 56
    LARGE_LARGE_M: Final = 0x8000000000000000
    LARGE_LARGE_S: Final = 63
    VALIDATED: Final = 0x10
    VALIDATED_ADDRESS_M: Final = 0xFFFFFFFFFFFF
    VALIDATED_ADDRESS_S: Final = 0
    VALIDATED_SEQUENCE_M: Final = 0xFFFF000000000000
    VALIDATED_SEQUENCE_S: Final = 48


class TraceRecord:
    """Trace record: byte offsets; of each field, its mask (`_M`) and shift (`_S`)."""

    BYTES: Final = 0x10
    CYCLE_LO: Final = 0x0
    CYCLE_LO_CYCLE_LO_M: Final = 0xFFFFFFFF
    CYCLE_LO_CYCLE_LO_S: Final = 0
    CYCLE_HI: Final = 0x4
    CYCLE_HI_CYCLE_HI_M: Final = 0xFFFFFFFF
    CYCLE_HI_CYCLE_HI_S: Final = 0
    KIND: Final = 0x8
    KIND_KIND_M: Final = 0xFF
    KIND_KIND_S: Final = 0
    KIND_ENDPOINT_M: Final = 0xFF00
    KIND_ENDPOINT_S: Final = 8
    KIND_INDEX_M: Final = 0xFFFF0000
    KIND_INDEX_S: Final = 16
    INFO: Final = 0xC
    INFO_INFO_M: Final = 0xFFFFFFFF
    INFO_INFO_S: Final = 0


class NicControl:
    """NIC control: byte offsets; of each field, its mask (`_M`) and shift (`_S`)."""

    BYTES: Final = 0x80000
    ENDPOINT_BASE: Final = 0x4000
    ENDPOINT_STRIDE: Final = 0x80
    ENDPOINT_COUNT: Final = 64
    PORT_BASE: Final = 0x6000
    PORT_STRIDE: Final = 0x10
    PORT_COUNT: Final = 64
    GROUP_BASE: Final = 0x6800
    GROUP_STRIDE: Final = 0x10
    GROUP_COUNT: Final = 32
    IRQ_BASE: Final = 0x6C00
    IRQ_STRIDE: Final = 0x4
    IRQ_COUNT: Final = 64
    MSIX_BASE: Final = 0x7000
    MSIX_STRIDE: Final = 0x10
    MSIX_COUNT: Final = 64
    RSS_BASE: Final = 0x8000
    RSS_STRIDE: Final = 0x80
    RSS_COUNT: Final = 64
    STATISTICS_BASE: Final = 0xA000
    STATISTICS_STRIDE: Final = 0x20
    STATISTICS_COUNT: Final = 64
    WINDOW_BASE: Final = 0x40000
    WINDOW_STRIDE: Final = 0x10
    WINDOW_COUNT: Final = 16384
    ID: Final = 0x0
    ID_MAGIC_M: Final = 0xFFFFFFFF
    ID_MAGIC_S: Final = 0
    ID_MAGIC_VALUE: Final = 1297699405
    CAPS: Final = 0x4
    CAPS_ENDPOINTS_M: Final = 0xFF
    CAPS_ENDPOINTS_S: Final = 0
    CAPS_ENDPOINTS_VALUE: Final = 64
    CAPS_READ_TAGS_M: Final = 0xFF00
    CAPS_READ_TAGS_S: Final = 8
    CAPS_FRAME_SLOTS_M: Final = 0xFF0000
    CAPS_FRAME_SLOTS_S: Final = 16
    CAPS_FRAME_SLOTS_VALUE: Final = 32
    CAPS_FETCH_BATCH_M: Final = 0xFF000000
    CAPS_FETCH_BATCH_S: Final = 24
    CAPS_FETCH_BATCH_VALUE: Final = 16
    LIMITS: Final = 0x8
    LIMITS_INLINE_MAX_M: Final = 0xFFFF
    LIMITS_INLINE_MAX_S: Final = 0
    LIMITS_INLINE_MAX_VALUE: Final = 192
    LIMITS_MAX_FRAME_M: Final = 0xFFFF0000
    LIMITS_MAX_FRAME_S: Final = 16
    LIMITS_MAX_FRAME_VALUE: Final = 9018
    CTRL: Final = 0xC
    CTRL_ENABLE_M: Final = 0x1
    CTRL_ENABLE_S: Final = 0
    READ_TIMEOUT: Final = 0x10
    READ_TIMEOUT_CYCLES_M: Final = 0xFFFFF
    READ_TIMEOUT_CYCLES_S: Final = 0
    SWITCH_CTRL: Final = 0x14
    SWITCH_CTRL_POLICY_M: Final = 0x3
    SWITCH_CTRL_POLICY_S: Final = 0
    SWITCH_CTRL_PAUSE_RX_M: Final = 0x10
    SWITCH_CTRL_PAUSE_RX_S: Final = 4
    SWITCH_CTRL_PAUSE_TX_M: Final = 0x20
    SWITCH_CTRL_PAUSE_TX_S: Final = 5
    CYCLE_LO: Final = 0x18
    CYCLE_LO_LO_M: Final = 0xFFFFFFFF
    CYCLE_LO_LO_S: Final = 0
    CYCLE_HI: Final = 0x1C
    CYCLE_HI_HI_M: Final = 0xFFFFFFFF
    CYCLE_HI_HI_S: Final = 0
    MAC_HI: Final = 0x20
    MAC_HI_ADDRESS_M: Final = 0xFFFFFFFF
    MAC_HI_ADDRESS_S: Final = 0
    MAC_LO: Final = 0x24
    MAC_LO_ADDRESS_M: Final = 0xFFFF
    MAC_LO_ADDRESS_S: Final = 0
    PAUSE_LIMITS: Final = 0x28
    PAUSE_LIMITS_XOFF_M: Final = 0xFFFF
    PAUSE_LIMITS_XOFF_S: Final = 0
    PAUSE_LIMITS_XON_M: Final = 0xFFFF0000
    PAUSE_LIMITS_XON_S: Final = 16
    WINDOW_LIMITS: Final = 0x2C
    WINDOW_LIMITS_WINDOWS_M: Final = 0xFFFF
    WINDOW_LIMITS_WINDOWS_S: Final = 0
    WINDOW_LIMITS_WINDOWS_VALUE: Final = 256
    FRAMES: Final = 0x40
    FRAMES_COUNT_M: Final = 0xFFFFFFFF
    FRAMES_COUNT_S: Final = 0
    FAILED_CHAINS: Final = 0x44
    FAILED_CHAINS_COUNT_M: Final = 0xFFFFFFFF
    FAILED_CHAINS_COUNT_S: Final = 0
    AUTH_CHECKS: Final = 0x48
    AUTH_CHECKS_COUNT_M: Final = 0xFFFFFFFF
    AUTH_CHECKS_COUNT_S: Final = 0
    AUTH_DENIED: Final = 0x4C
    AUTH_DENIED_COUNT_M: Final = 0xFFFFFFFF
    AUTH_DENIED_COUNT_S: Final = 0
    READ_ERRORS: Final = 0x50
    READ_ERRORS_COUNT_M: Final = 0xFFFFFFFF
    READ_ERRORS_COUNT_S: Final = 0
    READ_TIMEOUTS: Final = 0x54
    READ_TIMEOUTS_COUNT_M: Final = 0xFFFFFFFF
    READ_TIMEOUTS_COUNT_S: Final = 0
    UNEXPECTED_CPL: Final = 0x58
    UNEXPECTED_CPL_COUNT_M: Final = 0xFFFFFFFF
    UNEXPECTED_CPL_COUNT_S: Final = 0
    MMIO_DROPPED: Final = 0x5C
    MMIO_DROPPED_COUNT_M: Final = 0xFFFFFFFF
    MMIO_DROPPED_COUNT_S: Final = 0
    RX_FRAMES: Final = 0x60
    RX_FRAMES_COUNT_M: Final = 0xFFFFFFFF
    RX_FRAMES_COUNT_S: Final = 0
    RX_BAD_FCS: Final = 0x64
    RX_BAD_FCS_COUNT_M: Final = 0xFFFFFFFF
    RX_BAD_FCS_COUNT_S: Final = 0
    RX_RUNT: Final = 0x68
    RX_RUNT_COUNT_M: Final = 0xFFFFFFFF
    RX_RUNT_COUNT_S: Final = 0
    RX_OVERSIZE: Final = 0x6C
    RX_OVERSIZE_COUNT_M: Final = 0xFFFFFFFF
    RX_OVERSIZE_COUNT_S: Final = 0
    RX_BAD_FRAMING: Final = 0x70
    RX_BAD_FRAMING_COUNT_M: Final = 0xFFFFFFFF
    RX_BAD_FRAMING_COUNT_S: Final = 0
    RX_PAUSE: Final = 0x74
    RX_PAUSE_COUNT_M: Final = 0xFFFFFFFF
    RX_PAUSE_COUNT_S: Final = 0
    RX_OVERFLOW: Final = 0x78
    RX_OVERFLOW_COUNT_M: Final = 0xFFFFFFFF
    RX_OVERFLOW_COUNT_S: Final = 0
    RX_FILTERED_UNICAST: Final = 0x7C
    RX_FILTERED_UNICAST_COUNT_M: Final = 0xFFFFFFFF
    RX_FILTERED_UNICAST_COUNT_S: Final = 0
    RX_FILTERED_MULTICAST: Final = 0x80
    RX_FILTERED_MULTICAST_COUNT_M: Final = 0xFFFFFFFF
    RX_FILTERED_MULTICAST_COUNT_S: Final = 0
    TX_PAUSE: Final = 0x84
    TX_PAUSE_COUNT_M: Final = 0xFFFFFFFF
    TX_PAUSE_COUNT_S: Final = 0
    LOCAL_FRAMES: Final = 0x88
    LOCAL_FRAMES_COUNT_M: Final = 0xFFFFFFFF
    LOCAL_FRAMES_COUNT_S: Final = 0
    SPOOFED_FRAMES: Final = 0x8C
    SPOOFED_FRAMES_COUNT_M: Final = 0xFFFFFFFF
    SPOOFED_FRAMES_COUNT_S: Final = 0
    RX_NO_BUFFER: Final = 0x90
    RX_NO_BUFFER_COUNT_M: Final = 0xFFFFFFFF
    RX_NO_BUFFER_COUNT_S: Final = 0
    INTERRUPTS: Final = 0x94
    INTERRUPTS_COUNT_M: Final = 0xFFFFFFFF
    INTERRUPTS_COUNT_S: Final = 0
    RX_LAST_DROP: Final = 0x98
    RX_LAST_DROP_REASON_M: Final = 0xFF
    RX_LAST_DROP_REASON_S: Final = 0
    RX_LAST_DROP_ENDPOINT_M: Final = 0xFF00
    RX_LAST_DROP_ENDPOINT_S: Final = 8
    REFUSAL: Final = 0xA0
    REFUSAL_VALID_M: Final = 0x1
    REFUSAL_VALID_S: Final = 0
    REFUSAL_OVERFLOW_M: Final = 0x2
    REFUSAL_OVERFLOW_S: Final = 1
    REFUSAL_WRITE_M: Final = 0x4
    REFUSAL_WRITE_S: Final = 2
    REFUSAL_REASON_M: Final = 0xFF00
    REFUSAL_REASON_S: Final = 8
    REFUSAL_ENDPOINT_M: Final = 0x3F0000
    REFUSAL_ENDPOINT_S: Final = 16
    REFUSAL_ADDRESS_LO: Final = 0xA4
    REFUSAL_ADDRESS_LO_ADDRESS_M: Final = 0xFFFFFFFF
    REFUSAL_ADDRESS_LO_ADDRESS_S: Final = 0
    REFUSAL_ADDRESS_HI: Final = 0xA8
    REFUSAL_ADDRESS_HI_ADDRESS_M: Final = 0xFFFFFFFF
    REFUSAL_ADDRESS_HI_ADDRESS_S: Final = 0
    FENCE: Final = 0xAC
    FENCE_START_M: Final = 0x1
    FENCE_START_S: Final = 0
    FENCE_BUSY_M: Final = 0x2
    FENCE_BUSY_S: Final = 1
    FENCE_ENDED_M: Final = 0xFFFF0000
    FENCE_ENDED_S: Final = 16
    ENDPOINT_CTRL: Final = 0x4000
    ENDPOINT_CTRL_ENABLE_M: Final = 0x1
    ENDPOINT_CTRL_ENABLE_S: Final = 0
    ENDPOINT_CTRL_FORM_M: Final = 0x2
    ENDPOINT_CTRL_FORM_S: Final = 1
    ENDPOINT_CTRL_MODE_M: Final = 0x70
    ENDPOINT_CTRL_MODE_S: Final = 4
    ENDPOINT_CTRL_SEND_LOG2_M: Final = 0xF00
    ENDPOINT_CTRL_SEND_LOG2_S: Final = 8
    ENDPOINT_CTRL_CQ_LOG2_M: Final = 0xF000
    ENDPOINT_CTRL_CQ_LOG2_S: Final = 12
    ENDPOINT_STATUS: Final = 0x4004
    ENDPOINT_STATUS_ENABLED_M: Final = 0x1
    ENDPOINT_STATUS_ENABLED_S: Final = 0
    ENDPOINT_STATUS_HALTED_M: Final = 0x2
    ENDPOINT_STATUS_HALTED_S: Final = 1
    ENDPOINT_STATUS_BUSY_M: Final = 0x4
    ENDPOINT_STATUS_BUSY_S: Final = 2
    ENDPOINT_STATUS_ERROR_M: Final = 0xFF00
    ENDPOINT_STATUS_ERROR_S: Final = 8
    ENDPOINT_SEND_BASE_LO: Final = 0x4008
    ENDPOINT_SEND_BASE_LO_LO_M: Final = 0xFFFFFFFF
    ENDPOINT_SEND_BASE_LO_LO_S: Final = 0
    ENDPOINT_SEND_BASE_HI: Final = 0x400C
    ENDPOINT_SEND_BASE_HI_HI_M: Final = 0xFFFFFFFF
    ENDPOINT_SEND_BASE_HI_HI_S: Final = 0
    ENDPOINT_CQ_BASE_LO: Final = 0x4010
    ENDPOINT_CQ_BASE_LO_LO_M: Final = 0xFFFFFFFF
    ENDPOINT_CQ_BASE_LO_LO_S: Final = 0
    ENDPOINT_CQ_BASE_HI: Final = 0x4014
    ENDPOINT_CQ_BASE_HI_HI_M: Final = 0xFFFFFFFF
    ENDPOINT_CQ_BASE_HI_HI_S: Final = 0
    ENDPOINT_INDEX: Final = 0x4018
    ENDPOINT_INDEX_PRODUCER_M: Final = 0xFFFF
    ENDPOINT_INDEX_PRODUCER_S: Final = 0
    ENDPOINT_INDEX_CONSUMER_M: Final = 0xFFFF0000
    ENDPOINT_INDEX_CONSUMER_S: Final = 16
    ENDPOINT_CQ_INDEX: Final = 0x401C
    ENDPOINT_CQ_INDEX_CQ_INDEX_M: Final = 0xFFFF
    ENDPOINT_CQ_INDEX_CQ_INDEX_S: Final = 0
    ENDPOINT_RX_CTRL: Final = 0x4020
    ENDPOINT_RX_CTRL_ENABLE_M: Final = 0x1
    ENDPOINT_RX_CTRL_ENABLE_S: Final = 0
    ENDPOINT_RX_CTRL_FORM_M: Final = 0x2
    ENDPOINT_RX_CTRL_FORM_S: Final = 1
    ENDPOINT_RX_CTRL_RSS_M: Final = 0x4
    ENDPOINT_RX_CTRL_RSS_S: Final = 2
    ENDPOINT_RX_CTRL_QUEUES_M: Final = 0x30
    ENDPOINT_RX_CTRL_QUEUES_S: Final = 4
    ENDPOINT_RX_CTRL_SMALL_LOG2_M: Final = 0xF00
    ENDPOINT_RX_CTRL_SMALL_LOG2_S: Final = 8
    ENDPOINT_RX_CTRL_BIG_LOG2_M: Final = 0xF000
    ENDPOINT_RX_CTRL_BIG_LOG2_S: Final = 12
    ENDPOINT_RX_CTRL_BUFFER_LOG2_M: Final = 0xF0000
    ENDPOINT_RX_CTRL_BUFFER_LOG2_S: Final = 16
    ENDPOINT_RX_CTRL_RQ_LOG2_M: Final = 0xF00000
    ENDPOINT_RX_CTRL_RQ_LOG2_S: Final = 20
    ENDPOINT_RX_SIZES: Final = 0x4024
    ENDPOINT_RX_SIZES_SMALL_M: Final = 0x3FFF
    ENDPOINT_RX_SIZES_SMALL_S: Final = 0
    ENDPOINT_RX_SIZES_MAX_FRAME_M: Final = 0x3FFF0000
    ENDPOINT_RX_SIZES_MAX_FRAME_S: Final = 16
    ENDPOINT_RX_SMALL_BASE_LO: Final = 0x4028
    ENDPOINT_RX_SMALL_BASE_LO_LO_M: Final = 0xFFFFFFFF
    ENDPOINT_RX_SMALL_BASE_LO_LO_S: Final = 0
    ENDPOINT_RX_SMALL_BASE_HI: Final = 0x402C
    ENDPOINT_RX_SMALL_BASE_HI_HI_M: Final = 0xFFFFFFFF
    ENDPOINT_RX_SMALL_BASE_HI_HI_S: Final = 0
    ENDPOINT_RX_BIG_BASE_LO: Final = 0x4030
    ENDPOINT_RX_BIG_BASE_LO_LO_M: Final = 0xFFFFFFFF
    ENDPOINT_RX_BIG_BASE_LO_LO_S: Final = 0
    ENDPOINT_RX_BIG_BASE_HI: Final = 0x4034
    ENDPOINT_RX_BIG_BASE_HI_HI_M: Final = 0xFFFFFFFF
    ENDPOINT_RX_BIG_BASE_HI_HI_S: Final = 0
    ENDPOINT_RX_INDEX: Final = 0x4038
    ENDPOINT_RX_INDEX_SMALL_M: Final = 0xFFFF
    ENDPOINT_RX_INDEX_SMALL_S: Final = 0
    ENDPOINT_RX_INDEX_BIG_M: Final = 0xFFFF0000
    ENDPOINT_RX_INDEX_BIG_S: Final = 16
    ENDPOINT_RQ0_BASE_LO: Final = 0x4040
    ENDPOINT_RQ0_BASE_LO_LO_M: Final = 0xFFFFFFFF
    ENDPOINT_RQ0_BASE_LO_LO_S: Final = 0
    ENDPOINT_RQ0_BASE_HI: Final = 0x4044
    ENDPOINT_RQ0_BASE_HI_HI_M: Final = 0xFFFFFFFF
    ENDPOINT_RQ0_BASE_HI_HI_S: Final = 0
    ENDPOINT_RQ1_BASE_LO: Final = 0x4048
    ENDPOINT_RQ1_BASE_LO_LO_M: Final = 0xFFFFFFFF
    ENDPOINT_RQ1_BASE_LO_LO_S: Final = 0
    ENDPOINT_RQ1_BASE_HI: Final = 0x404C
    ENDPOINT_RQ1_BASE_HI_HI_M: Final = 0xFFFFFFFF
    ENDPOINT_RQ1_BASE_HI_HI_S: Final = 0
    ENDPOINT_RQ2_BASE_LO: Final = 0x4050
    ENDPOINT_RQ2_BASE_LO_LO_M: Final = 0xFFFFFFFF
    ENDPOINT_RQ2_BASE_LO_LO_S: Final = 0
    ENDPOINT_RQ2_BASE_HI: Final = 0x4054
    ENDPOINT_RQ2_BASE_HI_HI_M: Final = 0xFFFFFFFF
    ENDPOINT_RQ2_BASE_HI_HI_S: Final = 0
    ENDPOINT_RQ3_BASE_LO: Final = 0x4058
    ENDPOINT_RQ3_BASE_LO_LO_M: Final = 0xFFFFFFFF
    ENDPOINT_RQ3_BASE_LO_LO_S: Final = 0
    ENDPOINT_RQ3_BASE_HI: Final = 0x405C
    ENDPOINT_RQ3_BASE_HI_HI_M: Final = 0xFFFFFFFF
    ENDPOINT_RQ3_BASE_HI_HI_S: Final = 0
    PORT_MAC_HI: Final = 0x6000
    PORT_MAC_HI_ADDRESS_M: Final = 0xFFFFFFFF
    PORT_MAC_HI_ADDRESS_S: Final = 0
    PORT_MAC_LO: Final = 0x6004
    PORT_MAC_LO_ADDRESS_M: Final = 0xFFFF
    PORT_MAC_LO_ADDRESS_S: Final = 0
    PORT_POLICY: Final = 0x6008
    PORT_POLICY_VLAN_M: Final = 0xFFF
    PORT_POLICY_VLAN_S: Final = 0
    PORT_POLICY_ENABLE_M: Final = 0x10000
    PORT_POLICY_ENABLE_S: Final = 16
    PORT_POLICY_CHECK_MAC_M: Final = 0x20000
    PORT_POLICY_CHECK_MAC_S: Final = 17
    PORT_POLICY_CHECK_VLAN_M: Final = 0x40000
    PORT_POLICY_CHECK_VLAN_S: Final = 18
    PORT_POLICY_PROMISCUOUS_M: Final = 0x80000
    PORT_POLICY_PROMISCUOUS_S: Final = 19
    PORT_POLICY_ALL_MULTICAST_M: Final = 0x100000
    PORT_POLICY_ALL_MULTICAST_S: Final = 20
    PORT_POLICY_BROADCAST_M: Final = 0x200000
    PORT_POLICY_BROADCAST_S: Final = 21
    PORT_SPOOFED: Final = 0x600C
    PORT_SPOOFED_COUNT_M: Final = 0xFFFFFFFF
    PORT_SPOOFED_COUNT_S: Final = 0
    GROUP_MAC_HI: Final = 0x6800
    GROUP_MAC_HI_ADDRESS_M: Final = 0xFFFFFFFF
    GROUP_MAC_HI_ADDRESS_S: Final = 0
    GROUP_MAC_LO: Final = 0x6804
    GROUP_MAC_LO_ADDRESS_M: Final = 0xFFFF
    GROUP_MAC_LO_ADDRESS_S: Final = 0
    GROUP_MAC_LO_VALID_M: Final = 0x80000000
    GROUP_MAC_LO_VALID_S: Final = 31
    GROUP_MEMBERS_LO: Final = 0x6808
    GROUP_MEMBERS_LO_MEMBERS_M: Final = 0xFFFFFFFF
    GROUP_MEMBERS_LO_MEMBERS_S: Final = 0
    GROUP_MEMBERS_HI: Final = 0x680C
    GROUP_MEMBERS_HI_MEMBERS_M: Final = 0xFFFFFFFF
    GROUP_MEMBERS_HI_MEMBERS_S: Final = 0
    IRQ_MODERATION: Final = 0x6C00
    IRQ_MODERATION_CYCLES_M: Final = 0xFFFFF
    IRQ_MODERATION_CYCLES_S: Final = 0
    IRQ_MODERATION_COUNT_M: Final = 0xFF000000
    IRQ_MODERATION_COUNT_S: Final = 24
    MSIX_ADDRESS_LO: Final = 0x7000
    MSIX_ADDRESS_LO_ADDRESS_M: Final = 0xFFFFFFFC
    MSIX_ADDRESS_LO_ADDRESS_S: Final = 2
    MSIX_ADDRESS_HI: Final = 0x7004
    MSIX_ADDRESS_HI_ADDRESS_M: Final = 0xFFFFFFFF
    MSIX_ADDRESS_HI_ADDRESS_S: Final = 0
    MSIX_DATA: Final = 0x7008
    MSIX_DATA_DATA_M: Final = 0xFFFFFFFF
    MSIX_DATA_DATA_S: Final = 0
    MSIX_CONTROL: Final = 0x700C
    MSIX_CONTROL_MASK_M: Final = 0x1
    MSIX_CONTROL_MASK_S: Final = 0
    PBA_LO: Final = 0x7400
    PBA_LO_PENDING_M: Final = 0xFFFFFFFF
    PBA_LO_PENDING_S: Final = 0
    PBA_HI: Final = 0x7404
    PBA_HI_PENDING_M: Final = 0xFFFFFFFF
    PBA_HI_PENDING_S: Final = 0
    RSS_KEY: Final = 0x8000
    RSS_KEY_KEY_M: Final = 0xFFFFFFFF
    RSS_KEY_KEY_S: Final = 0
    RSS_TABLE: Final = 0x8040
    RSS_TABLE_QUEUES_M: Final = 0xFFFFFFFF
    RSS_TABLE_QUEUES_S: Final = 0
    STATISTICS_FRAMES: Final = 0xA000
    STATISTICS_FRAMES_COUNT_M: Final = 0xFFFFFFFF
    STATISTICS_FRAMES_COUNT_S: Final = 0
    STATISTICS_BYTES: Final = 0xA004
    STATISTICS_BYTES_COUNT_M: Final = 0xFFFFFFFF
    STATISTICS_BYTES_COUNT_S: Final = 0
    STATISTICS_NO_SMALL: Final = 0xA008
    STATISTICS_NO_SMALL_COUNT_M: Final = 0xFFFFFFFF
    STATISTICS_NO_SMALL_COUNT_S: Final = 0
    STATISTICS_NO_BIG: Final = 0xA00C
    STATISTICS_NO_BIG_COUNT_M: Final = 0xFFFFFFFF
    STATISTICS_NO_BIG_COUNT_S: Final = 0
    STATISTICS_TOO_LONG: Final = 0xA010
    STATISTICS_TOO_LONG_COUNT_M: Final = 0xFFFFFFFF
    STATISTICS_TOO_LONG_COUNT_S: Final = 0
    STATISTICS_REFUSED: Final = 0xA014
    STATISTICS_REFUSED_COUNT_M: Final = 0xFFFFFFFF
    STATISTICS_REFUSED_COUNT_S: Final = 0
    WINDOW_ADDRESS_LO: Final = 0x40000
    WINDOW_ADDRESS_LO_ADDRESS_M: Final = 0xFFFFF000
    WINDOW_ADDRESS_LO_ADDRESS_S: Final = 12
    WINDOW_ADDRESS_HI: Final = 0x40004
    WINDOW_ADDRESS_HI_ADDRESS_M: Final = 0xFFFF
    WINDOW_ADDRESS_HI_ADDRESS_S: Final = 0
    WINDOW_CONTROL: Final = 0x40008
    WINDOW_CONTROL_VALID_M: Final = 0x1
    WINDOW_CONTROL_VALID_S: Final = 0
    WINDOW_CONTROL_WRITABLE_M: Final = 0x2
    WINDOW_CONTROL_WRITABLE_S: Final = 1
    WINDOW_CONTROL_LARGE_M: Final = 0x4
    WINDOW_CONTROL_LARGE_S: Final = 2
    WINDOW_CONTROL_SEQUENCE_M: Final = 0xFFFF0000
    WINDOW_CONTROL_SEQUENCE_S: Final = 16
    WINDOW_RESERVED: Final = 0x4000C
    WINDOW_RESERVED_ZERO_M: Final = 0xFFFFFFFF
    WINDOW_RESERVED_ZERO_S: Final = 0


class Iommu:
    """IOMMU registers: byte offsets; of each field, its mask (`_M`) and shift (`_S`)."""

    BYTES: Final = 0x40C
    FRCD_BASE: Final = 0x200
    FRCD_STRIDE: Final = 0x10
    FRCD_COUNT: Final = 8
    VER: Final = 0x0
    VER_MINOR_M: Final = 0xF
    VER_MINOR_S: Final = 0
    VER_MAJOR_M: Final = 0xF0
    VER_MAJOR_S: Final = 4
    VER_MAJOR_VALUE: Final = 1
    CAP_LO: Final = 0x8
    CAP_LO_ND_M: Final = 0x7
    CAP_LO_ND_S: Final = 0
    CAP_LO_ND_VALUE: Final = 6
    CAP_LO_CM_M: Final = 0x80
    CAP_LO_CM_S: Final = 7
    CAP_LO_SAGAW_M: Final = 0x1F00
    CAP_LO_SAGAW_S: Final = 8
    CAP_LO_SAGAW_VALUE: Final = 4
    CAP_LO_MGAW_M: Final = 0x3F0000
    CAP_LO_MGAW_S: Final = 16
    CAP_LO_MGAW_VALUE: Final = 47
    CAP_LO_FRO_LO_M: Final = 0xFF000000
    CAP_LO_FRO_LO_S: Final = 24
    CAP_LO_FRO_LO_VALUE: Final = 32
    CAP_HI: Final = 0xC
    CAP_HI_FRO_HI_M: Final = 0x3
    CAP_HI_FRO_HI_S: Final = 0
    CAP_HI_SLLPS_M: Final = 0x3C
    CAP_HI_SLLPS_S: Final = 2
    CAP_HI_SLLPS_VALUE: Final = 3
    CAP_HI_PSI_M: Final = 0x80
    CAP_HI_PSI_S: Final = 7
    CAP_HI_PSI_VALUE: Final = 1
    CAP_HI_NFR_M: Final = 0xFF00
    CAP_HI_NFR_S: Final = 8
    CAP_HI_NFR_VALUE: Final = 7
    CAP_HI_MAMV_M: Final = 0x3F0000
    CAP_HI_MAMV_S: Final = 16
    CAP_HI_MAMV_VALUE: Final = 18
    CAP_HI_DWD_M: Final = 0x400000
    CAP_HI_DWD_S: Final = 22
    CAP_HI_DWD_VALUE: Final = 1
    CAP_HI_DRD_M: Final = 0x800000
    CAP_HI_DRD_S: Final = 23
    CAP_HI_DRD_VALUE: Final = 1
    ECAP_LO: Final = 0x10
    ECAP_LO_COHERENT_M: Final = 0x1
    ECAP_LO_COHERENT_S: Final = 0
    ECAP_LO_COHERENT_VALUE: Final = 1
    ECAP_LO_QI_M: Final = 0x2
    ECAP_LO_QI_S: Final = 1
    ECAP_LO_QI_VALUE: Final = 1
    ECAP_LO_PT_M: Final = 0x40
    ECAP_LO_PT_S: Final = 6
    ECAP_LO_PT_VALUE: Final = 1
    ECAP_LO_IRO_M: Final = 0x3FF00
    ECAP_LO_IRO_S: Final = 8
    ECAP_HI: Final = 0x14
    ECAP_HI_ZERO_M: Final = 0xFFFFFFFF
    ECAP_HI_ZERO_S: Final = 0
    GCMD: Final = 0x18
    GCMD_QIE_M: Final = 0x4000000
    GCMD_QIE_S: Final = 26
    GCMD_SRTP_M: Final = 0x40000000
    GCMD_SRTP_S: Final = 30
    GCMD_TE_M: Final = 0x80000000
    GCMD_TE_S: Final = 31
    GSTS: Final = 0x1C
    GSTS_QIES_M: Final = 0x4000000
    GSTS_QIES_S: Final = 26
    GSTS_RTPS_M: Final = 0x40000000
    GSTS_RTPS_S: Final = 30
    GSTS_TES_M: Final = 0x80000000
    GSTS_TES_S: Final = 31
    RTADDR_LO: Final = 0x20
    RTADDR_LO_RTA_M: Final = 0xFFFFF000
    RTADDR_LO_RTA_S: Final = 12
    RTADDR_HI: Final = 0x24
    RTADDR_HI_RTA_M: Final = 0xFFFFFFFF
    RTADDR_HI_RTA_S: Final = 0
    FSTS: Final = 0x34
    FSTS_PFO_M: Final = 0x1
    FSTS_PFO_S: Final = 0
    FSTS_PPF_M: Final = 0x2
    FSTS_PPF_S: Final = 1
    FSTS_IQE_M: Final = 0x10
    FSTS_IQE_S: Final = 4
    FSTS_FRI_M: Final = 0xFF00
    FSTS_FRI_S: Final = 8
    FECTL: Final = 0x38
    FECTL_IM_M: Final = 0x80000000
    FECTL_IM_S: Final = 31
    IQH_LO: Final = 0x80
    IQH_LO_QH_M: Final = 0x7FFF0
    IQH_LO_QH_S: Final = 4
    IQH_HI: Final = 0x84
    IQH_HI_ZERO_M: Final = 0xFFFFFFFF
    IQH_HI_ZERO_S: Final = 0
    IQT_LO: Final = 0x88
    IQT_LO_QT_M: Final = 0x7FFF0
    IQT_LO_QT_S: Final = 4
    IQT_HI: Final = 0x8C
    IQT_HI_ZERO_M: Final = 0xFFFFFFFF
    IQT_HI_ZERO_S: Final = 0
    IQA_LO: Final = 0x90
    IQA_LO_QS_M: Final = 0x7
    IQA_LO_QS_S: Final = 0
    IQA_LO_IQA_M: Final = 0xFFFFF000
    IQA_LO_IQA_S: Final = 12
    IQA_HI: Final = 0x94
    IQA_HI_IQA_M: Final = 0xFFFFFFFF
    IQA_HI_IQA_S: Final = 0
    ICS: Final = 0x9C
    ICS_IWC_M: Final = 0x1
    ICS_IWC_S: Final = 0
    FRCD_W0: Final = 0x200
    FRCD_W0_FI_M: Final = 0xFFFFF000
    FRCD_W0_FI_S: Final = 12
    FRCD_W1: Final = 0x204
    FRCD_W1_FI_M: Final = 0xFFFFFFFF
    FRCD_W1_FI_S: Final = 0
    FRCD_W2: Final = 0x208
    FRCD_W2_SID_M: Final = 0xFFFF
    FRCD_W2_SID_S: Final = 0
    FRCD_W3: Final = 0x20C
    FRCD_W3_FR_M: Final = 0xFF
    FRCD_W3_FR_S: Final = 0
    FRCD_W3_T_M: Final = 0x40000000
    FRCD_W3_T_S: Final = 30
    FRCD_W3_F_M: Final = 0x80000000
    FRCD_W3_F_S: Final = 31
    TRANSLATIONS: Final = 0x400
    TRANSLATIONS_COUNT_M: Final = 0xFFFFFFFF
    TRANSLATIONS_COUNT_S: Final = 0
    IOTLB_MISSES: Final = 0x404
    IOTLB_MISSES_COUNT_M: Final = 0xFFFFFFFF
    IOTLB_MISSES_COUNT_S: Final = 0
    FAULTS: Final = 0x408
    FAULTS_COUNT_M: Final = 0xFFFFFFFF
    FAULTS_COUNT_S: Final = 0
