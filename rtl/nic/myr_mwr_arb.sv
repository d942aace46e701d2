`default_nettype none
/// Chooses between the sources of upstream writes, in turn; the choice stays until the write has left.
module myr_mwr_arb
  import myr_nic_pkg::*;
#(
    /// Sources.
    parameter int unsigned N = 4,
    /// Dependent, do not set.
    localparam int unsigned IdW = $clog2(N)
) (
    /// Clock.
    input  wire logic          clk_i,
    /// Synchronous reset.
    input  wire logic          rst_i,
    /// Writes offered.
    input  wire logic [N-1:0]  valid_i,
    /// They.
    input  wire mwr_t          mwr_i[N],
    /// Payload of each, 8 bytes.
    input  wire logic [63:0]   data_i[N],
    /// These 8 bytes are taken.
    output logic [N-1:0]       next_o,
    /// The write's last beat has left.
    output logic [N-1:0]       done_o,
    /// Write for the transmit side.
    output logic               valid_o,
    /// It.
    output mwr_t               mwr_o,
    /// Its next 8 bytes.
    output logic [63:0]        data_o,
    /// They are taken.
    input  wire logic          next_i,
    /// Its last beat has left.
    input  wire logic          done_i
);
  logic           busy_q, there;
  logic [IdW-1:0] id_q, pick, id;

  myr_rr_arb #(.N(N)) u_pick (
      .clk_i, .rst_i, .req_i(valid_i), .take_i(!busy_q), .valid_o(there), .id_o(pick)
  );

  assign id      = busy_q ? id_q : pick;
  assign valid_o = busy_q ? valid_i[id_q] : there;
  assign mwr_o   = mwr_i[id];
  assign data_o  = data_i[id];

  always_comb begin
    next_o     = '0;
    done_o     = '0;
    next_o[id] = next_i;
    done_o[id] = done_i;
  end

  always_ff @(posedge clk_i) begin
    id_q   <= id;
    busy_q <= valid_o && !done_i && !rst_i;
  end
endmodule
`default_nettype wire
