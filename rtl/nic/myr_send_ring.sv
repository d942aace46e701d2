`default_nettype none
/// Send rings of all endpoints in SRAM, one valid bit for each slot, and the list of endpoints that have a chain
/// ready. Pushed and fetched descriptors land here alike and feed one request queue.
///
/// Readiness is a level: after a ring write, a fetch or a finished chain the endpoint is looked at again, two
/// cycles from the event to `ready_o`.
module myr_send_ring
  import myr_abi_pkg::*;
  import myr_nic_pkg::*;
(
    /// Clock.
    input  wire logic                 clk_i,
    /// Synchronous reset.
    input  wire logic                 rst_i,
    /// Word to store (when `ring`).
    input  wire rx_word_t             word_i,
    /// A TLP's ring writes are complete.
    input  wire ring_done_t           ring_done_i,
    /// Descriptors of this endpoint have been fetched, or its fetch has failed.
    input  wire logic                 fetch_done_i,
    /// Which endpoint.
    input  wire logic [EpW-1:0]       fetch_done_ep_i,
    /// Enabled endpoints.
    input  wire logic [Endpoints-1:0] enable_i,
    /// An endpoint is being enabled: its indices restart and its slots become invalid.
    input  wire logic                 start_i,
    /// Which.
    input  wire logic [EpW-1:0]       start_ep_i,
    /// Endpoint being looked at.
    output logic [EpW-1:0]            look_ep_o,
    /// Its set-up.
    input  wire ep_ctrl_t             look_ctrl_i,
    /// Its index after the last fetched descriptor.
    input  wire logic [15:0]          look_fetched_i,
    /// Its fetch has failed.
    input  wire logic                 look_fetch_failed_i,
    /// It is halted.
    input  wire logic                 look_halted_i,
    /// Endpoints with a chain to execute.
    output logic [Endpoints-1:0]      ready_o,
    /// Endpoint granted by the scheduler.
    input  wire logic                 grant_i,
    /// Which.
    input  wire logic [EpW-1:0]       grant_ep_i,
    /// Its next descriptor.
    output logic [15:0]               grant_consumer_o,
    /// Slot to read; data come in the next cycle.
    input  wire logic [EpW+SlotIdxW-1:0] read_slot_i,
    /// The descriptor's 16 bytes, lowest address in bits 7:0.
    output logic [127:0]              read_data_o,
    /// Its valid bit.
    output logic                      read_valid_o,
    /// Make a slot invalid.
    input  wire logic                 clear_i,
    /// Which.
    input  wire logic [EpW+SlotIdxW-1:0] clear_slot_i,
    /// The executor is through with its chain.
    input  wire logic                 finish_i,
    /// Of this endpoint.
    input  wire logic [EpW-1:0]       finish_ep_i,
    /// Next descriptor.
    input  wire logic [15:0]          finish_consumer_i,
    /// Descriptors that must have been fetched before it is worth another look.
    input  wire logic [7:0]           finish_need_i,
    /// Endpoint whose descriptors are to be fetched.
    input  wire logic [EpW-1:0]       fetch_ep_i,
    /// Its next descriptor.
    output logic [15:0]               fetch_consumer_o,
    /// Descriptors from there on that are needed before the next look.
    output logic [7:0]                fetch_need_o,
    /// Endpoint being read back.
    input  wire logic [EpW-1:0]       status_ep_i,
    /// Its next descriptor.
    output logic [15:0]               status_consumer_o,
    /// It has a chain under way, or its slots are still being cleared.
    output logic                      status_busy_o
);
  localparam int unsigned Slots = Endpoints * RingSlots;

  logic [63:0] low_q[Slots];
  logic [63:0] high_q[Slots];
  logic        valid_q[Slots];
  logic [15:0] consumer_q[Endpoints];
  logic [7:0]  need_q[Endpoints];
  logic [Endpoints-1:0] look_q, ready_q, active_q, wipe_q;
  logic                 open_q;      // a TLP is writing slots of open_ep_q and is not whole yet
  logic [EpW-1:0]       open_ep_q;

  // ---- SRAM ---------------------------------------------------------------------------------
  logic [EpW+SlotIdxW-1:0] wr_slot;
  logic [63:0]             wr_mask;
  logic                    wiping, wipe_step;
  logic [EpW-1:0]          wipe_ep_q;
  logic [SlotIdxW-1:0]     wipe_slot_q;

  assign wr_slot = word_i.addr[RingAddrW-1:4];
  for (genvar b = 0; b < 8; b++) begin : gen_mask
    assign wr_mask[8*b +: 8] = {8{word_i.be[b]}};
  end

  always_ff @(posedge clk_i) begin
    if (word_i.ring) begin  // a wipe waits meanwhile
      if (word_i.addr[3]) high_q[wr_slot] <= (high_q[wr_slot] & ~wr_mask) | (word_i.data & wr_mask);
      else low_q[wr_slot] <= (low_q[wr_slot] & ~wr_mask) | (word_i.data & wr_mask);
      // the flags byte is the valid marker, as on the card
      if (word_i.addr[3] && word_i.be[7]) valid_q[wr_slot] <= word_i.data[63:56] != 8'd0;
    end
    if (clear_i) valid_q[clear_slot_i] <= 1'b0;
    else if (wipe_step) begin
      // the bytes, too: an inline frame may name slots that its owner never wrote, and must not find its predecessor's
      valid_q[{wipe_ep_q, wipe_slot_q}] <= 1'b0;
      low_q[{wipe_ep_q, wipe_slot_q}]   <= '0;
      high_q[{wipe_ep_q, wipe_slot_q}]  <= '0;
    end
    read_data_o  <= {high_q[read_slot_i], low_q[read_slot_i]};
    read_valid_o <= valid_q[read_slot_i];
  end

  // ---- wiping the slots of an endpoint that starts ------------------------------------------
  logic           wipe_any, wipe_take;
  logic [EpW-1:0] wipe_next;

  myr_rr_arb #(.N(Endpoints)) u_wipe (
      .clk_i, .rst_i, .req_i(wipe_q), .take_i(wipe_take), .valid_o(wipe_any), .id_o(wipe_next)
  );
  assign wipe_take = wipe_any && !wiping;
  assign wipe_step = wiping && !clear_i && !word_i.ring;

  always_ff @(posedge clk_i) begin
    if (wipe_take) begin
      wiping      <= 1'b1;
      wipe_ep_q   <= wipe_next;
      wipe_slot_q <= '0;
    end else if (wipe_step) begin
      wipe_slot_q <= wipe_slot_q + 1'b1;
      if (&wipe_slot_q) wiping <= 1'b0;
    end
    if (rst_i) wiping <= 1'b0;
  end

  // ---- readiness ----------------------------------------------------------------------------
  logic                look_any, eval_q;
  logic [EpW-1:0]      look_ep, eval_ep_q;
  logic [15:0]         look_avail;
  logic                eval_pushed_q, eval_fetch_q, eval_slot_q;
  logic [SlotIdxW-1:0] look_slot;
  logic                eval_ready;
  logic [Endpoints-1:0] arriving;

  // a slot counts when its TLP is whole: what follows the head in the same TLP must be there, too
  assign arriving = open_q ? Endpoints'(1) << open_ep_q : '0;

  always_ff @(posedge clk_i) begin
    if (word_i.ring && word_i.pio) begin
      open_q    <= 1'b1;
      open_ep_q <= word_i.addr[RingAddrW-1 -: EpW];
    end
    if (ring_done_i.valid || rst_i) open_q <= 1'b0;
  end

  myr_rr_arb #(.N(Endpoints)) u_look (
      .clk_i, .rst_i, .req_i(look_q & ~active_q & ~wipe_q & ~arriving), .take_i(1'b1), .valid_o(look_any), .id_o(look_ep)
  );
  assign look_ep_o  = look_ep;
  assign look_slot  = consumer_q[look_ep][SlotIdxW-1:0] & SlotIdxW'((16'd1 << look_ctrl_i.send_log2) - 16'd1);
  assign look_avail = look_fetched_i - consumer_q[look_ep];

  always_ff @(posedge clk_i) begin
    eval_q <= look_any && look_ctrl_i.enable && !look_halted_i && !(wiping && wipe_ep_q == look_ep);
    if (look_any) begin
      eval_ep_q     <= look_ep;
      eval_pushed_q <= look_ctrl_i.form == FormPushed;
      eval_fetch_q  <= look_avail >= 16'(need_q[look_ep]) || look_fetch_failed_i;
      eval_slot_q   <= valid_q[{look_ep, look_slot}];
    end
    if (rst_i) eval_q <= 1'b0;
  end

  assign eval_ready = eval_q && (eval_pushed_q ? eval_slot_q : eval_fetch_q) && !active_q[eval_ep_q]
                      && !(grant_i && grant_ep_i == eval_ep_q);

  always_ff @(posedge clk_i) begin
    if (look_any) look_q[look_ep] <= 1'b0;
    if (eval_ready) ready_q[eval_ep_q] <= 1'b1;
    if (grant_i) begin
      ready_q[grant_ep_i]  <= 1'b0;
      active_q[grant_ep_i] <= 1'b1;
    end
    if (finish_i) begin
      active_q[finish_ep_i]   <= 1'b0;
      look_q[finish_ep_i]     <= 1'b1;
      consumer_q[finish_ep_i] <= finish_consumer_i;
      need_q[finish_ep_i]     <= finish_need_i;
    end
    if (ring_done_i.valid) look_q[ring_done_i.ep] <= 1'b1;
    if (fetch_done_i) look_q[fetch_done_ep_i] <= 1'b1;
    if (wipe_take) wipe_q[wipe_next] <= 1'b0;
    if (start_i) begin
      consumer_q[start_ep_i] <= '0;
      need_q[start_ep_i]     <= 8'd1;
      ready_q[start_ep_i]    <= 1'b0;
      look_q[start_ep_i]     <= 1'b0;
      wipe_q[start_ep_i]     <= 1'b1;
    end
    if (rst_i) begin
      look_q   <= '0;
      ready_q  <= '0;
      active_q <= '0;
      wipe_q   <= '0;
    end
  end

  assign ready_o           = ready_q & enable_i;
  assign grant_consumer_o  = consumer_q[grant_ep_i];
  assign fetch_consumer_o  = consumer_q[fetch_ep_i];
  assign fetch_need_o      = need_q[fetch_ep_i];
  assign status_consumer_o = consumer_q[status_ep_i];
  assign status_busy_o     = active_q[status_ep_i] || wipe_q[status_ep_i] || (wiping && wipe_ep_q == status_ep_i);

`ifndef SYNTHESIS
  always_ff @(posedge clk_i)
    if (!rst_i) begin
      if (grant_i) assert (ready_q[grant_ep_i] && !active_q[grant_ep_i])
        else $error("myr_send_ring: grant to an endpoint without a ready chain");
      if (finish_i) assert (active_q[finish_ep_i]) else $error("myr_send_ring: finish of an endpoint that is not active");
    end
`endif
endmodule
`default_nettype wire
