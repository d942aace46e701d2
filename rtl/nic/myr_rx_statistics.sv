`default_nettype none
/// Counters of each endpoint's receive side.
module myr_rx_statistics
  import myr_abi_pkg::*;
  import myr_nic_pkg::*;
(
    /// Clock.
    input  wire logic            clk_i,
    /// Synchronous reset.
    input  wire logic            rst_i,
    /// Access strobe (PeakRDL external block).
    input  wire logic            req_i,
    /// It is a write: ignored.
    input  wire logic            write_i,
    /// Byte address in the table.
    input  wire logic [10:0]     addr_i,
    /// Read is answered.
    output logic                 rd_ack_o,
    /// Write is done.
    output logic                 wr_ack_o,
    /// Read data.
    output logic [31:0]          data_o,
    /// Endpoint of the events.
    input  wire logic [EpW-1:0]  ep_i,
    /// A frame is delivered.
    input  wire logic            grant_i,
    /// Its bytes.
    input  wire logic [LenW-1:0] len_i,
    /// A frame is dropped.
    input  wire logic            drop_i,
    /// Why.
    input  wire rx_drop_e        reason_i
);
  localparam int unsigned Counters = 8;  // places, 6 of them in use

  logic [31:0] count_q[Endpoints*Counters];
  logic [2:0]  which;
  logic        known;

  always_comb begin
    known = drop_i;
    which = 3'd2;
    unique case (reason_i)
      RxDropNoSmall: which = 3'd2;
      RxDropNoBig:   which = 3'd3;
      RxDropTooLong: which = 3'd4;
      RxDropRefused: which = 3'd5;
      default: known = 1'b0;
    endcase
  end

  always_ff @(posedge clk_i) begin
    rd_ack_o <= req_i && !write_i && !rst_i;
    wr_ack_o <= req_i && write_i && !rst_i;
    if (req_i) data_o <= count_q[addr_i[2 +: EpW + 3]];
    if (grant_i) begin
      count_q[{ep_i, 3'd0}] <= count_q[{ep_i, 3'd0}] + 32'd1;
      count_q[{ep_i, 3'd1}] <= count_q[{ep_i, 3'd1}] + 32'(len_i);
    end
    if (known) count_q[{ep_i, which}] <= count_q[{ep_i, which}] + 32'd1;
    if (rst_i) for (int unsigned c = 0; c < Endpoints * Counters; c++) count_q[c] <= '0;
  end
endmodule
`default_nettype wire
