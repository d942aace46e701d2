`default_nettype none
/// Synchronous FIFO: what is pushed is offered at the output in the next cycle.
module myr_fifo #(
    /// Bits of an entry.
    parameter int unsigned Width = 8,
    /// Entries, a power of two.
    parameter int unsigned Depth = 4,
    /// Dependent, do not set.
    localparam int unsigned AddrW = (Depth > 1) ? $clog2(Depth) : 1
) (
    /// Clock.
    input  wire logic             clk_i,
    /// Synchronous reset: empties the FIFO.
    input  wire logic             rst_i,
    /// Entry to push.
    input  wire logic [Width-1:0] in_i,
    /// Push when ready.
    input  wire logic             in_valid_i,
    /// Room for one.
    output logic                  in_ready_o,
    /// Oldest entry.
    output logic [Width-1:0]      out_o,
    /// An entry is there.
    output logic                  out_valid_o,
    /// Take it.
    input  wire logic             out_ready_i
);
  logic [Width-1:0] mem_q[1 << AddrW];
  logic [AddrW:0] wr_q, rd_q;

  assign in_ready_o  = (wr_q - rd_q) != (AddrW + 1)'(Depth);
  assign out_valid_o = wr_q != rd_q;
  assign out_o       = mem_q[rd_q[AddrW-1:0]];

  always_ff @(posedge clk_i) begin
    if (in_valid_i && in_ready_o) begin
      mem_q[wr_q[AddrW-1:0]] <= in_i;
      wr_q <= wr_q + 1'b1;
    end
    if (out_valid_o && out_ready_i) rd_q <= rd_q + 1'b1;
    if (rst_i) begin
      wr_q <= '0;
      rd_q <= '0;
    end
  end

`ifndef SYNTHESIS
  always_ff @(posedge clk_i)
    if (!rst_i) assert ((wr_q - rd_q) <= (AddrW + 1)'(Depth)) else $error("myr_fifo: more entries than places");
`endif
endmodule
`default_nettype wire
