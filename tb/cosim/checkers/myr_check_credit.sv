`default_nettype none
/// Flow control of one direction: what its sender uses, what its receiver grants. Completions need no credits.
module myr_check_credit
  import myr_pkg::*;
  import myr_rules_pkg::*;
  import myr_check_pkg::*;
#(
    /// Its name in messages.
    parameter string Stream = "",
    /// Cycles without a beat after which all credits are back.
    parameter int unsigned IdleCycles = 1024
) (
    /// Clock.
    input  wire logic        clk_i,
    /// Synchronous reset.
    input  wire logic        rst_i,
    /// The checker is on.
    input  wire logic        enable_i,
    /// Cycle counter, for messages.
    input  wire logic [63:0] cycle_i,
    /// The receiver returns credits within `IdleCycles`.
    input  wire logic        prompt_i,
    /// Beat of the sender.
    input  wire tlp_beat_t   beat_i,
    /// It moves.
    input  wire logic        moved_i,
    /// Limits granted.
    input  wire fc_t         limit_i
);
  // half of a counter's range less one may be granted beyond what is used (PCIe 2.0, 2.6.1)
  localparam logic [7:0]  MostHeaders = 8'd127;
  localparam logic [11:0] MostData = 12'd2047;

  counts_t     counts;
  fc_t         used, first, free;
  logic        started;  // a TLP has used credits
  logic        open;
  int unsigned idle;
  logic [11:0] units;

  task automatic check(input rule_e rule, input logic ok);
    counts[rule] += 1;
    if (!ok)
      $error("[myr_check_credit] cycle %0d %s: %s: used of granted: PH %0d of %0d, PD %0d of %0d, NPH %0d of %0d, NPD %0d of %0d; DW 0 %08x",
             cycle_i, Stream, rule_line(rule), used.ph, limit_i.ph, used.pd, limit_i.pd, used.nph, limit_i.nph, used.npd, limit_i.npd, beat_i.data[31:0]);
  endtask

  // free now, not more than at first: then no counter has run over
  function automatic logic not_above(input fc_t now, input fc_t most);
    return now.ph <= most.ph && now.pd <= most.pd && now.nph <= most.nph && now.npd <= most.npd;
  endfunction

  function automatic fc_t beyond(input fc_t limit, input fc_t consumed);
    return '{ph: limit.ph - consumed.ph, pd: limit.pd - consumed.pd, nph: limit.nph - consumed.nph,
             npd: limit.npd - consumed.npd};
  endfunction

  task automatic start();
    if (!started) begin
      first   = limit_i;
      started = 1'b1;
      check(RuleFcGrant, not_above(first, '{ph: MostHeaders, pd: MostData, nph: MostHeaders, npd: MostData}));
    end
    units = 12'((payload(beat_i.data[31:0]) + 11'd3) >> 2);
    if (is_write(beat_i.data[31:0])) begin
      used.ph = used.ph + 8'd1;
      used.pd = used.pd + units;
    end else begin
      used.nph = used.nph + 8'd1;
      used.npd = used.npd + units;
    end
    free = beyond(limit_i, used);
    // less than nothing is more than there ever was
    check(RuleFcLimit, !free.ph[7] && !free.pd[11] && !free.nph[7] && !free.npd[11]);
  endtask

  always @(posedge clk_i) begin
    // whether it is watched or not: a machine in which a leak is still to be looked for is not still
    idle = moved_i || rst_i ? 0 : idle > IdleCycles ? idle : idle + 1;
    if (enable_i) begin
      if (moved_i && !rst_i) begin
        if (!open && started) check(RuleFcGrant, not_above(beyond(limit_i, used), first));
        if (!open && !is_completion(beat_i.data[31:0])) start();
        open = !beat_i.last;
      end
      if (idle == IdleCycles && started && !open && prompt_i) check(RuleFcLeak, beyond(limit_i, used) == first);
      if (rst_i) begin
        used    = '0;
        started = 1'b0;
        open  = 1'b0;
      end
    end
  end

  final if (enable_i) report("credit", Stream, counts);
endmodule
`default_nettype wire
