`default_nettype none
/// One direction of the line: framing, lengths, FCS, pace to the byte time, pause frames.
///
/// Towards the NIC frames may be bad: then what its receiver says of them is checked instead.
module myr_check_ethernet
  import myr_rules_pkg::*;
  import myr_check_pkg::*;
#(
    /// Its name in messages.
    parameter string Stream = "",
    /// Towards the NIC.
    parameter bit Receive = 1'b0
) (
    /// Clock.
    input  wire logic        clk_i,
    /// Synchronous reset.
    input  wire logic        rst_i,
    /// The checker is on.
    input  wire logic        enable_i,
    /// Cycle counter.
    input  wire logic [63:0] cycle_i,
    /// A beat.
    input  wire logic        valid_i,
    /// It is the preamble.
    input  wire logic        first_i,
    /// It is the last of a frame.
    input  wire logic        last_i,
    /// Its bytes.
    input  wire logic [3:0]  bytes_i,
    /// The line signals an error in it.
    input  wire logic        error_i,
    /// Lane 0 in bits 7:0.
    input  wire logic [63:0] data_i,
    /// The receiver has judged the frame that ended in the cycle before.
    input  wire logic        judged_i,
    /// It finds framing, length or FCS wrong.
    input  wire logic        bad_i
);
  localparam longint unsigned CycleBytes = 5;
  localparam longint unsigned GapBytes = 12;
  localparam int unsigned     MinBytes = 64;
  localparam int unsigned     MaxBytes = 9018 + 4;
  localparam logic [63:0]     Preamble = 64'hD555_5555_5555_5555;
  localparam logic [31:0]     Polynomial = 32'hEDB8_8320;
  // the register after a frame and its FCS, whatever the frame
  localparam logic [31:0]     Residue = 32'hDEBB_20E3;
  // as they lie on the lanes
  localparam logic [47:0]     PauseAddress = 48'h0100_00C2_8001;
  localparam logic [31:0]     PauseType = 32'h0100_0888;

  counts_t         counts;
  logic [31:0]     crc_table[256];
  logic [31:0]     crc;
  logic            open;
  logic            wrong;             // framing or an error of the line in this frame
  int unsigned     size;              // bytes so far, FCS included, preamble not
  logic            pause;             // a pause frame by its type
  logic [47:0]     to;
  logic            zeros;             // behind its time and before its FCS there is nothing else
  // earliest and latest byte time at which the line is free again: a beat starts anywhere in its cycle
  longint unsigned free_low, free_high, now_low, now_high;
  logic            expected;  // the verdict
  logic            judge;  // it is due now

  initial
    for (int unsigned i = 0; i < 256; i++) begin
      automatic logic [31:0] value = i;
      for (int unsigned b = 0; b < 8; b++) value = (value >> 1) ^ (value[0] ? Polynomial : 32'd0);
      crc_table[i] = value;
    end

  task automatic check(input rule_e rule, input logic ok);
    counts[rule] += 1;
    if (!ok)
      $error("[myr_check_ethernet] cycle %0d %s: %s: beat %016x of %0d bytes%s%s, %0d bytes before, %s, byte time %0d, line free at %0d to %0d, CRC %08x",
             cycle_i, Stream, rule_line(rule), data_i, bytes_i, first_i ? ", first" : "", last_i ? ", last" : "", size,
             open ? "inside" : "outside", CycleBytes * cycle_i, free_low, free_high, crc);
  endtask

  // what is wrong with a frame is the sender's fault, or what the receiver must find
  task automatic check_frame(input rule_e rule, input logic ok);
    if (Receive) wrong = wrong || !ok;
    else check(rule, ok);
  endtask

  task automatic pace();
    now_low  = CycleBytes * cycle_i;
    now_high = now_low + CycleBytes - 1;
    if (first_i) begin
      check(RuleEthGap, free_low <= now_high);
      if (free_low > now_low && free_low <= now_high) now_low = free_low;
    end else begin
      check(RuleEthRate, free_low <= now_high);
      check(RuleEthHole, free_high >= now_low);
      if (free_low > now_low && free_low <= now_high) now_low = free_low;
      if (free_high < now_high && free_high >= now_low) now_high = free_high;
    end
    free_low  = now_low + 64'(bytes_i) + (last_i ? GapBytes : 0);
    free_high = now_high + 64'(bytes_i) + (last_i ? GapBytes : 0);
  endtask

  task automatic begin_frame();
    wrong = error_i;
    check_frame(RuleEthFraming, !open && !last_i && bytes_i == 4'd8);
    check_frame(RuleEthPreamble, data_i == Preamble);
    open = 1'b1;
    size   = 0;
    crc    = '1;
    zeros  = 1'b1;
    pause  = 1'b0;
  endtask

  task automatic end_frame();
    check_frame(RuleEthMin, size >= MinBytes);
    check_frame(RuleEthMax, size <= MaxBytes);
    check_frame(RuleEthFcs, crc == Residue);
    if (pause && !Receive) check(RuleEthPause, to == PauseAddress && size == MinBytes && zeros);
    open   = 1'b0;
    judge    = Receive;
    expected = wrong;
  endtask

  task automatic go_on();
    wrong = wrong || error_i;
    check_frame(RuleEthFraming, open && bytes_i >= 4'd1 && bytes_i <= 4'd8 && (bytes_i == 4'd8 || last_i));
    for (int unsigned i = 0; i < 8; i++) if (4'(i) < bytes_i) crc = (crc >> 8) ^ crc_table[crc[7:0] ^ data_i[8*i +: 8]];
    if (size == 0) to = data_i[47:0];
    if (size == 8) pause = data_i[63:32] == PauseType;
    if (size == 16) zeros = data_i[63:16] == 48'd0;
    if (size > 16 && size < 56) zeros = zeros && data_i == 64'd0;
    if (size == 56) zeros = zeros && data_i[31:0] == 32'd0;
    size = size + 32'(bytes_i);
    if (last_i) end_frame();
  endtask

  always @(posedge clk_i)
    if (enable_i) begin
      if (!rst_i) begin
        if (judge) check(RuleEthVerdict, judged_i && bad_i == expected);
        judge = 1'b0;
        if (valid_i) begin
          pace();
          if (first_i) begin_frame();
          else go_on();
        end
      end else begin
        open    = 1'b0;
        judge     = 1'b0;
        free_low  = 0;
        free_high = 0;
      end
    end

  final if (enable_i) report("ethernet", Stream, counts);
endmodule
`default_nettype wire
