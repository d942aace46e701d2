`default_nettype none
/// Executes one segment of a TSO chain at each grant: reads the chain's header again, then as much payload as one
/// segment has, into a frame slot of its own. Where the chain stands is kept for each endpoint, so that a chain holds
/// neither the executor nor a slot between its segments, and one that never comes whole holds nothing at all.
///
/// A segment takes 3 cycles and one for each piece of header and payload, an end of a chain one for each header piece.
/// A chain that breaks the rules of its flags ends at its TSO_LAST, at the next head, or at MaxTso descriptors.
module myr_tso_exec
  import myr_abi_pkg::*;
  import myr_nic_pkg::*;
(
    /// Clock.
    input  wire logic                    clk_i,
    /// Synchronous reset.
    input  wire logic                    rst_i,
    /// Execute a segment; a frame slot is free.
    input  wire logic                    start_i,
    /// Of this endpoint's chain; it stays until `finish_o`.
    input  wire logic [EpW-1:0]          ep_i,
    /// The chain's first descriptor, likewise.
    input  wire logic [15:0]             head_i,
    /// This block has the executor's ports.
    output logic                         active_o,
    /// The endpoint is in the middle of a chain.
    output logic                         running_o,
    /// An endpoint is being enabled: it is in the middle of nothing.
    input  wire logic                    restart_i,
    /// Which.
    input  wire logic [EpW-1:0]          restart_ep_i,
    /// Set-up of the endpoint.
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
    /// Segment done with, or put back.
    output logic                         finish_o,
    /// Next descriptor: the head again, or what follows the chain.
    output logic [15:0]                  finish_consumer_o,
    /// Descriptors needed before the next look, from there.
    output logic [7:0]                   finish_need_o,
    /// The slot that is free.
    input  wire logic [FrameW-1:0]       slot_i,
    /// It is taken.
    output logic                         alloc_o,
    /// ... for a segment.
    output logic                         alloc_sum_o,
    /// All pieces of the slot are asked for; `close_*` hold.
    output logic                         close_o,
    /// The slot.
    output logic [FrameW-1:0]            close_slot_o,
    /// Frame bytes.
    output logic [LenW-1:0]              close_len_o,
    /// Error found in the descriptors.
    output status_e                      close_status_o,
    /// The chain goes on in another slot.
    output logic                         close_silent_o,
    /// What the segment is.
    output segment_t                     close_segment_o,
    /// Index after the chain.
    output logic [15:0]                  close_next_o,
    /// Read of a piece.
    output dma_req_t                     dma_o,
    /// It is offered.
    output logic                         dma_valid_o,
    /// It is taken.
    input  wire logic                    dma_ready_i,
    /// A chain's first segment is executed (trace).
    output logic                         started_o,
    /// The endpoint is halted by its failed fetch, or by a stale descriptor.
    output logic                         halt_o,
    /// ... by the stale descriptor in `read_data_i`.
    output logic                         stale_o
);
  localparam int unsigned FFirst = SendDescriptorControlFirstLsb;
  localparam int unsigned FHeader = SendDescriptorControlSmallLsb;
  localparam int unsigned FLast = SendDescriptorControlCksumLsb;
  localparam int unsigned FChop = SendDescriptorControlNoTsoLsb;
  localparam int unsigned FPayload = SendDescriptorControlTsoPldLsb;
  localparam logic [7:0] FNever = 8'((1 << SendDescriptorControlInlineLsb) | (1 << SendDescriptorControlReservedLsb));
  localparam logic [7:0] FNotHeader = FNever | 8'((1 << FChop) | (1 << FPayload));

  typedef enum logic [2:0] {StIdle, StHead, StLook, StHeader, StPiece, StAbort, StSkip, StClear} state_e;
  typedef enum logic [1:0] {PhNone, PhRun, PhSkip} phase_e;

  // where a chain stands
  typedef struct packed {
    phase_e      phase;
    logic [3:0]  front;      // descriptors of the header: they stay in the ring until the chain is over
    logic [7:0]  at;         // descriptor, from the head on
    logic [15:0] off;        // bytes of it that are done with
    logic        end_known;  // its TSO_LAST has been seen:
    logic [7:0]  last;       // ... descriptors of the chain
    logic [15:0] number;     // segments so far
    logic [31:0] bytes;      // payload so far
  } chain_t;

  chain_t      chain_mem_q[Endpoints];
  logic [Endpoints-1:0] running_q;

  state_e      state_q, state_d;
  chain_t      c_q, c_d;
  logic [15:0] mss_q;
  logic [7:0]  start_q;
  logic [7:0]  left_q, left_d;      // descriptors that the segment still touches
  logic [3:0]  piece_q, piece_d;    // of the header
  logic [LenW-1:0] header_q, header_d;  // header bytes asked for
  logic [LenW-1:0] payload_q, payload_d;
  logic        fresh_q, fresh_d;    // no piece of the segment's payload yet
  logic [FrameW-1:0] slot_q;

  send_desc_t  d;
  logic        pushed, absent, head_bad, look_bad, header_bad, piece_bad, wait_more, save, stale;
  logic [63:0] addr;
  logic [15:0] avail, rest, room, take;
  logic        chop, drained, full, over, end_known;
  logic [7:0]  last, touched, need;
  logic [7:0]  next_at;             // descriptor to read next
  logic [15:0] mask;
  logic [7:0]  clear_at;

  always_comb begin
    d      = parse_descriptor(read_data_i);
    pushed = ctrl_i.form == FormPushed;
    mask   = (16'd1 << ctrl_i.send_log2) - 16'd1;
    avail  = fetched_i - head_i;
    absent = pushed && !read_valid_i;
    addr   = plain_address(ctrl_i.mode, d.addr);
    stale  = is_stale(ctrl_i.mode, d.addr, head_i + ((state_q == StHeader) ? 16'(piece_q) : 16'(c_q.at)));

    head_bad = absent || !d.flags[FFirst] || !d.flags[FHeader] || (d.flags & FNotHeader) != 8'd0 || d.count == 8'd0
               || d.count > 8'(MaxPieces) || d.field == 16'd0 || d.field > 16'(MaxFrame)
               || (c_q.phase == PhRun && d.count != 8'(c_q.front));

    // the descriptor where the segment starts tells how many it touches
    rest     = d.len - c_q.off;
    chop     = d.flags[FChop];
    touched  = ((c_q.off == 16'd0) ? chop : rest >= mss_q) ? 8'd1 : d.count;
    look_bad = absent || !d.flags[FPayload] || (d.flags & FNever) != 8'd0 || c_q.off >= d.len || touched == 8'd0
               || (c_q.off == 16'd0 && !d.flags[FFirst]) || 9'(c_q.at) + 9'(touched) > 9'(MaxTso);

    header_bad = absent || !d.flags[FHeader] || (d.flags & FNotHeader) != 8'd0 || d.len == 16'd0
                 || (piece_q != 4'd0 && d.flags[FFirst]) || 17'(header_q) + 17'(d.len) > 17'(MaxHeader);

    room      = mss_q - 16'(payload_q);
    take      = (rest < room) ? rest : room;
    drained   = take == rest;
    full      = take == room;
    end_known = c_q.end_known || d.flags[FLast];
    last      = c_q.end_known ? c_q.last : c_q.at + d.count;
    over      = drained && end_known && last == c_q.at + 8'd1;
    piece_bad = absent || !d.flags[FPayload] || (d.flags & FNever) != 8'd0 || c_q.off >= d.len || d.count == 8'd0
                || 17'(header_q) + 17'(payload_q) + 17'(take) > 17'(MaxFrame)
                // the segment ends with the descriptor that its count says, and is full unless it is the last
                || (full && left_q != 8'd1) || (drained && !full && left_q == 8'd1 && !over)
                || (over && left_q != 8'd1);
    if (c_q.off == 16'd0) begin
      if (d.flags[FFirst] != fresh_q || chop != (rest > room)) piece_bad = 1'b1;
      // TSO_LAST: from the last start or cut of a segment to the end
      if (c_q.end_known && (!d.flags[FLast] || d.flags[FFirst] || chop || c_q.at >= c_q.last)) piece_bad = 1'b1;
      if (!c_q.end_known && d.flags[FLast]
          && (!(d.flags[FFirst] || chop) || 9'(c_q.at) + 9'(d.count) > 9'(MaxTso))) piece_bad = 1'b1;
    end
  end

  always_comb begin
    state_d           = state_q;
    c_d               = c_q;
    left_d            = left_q;
    piece_d           = piece_q;
    header_d          = header_q;
    payload_d         = payload_q;
    fresh_d           = fresh_q;
    next_at           = c_q.at;
    wait_more         = 1'b0;
    need              = c_q.at + 8'd1;
    save              = 1'b0;
    clear_o           = 1'b0;
    clear_at          = c_q.at;
    finish_o          = 1'b0;
    finish_consumer_o = head_i;
    finish_need_o     = 8'd1;
    alloc_o           = 1'b0;
    alloc_sum_o       = 1'b0;
    close_o           = 1'b0;
    close_slot_o      = slot_q;
    close_len_o       = '0;
    close_status_o    = StatusOk;
    close_silent_o    = 1'b0;
    close_next_o      = head_i;
    dma_valid_o       = 1'b0;
    started_o         = 1'b0;
    halt_o            = 1'b0;
    stale_o           = 1'b0;
    dma_o = '{fetch: 1'b0, rx: 1'b0, ep: ep_i, mode: ctrl_i.mode, slot: slot_q, first: 1'b0, index: head_i, addr: addr,
              len: LenW'(d.len), dest: 21'({slot_q, header_q})};
    unique case (state_q)
      StIdle: begin
        piece_d   = '0;
        header_d  = '0;
        payload_d = '0;
        fresh_d   = 1'b1;
        next_at   = '0;
        c_d       = running_o ? chain_mem_q[ep_i] : '0;
        if (start_i) state_d = StHead;
      end
      StHead: begin
        if (c_q.phase == PhNone) begin
          c_d.front = d.count[3:0];
          c_d.at    = d.count;
        end
        need = c_d.at + 8'd1;
        if (c_q.phase == PhSkip) state_d = StSkip;
        else if (head_bad) begin
          if (c_q.phase == PhNone) begin
            c_d.front = 4'd1;
            c_d.at    = 8'd1;
          end
          c_d.phase = PhSkip;
          state_d   = StSkip;
        end else begin
          c_d.phase = PhRun;
          wait_more = !pushed && avail < 16'(need);
          state_d   = StLook;
        end
        next_at = c_d.at;
      end
      StLook: begin
        need    = c_q.at + touched;
        left_d  = touched;
        next_at = '0;
        stale_o = stale;
        if (look_bad) begin
          c_d.phase = PhSkip;
          next_at   = c_q.at;
          state_d   = StSkip;
        end else begin
          wait_more = !pushed && avail < 16'(need);
          state_d   = StHeader;
        end
      end
      StHeader: begin
        next_at = 8'(piece_q);
        stale_o = stale;
        if (header_bad) begin
          c_d.phase = PhSkip;
          next_at   = c_q.at;
          state_d   = (piece_q == 4'd0) ? StSkip : StAbort;
        end else begin
          dma_valid_o = !stale;
          dma_o.first = piece_q == 4'd0 && c_q.number == 16'd0;
          if (piece_q == 4'd0) begin
            dma_o.slot = slot_i;
            dma_o.dest = 21'({slot_i, header_q});
          end
          if (dma_ready_i && !stale) begin
            alloc_o     = piece_q == 4'd0;
            alloc_sum_o = alloc_o;
            started_o   = dma_o.first;
            header_d    = header_q + LenW'(d.len);
            piece_d     = piece_q + 4'd1;
            next_at     = 8'(piece_d);
            if (piece_d == c_q.front) begin
              next_at = c_q.at;
              state_d = StPiece;
            end
          end
        end
      end
      StPiece: begin
        stale_o    = stale;
        dma_o.addr = addr + 64'(c_q.off);
        dma_o.len  = LenW'(take);
        dma_o.dest = 21'({slot_q, header_q + payload_q});
        if (piece_bad) begin
          c_d.phase = PhSkip;
          state_d   = StAbort;
        end else begin
          dma_valid_o = !stale;
          if (dma_ready_i && !stale) begin
            fresh_d       = 1'b0;
            payload_d     = payload_q + LenW'(take);
            left_d        = left_q - 8'd1;
            c_d.end_known = end_known;
            c_d.last      = last;
            c_d.bytes     = c_q.bytes + 32'(take);
            c_d.off       = c_q.off + take;
            if (drained) begin
              clear_o  = 1'b1;
              c_d.at   = c_q.at + 8'd1;
              c_d.off  = '0;
            end
            next_at = c_d.at;
            if (full || over) begin
              close_o        = 1'b1;
              close_len_o    = header_q + payload_d;
              close_silent_o = !over;
              close_next_o   = head_i + 16'(c_d.at);
              c_d.number     = c_q.number + 16'd1;
              piece_d        = '0;
              if (over) state_d = StClear;
              else begin
                save          = 1'b1;
                finish_o      = 1'b1;
                finish_need_o = c_d.at + 8'd1;
                state_d       = StIdle;
              end
            end
          end
        end
      end
      StAbort: begin
        // the slot is not kept while the rest of the chain is awaited; its error stays with the chain
        close_o        = 1'b1;
        close_status_o = StatusBadOffload;
        close_silent_o = 1'b1;
        save           = 1'b1;
        finish_o       = 1'b1;
        finish_need_o  = c_q.at + 8'd1;
        state_d        = StIdle;
      end
      StSkip: begin
        piece_d = '0;
        stale_o = stale && avail > 16'(c_q.at) && c_q.at < 8'(MaxTso) && !(c_q.end_known && c_q.at >= c_q.last);
        if ((c_q.end_known && c_q.at >= c_q.last) || c_q.at >= 8'(MaxTso)
            || ((pushed || avail > 16'(c_q.at))
                && (absent || (!d.flags[FPayload] && (d.flags[FFirst] || d.flags[FChop]))))) begin
          alloc_o        = 1'b1;
          close_o        = 1'b1;
          close_slot_o   = slot_i;
          close_status_o = StatusBadOffload;
          close_next_o   = head_i + 16'(c_q.at);
          state_d        = StClear;
        end else if (!pushed && avail <= 16'(c_q.at)) wait_more = 1'b1;
        else begin
          clear_o = 1'b1;
          c_d.at  = c_q.at + 8'd1;
          if (d.flags[FPayload] && d.flags[FLast] && !c_q.end_known) begin
            c_d.end_known = 1'b1;
            c_d.last      = (d.count == 8'd0 || d.count > 8'(MaxTso)) ? c_d.at : c_q.at + d.count;
          end
          next_at = c_d.at;
        end
      end
      StClear: begin
        clear_o  = 1'b1;
        clear_at = 8'(piece_q);
        piece_d  = piece_q + 4'd1;
        if (piece_d == c_q.front) begin
          finish_o          = 1'b1;
          finish_consumer_o = head_i + 16'(c_q.at);
          c_d.phase         = PhNone;
          save              = 1'b1;
          state_d           = StIdle;
        end
      end
      default: state_d = StIdle;
    endcase
    if (wait_more) begin
      finish_o      = 1'b1;
      finish_need_o = need;
      save          = 1'b1;
      state_d       = StIdle;
      if (fetch_failed_i) begin
        // every chain before the failed fetch is done: report it once, then halt
        alloc_o        = 1'b1;
        close_o        = 1'b1;
        close_slot_o   = slot_i;
        close_status_o = StatusFetchError;
        halt_o         = 1'b1;
        c_d.phase      = PhNone;
      end
    end
    if (stale_o) begin
      // a segment that has a slot ends in it
      alloc_o        = !(state_q == StPiece || (state_q == StHeader && piece_q != 4'd0));
      close_o        = 1'b1;
      close_slot_o   = alloc_o ? slot_i : slot_q;
      close_status_o = StatusStaleDescriptor;
      close_silent_o = 1'b0;
      close_next_o   = head_i;
      finish_o       = 1'b1;
      finish_consumer_o = head_i;
      halt_o         = 1'b1;
      c_d.phase      = PhNone;
      save           = 1'b1;
      state_d        = StIdle;
    end
  end

  assign close_segment_o = '{header: header_q, start: start_q, number: c_q.number, bytes: c_q.bytes - 32'(payload_q),
                             first: c_q.number == 16'd0, last: over};
  assign active_o     = start_i || state_q != StIdle;
  assign running_o    = running_q[ep_i];
  assign read_slot_o  = {ep_i, SlotIdxW'((head_i + 16'(next_at)) & mask)};
  assign clear_slot_o = {ep_i, SlotIdxW'((head_i + 16'(clear_at)) & mask)};

  always_ff @(posedge clk_i) begin
    state_q   <= state_d;
    c_q       <= c_d;
    left_q    <= left_d;
    piece_q   <= piece_d;
    header_q  <= header_d;
    payload_q <= payload_d;
    fresh_q   <= fresh_d;
    if (state_q == StHead) begin
      mss_q   <= d.field;
      start_q <= d.start;
    end
    if (alloc_o) slot_q <= slot_i;
    if (save) begin
      chain_mem_q[ep_i] <= c_d;
      running_q[ep_i]   <= c_d.phase != PhNone;
    end
    if (restart_i) running_q[restart_ep_i] <= 1'b0;
    if (rst_i) begin
      state_q   <= StIdle;
      running_q <= '0;
    end
  end

`ifndef SYNTHESIS
  always_ff @(posedge clk_i)
    if (!rst_i) begin
      if (start_i) assert (state_q == StIdle) else $error("myr_tso_exec: a segment starts before the last one is done");
      if (dma_valid_o) assert (dma_o.len != '0 && 17'(header_d) + 17'(payload_d) <= 17'(MaxFrame))
        else $error("myr_tso_exec: a piece is empty or reaches past the longest frame");
    end
`endif
endmodule
`default_nettype wire
