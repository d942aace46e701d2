`default_nettype none
/// Context cache: direct mapped on the low bits of the requester ID; valid contexts only.
module myr_context_cache
  import myr_iommu_pkg::*;
#(
    /// Entries, a power of two from 2 to 256.
    parameter int unsigned Entries = 64
) (
    /// Clock, 250 MHz.
    input  wire         clk_i,
    /// Synchronous reset, of control only.
    input  wire         rst_i,
    /// Look-up of the front, same cycle.
    input  wire         a_valid_i,
    /// Its requester.
    input  wire  [15:0] a_sid_i,
    /// Its answer.
    output logic        a_hit_o,
    /// Its context.
    output ctx_t        a_ctx_o,
    /// Look-up of the walker, same cycle.
    input  wire         b_valid_i,
    /// Its requester.
    input  wire  [15:0] b_sid_i,
    /// Its answer.
    output logic        b_hit_o,
    /// Its context.
    output ctx_t        b_ctx_o,
    /// A walk found a context.
    input  wire         insert_i,
    /// For this requester.
    input  wire  [15:0] insert_sid_i,
    /// The context.
    input  ctx_t        insert_ctx_i,
    /// Invalidation.
    input  inval_t      inval_i
);
  localparam int unsigned IndexWidth = $clog2(Entries);

  logic [Entries-1:0] valid_q;
  logic [15:0] sid_q[Entries];
  ctx_t ctx_q[Entries];

  wire [IndexWidth-1:0] a_index = a_sid_i[IndexWidth-1:0];
  wire [IndexWidth-1:0] b_index = b_sid_i[IndexWidth-1:0];
  wire [IndexWidth-1:0] insert_index = insert_sid_i[IndexWidth-1:0];

  always_comb begin
    a_hit_o = 1'b0;
    a_ctx_o = '0;
    b_hit_o = 1'b0;
    b_ctx_o = '0;
    if (a_valid_i) begin
      a_hit_o = valid_q[a_index] && sid_q[a_index] == a_sid_i;
      a_ctx_o = ctx_q[a_index];
    end
    if (b_valid_i) begin
      b_hit_o = valid_q[b_index] && sid_q[b_index] == b_sid_i;
      b_ctx_o = ctx_q[b_index];
    end
  end

  logic [15:0] sid_mask;
  logic [Entries-1:0] dropped;
  always_comb begin
    unique case (inval_i.function_mask)
      2'd0: sid_mask = 16'hFFFF;
      2'd1: sid_mask = 16'hFFFB;
      2'd2: sid_mask = 16'hFFF9;
      default: sid_mask = 16'hFFF8;
    endcase
    dropped = '0;
    if (inval_i.valid && inval_i.context_cache) begin
      for (int unsigned i = 0; i < Entries; i++) begin
        unique case (inval_i.granularity)
          2'd2: dropped[i] = ctx_q[i].did == inval_i.did;
          2'd3: dropped[i] = ((sid_q[i] ^ inval_i.sid) & sid_mask) == 16'd0;
          default: dropped[i] = 1'b1;
        endcase
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (insert_i) begin
      valid_q[insert_index] <= 1'b1;
      sid_q[insert_index] <= insert_sid_i;
      ctx_q[insert_index] <= insert_ctx_i;
    end
    if (inval_i.valid) valid_q <= valid_q & ~dropped;
    if (rst_i) valid_q <= '0;
  end

  wire unused_ok = &{1'b0, inval_i.page, inval_i.address_mask};

`ifndef SYNTHESIS
  always_ff @(posedge clk_i) begin
    if (!rst_i) begin
      assert (!(insert_i && inval_i.valid))
      else $error("A context was inserted in the cycle of an invalidation: it may be stale.");
    end
  end
`endif

endmodule
`default_nettype wire
