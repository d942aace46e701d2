`default_nettype none
/// Decides parked requests: looks each up in the caches and, where they do not know, walks the tables in memory.
///
/// All walks run at once, one read outstanding for each slot (the read's id is the slot). Each cycle handles one event:
/// an answer from memory, or else the outcome of a look-up. An invalidation starts every slot again, and answers to
/// reads made before it are thrown away, so nothing stale is cached or used.
module myr_walker
  import myr_iommu_pkg::*;
#(
    /// Slots of the park, 2 to 16.
    parameter int unsigned Slots = 16,
    /// Width of a slot number.
    localparam int unsigned SlotWidth = $clog2(Slots)
) (
    /// Clock, 250 MHz.
    input  wire                  clk_i,
    /// Synchronous reset, of control only.
    input  wire                  rst_i,
    /// Root table in force.
    input  wire  [51:12]         root_i,
    /// A request was parked.
    input  wire                  alloc_i,
    input  wire  [SlotWidth-1:0] alloc_slot_i,
    input  access_t              alloc_access_i,
    /// Slots whose look-up has to wait.
    input  wire  [Slots-1:0]     deferred_i,
    /// Slots that were given another's decision: nothing to look up.
    input  wire  [Slots-1:0]     shared_i,
    /// Slots that become free.
    input  wire  [Slots-1:0]     freed_i,
    /// Start all slots again (with an invalidation).
    input  wire                  restart_i,
    /// Decision on a slot.
    output logic                 result_o,
    output logic [SlotWidth-1:0] result_slot_o,
    output logic                 result_fault_o,
    output logic [7:0]           result_reason_o,
    output logic                 result_quiet_o,
    output logic [51:12]         result_page_o,
    /// Context cache look-up, same cycle.
    output logic                 ctx_lookup_o,
    output logic [15:0]          ctx_sid_o,
    input  wire                  ctx_hit_i,
    input  ctx_t                 ctx_i,
    /// Context found.
    output logic                 ctx_insert_o,
    output logic [15:0]          ctx_insert_sid_o,
    output ctx_t                 ctx_insert_ctx_o,
    /// IOTLB look-up, same cycle, when granted.
    output logic                 tlb_lookup_o,
    input  wire                  tlb_grant_i,
    output logic [15:0]          tlb_did_o,
    output logic [47:12]         tlb_page_o,
    input  wire                  tlb_hit_i,
    input  leaf_t                tlb_leaf_i,
    /// Leaf found.
    output logic                 tlb_insert_o,
    output logic [15:0]          tlb_insert_did_o,
    output logic [47:12]         tlb_insert_page_o,
    output leaf_t                tlb_insert_leaf_o,
    /// Table reads, 16 bytes.
    output logic                 read_valid_o,
    output logic [SlotWidth-1:0] read_slot_o,
    output logic [51:4]          read_addr_o,
    input  wire                  read_ready_i,
    /// Answers, any order.
    input  wire                  rsp_valid_i,
    input  wire  [SlotWidth-1:0] rsp_slot_i,
    input  wire  [127:0]         rsp_data_i,
    input  wire                  rsp_error_i,
    /// Pulse: an IOTLB miss started a walk.
    output logic                 miss_o
);

  /// Table that is read next. The value of a second-level stage is its level.
  typedef enum logic [2:0] {
    StageRoot = 3'd0,
    StagePage1 = 3'd1,
    StagePage2 = 3'd2,
    StagePage3 = 3'd3,
    StagePage4 = 3'd4,
    StageContext = 3'd5
  } stage_e;

  typedef struct packed {
    stage_e       stage;
    logic         read;   // permissions of the levels above
    logic         write;
    logic [51:12] base;
  } walk_t;

  typedef enum logic [1:0] {
    LookupIdle,
    LookupContext,
    LookupLeaf,
    LookupDecide
  } lookup_e;

  logic [Slots-1:0] live_q, need_lookup_q, need_read_q, waiting_q, stale_q, own_ctx_q;
  access_t access_q[Slots];
  walk_t walk_q[Slots];
  ctx_t ctx_q[Slots];  // valid with own_ctx_q, or while a second-level walk runs

  // ------------------------------------------------------------------ look-up, one slot at a time
  lookup_e lookup_q;
  logic [SlotWidth-1:0] lookup_slot_q;
  logic found_ctx_q, found_leaf_q;
  ctx_t found_q;
  leaf_t found_leaf_entry_q;
  wire [Slots-1:0] eligible = need_lookup_q & ~deferred_i & ~stale_q;
  wire [SlotWidth-1:0] lookup_pick = SlotWidth'(pick(32'(eligible), 5'(lookup_slot_q)));
  wire lookup_decided = lookup_q == LookupDecide && !rsp_valid_i;
  access_t access;
  verdict_e verdict;
  logic [7:0] verdict_reason;
  logic [51:12] verdict_page;

  assign access = access_q[lookup_slot_q];
  assign ctx_lookup_o = lookup_q == LookupContext;
  assign ctx_sid_o = access.sid;
  assign tlb_lookup_o = lookup_q == LookupLeaf && found_ctx_q;
  assign tlb_did_o = found_q.did;
  assign tlb_page_o = access.page[47:12];

  myr_access_check u_access (
      .access_i(access),
      .ctx_hit_i(found_ctx_q),
      .ctx_i(found_q),
      .leaf_hit_i(found_leaf_q),
      .leaf_i(found_leaf_entry_q),
      .verdict_o(verdict),
      .reason_o(verdict_reason),
      .page_o(verdict_page)
  );

  // ------------------------------------------------------------------ answer from memory
  access_t rsp_access;
  walk_t rsp_walk;
  ctx_t rsp_ctx, table_ctx;
  logic table_fault, table_quiet, page_fault, page_is_leaf;
  logic [7:0] table_reason, page_reason;
  logic [51:12] table_base;
  leaf_t page_leaf;

  assign rsp_access = access_q[rsp_slot_i];
  assign rsp_walk = walk_q[rsp_slot_i];
  assign rsp_ctx = ctx_q[rsp_slot_i];
  wire rsp_use = rsp_valid_i && !stale_q[rsp_slot_i] && !restart_i;
  wire rsp_is_table = rsp_walk.stage == StageRoot || rsp_walk.stage == StageContext;
  // the index's lowest bit says which half of the 16 bytes
  logic rsp_upper;

  always_comb begin
    unique case (rsp_walk.stage)
      StagePage1: rsp_upper = rsp_access.page[12];
      StagePage2: rsp_upper = rsp_access.page[21];
      StagePage3: rsp_upper = rsp_access.page[30];
      default: rsp_upper = rsp_access.page[39];
    endcase
  end

  myr_table_check u_table (
      .is_context_i(rsp_walk.stage == StageContext),
      .entry_i(rsp_data_i),
      .error_i(rsp_error_i),
      .fault_o(table_fault),
      .reason_o(table_reason),
      .quiet_o(table_quiet),
      .table_o(table_base),
      .ctx_o(table_ctx)
  );

  myr_page_check u_page (
      .level_i(rsp_walk.stage),
      .entry_i(rsp_upper ? rsp_data_i[127:64] : rsp_data_i[63:0]),
      .error_i(rsp_error_i),
      .write_i(rsp_access.write),
      .read_above_i(rsp_walk.read),
      .write_above_i(rsp_walk.write),
      .fault_o(page_fault),
      .reason_o(page_reason),
      .is_leaf_o(page_is_leaf),
      .leaf_o(page_leaf)
  );

  wire leaf_found = rsp_use && !rsp_is_table && !page_fault && page_is_leaf;
  // the translation of a request whose header cannot hold it is refused, but cached
  wire [51:12] found_page = leaf_page(page_leaf.size, page_leaf.page, rsp_access.page[29:12]);
  wire too_high = rsp_access.short_header && found_page[51:32] != 20'd0;

  always_comb begin
    ctx_insert_o = rsp_use && rsp_walk.stage == StageContext && !table_fault;
    ctx_insert_sid_o = rsp_access.sid;
    ctx_insert_ctx_o = table_ctx;
    tlb_insert_o = leaf_found;
    tlb_insert_did_o = rsp_ctx.did;
    tlb_insert_page_o = rsp_access.page[47:12];
    tlb_insert_leaf_o = page_leaf;

    result_o = 1'b0;
    result_slot_o = rsp_slot_i;
    result_fault_o = 1'b0;
    result_reason_o = FaultPageReserved;
    result_quiet_o = rsp_ctx.fpd;
    result_page_o = found_page;
    miss_o = 1'b0;
    if (rsp_use) begin
      if (rsp_is_table) begin
        result_o = table_fault;
        result_fault_o = 1'b1;
        result_reason_o = table_reason;
        result_quiet_o = table_quiet;
      end else begin
        result_o = page_fault || page_is_leaf;
        result_fault_o = page_fault || too_high;
        if (page_fault) result_reason_o = page_reason;
      end
    end else if (lookup_decided && !restart_i) begin
      result_slot_o = lookup_slot_q;
      result_quiet_o = found_q.fpd;
      result_page_o = verdict_page;
      result_reason_o = verdict_reason;
      result_fault_o = verdict == VerdictFault;
      result_o = verdict == VerdictFault || verdict == VerdictPass;
      miss_o = verdict == VerdictNeedLeaf;
    end
  end

  // ------------------------------------------------------------------ reads
  logic [SlotWidth-1:0] issue_slot;
  walk_t issue_walk;
  access_t issue_access;
  logic [51:4] issue_addr;
  wire issue = need_read_q != '0 && (!read_valid_o || read_ready_i) && !restart_i;

  always_comb begin
    issue_slot = '0;
    issue_addr = '0;
    issue_walk = walk_q[0];
    issue_access = access_q[0];
    if (issue) begin
      issue_slot = SlotWidth'(pick(32'(need_read_q), 5'(read_slot_o)));
      issue_walk = walk_q[issue_slot];
      issue_access = access_q[issue_slot];
      unique case (issue_walk.stage)
        StageRoot: issue_addr = {issue_walk.base, issue_access.sid[15:8]};
        StageContext: issue_addr = {issue_walk.base, issue_access.sid[7:0]};
        StagePage4: issue_addr = {issue_walk.base, issue_access.page[47:40]};
        StagePage3: issue_addr = {issue_walk.base, issue_access.page[38:31]};
        StagePage2: issue_addr = {issue_walk.base, issue_access.page[29:22]};
        default: issue_addr = {issue_walk.base, issue_access.page[20:13]};
      endcase
    end
  end

  // ------------------------------------------------------------------ state
  always_ff @(posedge clk_i) begin
    unique case (lookup_q)
      LookupIdle: begin
        if (eligible != '0) begin
          lookup_slot_q <= lookup_pick;
          need_lookup_q[lookup_pick] <= 1'b0;
          lookup_q <= LookupContext;
        end
      end
      LookupContext: begin
        found_ctx_q <= own_ctx_q[lookup_slot_q] || ctx_hit_i;
        found_q <= own_ctx_q[lookup_slot_q] ? ctx_q[lookup_slot_q] : ctx_i;
        lookup_q <= LookupLeaf;
      end
      LookupLeaf: begin
        if (!found_ctx_q || tlb_grant_i) begin
          found_leaf_q <= tlb_hit_i && found_ctx_q;
          found_leaf_entry_q <= tlb_leaf_i;
          lookup_q <= LookupDecide;
        end
      end
      default: begin
        if (lookup_decided) begin
          lookup_q <= LookupIdle;
          if (verdict == VerdictNeedContext) begin
            walk_q[lookup_slot_q] <= '{stage: StageRoot, read: 1'b1, write: 1'b1, base: root_i};
            need_read_q[lookup_slot_q] <= 1'b1;
          end
          if (verdict == VerdictNeedLeaf) begin
            walk_q[lookup_slot_q] <= '{stage: StagePage4, read: 1'b1, write: 1'b1, base: found_q.root};
            ctx_q[lookup_slot_q] <= found_q;
            need_read_q[lookup_slot_q] <= 1'b1;
          end
        end
      end
    endcase

    if (rsp_valid_i) begin
      waiting_q[rsp_slot_i] <= 1'b0;
      stale_q[rsp_slot_i] <= 1'b0;
    end
    if (rsp_use) begin
      if (rsp_walk.stage == StageRoot && !table_fault) begin
        walk_q[rsp_slot_i].stage <= StageContext;
        walk_q[rsp_slot_i].base <= table_base;
        need_read_q[rsp_slot_i] <= 1'b1;
      end
      if (rsp_walk.stage == StageContext && !table_fault) begin
        // its domain may have the leaf already
        ctx_q[rsp_slot_i] <= table_ctx;
        own_ctx_q[rsp_slot_i] <= 1'b1;
        need_lookup_q[rsp_slot_i] <= 1'b1;
      end
      if (!rsp_is_table && !page_fault && !page_is_leaf) begin
        walk_q[rsp_slot_i].stage <= stage_e'(rsp_walk.stage - 3'd1);
        walk_q[rsp_slot_i].base <= page_leaf.page;
        walk_q[rsp_slot_i].read <= page_leaf.read;
        walk_q[rsp_slot_i].write <= page_leaf.write;
        need_read_q[rsp_slot_i] <= 1'b1;
      end
    end

    if (|shared_i) for (int unsigned i = 0; i < Slots; i++) if (shared_i[i]) need_lookup_q[i] <= 1'b0;
    if (read_valid_o && read_ready_i) read_valid_o <= 1'b0;
    if (issue) begin
      read_valid_o <= 1'b1;
      read_slot_o <= issue_slot;
      read_addr_o <= issue_addr;
      need_read_q[issue_slot] <= 1'b0;
      waiting_q[issue_slot] <= 1'b1;
    end

    if (restart_i) begin
      // what is waiting for memory starts when the stale answer has come
      lookup_q <= LookupIdle;
      need_lookup_q <= live_q;
      need_read_q <= '0;
      own_ctx_q <= '0;
      stale_q <= waiting_q;
      if (rsp_valid_i) stale_q[rsp_slot_i] <= 1'b0;
    end
    if (freed_i != '0) begin
      live_q <= live_q & ~freed_i;
      if (restart_i) need_lookup_q <= live_q & ~freed_i;
    end
    if (alloc_i) begin
      live_q <= (live_q & ~freed_i) | (Slots'(1) << alloc_slot_i);
      need_lookup_q[alloc_slot_i] <= 1'b1;
      own_ctx_q[alloc_slot_i] <= 1'b0;
      access_q[alloc_slot_i] <= alloc_access_i;
    end

    if (rst_i) begin
      live_q <= '0;
      need_lookup_q <= '0;
      need_read_q <= '0;
      waiting_q <= '0;
      stale_q <= '0;
      own_ctx_q <= '0;
      lookup_q <= LookupIdle;
      lookup_slot_q <= '0;
      read_valid_o <= 1'b0;
      read_slot_o <= '0;
    end
  end

  // each use of these structures takes the fields it needs
  wire unused_ok = &{1'b0, rsp_access, rsp_walk, rsp_ctx, issue_walk, issue_access};

`ifndef SYNTHESIS
  always_ff @(posedge clk_i) begin
    if (!rst_i) begin
      assert (!(rsp_valid_i && !waiting_q[rsp_slot_i]))
      else $error("An answer came for a table read that was not made.");
      assert ((waiting_q & need_read_q) == '0)
      else $error("A slot wants a second table read while the first is out.");
      assert ((need_read_q & ~live_q) == '0)
      else $error("A walk runs for a slot that is free.");
    end
  end
`endif

endmodule
`default_nettype wire
