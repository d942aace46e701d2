`default_nettype none
/// Completion writer: 16-byte entries into the endpoints' completion rings, one MWr for all that are ready of one
/// endpoint (up to the ring's end and the 4 KiB boundary; CplDepth entries fit the smallest Max_Payload_Size),
/// endpoints in turn.
module myr_completion
  import myr_abi_pkg::*;
  import myr_nic_pkg::*;
(
    /// Clock.
    input  wire logic           clk_i,
    /// Synchronous reset.
    input  wire logic           rst_i,
    /// A chain has ended.
    input  wire chain_end_t     end_i,
    /// It is offered.
    input  wire logic           end_valid_i,
    /// It is taken.
    output logic                end_ready_o,
    /// An endpoint is being enabled: its ring restarts.
    input  wire logic           start_i,
    /// Which.
    input  wire logic [EpW-1:0] start_ep_i,
    /// Captured bus number.
    input  wire logic [7:0]     bus_i,
    /// Bus master enable.
    input  wire logic           bus_master_i,
    /// Endpoint functions are enabled.
    input  wire logic           vf_enable_i,
    /// The window that the address names is wanted (mode `windows`).
    output logic             look_o,
    /// Its number.
    output logic [WindowW-1:0] look_index_o,
    /// The look-up is taken: the window comes in the next cycle.
    input  wire logic        look_ready_i,
    /// The window.
    input  wire window_t     window_i,
    /// Epoch of what is authorised in this cycle (myr_fence).
    input  wire logic        epoch_i,
    /// A DMA is authorised.
    output logic             begin_o,
    /// An authorised DMA has ended.
    output logic             end_o,
    /// Its epoch.
    output logic             end_epoch_o,
    /// A write was checked.
    output logic                checked_o,
    /// ... or refused.
    output refusal_t            refusal_o,
    /// Endpoint whose set-up is needed.
    output logic [EpW-1:0]      ep_o,
    /// Its set-up.
    input  wire ep_ctrl_t       ctrl_i,
    /// Its completion ring in guest memory.
    input  wire logic [63:0]    base_i,
    /// MWr offered.
    output logic                mwr_valid_o,
    /// The write.
    output mwr_t                mwr_o,
    /// Payload, 8 bytes, lowest address in bits 7:0.
    output logic [63:0]         mwr_data_o,
    /// Next 8 bytes.
    input  wire logic           mwr_next_i,
    /// The MWr's last beat has left.
    input  wire logic           mwr_done_i,
    /// The last beat of these entries has left, or they were refused (trace, accounting).
    output logic                retire_o,
    /// Their endpoint.
    output logic [EpW-1:0]      retire_ep_o,
    /// Index of the first.
    output logic [15:0]         retire_index_o,
    /// How many.
    output logic [3:0]          retire_count_o,
    /// New entries are visible, for interrupts.
    output posted_t             posted_o,
    /// Endpoint being read back.
    input  wire logic [EpW-1:0] status_ep_i,
    /// Its next entry.
    output logic [15:0]         status_index_o
);
  localparam int unsigned CompletionBytes = 16;
  localparam int unsigned DepthW = $clog2(CplDepth);

  if (CplDepth * CompletionBytes > 128) begin : gen_check
    $error("myr_completion: CplDepth entries exceed a Max_Payload_Size of 128 bytes");
  end

  typedef enum logic [1:0] {StIdle, StAddr, StLook, StWrite} state_e;

  chain_end_t           mem_q[Endpoints*CplDepth];
  logic [DepthW:0]      wr_q[Endpoints];
  logic [DepthW:0]      rd_q[Endpoints];
  logic [15:0]          index_q[Endpoints];
  logic [Endpoints-1:0] some_q;

  state_e               state_q;
  logic                 pick_valid;
  logic [EpW-1:0]       pick, ep_q;
  logic [3:0]           count, count_q;
  logic [15:0]          mask, ring_index, to_end, to_page;
  logic [63:0]          addr, addr_q;
  logic                 allowed, windowed, judge, epoch_q;
  refusal_e             reason;
  logic [63:0]          machine;
  logic [15:0]          rid, rid_q;
  logic [5:0]           tag_q;           // writes so far
  logic [3:0]           word_q;          // qword of the write
  chain_end_t           entry;
  logic [15:0]          entry_index;
  logic [DepthW:0]      rd_now;
  logic [31:0]          w2, w3;
  logic                 push;

  myr_rr_arb #(.N(Endpoints)) u_pick (
      .clk_i, .rst_i, .req_i(some_q), .take_i(state_q == StIdle), .valid_o(pick_valid), .id_o(pick)
  );

  assign ep_o        = ep_q;
  assign end_ready_o = (wr_q[end_i.ep] - rd_q[end_i.ep]) != (DepthW + 1)'(CplDepth);
  assign push        = end_valid_i && end_ready_o;

  // how many entries one write takes
  always_comb begin
    mask       = (16'd1 << ctrl_i.cq_log2) - 16'd1;
    ring_index = index_q[ep_q] & mask;
    addr       = {base_i[63:4], 4'd0} + {44'd0, ring_index, 4'd0};
    to_end     = mask + 16'd1 - ring_index;
    to_page    = 16'd256 - {8'd0, addr[11:4]};
    count      = 4'(wr_q[ep_q] - rd_q[ep_q]);
    if (to_end < 16'(count)) count = to_end[3:0];
    if (to_page < 16'(count)) count = to_page[3:0];
    // more may become ready while the window is looked up
    if (state_q == StLook) begin
      addr  = addr_q;
      count = count_q;
    end
  end

  myr_authorise u_authorise (
      .ep_i(ep_q), .mode_i(ctrl_i.mode), .addr_i(addr), .len_i(LenW'({count, 4'd0})), .window_i, .write_i(1'b1), .bus_i,
      .bus_master_i, .vf_enable_i, .ok_o(allowed), .reason_o(reason), .addr_o(machine), .rid_o(rid)
  );

  assign windowed     = ctrl_i.mode == ModeWindows;
  assign judge        = (state_q == StAddr && !windowed) || state_q == StLook;
  assign look_o       = state_q == StAddr && windowed;
  assign look_index_o = window_index(addr);
  assign begin_o      = judge && allowed;
  assign end_o        = state_q == StWrite && mwr_done_i;
  assign end_epoch_o  = epoch_q;
  assign checked_o    = judge;
  assign refusal_o    = '{valid: judge && !allowed, ep: ep_q, write: 1'b1, reason: reason, addr: addr};

  // entry under the read pointer, big-endian words
  always_comb begin
    rd_now      = rd_q[ep_q] + (DepthW + 1)'(word_q[3:1]);
    entry       = mem_q[{ep_q, rd_now[DepthW-1:0]}];
    entry_index = index_q[ep_q] + 16'(word_q[3:1]);
    w2 = {entry.next_index, 16'(entry.len)};
    w3 = {16'd0, entry.status, 7'd0, ~|((entry_index >> ctrl_i.cq_log2) & 16'd1)};
    if (word_q[0]) mwr_data_o = {w3[7:0], w3[15:8], w3[23:16], w3[31:24], w2[7:0], w2[15:8], w2[23:16], w2[31:24]};
    else mwr_data_o = {entry.stamp[7:0], entry.stamp[15:8], entry.stamp[23:16], entry.stamp[31:24],
                       entry.stamp[39:32], entry.stamp[47:40], entry.stamp[55:48], entry.stamp[63:56]};
  end

  assign mwr_valid_o    = state_q == StWrite;
  assign mwr_o          = '{rid: rid_q, tag: {2'd1, tag_q}, addr: addr_q, dws: {4'd0, count_q, 2'b00}, first_be: 4'hF,
                            last_be: 4'hF};
  assign posted_o       = '{valid: state_q == StWrite && mwr_done_i, ep: ep_q, cq: '0,
                            index: index_q[ep_q] + 16'(count_q), count: count_q};
  assign retire_o       = (state_q == StWrite && mwr_done_i) || (judge && !allowed);
  assign retire_ep_o    = ep_q;
  assign retire_index_o = index_q[ep_q];
  assign retire_count_o = (state_q == StAddr) ? count : count_q;

  always_ff @(posedge clk_i) begin
    unique case (state_q)
      StIdle: if (pick_valid) begin
        ep_q    <= pick;
        state_q <= StAddr;
      end
      StAddr, StLook: begin
        if (state_q == StAddr) count_q <= count;
        addr_q  <= judge ? machine : addr;
        rid_q   <= rid;
        word_q  <= '0;
        epoch_q <= epoch_i;
        // an endpoint without a usable ring loses its completions, nobody else's
        if (judge) state_q <= allowed ? StWrite : StIdle;
        else if (look_ready_i) state_q <= StLook;
      end
      StWrite: begin
        if (mwr_next_i) word_q <= word_q + 1'b1;
        if (mwr_done_i) begin
          state_q <= StIdle;
          tag_q   <= tag_q + 1'b1;
        end
      end
      default: state_q <= StIdle;
    endcase
    if (retire_o) begin
      rd_q[ep_q]    <= rd_q[ep_q] + (DepthW + 1)'(retire_count_o);
      index_q[ep_q] <= index_q[ep_q] + 16'(retire_count_o);
      some_q[ep_q]  <= (wr_q[ep_q] - rd_q[ep_q]) != (DepthW + 1)'(retire_count_o);
    end
    if (push) begin
      mem_q[{end_i.ep, wr_q[end_i.ep][DepthW-1:0]}] <= end_i;
      wr_q[end_i.ep]   <= wr_q[end_i.ep] + 1'b1;
      some_q[end_i.ep] <= 1'b1;
    end
    if (start_i) index_q[start_ep_i] <= '0;
    if (rst_i) begin
      state_q <= StIdle;
      tag_q   <= '0;
      some_q  <= '0;
      for (int unsigned e = 0; e < Endpoints; e++) begin
        wr_q[e] <= '0;
        rd_q[e] <= '0;
      end
    end
  end

  assign status_index_o = index_q[status_ep_i];

`ifndef SYNTHESIS
  always_ff @(posedge clk_i)
    if (!rst_i && state_q == StAddr) begin
      assert (count != 4'd0) else $error("myr_completion: a write without entries");
      assert ({1'b0, addr[11:4]} + 9'(count) <= 9'd256) else $error("myr_completion: a write crosses a 4 KiB boundary");
    end
`endif
endmodule
`default_nettype wire
