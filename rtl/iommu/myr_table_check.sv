`default_nettype none
/// Decodes a root or context entry: next table, context, or fault. Combinational.
module myr_table_check
  import myr_iommu_pkg::*;
(
    /// The entry is a context entry, else a root entry.
    input  wire          is_context_i,
    /// The 16 bytes read.
    input  wire  [127:0] entry_i,
    /// The table could not be read.
    input  wire          error_i,
    /// The entry ends the walk with a fault.
    output logic         fault_o,
    /// Why.
    output logic [7:0]   reason_o,
    /// The fault is not to be recorded.
    output logic         quiet_o,
    /// Root entry: the context table.
    output logic [51:12] table_o,
    /// Context entry: the context.
    output ctx_t         ctx_o
);

  wire [63:0] low = entry_i[63:0];
  wire [63:0] high = entry_i[127:64];
  // 4 levels only; no device TLB, so translation types 1 and 3 are invalid
  wire        supported = high[2:0] == 3'd2 && !low[2];

  always_comb begin
    fault_o = 1'b1;
    reason_o = FaultRootAbsent;
    quiet_o = 1'b0;
    table_o = low[51:12];
    ctx_o = '{fpd: low[1], pass: low[3], did: high[23:8], root: low[51:12]};
    if (!is_context_i) begin
      if (error_i) reason_o = FaultRootUnreadable;
      else if (!low[0]) reason_o = FaultRootAbsent;
      else if (low[11:1] != 11'd0 || low[63:52] != 12'd0 || high != 64'd0) reason_o = FaultRootReserved;
      else fault_o = 1'b0;
    end else if (error_i) reason_o = FaultContextUnreadable;
    else begin
      quiet_o = low[1];
      if (!low[0]) reason_o = FaultContextAbsent;
      else if (low[11:4] != 8'd0 || low[63:52] != 12'd0 || high[7] || high[63:24] != 40'd0) begin
        reason_o = FaultContextReserved;
      end else if (!supported) reason_o = FaultContextInvalid;
      else fault_o = 1'b0;
    end
  end

  // high[6:3] is for software
  wire unused_ok = &{1'b0, high[6:3]};

endmodule
`default_nettype wire
