`default_nettype none
/// Merges two TLP streams, whole TLPs in turn, with no added latency. What is offered stays until taken.
module myr_tlp_merge
  import myr_pkg::*;
(
    /// Clock, 250 MHz.
    input  wire       clk_i,
    /// Synchronous reset, of control only.
    input  wire       rst_i,
    /// First stream.
    input  tlp_beat_t a_i,
    input  wire       a_valid_i,
    output logic      a_ready_o,
    /// Second stream.
    input  tlp_beat_t b_i,
    input  wire       b_valid_i,
    output logic      b_ready_o,
    /// Both.
    output tlp_beat_t out_o,
    output logic      out_valid_o,
    input  wire       out_ready_i
);

  logic locked_q, owner_q;  // a TLP is under way or offered; whose (1: b) it is, or the last one was
  logic owner;

  always_comb begin
    owner = b_valid_i;
    if (locked_q) owner = owner_q;
    else if (a_valid_i && b_valid_i) owner = !owner_q;
  end

  assign out_o = owner ? b_i : a_i;
  assign out_valid_o = owner ? b_valid_i : a_valid_i;
  assign a_ready_o = !owner && out_ready_i;
  assign b_ready_o = owner && out_ready_i;

  always_ff @(posedge clk_i) begin
    if (out_valid_o) begin
      locked_q <= !(out_ready_i && out_o.last);
      owner_q <= owner;
    end
    if (rst_i) begin
      locked_q <= 1'b0;
      owner_q <= 1'b0;
    end
  end

endmodule
`default_nettype wire
