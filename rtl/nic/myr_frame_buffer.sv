`default_nettype none
/// Frame buffer: FrameSlots frames being assembled in any order, handed to the MAC whole, and in order within each
/// endpoint. A frame starts on the wire only when its last byte is here, so that an underrun cannot happen.
module myr_frame_buffer
  import myr_pkg::*;
  import myr_abi_pkg::*;
  import myr_nic_pkg::*;
(
    /// Clock.
    input  wire logic                  clk_i,
    /// Synchronous reset.
    input  wire logic                  rst_i,
    /// A slot is free.
    output logic                       free_o,
    /// Its number.
    output logic [FrameW-1:0]          free_slot_o,
    /// Take it.
    input  wire logic                  alloc_i,
    /// For this endpoint.
    input  wire logic [EpW-1:0]        alloc_ep_i,
    /// A piece of this slot was taken by the read engine.
    input  wire logic                  piece_i,
    /// The slot.
    input  wire logic [FrameW-1:0]     piece_slot_i,
    /// The read engine made one more MRd for this slot.
    input  wire logic                  extra_i,
    /// The slot.
    input  wire logic [FrameW-1:0]     extra_slot_i,
    /// A read has ended (when not `fetch`).
    input  wire read_done_t            done_i,
    /// All pieces are asked for.
    input  wire logic                  close_i,
    /// Of this slot.
    input  wire logic [FrameW-1:0]     close_slot_i,
    /// Chain head.
    input  wire logic [15:0]           close_head_i,
    /// Index after the chain.
    input  wire logic [15:0]           close_next_i,
    /// Frame bytes.
    input  wire logic [LenW-1:0]       close_len_i,
    /// Error found so far.
    input  wire status_e               close_status_i,
    /// Word from the receive side (when `frame`); it always goes first.
    input  wire rx_word_t              word_i,
    /// Word of an inline frame.
    input  wire logic                  inline_valid_i,
    /// Its word address.
    input  wire logic [FrameAddrW-4:0] inline_addr_i,
    /// Its data.
    input  wire logic [63:0]           inline_data_i,
    /// It is stored.
    output logic                       inline_ready_o,
    /// A frame's last byte has come in (trace).
    output trace_lane_t                data_in_o,
    /// The MAC may take a frame.
    output logic                       tx_valid_o,
    /// Its slot.
    output logic [FrameW-1:0]          tx_slot_o,
    /// Its bytes.
    output logic [LenW-1:0]            tx_len_o,
    /// How its reads went.
    output status_e                    tx_status_o,
    /// Its endpoint.
    output logic [EpW-1:0]             tx_ep_o,
    /// Its chain head.
    output logic [15:0]                tx_head_o,
    /// Index after its chain.
    output logic [15:0]                tx_next_o,
    /// The MAC is through with it: the slot is free.
    input  wire logic                  tx_done_i,
    /// Word to read; data come in the next cycle.
    input  wire logic [FrameAddrW-4:0] read_addr_i,
    /// The word.
    output logic [63:0]                read_data_o
);
  // ---- memory --------------------------------------------------------------------------------
  logic [63:0] mem_q[FrameSlots*FrameWords];
  logic [63:0] wr_mask;

  for (genvar b = 0; b < 8; b++) begin : gen_mask
    assign wr_mask[8*b +: 8] = {8{word_i.be[b]}};
  end
  assign inline_ready_o = !word_i.frame;

  always_ff @(posedge clk_i) begin
    if (word_i.frame)
      mem_q[word_i.addr[FrameAddrW-1:3]] <= (mem_q[word_i.addr[FrameAddrW-1:3]] & ~wr_mask) | (word_i.data & wr_mask);
    else if (inline_valid_i) mem_q[inline_addr_i] <= inline_data_i;
    read_data_o <= mem_q[read_addr_i];
  end

  // ---- slots ---------------------------------------------------------------------------------
  logic [FrameSlots-1:0] busy_q, closed_q, follows_q, queued_q, waiting;
  logic [4:0]            reads_q[FrameSlots];  // pieces and reads outstanding
  logic [FrameW-1:0]     before_q[FrameSlots];  // frame of the same endpoint that must go first
  logic [EpW-1:0]        ep_q[FrameSlots];
  logic [15:0]           head_q[FrameSlots];
  logic [15:0]           next_q[FrameSlots];
  logic [LenW-1:0]       len_q[FrameSlots];
  status_e               status_q[FrameSlots];
  logic [Endpoints-1:0]  tail_q;                // the endpoint has a frame that is not queued yet
  logic [FrameW-1:0]     tail_slot_q[Endpoints];

  logic                  go, go_valid, tx_ready;
  logic [FrameW-1:0]     go_slot;
  logic [FrameSlots-1:0] complete;
  logic                  read_end;

  assign free_o   = busy_q != '1;
  assign read_end = done_i.valid && !done_i.fetch;

  always_comb begin
    free_slot_o = '0;
    for (int unsigned s = FrameSlots; s > 0; s--) if (!busy_q[s-1]) free_slot_o = FrameW'(s - 1);
    complete = '0;
    if (|closed_q) begin
      for (int unsigned s = 0; s < FrameSlots; s++) complete[s] = closed_q[s] && reads_q[s] == 5'd0;
    end
  end
  assign waiting = complete & ~follows_q & ~queued_q;

  myr_rr_arb #(.N(FrameSlots)) u_go (
      .clk_i, .rst_i, .req_i(waiting), .take_i(go), .valid_o(go_valid), .id_o(go_slot)
  );
  assign go = go_valid;  // the queue has a place for each slot

  // the last byte comes with the last read, or was here before the chain was closed; where both happen at once,
  // for two frames, the second is told one cycle later
  logic        in_read, in_close, held_q;
  trace_lane_t held_lane_q, close_lane;

  assign in_read  = read_end && done_i.status == StatusOk && closed_q[done_i.slot] && reads_q[done_i.slot] == 5'd1
                    && !(piece_i && piece_slot_i == done_i.slot) && !(extra_i && extra_slot_i == done_i.slot);
  assign in_close = close_i && close_status_i == StatusOk && !(piece_i && piece_slot_i == close_slot_i)
                    && (reads_q[close_slot_i] == 5'd0
                        || (reads_q[close_slot_i] == 5'd1 && read_end && done_i.slot == close_slot_i));

  always_comb begin
    close_lane = '{valid: in_close, age: 4'd0, endpoint: ep_q[close_slot_i], index: close_head_i, info: '0};
    if (close_i && alloc_i) close_lane.endpoint = alloc_ep_i;
    data_in_o = close_lane;
    if (in_read) data_in_o = '{valid: 1'b1, age: 4'd2 + 4'(done_i.late), endpoint: ep_q[done_i.slot],
                               index: head_q[done_i.slot], info: '0};
    else if (held_q) data_in_o = held_lane_q;
  end

  always_ff @(posedge clk_i) begin
    held_q      <= !rst_i && in_close && (in_read || held_q);
    held_lane_q <= close_lane;
    held_lane_q.age <= 4'd1;
  end


  myr_fifo #(.Width(FrameW), .Depth(FrameSlots)) u_queue (
      .clk_i, .rst_i, .in_i(go_slot), .in_valid_i(go), .in_ready_o(tx_ready),
      .out_o(tx_slot_o), .out_valid_o(tx_valid_o), .out_ready_i(tx_done_i)
  );
  assign tx_len_o    = len_q[tx_slot_o];
  assign tx_status_o = status_q[tx_slot_o];
  assign tx_ep_o     = ep_q[tx_slot_o];
  assign tx_head_o   = head_q[tx_slot_o];
  assign tx_next_o   = next_q[tx_slot_o];

  always_ff @(posedge clk_i) begin
    if (piece_i || extra_i || read_end) begin
      for (int unsigned s = 0; s < FrameSlots; s++)
        reads_q[s] <= reads_q[s] + 5'(piece_i && piece_slot_i == FrameW'(s))
                      + 5'(extra_i && extra_slot_i == FrameW'(s)) - 5'(read_end && done_i.slot == FrameW'(s));
    end
    if (go) begin
      queued_q[go_slot] <= 1'b1;
      for (int unsigned s = 0; s < FrameSlots; s++) if (before_q[s] == go_slot) follows_q[s] <= 1'b0;
      if (tail_slot_q[ep_q[go_slot]] == go_slot) tail_q[ep_q[go_slot]] <= 1'b0;
    end
    if (tx_done_i) begin
      busy_q[tx_slot_o]   <= 1'b0;
      closed_q[tx_slot_o] <= 1'b0;
      queued_q[tx_slot_o] <= 1'b0;
    end
    if (alloc_i) begin
      busy_q[free_slot_o]    <= 1'b1;
      ep_q[free_slot_o]      <= alloc_ep_i;
      status_q[free_slot_o]  <= StatusOk;
      follows_q[free_slot_o] <= tail_q[alloc_ep_i] && !(go && go_slot == tail_slot_q[alloc_ep_i]);
      before_q[free_slot_o]  <= tail_slot_q[alloc_ep_i];
      tail_q[alloc_ep_i]      <= 1'b1;
      tail_slot_q[alloc_ep_i] <= free_slot_o;
    end
    if (read_end && done_i.status != StatusOk && status_q[done_i.slot] == StatusOk) status_q[done_i.slot] <= done_i.status;
    if (close_i) begin
      closed_q[close_slot_i] <= 1'b1;
      head_q[close_slot_i]   <= close_head_i;
      next_q[close_slot_i]   <= close_next_i;
      len_q[close_slot_i]    <= close_len_i;
      if (close_status_i != StatusOk) status_q[close_slot_i] <= close_status_i;
    end
    if (rst_i) begin
      busy_q    <= '0;
      closed_q  <= '0;
      queued_q  <= '0;
      follows_q <= '0;
      tail_q    <= '0;
      for (int unsigned s = 0; s < FrameSlots; s++) reads_q[s] <= '0;
    end
  end

`ifndef SYNTHESIS
  always_ff @(posedge clk_i)
    if (!rst_i) begin
      if (go) assert (tx_ready) else $error("myr_frame_buffer: the transmit queue has no place for a slot");
      if (read_end) assert (reads_q[done_i.slot] != 5'd0)
        else $error("myr_frame_buffer: more reads ended than were made");
      if (tx_done_i) assert (tx_valid_o) else $error("myr_frame_buffer: a frame was sent that was not offered");
    end
`endif
endmodule
`default_nettype wire
