`default_nettype none
/// The arbiter of upstream writes with three sources, each a port of its own.
module mwr_arb_bench
  import myr_nic_pkg::*;
(
    input  wire logic        clk_i,
    input  wire logic        rst_i,
    input  wire mwr_t        s0_i,
    input  wire logic        s0_valid_i,
    input  wire logic [63:0] s0_data_i,
    output logic             s0_next_o,
    output logic             s0_done_o,
    input  wire mwr_t        s1_i,
    input  wire logic        s1_valid_i,
    input  wire logic [63:0] s1_data_i,
    output logic             s1_next_o,
    output logic             s1_done_o,
    input  wire mwr_t        s2_i,
    input  wire logic        s2_valid_i,
    input  wire logic [63:0] s2_data_i,
    output logic             s2_next_o,
    output logic             s2_done_o,
    output mwr_t             mwr_o,
    output logic             mwr_valid_o,
    output logic [63:0]      mwr_data_o,
    input  wire logic        mwr_next_i,
    input  wire logic        mwr_done_i
);
  mwr_t        mwr[3];
  logic [63:0] data[3];

  assign mwr  = '{s0_i, s1_i, s2_i};
  assign data = '{s0_data_i, s1_data_i, s2_data_i};

  myr_mwr_arb #(.N(3)) u_arb (
      .clk_i, .rst_i, .valid_i({s2_valid_i, s1_valid_i, s0_valid_i}), .mwr_i(mwr), .data_i(data),
      .next_o({s2_next_o, s1_next_o, s0_next_o}), .done_o({s2_done_o, s1_done_o, s0_done_o}), .valid_o(mwr_valid_o), .mwr_o,
      .data_o(mwr_data_o), .next_i(mwr_next_i), .done_i(mwr_done_i)
  );
endmodule
`default_nettype wire
