`default_nettype none
/// IOTLB: fully associative, tagged by domain, leaves of all three sizes, replaced in turn.
/// One look-up port; the answer comes in the same cycle and the user registers it.
module myr_iotlb
  import myr_iommu_pkg::*;
#(
    /// Entries, a power of two from 2 to 1024.
    parameter int unsigned Entries = 64
) (
    /// Clock, 250 MHz.
    input  wire          clk_i,
    /// Synchronous reset, of control only.
    input  wire          rst_i,
    /// Look up.
    input  wire          lookup_i,
    /// In this domain.
    input  wire  [15:0]  lookup_did_i,
    /// This page.
    input  wire  [47:12] lookup_page_i,
    /// A leaf covers the page.
    output logic         hit_o,
    /// The leaf.
    output leaf_t        leaf_o,
    /// A walk found a leaf.
    input  wire          insert_i,
    /// In this domain.
    input  wire  [15:0]  insert_did_i,
    /// For this page.
    input  wire  [47:12] insert_page_i,
    /// The leaf.
    input  leaf_t        insert_leaf_i,
    /// Invalidation.
    input  inval_t       inval_i
);
  localparam int unsigned IndexWidth = $clog2(Entries);

  logic [Entries-1:0] valid_q;
  logic [15:0] did_q[Entries];
  logic [47:12] page_q[Entries];
  leaf_t leaf_q[Entries];
  logic [IndexWidth-1:0] next_q;

  /// Page-number bits that a leaf of this size compares.
  function automatic logic [47:12] size_mask(logic [1:0] size);
    unique case (size)
      2'd0: return 36'hFFFFFFFFF;
      2'd1: return 36'hFFFFFFE00;
      default: return 36'hFFFFC0000;
    endcase
  endfunction

  /// Two walks may find the same leaf: it goes where it already is. Otherwise the next entry in turn is taken.
  logic insert_found;
  logic [IndexWidth-1:0] insert_index;
  logic [Entries-1:0] dropped;

  always_comb begin
    hit_o = 1'b0;
    leaf_o = '0;
    if (lookup_i) begin
      for (int unsigned i = 0; i < Entries; i++) begin
        if (valid_q[i] && did_q[i] == lookup_did_i
            && ((page_q[i] ^ lookup_page_i) & size_mask(leaf_q[i].size)) == 36'd0) begin
          hit_o = 1'b1;
          leaf_o = leaf_q[i];
        end
      end
    end
  end

  always_comb begin
    insert_found = 1'b0;
    insert_index = next_q;
    if (insert_i) begin
      for (int unsigned i = 0; i < Entries; i++) begin
        if (valid_q[i] && did_q[i] == insert_did_i && leaf_q[i].size == insert_leaf_i.size
            && ((page_q[i] ^ insert_page_i) & size_mask(insert_leaf_i.size)) == 36'd0) begin
          insert_found = 1'b1;
          insert_index = IndexWidth'(i);
        end
      end
    end
  end

  always_comb begin
    dropped = '0;
    if (inval_i.valid && !inval_i.context_cache) begin
      for (int unsigned i = 0; i < Entries; i++) begin
        unique case (inval_i.granularity)
          2'd2: dropped[i] = did_q[i] == inval_i.did;
          2'd3: dropped[i] = did_q[i] == inval_i.did
              && ((page_q[i] ^ inval_i.page) & size_mask(leaf_q[i].size)
                  & ~((36'd1 << inval_i.address_mask) - 36'd1)) == 36'd0;
          default: dropped[i] = 1'b1;
        endcase
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (insert_i) begin
      valid_q[insert_index] <= 1'b1;
      did_q[insert_index] <= insert_did_i;
      page_q[insert_index] <= insert_page_i;
      leaf_q[insert_index] <= insert_leaf_i;
      if (!insert_found) next_q <= next_q + IndexWidth'(1);
    end
    if (inval_i.valid) valid_q <= valid_q & ~dropped;
    if (rst_i) begin
      valid_q <= '0;
      next_q <= '0;
    end
  end

  wire unused_ok = &{1'b0, inval_i.sid, inval_i.function_mask};

`ifndef SYNTHESIS
  always_ff @(posedge clk_i) begin
    if (!rst_i) begin
      assert (!(insert_i && inval_i.valid))
      else $error("A leaf was inserted in the cycle of an invalidation: it may be stale.");
    end
  end
`endif

endmodule
`default_nettype wire
