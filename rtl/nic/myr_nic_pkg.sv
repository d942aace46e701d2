`default_nettype none
/// Sizes and records that only the NIC's blocks share.
package myr_nic_pkg;
  import myr_abi_pkg::*;

  /// Endpoints, as on the card.
  localparam int unsigned Endpoints = NicControlEndpointCount;
  localparam int unsigned EpW = $clog2(Endpoints);
  /// Send-ring slots of an endpoint at most.
  localparam int unsigned RingSlots = 1024;
  localparam int unsigned SlotIdxW = $clog2(RingSlots);
  /// Byte address in the ring SRAM: endpoint, slot, byte of the descriptor.
  localparam int unsigned RingAddrW = EpW + SlotIdxW + 4;
  /// Frames in the frame buffer.
  localparam int unsigned FrameSlots = NicControlCapsFrameSlotsValue;
  localparam int unsigned FrameW = $clog2(FrameSlots);
  /// 64-bit words of a frame slot; a power of two, so that a slot is an address field.
  localparam int unsigned FrameWords = 2048;
  localparam int unsigned FrameWordW = $clog2(FrameWords);
  /// Byte address in the frame buffer.
  localparam int unsigned FrameAddrW = FrameW + FrameWordW + 3;
  /// Longest frame without FCS.
  localparam int unsigned MaxFrame = NicControlLimitsMaxFrameValue;
  /// Shortest frame without FCS.
  localparam int unsigned MinFrame = 60;
  /// Descriptors of a chain at most.
  localparam int unsigned MaxPieces = 12;
  /// Bytes of an inline frame at most.
  localparam int unsigned InlineMax = NicControlLimitsInlineMaxValue;
  /// Descriptors of a TSO chain at most.
  localparam int unsigned MaxTso = 96;
  /// Bytes of a TSO chain's header at most.
  localparam int unsigned MaxHeader = 1024;
  /// Descriptors of one fetch at most.
  localparam int unsigned FetchBatch = NicControlCapsFetchBatchValue;
  /// Fetched descriptors waiting for execution from which on an endpoint's next fetch waits, too.
  localparam int unsigned FetchAhead = 2 * FetchBatch;
  /// Completion entries that can wait for each endpoint.
  localparam int unsigned CplDepth = 8;
  localparam int unsigned LenW = 14;
  /// Windows of an endpoint.
  localparam int unsigned Windows = NicControlWindowLimitsWindowsValue;
  localparam int unsigned WindowW = $clog2(Windows);
  /// Byte address in the privileged BAR (1 MiB).
  localparam int unsigned ControlW = 20;
  /// Receive queues of an endpoint at most.
  localparam int unsigned RxQueues = 4;
  /// Completion rings of an endpoint: 0 is the send side's, 1 to RxQueues the receive queues'.
  localparam int unsigned QueueW = 3;
  /// Entries of a receive ring at most; each endpoint has a small and a big one.
  localparam int unsigned RxSlots = 512;
  localparam int unsigned RxSlotIdxW = $clog2(RxSlots);
  /// Byte address in the receive-ring SRAM: endpoint, big, slot, byte of the entry.
  localparam int unsigned RxRingAddrW = EpW + 1 + RxSlotIdxW + 3;
  /// 64-bit words of the receive buffer, where frames from the wire wait.
  localparam int unsigned RxBufferWords = 8192;
  localparam int unsigned RxBufferW = $clog2(RxBufferWords);

  /// What the hypervisor has set up for an endpoint.
  typedef struct packed {
    logic        enable;
    form_e       form;
    mode_e       mode;
    logic [3:0]  send_log2;
    logic [3:0]  cq_log2;
  } ep_ctrl_t;

  /// What the hypervisor has set up for an endpoint's receive side.
  typedef struct packed {
    logic            enable;       ///< of the endpoint and of its receive side
    form_e           form;
    mode_e           mode;
    logic            rss;
    logic [1:0]      queues;       ///< receive queues - 1
    logic [3:0]      small_log2;
    logic [3:0]      big_log2;
    logic [3:0]      buffer_log2;
    logic [3:0]      rq_log2;
    logic [LenW-1:0] small_max;    ///< longest frame for a small buffer
    logic [LenW-1:0] max_frame;
  } rx_ctrl_t;

  /// A window, as the hypervisor has registered it.
  typedef struct packed {
    logic         valid;
    logic         writable;
    logic         is_large;  ///< 2 MiB, otherwise 4 KiB
    logic [15:0]  number;    ///< its sequence
    logic [47:12] address;   ///< machine address; of a large one 47:21 count
  } window_t;

  /// The window that an address names.
  function automatic logic [WindowW-1:0] window_index(input logic [63:0] addr);
    return addr[DmaAddressWindowLargeLsb] ? addr[DmaAddressLargeIndexLsb +: WindowW]
                                          : addr[DmaAddressWindowIndexLsb +: WindowW];
  endfunction

  /// Mode VALIDATED: an address whose sequence number is not that of its index in the ring.
  function automatic logic is_stale(input mode_e mode, input logic [63:0] addr, input logic [15:0] index);
    return mode == ModeValidated && addr[DmaAddressValidatedSequenceLsb +: 16] != index + 16'd1;
  endfunction

  /// An address without its sequence number, in mode VALIDATED.
  function automatic logic [63:0] plain_address(input mode_e mode, input logic [63:0] addr);
    return (mode == ModeValidated) ? 64'(addr[DmaAddressValidatedSequenceLsb-1:0]) : addr;
  endfunction

  /// A DMA that was refused before a TLP was built.
  typedef struct packed {
    logic           valid;
    logic [EpW-1:0] ep;
    logic           write;
    refusal_e       reason;
    logic [63:0]    addr;    ///< first byte, as the endpoint has named it
  } refusal_t;

  /// What the switch looks at.
  typedef struct packed {
    logic [47:0] dst;
    logic [47:0] src;
    logic        has_tag;
    logic [11:0] vid;
    logic [15:0] ethertype;  ///< behind the tag, if there is one
  } frame_header_t;

  /// The first 18 bytes of a frame, lowest address in bits 7:0.
  function automatic frame_header_t parse_header(input logic [143:0] bytes);
    for (int unsigned i = 0; i < 6; i++) begin
      parse_header.dst[8*(5-i) +: 8] = bytes[8*i +: 8];
      parse_header.src[8*(5-i) +: 8] = bytes[8*(6+i) +: 8];
    end
    parse_header.has_tag    = {bytes[103:96], bytes[111:104]} == 16'h8100;
    parse_header.vid       = parse_header.has_tag ? {bytes[115:112], bytes[127:120]} : 12'd0;
    parse_header.ethertype = parse_header.has_tag ? {bytes[135:128], bytes[143:136]} : {bytes[103:96], bytes[111:104]};
  endfunction

  /// A whole frame in the receive buffer.
  typedef struct packed {
    logic [RxBufferW-1:0] base;    ///< first word, in a circular store
    logic [LenW-1:0]      len;     ///< bytes without FCS
    logic [15:0]          number;  ///< frame number of the trace
    frame_header_t        header;
  } rx_frame_t;

  /// A send descriptor.
  typedef struct packed {
    logic [63:0] addr;
    logic [15:0] field;  ///< pseudo_hdr_offset
    logic [15:0] len;
    logic [7:0]  count;
    logic [7:0]  start;  ///< cksum_offset
    logic [7:0]  flags;
  } send_desc_t;

  /// Its 16 bytes, big-endian words, lowest address in bits 7:0.
  function automatic send_desc_t parse_descriptor(input logic [127:0] bytes);
    parse_descriptor.addr  = {bytes[7:0], bytes[15:8], bytes[23:16], bytes[31:24],
                              bytes[39:32], bytes[47:40], bytes[55:48], bytes[63:56]};
    parse_descriptor.field = {bytes[71:64], bytes[79:72]};
    parse_descriptor.len   = {bytes[87:80], bytes[95:88]};
    parse_descriptor.count = bytes[111:104];
    parse_descriptor.start = bytes[119:112];
    parse_descriptor.flags = bytes[127:120];
  endfunction

  /// What a TSO segment is within its chain.
  typedef struct packed {
    logic [LenW-1:0] header;  ///< bytes of the header
    logic [7:0]      start;   ///< cksum_offset of the chain
    logic [15:0]     number;  ///< segments before it
    logic [31:0]     bytes;   ///< payload before it
    logic            first;
    logic            last;
  } segment_t;

  /// Ones' complement addition.
  function automatic logic [15:0] add16(input logic [15:0] a, input logic [15:0] b);
    logic [16:0] total;
    total = {1'b0, a} + {1'b0, b};
    return total[15:0] + 16'(total[16]);
  endfunction

  /// A frame for the receive side: where its bytes are, and who gets it.
  typedef struct packed {
    logic                  sibling; ///< the bytes are in slot `slot` of the frame buffer, else in the receive buffer
    logic [FrameW-1:0]     slot;   ///< sibling
    logic [RxBufferW-1:0]  base;   ///< otherwise: first word in the receive buffer, which is circular
    logic [LenW-1:0]       len;    ///< bytes without FCS
    logic [15:0]           number; ///< frame number of the trace
    logic [Endpoints-1:0]  dest;   ///< endpoints that get it, at least one
  } rx_job_t;

  /// New completion entries of a ring are visible to software (their MWr's last beat has left).
  typedef struct packed {
    logic              valid;
    logic [EpW-1:0]    ep;
    logic [QueueW-1:0] cq;   
    logic [15:0]       index;  ///< after them
    logic [3:0]        count;
  } posted_t;

  /// A guest asks for one interrupt when a ring has entries from `index` on (ARM doorbell).
  typedef struct packed {
    logic              valid;
    logic [EpW-1:0]    ep;
    logic [QueueW-1:0] cq;
    logic [15:0]       index;
  } arm_t;

  /// One endpoint's copy of a frame.
  typedef struct packed {
    logic [EpW-1:0]  ep;
    logic [15:0]     number;
    logic [LenW-1:0] len;
    logic            big;
    logic            sibling;
    logic [15:0]     buffer;   ///< index of its first buffer
    logic            rss;
    logic [1:0]      queues;   ///< receive queues - 1
    logic            epoch;    ///< of its authorisation (myr_fence)
  } rx_copy_t;

  /// What is to be written into one receive buffer, or the end of a job.
  typedef struct packed {
    logic                 end_job;  ///< nothing to write: all copies of the job are before this
    logic [FrameW-1:0]    slot;     ///< where the bytes are, as in rx_job_t
    logic [RxBufferW-1:0] base;
    logic [LenW-1:0]      src;      ///< first byte of the frame
    logic [LenW-1:0]      bytes;
    logic [63:0]          addr;     ///< of that byte in memory
    logic [15:0]          rid;
    logic                 first;    ///< first of the copy
    logic                 last;     ///< last of the copy
    rx_copy_t             copy;
  } rx_segment_t;

  /// A receive completion to be written.
  typedef struct packed {
    logic [EpW-1:0]  ep;
    logic [1:0]      rq;
    logic [31:0]     hash;
    logic [2:0]      hash_kind;
    logic [31:0]     stamp;
    logic [15:0]     buffer;
    logic [LenW-1:0] len;
    logic [15:0]     checksum;
    logic            sibling;
    logic            big;
  } rx_entry_t;

  /// Pad bytes before a frame in its first buffer.
  localparam int unsigned RxPad = 2;
  /// Entries of one fetch of a receive ring, and how far it goes ahead.
  localparam int unsigned RxFetchBatch = 16;

  /// An upstream memory write: 4-byte granular payload with byte enables, as one MWr.
  typedef struct packed {
    logic [15:0] rid;
    logic [7:0]  tag;       ///< bits 7:6: 0 payload, 1 send completion, 2 receive completion, 3 interrupt; 5:0: count of that kind
    logic [63:0] addr;      ///< DW aligned
    logic [9:0]  dws;       ///< 1 to MPS / 4
    logic [3:0]  first_be;
    logic [3:0]  last_be;   ///< 0 when dws is 1
  } mwr_t;

  /// One word from the downstream stream to its place: aligned to the destination.
  typedef struct packed {
    logic        ring;    ///< into the ring SRAM
    logic        pio;     ///< ... by PIO, not by a fetch
    logic        frame;   ///< into the frame buffer
    logic        rx;      ///< into the receive-ring SRAM
    logic [20:0] addr;    ///< byte address of the word (bits 2:0 are zero)
    logic [63:0] data;
    logic [7:0]  be;
  } rx_word_t;

  /// Ring slots written by one TLP, once it is whole.
  typedef struct packed {
    logic                valid;
    logic [EpW-1:0]      ep;
    logic [SlotIdxW-1:0] slot;   ///< first slot written
    logic [7:0]          count;  ///< slots written
    logic                late;   ///< the TLP's last beat was 3 cycles ago, not 2
  } ring_done_t;

  /// A doorbell.
  typedef struct packed {
    logic           valid;
    logic [EpW-1:0] ep;
    logic           big;       ///< of a receive ring: the big one
    logic [15:0]    producer;
  } doorbell_t;

  /// A read to be made: payload of a frame slot, or descriptors for a ring.
  typedef struct packed {
    logic                  fetch;
    logic                  rx;     ///< a fetch for a receive ring; bit 0 of `slot` tells the big one
    logic [EpW-1:0]        ep;
    mode_e                 mode;
    logic [FrameW-1:0]     slot;
    logic                  first;  ///< first piece of its frame
    logic [15:0]           index;  ///< chain head, or first descriptor
    logic [63:0]           addr;
    logic [LenW-1:0]       len;
    logic [20:0]           dest;   ///< byte address in the destination memory
  } dma_req_t;

  /// A memory read request for the transmit side.
  typedef struct packed {
    logic [15:0] rid;
    logic [7:0]  tag;
    logic [63:0] addr;
    logic [12:0] len;      ///< bytes, 1 to 4096
    logic        fetch;    ///< for the trace
    logic        rx;       ///< for the trace
    logic        first;    ///< for the trace
    logic [EpW-1:0] ep;
    logic [15:0] index;
  } mrd_t;

  /// A read has ended (last completion, error or time-out).
  typedef struct packed {
    logic              valid;
    logic              fetch;
    logic              rx;     ///< a fetch for a receive ring; bit 0 of `slot` tells the big one
    logic [EpW-1:0]    ep;
    logic [FrameW-1:0] slot;
    logic [15:0]       index;
    logic [7:0]        count;  ///< descriptors, when fetch
    logic              late;   ///< the last completion's last beat was 3 cycles ago, not 2
    status_e           status;
  } read_done_t;

  /// A chain that has ended, on its way to the completion ring.
  typedef struct packed {
    logic [EpW-1:0] ep;
    logic [15:0]    next_index;
    logic [LenW-1:0] len;
    status_e        status;
    logic [63:0]    stamp;
  } chain_end_t;

  /// Answer to a non-posted request.
  typedef struct packed {
    logic        has_data;
    logic [2:0]  status;
    logic [15:0] requester;
    logic [7:0]  tag;
    logic [6:0]  lower;
    logic [11:0] bytes;
    logic [31:0] data;
  } cpl_t;

  /// An access for the control queue: register write, or non-posted request.
  typedef struct packed {
    logic        posted;   ///< MWr to the control BAR
    logic        cfg;
    logic        cfg_write;
    logic        control;  ///< hits the control BAR (else an aperture: reads as zero)
    logic        bad;      ///< answered with UR
    logic [ControlW-1:0] addr;
    logic [3:0]  be;
    logic [31:0] data;
    logic [15:0] requester;
    logic [7:0]  tag;
    logic [7:0]  devfn;
    logic [7:0]  bus;
  } ctl_req_t;
endpackage
`default_nettype wire
