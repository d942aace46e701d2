`default_nettype none
/// One direction of TLPs: the format of each, beat by beat, and its header for the other checkers.
module myr_check_tlp
  import myr_pkg::*;
  import myr_rules_pkg::*;
  import myr_check_pkg::*;
#(
    /// Its name in messages.
    parameter string Stream = "",
    /// From the device; otherwise from the root complex.
    parameter bit    Upstream = 1'b1,
    /// Behind the translation, which keeps the size of a header whatever the address.
    parameter bit    Translated = 1'b0
) (
    /// Clock.
    input  wire logic      clk_i,
    /// Synchronous reset.
    input  wire logic      rst_i,
    /// The checker is on.
    input  wire logic      enable_i,
    /// Cycle counter, for messages.
    input  wire logic [63:0] cycle_i,
    /// What software has configured.
    input  wire limits_t   limits_i,
    /// Beat.
    input  wire tlp_beat_t beat_i,
    /// It moves.
    input  wire logic      moved_i,
    /// Header, in the cycle after its second beat.
    output head_t          head_o
);
  // kind of a write in its tag, bits 7:6 (mwr_t)
  localparam logic [1:0] KindInterrupt = 2'd3;
  // function 0 is the device's own, those up to this one are endpoints
  localparam logic [7:0] LastFunction = 8'd64;

  counts_t          counts;
  logic [3:0][31:0] dw;
  logic [1:0]       beats;  // of this TLP; 2: the header is over
  logic [11:0]      seen;   // DW of this TLP
  logic             complete;      // the header has just become whole

  task automatic check(input rule_e rule, input logic ok);
    counts[rule] += 1;
    if (!ok)
      $error("[myr_check_tlp] cycle %0d %s: %s: header %08x %08x %08x %08x, %0d DW so far%s, MPS %0d, MRRS %0d, bus %0d",
             cycle_i, Stream, rule_line(rule), dw[0], dw[1], dw[2], dw[3], seen, beat_i.last ? ", the last" : "",
             limits_i.mps, limits_i.mrrs, limits_i.bus);
  endtask

  function automatic logic legal_type(input logic [7:0] kind);
    if (!Upstream && kind inside {TlpCfgRd0, TlpCfgWr0}) return 1'b1;
    return kind inside {TlpMRd32, TlpMRd64, TlpMWr32, TlpMWr64, TlpCpl, TlpCplD};
  endfunction

  // the first enables run to the end of their DW, the last ones from its start; 2 DW from an even one need not
  function automatic logic legal_enables(input logic [10:0] dws, input logic [3:0] first, input logic [3:0] last,
                                         input logic even);
    if (dws == 11'd1) return last == 4'd0;
    if (dws == 11'd2 && even) return first != 4'd0 && last != 4'd0;
    return first inside {4'hF, 4'hE, 4'hC, 4'h8} && last inside {4'hF, 4'h7, 4'h3, 4'h1};
  endfunction

  task automatic check_memory();
    automatic logic [31:0] address = low_address({1'b1, dw});
    check(RuleTlpBe, legal_enables(length(dw[0]), dw[1][3:0], dw[1][7:4], !address[2]));
    check(RuleTlp4k, 13'(address[11:2]) + 13'(length(dw[0])) <= 13'd1024);
    check(RuleTlpAddress, address[1:0] == 2'd0 && (Translated || !dw[0][29] || dw[2] != 32'd0));
    if (is_read(dw[0])) check(RuleTlpMrrs, 13'({length(dw[0]), 2'b00}) <= limits_i.mrrs);
    if (Upstream) begin
      check(RuleTlpId, dw[1][31:24] == limits_i.bus && dw[1][23:16] <= LastFunction);
      if (is_write(dw[0]) && dw[1][15:14] == KindInterrupt) check(RuleTlpMsi, length(dw[0]) == 11'd1 && dw[1][3:0] == 4'hF);
    end else check(RuleTlpId, dw[1][31:16] == 16'd0);
  endtask

  task automatic check_header();
    check(RuleTlpType, legal_type(dw[0][31:24]));
    check(RuleTlpFields, dw[0][23:15] == 9'd0 && dw[0][13:10] == 4'd0);
    check(RuleTlpEp, !dw[0][14] || (dw[0][30] && !Upstream));
    if (dw[0][30]) check(RuleTlpMps, 13'({length(dw[0]), 2'b00}) <= limits_i.mps);
    if (is_memory(dw[0])) check_memory();
    if (is_completion(dw[0])) begin
      check(RuleTlpCpl, dw[1][15:13] inside {CplSc, CplUr, CplCa} && !dw[1][12] && !dw[2][7]
                        && (dw[0][30] ? dw[1][15:13] == CplSc : dw[0][9:0] == 10'd0));
      check(RuleTlpId, dw[1][31:16] == (Upstream ? {limits_i.bus, 8'd0} : 16'd0));
    end
    if (is_config(dw[0])) begin
      check(RuleTlpCfg, length(dw[0]) == 11'd1 && dw[1][7:4] == 4'd0 && dw[2][15:12] == 4'd0 && dw[2][1:0] == 2'd0);
      if (!Upstream) check(RuleTlpId, dw[1][31:16] == 16'd0);
    end
  endtask

  always @(posedge clk_i)
    if (enable_i) begin
      complete = 1'b0;
      if (moved_i && !rst_i) begin
        seen = seen + (beat_i.half ? 12'd1 : 12'd2);
        if (beats == 2'd0) dw = {64'd0, beat_i.data};
        if (beats == 2'd1) begin
          dw[2] = beat_i.data[31:0];
          dw[3] = beat_i.data[63:32];
          complete = 1'b1;
          check_header();
        end
        check(RuleTlpHalf, !beat_i.half || beat_i.last);
        if (beat_i.last) check(RuleTlpSize, seen == (dw[0][29] ? 12'd4 : 12'd3) + 12'(payload(dw[0])));
        if (beats != 2'd2) beats = beats + 2'd1;
        if (beat_i.last) begin
          beats = 2'd0;
          seen  = 12'd0;
        end
      end
      if (rst_i) begin
        beats = 2'd0;
        seen  = 12'd0;
      end
      head_o.valid <= complete;
      if (complete) head_o.dw <= dw;
    end

  initial head_o = '0;

  final if (enable_i) report("tlp", Stream, counts);
endmodule
`default_nettype wire
