`default_nettype none
/// Fence: tells when every DMA that was authorised before it has ended, whatever has been authorised since (contract C4).
///
/// A DMA carries the epoch in which it was authorised, and is counted under it from then to its end. A fence starts the
/// other epoch and waits until nothing is counted under the one before: what begins later cannot hold it up. Fences that
/// are started while one is under way become one, which starts when that one has ended.
module myr_fence #(
    /// Places where DMA begins.
    parameter int unsigned Begins = 4,
    /// Places where it ends.
    parameter int unsigned Ends = 5,
    /// Bits of a count: all DMA in flight.
    parameter int unsigned CountW = 9
) (
    /// Clock.
    input  wire logic             clk_i,
    /// Synchronous reset: nothing is in flight.
    input  wire logic             rst_i,
    /// Start a fence: for what has begun in this cycle and before.
    input  wire logic             start_i,
    /// A fence is under way.
    output logic                  busy_o,
    /// Fences that have ended.
    output logic [15:0]           ended_o,
    /// Epoch of what begins.
    output logic                  epoch_o,
    /// A DMA is authorised.
    input  wire logic [Begins-1:0] begin_i,
    /// A DMA has ended.
    input  wire logic [Ends-1:0]  end_i,
    /// Its epoch.
    input  wire logic [Ends-1:0]  end_epoch_i
);
  logic              epoch_q, busy_q, again_q, drained;
  logic [CountW-1:0] count_q[2];
  logic [CountW-1:0] more[2];
  logic [CountW-1:0] fewer[2];

  always_comb begin
    for (int unsigned e = 0; e < 2; e++) begin
      more[e]  = '0;
      fewer[e] = '0;
    end
    if (|{begin_i, end_i}) begin
      for (int unsigned n = 0; n < Begins; n++) more[epoch_q] = more[epoch_q] + CountW'(begin_i[n]);
      for (int unsigned n = 0; n < Ends; n++) fewer[end_epoch_i[n]] = fewer[end_epoch_i[n]] + CountW'(end_i[n]);
    end
  end

  assign epoch_o = epoch_q;
  assign busy_o  = start_i || busy_q;
  assign drained = busy_q && count_q[!epoch_q] == '0;

  always_ff @(posedge clk_i) begin
    if (|{begin_i, end_i}) for (int unsigned e = 0; e < 2; e++) count_q[e] <= count_q[e] + more[e] - fewer[e];
    if (drained) ended_o <= ended_o + 16'd1;
    if (!busy_q || drained) begin
      busy_q  <= start_i || again_q;
      again_q <= 1'b0;
      if (start_i || again_q) epoch_q <= !epoch_q;
    end else if (start_i) again_q <= 1'b1;
    if (rst_i) begin
      epoch_q <= 1'b0;
      busy_q  <= 1'b0;
      again_q <= 1'b0;
      ended_o <= '0;
      for (int unsigned e = 0; e < 2; e++) count_q[e] <= '0;
    end
  end

`ifndef SYNTHESIS
  always_ff @(posedge clk_i)
    if (!rst_i)
      for (int unsigned e = 0; e < 2; e++) begin
        assert ({1'b0, count_q[e]} + {1'b0, more[e]} >= {1'b0, fewer[e]}) else $error("myr_fence: more DMA has ended than has begun");
        assert ({1'b0, count_q[e]} + {1'b0, more[e]} < {1'b1, {CountW{1'b0}}}) else $error("myr_fence: more DMA in flight than can be counted");
      end
`endif
endmodule
`default_nettype wire
