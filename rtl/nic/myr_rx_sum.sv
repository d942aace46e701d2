`default_nettype none
/// Checksum of a frame from its byte 14 on, and its first bytes for the hash, while its words pass by.
module myr_rx_sum
  import myr_nic_pkg::*;
#(
    /// Bytes of the header that are kept: VLAN tag, longest IPv4 header, ports.
    parameter int unsigned HeaderWords = 11
) (
    /// Clock.
    input  wire logic     clk_i,
    /// Synchronous reset.
    input  wire logic     rst_i,
    /// A word passes.
    input  wire logic     valid_i,
    /// It is the first.
    input  wire logic     first_i,
    /// It is the last.
    input  wire logic     last_i,
    /// The word, lowest address in bits 7:0.
    input  wire logic [63:0] word_i,
    /// The copy it belongs to.
    input  wire rx_copy_t copy_i,
    /// The frame's last word came in the last cycle; the outputs below hold in this cycle.
    output logic          done_o,
    /// Ones' complement sum, odd last byte padded with zero.
    output logic [15:0]   sum_o,
    /// First bytes; what lies behind the frame's end is not meaningful.
    output logic [64*HeaderWords-1:0] header_o,
    /// The copy.
    output rx_copy_t      copy_o
);
  localparam int unsigned Skip = 14;
  localparam int unsigned IndexW = $clog2(HeaderWords + 1);

  logic [31:0]       total_q, lanes;
  logic [IndexW-1:0] index_q, index;   // saturates
  logic [7:0]        keep;
  logic [15:0]       half;

  assign index = first_i ? '0 : index_q;

  always_comb begin
    lanes = '0;
    keep  = '1;
    half  = '0;
    if (valid_i) begin
      if (last_i && copy_i.len[2:0] != 3'd0) keep = ~(8'hFF << copy_i.len[2:0]);
      if (first_i) keep = '0;
      else if (index == IndexW'(Skip / 8)) keep = keep & (8'hFF << (Skip % 8));
      for (int unsigned l = 0; l < 4; l++) begin
        half  = {keep[2*l] ? word_i[16*l +: 8] : 8'd0, keep[2*l+1] ? word_i[16*l+8 +: 8] : 8'd0};
        lanes = lanes + 32'(half);
      end
    end
  end

  always_ff @(posedge clk_i) begin
    done_o <= valid_i && last_i && !rst_i;
    if (valid_i) begin
      total_q <= (first_i ? '0 : total_q) + lanes;
      index_q <= (index == IndexW'(HeaderWords)) ? index : index + 1'b1;
      if (index != IndexW'(HeaderWords)) header_o[64*index +: 64] <= word_i;
      copy_o <= copy_i;
    end
  end

  assign sum_o = add16(total_q[31:16], total_q[15:0]);
endmodule
`default_nettype wire
