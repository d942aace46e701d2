`default_nettype none
/// A valid/ready stream: what is offered stays, unchanged, until it is taken.
module myr_check_stream
  import myr_rules_pkg::*;
  import myr_check_pkg::*;
#(
    /// Type of the payload.
    parameter type T = logic,
    /// Its name in messages.
    parameter string Stream = ""
) (
    /// Clock.
    input  wire logic clk_i,
    /// Synchronous reset.
    input  wire logic rst_i,
    /// The checker is on.
    input  wire logic enable_i,
    /// Cycle counter, for messages.
    input  wire logic [63:0] cycle_i,
    /// Offered.
    input  wire logic valid_i,
    /// Taken.
    input  wire logic ready_i,
    /// Payload.
    input  wire T     data_i
);
  counts_t counts;
  logic    stalled;
  T        data;

  task automatic check(input rule_e rule, input logic ok);
    counts[rule] += 1;
    if (!ok)
      $error("[myr_check_stream] cycle %0d %s: %s: valid %0d, data %h, offered before %h", cycle_i, Stream, rule_line(rule),
             valid_i, data_i, data);
  endtask

  always @(posedge clk_i)
    if (enable_i) begin
      if (stalled && !rst_i) begin
        check(RuleStrValid, valid_i);
        if (valid_i) check(RuleStrData, data_i == data);
      end
      stalled = valid_i && !ready_i && !rst_i;
      if (stalled) data = data_i;
    end

  final if (enable_i) report("stream", Stream, counts);
endmodule
`default_nettype wire
