`default_nettype none
/// The verdict on one request, given what the caches know. Combinational; the only place that lets a TLP through.
module myr_access_check
  import myr_iommu_pkg::*;
(
    /// The request.
    input  access_t      access_i,
    /// The context of the requester is known.
    input  wire          ctx_hit_i,
    /// That context.
    input  ctx_t         ctx_i,
    /// A leaf for the page in the context's domain is known.
    input  wire          leaf_hit_i,
    /// That leaf.
    input  leaf_t        leaf_i,
    /// What to do.
    output verdict_e     verdict_o,
    /// With `VerdictFault`: why.
    output logic [7:0]   reason_o,
    /// With `VerdictPass`: the machine page (nothing, if the request is not translated).
    output logic [51:12] page_o
);

  always_comb begin
    verdict_o = VerdictFault;
    reason_o = FaultBlocked;
    page_o = leaf_page(leaf_i.size, leaf_i.page, access_i.page[29:12]);
    if (access_i.bypass) verdict_o = VerdictPass;
    else if (!ctx_hit_i) verdict_o = VerdictNeedContext;
    else if (access_i.blocked) reason_o = FaultBlocked;
    else if (access_i.page[63:48] != 16'd0) reason_o = FaultWidth;
    else if (ctx_i.pass) begin
      verdict_o = VerdictPass;
      page_o = access_i.page[51:12];
    end else if (!leaf_hit_i) verdict_o = VerdictNeedLeaf;
    else if (access_i.write && !leaf_i.write) reason_o = FaultWrite;
    else if (!access_i.write && !leaf_i.read) reason_o = FaultRead;
    // the machine address does not fit the header, which keeps its size
    else if (access_i.short_header && page_o[51:32] != 20'd0) reason_o = FaultPageReserved;
    else verdict_o = VerdictPass;
  end

  // each use of these structures takes the fields it needs
  wire unused_ok = &{1'b0, access_i, ctx_i};

endmodule
`default_nettype wire
