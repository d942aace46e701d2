`default_nettype none
/// Requests that want an answer, and their completions on the other direction.
module myr_check_completion
  import myr_pkg::*;
  import myr_rules_pkg::*;
  import myr_check_pkg::*;
#(
    /// Its name in messages.
    parameter string Stream = ""
) (
    /// Clock.
    input  wire logic        clk_i,
    /// Synchronous reset.
    input  wire logic        rst_i,
    /// The checker is on.
    input  wire logic        enable_i,
    /// Cycle counter.
    input  wire logic [63:0] cycle_i,
    /// Cycles after which a requester may give a tag up.
    input  wire logic [63:0] timeout_i,
    /// Headers of requests.
    input  wire head_t       request_i,
    /// Headers of completions.
    input  wire head_t       completion_i
);
  localparam logic [12:0] Rcb = 13'd64;

  typedef struct {
    logic        busy;
    logic        read;     // memory read
    logic        write;    // configuration write
    logic [15:0] id;       // requester
    logic [12:0] address;  // of the next byte, bits 11:0
    logic [12:0] left;     // bytes
    logic [63:0] since;
  } request_t;

  counts_t     counts;
  request_t    tags[256];
  head_t       shown;      // for messages
  request_t    answered;   // likewise
  logic [12:0] count, bytes;
  logic [7:0]  tag;
  logic [2:0]  status;
  logic        ahead;    // the completion is that of a later piece

  task automatic check(input rule_e rule, input logic ok);
    counts[rule] += 1;
    if (!ok)
      $error("[myr_check_completion] cycle %0d %s: %s: header %08x %08x %08x; tag %0d of %04x %s, %0d bytes left from %03x",
             cycle_i - 64'd1, Stream, rule_line(rule), shown.dw[0], shown.dw[1], shown.dw[2], tag, answered.id,
             answered.busy ? "outstanding" : "free", answered.left, answered.address);
  endtask

  task automatic asked();
    shown = request_i;
    tag   = shown.dw[1][15:8];
    answered = tags[tag];
    check(RuleCplTag, !tags[tag].busy || cycle_i - tags[tag].since > timeout_i);
    tags[tag].busy  = 1'b1;
    tags[tag].read  = is_read(shown.dw[0]);
    tags[tag].write = shown.dw[0][31:24] == TlpCfgWr0;
    tags[tag].id    = shown.dw[1][31:16];
    tags[tag].since = cycle_i;
    if (tags[tag].read) begin
      tags[tag].left    = byte_count(shown.dw[0], shown.dw[1]);
      tags[tag].address = 13'({low_address(shown) & 32'hFFC}) + bytes_before(shown.dw[1][3:0]);
    end else begin
      tags[tag].left    = 13'd4;
      tags[tag].address = 13'd0;
    end
  endtask

  task automatic returned();
    check(RuleCplLower, shown.dw[2][6:0] == answered.address[6:0]);
    bytes = {length(shown.dw[0]), 2'b00} - {11'd0, answered.address[1:0]};
    check(RuleCplData, {length(shown.dw[0]), 2'b00} < {11'd0, answered.address[1:0]} + answered.left + 13'd4);
    tags[tag].busy = bytes < answered.left;
    if (tags[tag].busy) begin
      check(RuleCplRcb, 13'(answered.address + bytes) % Rcb == 13'd0);
      tags[tag].address = answered.address + bytes;
      tags[tag].left    = answered.left - bytes;
    end
  endtask

  task automatic came();
    shown    = completion_i;
    tag      = shown.dw[2][15:8];
    answered = tags[tag];
    status   = shown.dw[1][15:13];
    count    = {shown.dw[1][11:0] == 12'd0, shown.dw[1][11:0]};
    check(RuleCplRequest, answered.busy && answered.id == shown.dw[2][31:16]);
    if (!answered.busy || answered.id != shown.dw[2][31:16]) return;
    if (status == CplSc) check(RuleCplKind, shown.dw[0][30] == !answered.write);
    // a later piece of the same request has the lower address that belongs to its smaller count
    ahead = answered.read && status == CplSc && count < answered.left
            && shown.dw[2][6:0] == 7'(answered.address + answered.left - count);
    check(RuleCplOrder, !ahead);
    if (!ahead) begin
      check(RuleCplCount, count == answered.left);
      tags[tag].busy = 1'b0;
      if (status == CplSc && shown.dw[0][30]) returned();
    end
  endtask

  always @(posedge clk_i)
    if (enable_i) begin
      if (completion_i.valid && is_completion(completion_i.dw[0])) came();
      if (request_i.valid && (is_read(request_i.dw[0]) || is_config(request_i.dw[0]))) asked();
      if (rst_i) for (int unsigned t = 0; t < 256; t++) tags[t].busy = 1'b0;
    end

  final if (enable_i) report("completion", Stream, counts);
endmodule
`default_nettype wire
