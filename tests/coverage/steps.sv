/// A counter whose coverage is known by hand. Comments say how often a line's block runs in `steps.py` (`runs`), and which of a
/// signal's bits go up and down how often (`toggles`).
module steps (
  input  logic       clk_i,       // toggles 5 5
  input  logic       hold_i,      // toggles 0 0
  input  logic       add_i,       // toggles 1 0
  input  logic       clear_i,     // toggles 0 0
  input  logic       fail_i,
  input  logic [1:0] way_i,       // toggles 1 1, 0 0
  output logic [7:0] wake_o       // toggles 0 0, 0 0, 0 0, 0 0, 0 0, 0 0, 0 0, 0 0
);
  logic [3:0] sum_q;              // toggles 3 2, 1 1, 1 0, 0 0
  logic [1:0] told;               // toggles 0 0, 1 1
  assign wake_o = 8'd0;
  assign told   = weight(way_i);

  always_ff @(posedge clk_i) begin  // runs 5
    if (clear_i) begin            // runs 0
      sum_q <= 4'd0;              // runs 0
    end else if (add_i) begin     // runs 5
      sum_q <= sum_q + 4'd1;      // runs 5
    end
    if (way_i[0]) begin           // runs 2
      $write("");                 // runs 2
    end
    if (fail_i) begin
      $error("it fails");
    end
  end

  function automatic logic [1:0] weight(input logic [1:0] way);
    return {way[0], 1'b0};
  endfunction
endmodule
