`default_nettype none
/// What of each endpoint is in flight (frames from their slot to the last beat of their completion), and which are
/// halted. The hypervisor revokes only what is not in flight (contract C4).
module myr_endpoint_state
  import myr_nic_pkg::*;
(
    /// Clock.
    input  wire logic           clk_i,
    /// Synchronous reset.
    input  wire logic           rst_i,
    /// A frame slot is taken.
    input  wire logic           alloc_i,
    /// By this endpoint.
    input  wire logic [EpW-1:0] alloc_ep_i,
    /// Completion entries have left.
    input  wire logic           retire_i,
    /// Of this endpoint.
    input  wire logic [EpW-1:0] retire_ep_i,
    /// How many.
    input  wire logic [3:0]     retire_count_i,
    /// A frame has ended that has no completion of its own.
    input  wire logic           silent_i,
    /// Of this endpoint.
    input  wire logic [EpW-1:0] silent_ep_i,
    /// An endpoint's fetch has failed, or a descriptor of it is stale.
    input  wire logic           halt_i,
    /// Which.
    input  wire logic [EpW-1:0] halt_ep_i,
    /// ... stale.
    input  wire logic           halt_stale_i,
    /// A receive buffer of an endpoint is stale.
    input  wire logic           rx_stale_i,
    /// Which.
    input  wire logic [EpW-1:0] rx_stale_ep_i,
    /// An endpoint is being enabled.
    input  wire logic           start_i,
    /// Which.
    input  wire logic [EpW-1:0] start_ep_i,
    /// Endpoints that stand still, receive side included, since something of theirs was stale.
    output logic [Endpoints-1:0] stale_o,
    /// Endpoint the ring side looks at.
    input  wire logic [EpW-1:0] look_ep_i,
    /// It is halted.
    output logic                look_halted_o,
    /// Endpoint being read back.
    input  wire logic [EpW-1:0] status_ep_i,
    /// It is halted.
    output logic                status_halted_o,
    /// It has frames or completions in flight.
    output logic                status_busy_o
);
  // at most all frame slots and all waiting completions
  logic [5:0]           flight_q[Endpoints];
  logic [Endpoints-1:0] halted_q, stale_q;

  // what an endpoint's count becomes with all three events of this cycle
  function automatic logic [5:0] after(input logic [EpW-1:0] ep);
    return flight_q[ep] + 6'(alloc_i && alloc_ep_i == ep) - 6'(silent_i && silent_ep_i == ep)
           - ((retire_i && retire_ep_i == ep) ? 6'(retire_count_i) : 6'd0);
  endfunction

  always_ff @(posedge clk_i) begin
    if (alloc_i) flight_q[alloc_ep_i] <= after(alloc_ep_i);
    if (silent_i) flight_q[silent_ep_i] <= after(silent_ep_i);
    if (retire_i) flight_q[retire_ep_i] <= after(retire_ep_i);
    if (halt_i) halted_q[halt_ep_i] <= 1'b1;
    if (halt_i && halt_stale_i) stale_q[halt_ep_i] <= 1'b1;
    if (rx_stale_i) begin
      halted_q[rx_stale_ep_i] <= 1'b1;
      stale_q[rx_stale_ep_i]  <= 1'b1;
    end
    if (start_i) begin
      halted_q[start_ep_i] <= 1'b0;
      stale_q[start_ep_i]  <= 1'b0;
    end
    if (rst_i) begin
      halted_q <= '0;
      stale_q  <= '0;
      for (int unsigned e = 0; e < Endpoints; e++) flight_q[e] <= '0;
    end
  end

  assign stale_o         = stale_q;
  assign look_halted_o   = halted_q[look_ep_i];
  assign status_halted_o = halted_q[status_ep_i];
  assign status_busy_o   = flight_q[status_ep_i] != 6'd0;

`ifndef SYNTHESIS
  always_ff @(posedge clk_i)
    if (!rst_i && retire_i) assert (flight_q[retire_ep_i] >= 6'(retire_count_i))
      else $error("myr_endpoint_state: more completions than frames");
`endif
endmodule
`default_nettype wire
