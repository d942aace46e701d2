`default_nettype none
/// Executes one chain after another: reads its descriptors, checks them, takes a frame slot, and asks for its
/// pieces to be read, or copies an inline frame out of the ring. Never waits for read data.
///
/// TSO chains, by their first descriptor, are handed to myr_tso_exec, which then has the ports that the two share.
/// A plain chain takes 2 cycles and one for each piece; an inline frame 2 cycles and one for each 8 bytes.
module myr_send_exec
  import myr_abi_pkg::*;
  import myr_nic_pkg::*;
(
    /// Clock.
    input  wire logic                    clk_i,
    /// Synchronous reset.
    input  wire logic                    rst_i,
    /// The device executes requests.
    input  wire logic                    enable_i,
    /// The scheduler has a winner.
    input  wire logic                    sched_valid_i,
    /// The winner.
    input  wire logic [EpW-1:0]          sched_ep_i,
    /// It is taken.
    output logic                         sched_take_o,
    /// Its next descriptor.
    input  wire logic [15:0]             sched_consumer_i,
    /// Its ring's size, log2.
    input  wire logic [3:0]              sched_log2_i,
    /// Endpoint of the chain.
    output logic [EpW-1:0]               ep_o,
    /// Its set-up.
    input  wire ep_ctrl_t                ctrl_i,
    /// Index after its last fetched descriptor.
    input  wire logic [15:0]             fetched_i,
    /// Its descriptor fetch has failed.
    input  wire logic                    fetch_failed_i,
    /// Ring slot to read.
    output logic [EpW+SlotIdxW-1:0]      read_slot_o,
    /// Descriptor of the slot named in the previous cycle.
    input  wire logic [127:0]            read_data_i,
    /// Its valid bit.
    input  wire logic                    read_valid_i,
    /// Make a slot invalid.
    output logic                         clear_o,
    /// Which.
    output logic [EpW+SlotIdxW-1:0]      clear_slot_o,
    /// Chain done with, or put back.
    output logic                         finish_o,
    /// Next descriptor.
    output logic [15:0]                  finish_consumer_o,
    /// Descriptors needed before the next look.
    output logic [7:0]                   finish_need_o,
    /// A frame slot is free.
    input  wire logic                    slot_free_i,
    /// Its number.
    input  wire logic [FrameW-1:0]       slot_i,
    /// It is taken for a chain.
    output logic                         alloc_o,
    /// ... with a checksum to be inserted.
    output logic                         alloc_sum_o,
    /// First byte of the sum.
    output logic [LenW-1:0]              alloc_start_o,
    /// Offset of the checksum's field in the frame.
    output logic [LenW-1:0]              alloc_field_o,
    /// Head of the chain.
    output logic [15:0]                  head_o,
    /// All pieces of the slot are asked for; `close_*` hold.
    output logic                         close_o,
    /// The slot.
    output logic [FrameW-1:0]            close_slot_o,
    /// Frame bytes.
    output logic [LenW-1:0]              close_len_o,
    /// Error found in the descriptors.
    output status_e                      close_status_o,
    /// Index after the chain.
    output logic [15:0]                  close_next_o,
    /// Read of a piece.
    output dma_req_t                     dma_o,
    /// It is offered.
    output logic                         dma_valid_o,
    /// It is taken.
    input  wire logic                    dma_ready_i,
    /// Word of an inline frame for the frame buffer.
    output logic                         inline_valid_o,
    /// Its word address.
    output logic [FrameAddrW-4:0]        inline_addr_o,
    /// Its data.
    output logic [63:0]                  inline_data_o,
    /// Its bytes that belong to the frame.
    output logic [7:0]                   inline_be_o,
    /// It is stored.
    input  wire logic                    inline_ready_i,
    /// The chain granted in the previous cycle is executed, not put back (trace).
    output logic                         started_o,
    /// An inline frame is authorised (trace).
    output logic                         inline_start_o,
    /// The chain in its first cycle is for myr_tso_exec.
    output logic                         tso_start_o,
    /// The endpoint is in the middle of such a chain.
    input  wire logic                    tso_running_i,
    /// myr_tso_exec is through with it for now.
    input  wire logic                    tso_done_i,
    /// The endpoint is halted by its failed fetch, or by a stale descriptor.
    output logic                         halt_o,
    /// ... by the stale descriptor in `read_data_i`.
    output logic                         stale_o
);
  typedef enum logic [2:0] {StIdle, StHead, StPiece, StInline, StSkip, StTso} state_e;

  state_e            state_q, state_d;
  logic [EpW-1:0]    ep_q;
  logic [15:0]       idx_q, idx_d;       // index of the descriptor in read_data_i
  logic [15:0]       head_q;
  logic [7:0]        todo_q, todo_d;     // descriptors of the chain left, this one included
  logic [FrameW-1:0] slot_q;
  logic [LenW-1:0]   off_q, off_d;       // frame bytes asked for so far
  status_e           status_q, status_d;
  logic              half_q, half_d;     // inline: upper 8 bytes of the slot
  logic [LenW-1:0]   len_q, len_d;       // inline: frame bytes
  logic [FrameWordW-1:0] word_q, word_d;
  logic              sum_q;              // a checksum is to be inserted: its field, its first byte
  logic [15:0]       field_q;
  logic [7:0]        start_q;

  send_desc_t   d;
  logic         pushed;
  logic [15:0]  mask;
  logic [15:0]  avail;
  status_e      head_status;
  logic [7:0]   head_count;
  logic         wait_more, starved, is_tso, head_stale, stale;
  logic [15:0]  sum;
  status_e      piece_status;
  logic         advance;
  logic [15:0]  next_idx;
  logic [EpW-1:0] read_ep;
  logic         fresh_q;
  logic [3:0]   read_log2;

  assign d = parse_descriptor(read_data_i);

  localparam int unsigned FFirst = SendDescriptorControlFirstLsb;
  localparam int unsigned FNoTso = SendDescriptorControlNoTsoLsb;
  localparam int unsigned FInline = SendDescriptorControlInlineLsb;
  localparam int unsigned FCksum = SendDescriptorControlCksumLsb;
  localparam logic [7:0] FUnsupported = 8'((1 << SendDescriptorControlTsoPldLsb) | (1 << SendDescriptorControlReservedLsb));

  // a sum over nothing, or a field that is not all in the frame
  function automatic status_e fits(input logic asked, input logic [7:0] start, input logic [15:0] field,
                                   input logic [15:0] bytes);
    if (asked && (16'(start) >= bytes || 17'(field) + 17'd2 > 17'(bytes))) return StatusBadOffload;
    return StatusOk;
  endfunction

  always_comb begin
    pushed = ctrl_i.form == FormPushed;
    mask   = (16'd1 << ctrl_i.send_log2) - 16'd1;
    avail  = fetched_i - idx_q;
    sum    = 16'(off_q) + d.len;

    // head: what the chain is
    head_status = StatusOk;
    head_count  = d.count;
    if (!d.flags[FFirst]) begin
      head_status = StatusBadDescriptor;
      head_count  = 8'd1;
    end else if (d.flags[FInline]) begin
      if (d.count == 8'd0 || d.count > 8'(InlineMax / 16 + 1)) begin
        head_status = StatusBadDescriptor;
        head_count  = 8'd1;
      end else if ((d.flags & FUnsupported) != 8'd0 || !d.flags[FNoTso]) head_status = StatusUnsupported;
      else if (d.len == 16'd0 || d.len > 16'(InlineMax)) head_status = StatusBadLength;
      else if (d.count != 8'((d.len + 16'd15) >> 4) + 8'd1) head_status = StatusBadDescriptor;
    end else if (d.count == 8'd0 || d.count > 8'(MaxPieces)) begin
      head_status = StatusBadDescriptor;
      head_count  = 8'd1;
    end else if ((d.flags & FUnsupported) != 8'd0 || !d.flags[FNoTso]) head_status = StatusUnsupported;
    // a head that was never fetched is not looked at: what stands in its slot is an older one
    wait_more = !pushed && (avail == 16'd0 || 16'(head_count) > avail);
    starved   = wait_more && fetch_failed_i;
    // its sequence number comes before everything else that a descriptor says
    stale      = is_stale(ctrl_i.mode, d.addr, idx_q);
    head_stale = avail != 16'd0 && stale;
    is_tso    = (pushed || avail != 16'd0) && !head_stale
                && (tso_running_i || (d.flags[FFirst] && !d.flags[FNoTso] && !d.flags[FInline]));

    // piece: the head's own checks stand before these
    piece_status = StatusOk;
    if (pushed && !read_valid_i) piece_status = StatusBadDescriptor;
    else if (d.len == 16'd0 || sum > 16'(MaxFrame) || sum < d.len) piece_status = StatusBadLength;
  end

  assign ep_o         = ep_q;
  assign started_o    = fresh_q && !is_tso && (!wait_more || starved || head_stale);
  assign tso_start_o  = state_q == StHead && is_tso;
  assign head_o       = (state_q == StHead) ? idx_q : head_q;
  assign next_idx     = idx_q + 16'd1;
  assign clear_slot_o = {ep_q, idx_q[SlotIdxW-1:0] & mask[SlotIdxW-1:0]};
  assign dma_o = '{fetch: 1'b0, rx: 1'b0, ep: ep_q, mode: ctrl_i.mode, slot: (state_q == StHead) ? slot_i : slot_q,
                   first: state_q == StHead, index: (state_q == StHead) ? idx_q : head_q, addr: plain_address(ctrl_i.mode, d.addr),
                   len: LenW'(d.len),
                   dest: 21'({(state_q == StHead) ? slot_i : slot_q, off_q})};
  assign inline_addr_o  = {slot_q, word_q};
  assign inline_data_o  = half_q ? read_data_i[127:64] : read_data_i[63:0];
  assign close_slot_o   = (state_q == StHead) ? slot_i : slot_q;
  assign alloc_sum_o    = alloc_o && d.flags[FCksum] && state_d != StSkip && !starved && !head_stale;
  assign alloc_start_o  = LenW'(d.start);
  assign alloc_field_o  = d.field[LenW-1:0];

  always_comb
    for (int unsigned j = 0; j < 8; j++) inline_be_o[j] = {word_q, 3'(j)} < len_q;

  always_comb begin
    state_d           = state_q;
    idx_d             = idx_q;
    todo_d            = todo_q;
    off_d             = off_q;
    status_d          = status_q;
    half_d            = half_q;
    len_d             = len_q;
    word_d            = word_q;
    sched_take_o      = 1'b0;
    advance           = 1'b0;
    clear_o           = 1'b0;
    finish_o          = 1'b0;
    finish_consumer_o = next_idx;
    finish_need_o     = 8'd1;
    alloc_o           = 1'b0;
    close_o           = 1'b0;
    close_len_o       = off_q;
    close_status_o    = status_q;
    close_next_o      = next_idx;
    dma_valid_o       = 1'b0;
    inline_valid_o    = 1'b0;
    inline_start_o    = 1'b0;
    halt_o            = 1'b0;
    stale_o           = 1'b0;
    unique case (state_q)
      StIdle: begin
        off_d    = '0;
        status_d = StatusOk;
        half_d   = 1'b0;
        word_d   = '0;
        if (enable_i && sched_valid_i && slot_free_i) begin
          sched_take_o = 1'b1;
          idx_d        = sched_consumer_i;
          state_d      = StHead;
        end
      end
      StHead: begin
        todo_d = head_count;
        len_d  = LenW'(d.len);
        if (is_tso) state_d = StTso;
        else if (head_stale) begin
          alloc_o           = 1'b1;
          close_o           = 1'b1;
          close_status_o    = StatusStaleDescriptor;
          close_next_o      = idx_q;
          finish_o          = 1'b1;
          finish_consumer_o = idx_q;
          halt_o            = 1'b1;
          stale_o           = 1'b1;
          state_d           = StIdle;
        end else if (wait_more && !starved) begin
          finish_o          = 1'b1;
          finish_consumer_o = idx_q;
          finish_need_o     = head_count;
          state_d           = StIdle;
        end else if (starved) begin
          // every chain before the failed fetch is done: report it once, then halt
          alloc_o           = 1'b1;
          close_o           = 1'b1;
          close_status_o    = StatusFetchError;
          close_next_o      = idx_q;
          finish_o          = 1'b1;
          finish_consumer_o = idx_q;
          halt_o            = 1'b1;
          state_d           = StIdle;
        end else if (head_status != StatusOk || (!d.flags[FInline] && piece_status != StatusOk)) begin
          alloc_o  = 1'b1;
          status_d = (head_status != StatusOk) ? head_status : piece_status;
          state_d  = StSkip;
        end else if (d.flags[FInline]) begin
          alloc_o        = 1'b1;
          inline_start_o = 1'b1;
          clear_o        = 1'b1;
          advance        = 1'b1;
          todo_d         = head_count - 8'd1;
          state_d        = StInline;
        end else begin
          dma_valid_o = 1'b1;
          if (dma_ready_i) begin
            alloc_o = 1'b1;
            clear_o = 1'b1;
            advance = 1'b1;
            off_d   = LenW'(d.len);
            todo_d  = head_count - 8'd1;
            state_d = StPiece;
            if (head_count == 8'd1) begin
              close_o     = 1'b1;
              close_len_o = LenW'(d.len);
              close_status_o = fits(d.flags[FCksum], d.start, d.field, d.len);
              finish_o    = 1'b1;
              state_d     = StIdle;
            end
          end
        end
      end
      StPiece: begin
        if (stale) begin
          close_o           = 1'b1;
          close_status_o    = StatusStaleDescriptor;
          close_next_o      = head_q;
          finish_o          = 1'b1;
          finish_consumer_o = head_q;
          halt_o            = 1'b1;
          stale_o           = 1'b1;
          state_d           = StIdle;
        end else if (piece_status != StatusOk) begin
          status_d = piece_status;
          state_d  = StSkip;
        end else begin
          dma_valid_o = 1'b1;
          if (dma_ready_i) begin
            clear_o = 1'b1;
            advance = 1'b1;
            off_d   = LenW'(sum);
            todo_d  = todo_q - 8'd1;
            if (todo_q == 8'd1) begin
              close_o     = 1'b1;
              close_len_o = LenW'(sum);
              close_status_o = fits(sum_q, start_q, field_q, sum);
              finish_o    = 1'b1;
              state_d     = StIdle;
            end
          end
        end
      end
      StInline: begin
        inline_valid_o = 1'b1;
        if (inline_ready_i) begin
          word_d = word_q + 1'b1;
          half_d = !half_q;
          if (half_q || {word_d, 3'b000} >= len_q) begin
            clear_o = 1'b1;
            advance = 1'b1;
            half_d  = 1'b0;
            todo_d  = todo_q - 8'd1;
            if (todo_q == 8'd1) begin
              close_o     = 1'b1;
              close_len_o = len_q;
              close_status_o = fits(sum_q, start_q, field_q, 16'(len_q));
              finish_o    = 1'b1;
              state_d     = StIdle;
            end
          end
        end
      end
      StSkip: begin
        clear_o = 1'b1;
        advance = 1'b1;
        todo_d  = todo_q - 8'd1;
        if (todo_q == 8'd1) begin
          close_o     = 1'b1;
          close_len_o = '0;
          finish_o    = 1'b1;
          state_d     = StIdle;
        end
      end
      StTso: if (tso_done_i) state_d = StIdle;
      default: state_d = StIdle;
    endcase
    if (advance) idx_d = next_idx;
  end

  // the read address is the next state's descriptor, so that its data are there with the state
  assign read_ep     = (state_q == StIdle) ? sched_ep_i : ep_q;
  assign read_log2   = (state_q == StIdle) ? sched_log2_i : ctrl_i.send_log2;
  assign read_slot_o = {read_ep, idx_d[SlotIdxW-1:0] & SlotIdxW'((16'd1 << read_log2) - 16'd1)};

  always_ff @(posedge clk_i) begin
    state_q  <= state_d;
    fresh_q  <= sched_take_o;
    idx_q    <= idx_d;
    todo_q   <= todo_d;
    off_q    <= off_d;
    status_q <= status_d;
    half_q   <= half_d;
    len_q    <= len_d;
    word_q   <= word_d;
    if (state_q == StIdle) ep_q <= sched_ep_i;
    if (state_q == StHead) begin
      head_q  <= idx_q;
      slot_q  <= slot_i;
      sum_q   <= d.flags[FCksum];
      field_q <= d.field;
      start_q <= d.start;
    end
    if (rst_i) begin
      state_q <= StIdle;
      fresh_q <= 1'b0;
    end
  end

`ifndef SYNTHESIS
  always_ff @(posedge clk_i)
    if (!rst_i) begin
      if (state_q == StHead) assert (slot_free_i) else $error("myr_send_exec: a chain was started without a frame slot");
      if (dma_valid_o) assert (16'(off_q) + d.len <= 16'(MaxFrame))
        else $error("myr_send_exec: a piece reaches past the longest frame");
    end
`endif
endmodule
`default_nettype wire
