`default_nettype none
/// Round-robin arbiter: the requester after the last winner comes first. A requester that keeps asking wins
/// within N takes. Cost: two N-bit priority picks and an N-to-log2(N) encoder.
module myr_rr_arb #(
    /// Requesters.
    parameter int unsigned N = 4,
    /// Dependent, do not set.
    localparam int unsigned IdW = (N > 1) ? $clog2(N) : 1
) (
    /// Clock.
    input  wire logic           clk_i,
    /// Synchronous reset.
    input  wire logic           rst_i,
    /// Requests.
    input  wire logic [N-1:0]   req_i,
    /// The winner is served: the turn moves past it.
    input  wire logic           take_i,
    /// Some request is there.
    output logic                valid_o,
    /// The winner.
    output logic [IdW-1:0]      id_o
);
  logic [N-1:0] mask_q;  // requesters above the last winner
  logic [N-1:0] pick, onehot;

  assign valid_o = |req_i;

  always_comb begin
    pick   = '0;
    onehot = '0;
    if (|req_i) begin
      pick   = (|(req_i & mask_q)) ? (req_i & mask_q) : req_i;
      onehot = pick & (~pick + N'(1));
    end
  end

  // requesters whose number has bit `b`
  function automatic logic [N-1:0] with_bit(input int unsigned b);
    for (int unsigned i = 0; i < N; i++) with_bit[i] = 1'(i >> b);
  endfunction

  for (genvar b = 0; b < IdW; b++) begin : gen_id
    localparam logic [N-1:0] Members = with_bit(b);
    assign id_o[b] = |(onehot & Members);
  end

  always_ff @(posedge clk_i) begin
    if (take_i && valid_o) mask_q <= ~(onehot | (onehot - N'(1)));
    if (rst_i) mask_q <= '1;
  end

`ifndef SYNTHESIS
  always_ff @(posedge clk_i)
    if (!rst_i && valid_o) assert (req_i[id_o]) else $error("myr_rr_arb: the winner did not ask");
`endif
endmodule
`default_nettype wire
