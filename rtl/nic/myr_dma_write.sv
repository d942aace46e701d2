`default_nettype none
/// Payload writer: reads a frame's bytes, aligns them to the buffer and cuts them into MWr's that end at multiples of
/// Max_Payload_Size. One pass over the words also feeds the checksum and the hash.
///
/// One word is read in each cycle; a write is offered when its first 8 bytes are here, and never runs dry.
module myr_dma_write
  import myr_nic_pkg::*;
#(
    /// 8-byte groups that wait for the transmit side.
    parameter int unsigned Groups = 64,
    /// Copies between their first word read and their completion at most.
    parameter int unsigned Copies = 8
) (
    /// Clock.
    input  wire logic                  clk_i,
    /// Synchronous reset.
    input  wire logic                  rst_i,
    /// Writes of up to 256 bytes are allowed, otherwise 128.
    input  wire logic                  mps_256_i,
    /// What to write.
    input  wire rx_segment_t           segment_i,
    /// It is offered.
    input  wire logic                  segment_valid_i,
    /// It is taken.
    output logic                       segment_ready_o,
    /// Word to read of the receive buffer; data come in the next cycle.
    output logic [RxBufferW-1:0]       rx_addr_o,
    /// The word.
    input  wire logic [63:0]           rx_data_i,
    /// Word to read of the frame buffer likewise.
    output logic [FrameAddrW-4:0]      frame_addr_o,
    /// The word.
    input  wire logic [63:0]           frame_data_i,
    /// A job from the wire is done with.
    output logic                       wire_done_o,
    /// A job of a sibling is done with.
    output logic                       sibling_done_o,
    /// Its slot.
    output logic [FrameW-1:0]          done_slot_o,
    /// A word of the frame, each once and in order.
    output logic                       word_valid_o,
    /// The first.
    output logic                       word_first_o,
    /// The last.
    output logic                       word_last_o,
    /// The word.
    output logic [63:0]                word_o,
    /// The copy it belongs to.
    output rx_copy_t                   word_copy_o,
    /// The hash of the last frame is still being made.
    input  wire logic                  hash_busy_i,
    /// A copy's completion is formed.
    input  wire logic                  formed_i,
    /// Write offered.
    output logic                       mwr_valid_o,
    /// The write.
    output mwr_t                       mwr_o,
    /// Its next 8 bytes.
    output logic [63:0]                mwr_data_o,
    /// They are taken.
    input  wire logic                  mwr_next_i,
    /// Its last beat has left.
    input  wire logic                  mwr_done_i,
    /// The copy of the write offered.
    output rx_copy_t                   mwr_copy_o,
    /// It is the copy's first write.
    output logic                       mwr_first_o,
    /// It is the copy's last write.
    output logic                       mwr_last_o
);
  localparam int unsigned GroupW = $clog2(Groups) + 1;
  localparam int unsigned CopyW = $clog2(Copies) + 1;
  localparam int unsigned WordW = LenW - 2;  // word of the frame + 1: the word before the first is 0

  typedef struct packed {
    mwr_t     mwr;
    logic     first;
    logic     last;
    rx_copy_t copy;
  } head_t;

  // ---- read: one word a cycle of the chunk at hand ---------------------------------------------
  logic [LenW-1:0] done_q;               // bytes of the segment in finished chunks
  logic [5:0]      step_q;               // words read of this chunk
  logic [63:0]     addr;
  logic [LenW-1:0] src, left, chunk;
  logic [8:0]      mps, to_bound;
  logic [LenW-1:0] start;                // frame byte under the first byte of the first group, + 8
  logic [6:0]      dws;
  logic [5:0]      groups, words;
  logic            issue, emit, go, last_chunk, last_word, begins, short_frame, b_last;
  logic [WordW-1:0] word;
  logic [GroupW-1:0] used_q;
  logic [CopyW-1:0]  copies_q;
  head_t           head;
  logic [1:0]      end_lsb;

  always_comb begin
    addr     = segment_i.addr + 64'(done_q);
    src      = segment_i.src + done_q;
    left     = segment_i.bytes - done_q;
    mps      = mps_256_i ? 9'd256 : 9'd128;
    to_bound = mps - (addr[8:0] & (mps - 9'd1));
    chunk    = (left > LenW'(to_bound)) ? LenW'(to_bound) : left;
    last_chunk = chunk == left;
    start    = src + LenW'(8) - LenW'(addr[1:0]);
    dws      = 7'((9'(chunk) + 9'(addr[1:0]) + 9'd3) >> 2);
    groups   = 6'((dws + 7'd1) >> 1);
    words    = groups + 6'(start[2:0] != 3'd0);
    word     = WordW'(start >> 3) + WordW'(step_q);
    end_lsb  = addr[1:0] + chunk[1:0];
    head.mwr = '{rid: segment_i.rid, tag: '0, addr: {addr[63:2], 2'b00}, dws: 10'(dws), first_be: 4'hF << addr[1:0],
                 last_be: (end_lsb == 2'd0) ? 4'hF : ~(4'hF << end_lsb)};
    if (dws == 7'd1) begin
      head.mwr.first_be = head.mwr.first_be & head.mwr.last_be;
      head.mwr.last_be  = 4'h0;
    end
    head.first = segment_i.first && done_q == '0;
    head.last  = segment_i.last && last_chunk;
    head.copy  = segment_i.copy;
  end

  // a frame of few words must not overtake the hash of the one before
  assign short_frame = segment_i.copy.len <= LenW'(56);
  assign begins      = segment_i.first && done_q == '0 && step_q == '0;
  assign go          = segment_valid_i && !segment_i.end_job && used_q != GroupW'(Groups)
                       && (!begins || (copies_q != CopyW'(Copies) && !(short_frame && (hash_busy_i || b_last))));
  assign emit        = go && (start[2:0] == 3'd0 || step_q != '0);
  assign last_word   = step_q + 6'd1 == words;
  assign issue       = go;
  assign segment_ready_o = (segment_valid_i && segment_i.end_job) || (go && last_word && last_chunk);
  assign rx_addr_o    = segment_i.base + RxBufferW'(word) - RxBufferW'(1);
  assign frame_addr_o = {segment_i.slot, FrameWordW'(word) - FrameWordW'(1)};

  // ---- the word is here --------------------------------------------------------------------------
  logic        b_valid_q, b_emit_q, b_head_q, b_begin_q;
  logic [WordW-1:0] b_word_q, expect_q, want, end_word;
  logic [2:0]  b_rot_q;
  head_t       b_head_data_q;
  logic [63:0] b_data, prev_q, group;

  assign b_data   = b_head_data_q.copy.sibling ? frame_data_i : rx_data_i;
  assign want     = b_begin_q ? WordW'(1) : expect_q;
  assign end_word = WordW'((b_head_data_q.copy.len + LenW'(7)) >> 3);
  assign word_valid_o = b_valid_q && b_word_q == want && want <= end_word;
  assign word_first_o = b_word_q == WordW'(1);
  assign word_last_o  = word_valid_o && b_word_q == end_word;
  assign b_last       = word_last_o;
  assign word_o       = b_data;
  assign word_copy_o  = b_head_data_q.copy;

  always_comb begin
    group = b_data;
    unique case (b_rot_q)
      3'd0: group = b_data;
      3'd1: group = {b_data[7:0], prev_q[63:8]};
      3'd2: group = {b_data[15:0], prev_q[63:16]};
      3'd3: group = {b_data[23:0], prev_q[63:24]};
      3'd4: group = {b_data[31:0], prev_q[63:32]};
      3'd5: group = {b_data[39:0], prev_q[63:40]};
      3'd6: group = {b_data[47:0], prev_q[63:48]};
      default: group = {b_data[55:0], prev_q[63:56]};
    endcase
  end

  always_ff @(posedge clk_i) begin
    b_valid_q <= issue && !rst_i;
    b_emit_q  <= emit && !rst_i;
    b_head_q  <= emit && step_q == 6'(start[2:0] != 3'd0) && !rst_i;
    if (issue) begin
      b_begin_q     <= begins;
      b_word_q      <= word;
      b_rot_q       <= start[2:0];
      b_head_data_q <= head;
      step_q        <= last_word ? '0 : step_q + 6'd1;
      if (last_word) done_q <= last_chunk ? '0 : done_q + chunk;
    end
    if (b_valid_q) begin
      prev_q <= b_data;
      expect_q <= want + WordW'(word_valid_o);
    end
    used_q   <= used_q + GroupW'(emit) - GroupW'(mwr_next_i);
    copies_q <= copies_q + CopyW'(issue && begins) - CopyW'(formed_i);
    wire_done_o    <= segment_valid_i && segment_i.end_job && !segment_i.copy.sibling && !rst_i;
    sibling_done_o <= segment_valid_i && segment_i.end_job && segment_i.copy.sibling && !rst_i;
    done_slot_o    <= segment_i.slot;
    if (rst_i) begin
      step_q   <= '0;
      done_q   <= '0;
      used_q   <= '0;
      copies_q <= '0;
    end
  end

  // ---- writes on offer -----------------------------------------------------------------------------
  head_t      out;
  logic       group_room, head_room, group_valid;
  logic [5:0] tag_q;

  myr_fifo #(.Width(64), .Depth(Groups)) u_groups (
      .clk_i, .rst_i, .in_i(group), .in_valid_i(b_emit_q), .in_ready_o(group_room), .out_o(mwr_data_o),
      .out_valid_o(group_valid), .out_ready_i(mwr_next_i)
  );

  // a write has a group at least
  myr_fifo #(.Width($bits(head_t)), .Depth(Groups)) u_heads (
      .clk_i, .rst_i, .in_i(b_head_data_q), .in_valid_i(b_head_q), .in_ready_o(head_room), .out_o(out),
      .out_valid_o(mwr_valid_o), .out_ready_i(mwr_done_i)
  );

  always_comb begin
    mwr_o     = out.mwr;
    mwr_o.tag = {2'd0, tag_q};
  end
  assign mwr_copy_o  = out.copy;
  assign mwr_first_o = out.first;
  assign mwr_last_o  = out.last;

  always_ff @(posedge clk_i) begin
    if (mwr_done_i) tag_q <= tag_q + 1'b1;
    if (rst_i) tag_q <= '0;
  end

`ifndef SYNTHESIS
  always_ff @(posedge clk_i)
    if (!rst_i) begin
      if (b_emit_q) assert (group_room) else $error("myr_dma_write: no place for a group");
      if (b_head_q) assert (head_room) else $error("myr_dma_write: no place for a write");
      if (mwr_next_i) assert (group_valid) else $error("myr_dma_write: a write ran dry");
      if (issue) assert ({1'b0, addr[11:0]} + 13'(chunk) <= 13'd4096) else $error("myr_dma_write: a write crosses a 4 KiB boundary");
    end
`endif
endmodule
`default_nettype wire
