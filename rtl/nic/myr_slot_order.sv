`default_nettype none
/// Keeps the frame slots of each endpoint in the order in which they were taken, whatever other endpoints do: a slot
/// is first when every older slot of its endpoint has passed.
module myr_slot_order
  import myr_nic_pkg::*;
(
    /// Clock.
    input  wire logic                  clk_i,
    /// Synchronous reset: no slot is in the order.
    input  wire logic                  rst_i,
    /// A slot comes in, as its endpoint's last.
    input  wire logic                  add_i,
    /// The slot.
    input  wire logic [FrameW-1:0]     add_slot_i,
    /// Its endpoint.
    input  wire logic [EpW-1:0]        add_ep_i,
    /// A first slot passes: the next one of its endpoint is first.
    input  wire logic                  pass_i,
    /// The slot.
    input  wire logic [FrameW-1:0]     pass_slot_i,
    /// Its endpoint.
    input  wire logic [EpW-1:0]        pass_ep_i,
    /// Bit of each slot that nothing of its endpoint precedes; of slots in the order only.
    output logic [FrameSlots-1:0]      first_o
);
  logic [FrameSlots-1:0] follows_q;
  logic [FrameW-1:0]     before_q[FrameSlots];   // slot of the same endpoint that must pass first
  logic [Endpoints-1:0]  tail_q;                 // the endpoint has a slot in the order
  logic [FrameW-1:0]     tail_slot_q[Endpoints];

  assign first_o = ~follows_q;

  always_ff @(posedge clk_i) begin
    if (pass_i) begin
      for (int unsigned s = 0; s < FrameSlots; s++) if (before_q[s] == pass_slot_i) follows_q[s] <= 1'b0;
      if (tail_slot_q[pass_ep_i] == pass_slot_i) tail_q[pass_ep_i] <= 1'b0;
    end
    if (add_i) begin
      follows_q[add_slot_i]  <= tail_q[add_ep_i] && !(pass_i && pass_slot_i == tail_slot_q[add_ep_i]);
      before_q[add_slot_i]   <= tail_slot_q[add_ep_i];
      tail_q[add_ep_i]       <= 1'b1;
      tail_slot_q[add_ep_i]  <= add_slot_i;
    end
    if (rst_i) begin
      follows_q <= '0;
      tail_q    <= '0;
    end
  end

`ifndef SYNTHESIS
  always_ff @(posedge clk_i)
    if (!rst_i && pass_i) begin
      assert (!follows_q[pass_slot_i]) else $error("myr_slot_order: a slot passed before an older one of its endpoint");
      assert (tail_q[pass_ep_i]) else $error("myr_slot_order: a slot passed that is not in the order");
    end
`endif
endmodule
`default_nettype wire
