`default_nettype none
/// Answers refused reads: a completion with Unsupported Request, completer ID 0, for each request taken.
module myr_ur_completer
  import myr_pkg::*;
  import myr_iommu_pkg::*;
#(
    /// Answers waiting at most.
    parameter int unsigned Depth = 16
) (
    /// Clock, 250 MHz.
    input  wire       clk_i,
    /// Synchronous reset, of control only.
    input  wire       rst_i,
    /// Refused read.
    input  req_t      req_i,
    input  wire       req_valid_i,
    output logic      req_ready_o,
    /// Completions, two beats each.
    output tlp_beat_t out_o,
    output logic      out_valid_o,
    input  wire       out_ready_i
);

  /// Bytes before the first enabled one, or after the last enabled one (then the argument is reversed).
  function automatic logic [1:0] skipped(logic [3:0] enables);
    if (enables[0]) return 2'd0;
    if (enables[1]) return 2'd1;
    if (enables[2]) return 2'd2;
    return enables[3] ? 2'd3 : 2'd0;
  endfunction

  logic [1:0] skip_first, skip_last;
  logic [11:0] bytes;
  logic [95:0] made, head;
  logic head_valid, head_ready, second_q;

  always_comb begin
    skip_first = skipped(req_i.first_be);
    // a request of one DW has only the first set of enables
    skip_last = req_i.length == 10'd1
        ? skipped({req_i.first_be[0], req_i.first_be[1], req_i.first_be[2], req_i.first_be[3]})
        : skipped({req_i.last_be[0], req_i.last_be[1], req_i.last_be[2], req_i.last_be[3]});
    bytes = {req_i.length, 2'b00} - {10'd0, skip_first} - {10'd0, skip_last};
    // a read of no bytes is completed as one of one byte
    if (req_i.length == 10'd1 && req_i.first_be == 4'd0) bytes = 12'd1;
    made = {
      req_i.sid, req_i.tag, 1'b0, req_i.addr[6:2], skip_first,
      16'd0, CplUr, 1'b0, bytes,
      TlpCpl, 1'b0, req_i.tc, 1'b0, req_i.attr[2], 2'b00, 2'b00, req_i.attr[1:0], 2'b00, 10'd0
    };
    out_o = second_q ? '{last: 1'b1, half: 1'b1, data: {32'd0, head[95:64]}}
                     : '{last: 1'b0, half: 1'b0, data: head[63:0]};
  end

  assign out_valid_o = head_valid;
  assign head_ready = out_ready_i && second_q;

  myr_fifo #(
      .Width(96),
      .Depth(Depth)
  ) u_fifo (
      .clk_i(clk_i),
      .rst_i(rst_i),
      .in_i(made),
      .in_valid_i(req_valid_i),
      .in_ready_o(req_ready_o),
      .out_o(head),
      .out_valid_o(head_valid),
      .out_ready_i(head_ready)
  );

  always_ff @(posedge clk_i) begin
    if (out_valid_o && out_ready_i) second_q <= !second_q;
    if (rst_i) second_q <= 1'b0;
  end

  wire unused_ok = &{1'b0, req_i.kind, req_i.bypass, req_i.short_header, req_i.crosses, req_i.at, req_i.addr[63:7]};

endmodule
`default_nettype wire
