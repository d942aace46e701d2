`default_nettype none
/// Intel VT-d legacy-mode IOMMU between the NIC's link and the root complex, at TLP level.
///
/// Upstream requests are translated by requester ID through root, context and 4-level second-level tables in memory.
/// A hit adds 3 cycles, always; a miss is parked and walked while other requesters' hits pass. Downstream TLPs pass with
/// no added cycle; completions of refused reads are merged in. Registers: `addrmap iommu` of the register source.
module myr_iommu
  import myr_pkg::*;
  import myr_iommu_pkg::*;
#(
    /// IOTLB entries, a power of two.
    parameter int unsigned IotlbEntries = 64,
    /// Context cache entries, a power of two.
    parameter int unsigned ContextEntries = 64,
    /// TLPs parked at most, 2 to 16.
    parameter int unsigned ParkSlots = 16,
    /// Fault records; the register source fixes 8.
    parameter int unsigned FaultRecords = 8
) (
    /// Clock, 250 MHz.
    input  wire          clk_i,
    /// Synchronous reset, of control only.
    input  wire          rst_i,
    /// Upstream TLPs from the device.
    input  tlp_beat_t    dev_up_i,
    input  wire          dev_up_valid_i,
    output logic         dev_up_ready_o,
    /// The same after translation, to the root complex.
    output tlp_beat_t    mem_up_o,
    output logic         mem_up_valid_o,
    input  wire          mem_up_ready_i,
    /// Downstream TLPs from the root complex.
    input  tlp_beat_t    mem_dn_i,
    input  wire          mem_dn_valid_i,
    output logic         mem_dn_ready_o,
    /// The same to the device, with completions of refused reads merged in.
    output tlp_beat_t    dev_dn_o,
    output logic         dev_dn_valid_o,
    input  wire          dev_dn_ready_i,
    /// Table reads (16 bytes, aligned) and status writes (4 bytes).
    output logic         walk_req_valid_o,
    input  wire          walk_req_ready_i,
    output logic         walk_req_write_o,
    output logic [4:0]   walk_req_id_o,
    output logic [63:0]  walk_req_addr_o,
    output logic [31:0]  walk_req_wdata_o,
    /// Answers to reads, any order; error: nothing at this address.
    input  wire          walk_rsp_valid_i,
    input  wire  [4:0]   walk_rsp_id_i,
    input  wire  [127:0] walk_rsp_data_i,
    input  wire          walk_rsp_error_i,
    /// Running count of MWr TLPs visible in memory.
    input  wire  [31:0]  posted_landed_i,
    /// Register accesses, 32 bit; a read is answered in the next cycle.
    input  wire          reg_valid_i,
    input  wire          reg_write_i,
    input  wire  [11:0]  reg_addr_i,
    input  wire  [31:0]  reg_wdata_i,
    output logic         reg_ready_o,
    output logic         reg_rvalid_o,
    output logic [31:0]  reg_rdata_o,
    /// A fault or queue error is pending and not masked.
    output logic         fault_irq_o
);
  localparam int unsigned SlotWidth = $clog2(ParkSlots);
  /// Id of the invalidation queue on the walk port; the walks have 0 to ParkSlots - 1.
  localparam logic [4:0] QueueId = 5'd16;

  // ------------------------------------------------------------------ registers
  myr_iommu_regs_pkg::iommu__in_t hw_in;
  myr_iommu_regs_pkg::iommu__out_t hw_out;
  logic read_ack;
  logic [31:0] read_data;
  logic enable_q, root_set_q;
  logic [51:12] root_q;
  logic queue_enabled, set_error, set_complete, set_overflow, fault_pending;
  logic [14:0] queue_head;
  logic [7:0] fault_first;
  logic [FaultRecords-1:0] record_valid, set_record_valid;
  fault_t record[FaultRecords];
  logic translation, miss, fault_counted;
  wire reg_in_range = !reg_addr_i[11];
  // a flag set by hardware in the cycle of a write to its register would be lost
  wire set_blocked = reg_valid_i && reg_write_i;

  /* verilator lint_off PINCONNECTEMPTY */
  myr_iommu_regs u_regs (
      .clk(clk_i),
      .rst(rst_i),
      .s_cpuif_req(reg_valid_i && reg_in_range),
      .s_cpuif_req_is_wr(reg_write_i),
      .s_cpuif_addr(reg_addr_i[10:0]),
      .s_cpuif_wr_data(reg_wdata_i),
      .s_cpuif_wr_biten(32'hFFFFFFFF),
      .s_cpuif_req_stall_wr(),
      .s_cpuif_req_stall_rd(),
      .s_cpuif_rd_ack(read_ack),
      .s_cpuif_rd_err(),
      .s_cpuif_rd_data(read_data),
      .s_cpuif_wr_ack(),
      .s_cpuif_wr_err(),
      .hwif_in(hw_in),
      .hwif_out(hw_out)
  );
  /* verilator lint_on PINCONNECTEMPTY */

  always_comb begin
    hw_in.GSTS.qies.next = queue_enabled;
    hw_in.GSTS.rtps.next = root_set_q;
    hw_in.GSTS.tes.next = enable_q;
    hw_in.FSTS.pfo.hwset = set_overflow;
    hw_in.FSTS.ppf.next = fault_pending;
    hw_in.FSTS.iqe.hwset = set_error;
    hw_in.FSTS.fri.next = fault_first;
    hw_in.IQH_LO.qh.next = queue_head;
    hw_in.ICS.iwc.hwset = set_complete;
    hw_in.TRANSLATIONS.count.incr = translation;
    hw_in.IOTLB_MISSES.count.incr = miss;
    hw_in.FAULTS.count.incr = fault_counted;
    for (int unsigned i = 0; i < FaultRecords; i++) begin
      hw_in.FRCD[i].W0.fi.next = record[i].page[31:12];
      hw_in.FRCD[i].W1.fi.next = record[i].page[63:32];
      hw_in.FRCD[i].W2.sid.next = record[i].sid;
      hw_in.FRCD[i].W3.fr.next = record[i].reason;
      hw_in.FRCD[i].W3.t.next = record[i].read;
      hw_in.FRCD[i].W3.f.hwset = set_record_valid[i];
      record_valid[i] = hw_out.FRCD[i].W3.f.value;
    end
    reg_ready_o = 1'b1;
    fault_irq_o = (fault_pending || hw_out.FSTS.pfo.value || hw_out.FSTS.iqe.value) && !hw_out.FECTL.im.value;
  end

  always_ff @(posedge clk_i) begin
    enable_q <= hw_out.GCMD.te.value;
    if (hw_out.GCMD.srtp.value) begin
      root_set_q <= 1'b1;
      root_q <= {hw_out.RTADDR_HI.rta.value[19:0], hw_out.RTADDR_LO.rta.value};
    end
    reg_rvalid_o <= reg_valid_i && !reg_write_i;
    if (reg_valid_i) reg_rdata_o <= read_ack ? read_data : 32'd0;
    if (rst_i) begin
      enable_q <= 1'b0;
      root_set_q <= 1'b0;
      reg_rvalid_o <= 1'b0;
    end
  end

  // ------------------------------------------------------------------ caches
  inval_t inval;
  logic front_ctx_lookup, front_ctx_hit, walk_ctx_lookup, walk_ctx_hit, ctx_insert;
  logic [15:0] front_ctx_sid, walk_ctx_sid, ctx_insert_sid;
  ctx_t front_ctx, walk_ctx, ctx_insert_ctx;
  logic front_tlb_lookup, walk_tlb_lookup, tlb_hit, tlb_insert;
  logic [15:0] front_tlb_did, walk_tlb_did, tlb_insert_did;
  logic [47:12] front_tlb_page, walk_tlb_page, tlb_insert_page;
  leaf_t tlb_leaf, tlb_insert_leaf;

  myr_context_cache #(
      .Entries(ContextEntries)
  ) u_context_cache (
      .clk_i(clk_i),
      .rst_i(rst_i),
      .a_valid_i(front_ctx_lookup),
      .a_sid_i(front_ctx_sid),
      .a_hit_o(front_ctx_hit),
      .a_ctx_o(front_ctx),
      .b_valid_i(walk_ctx_lookup),
      .b_sid_i(walk_ctx_sid),
      .b_hit_o(walk_ctx_hit),
      .b_ctx_o(walk_ctx),
      .insert_i(ctx_insert),
      .insert_sid_i(ctx_insert_sid),
      .insert_ctx_i(ctx_insert_ctx),
      .inval_i(inval)
  );

  myr_iotlb #(
      .Entries(IotlbEntries)
  ) u_iotlb (
      .clk_i(clk_i),
      .rst_i(rst_i),
      .lookup_i(front_tlb_lookup || walk_tlb_lookup),
      .lookup_did_i(front_tlb_lookup ? front_tlb_did : walk_tlb_did),
      .lookup_page_i(front_tlb_lookup ? front_tlb_page : walk_tlb_page),
      .hit_o(tlb_hit),
      .leaf_o(tlb_leaf),
      .insert_i(tlb_insert),
      .insert_did_i(tlb_insert_did),
      .insert_page_i(tlb_insert_page),
      .insert_leaf_i(tlb_insert_leaf),
      .inval_i(inval)
  );

  // ------------------------------------------------------------------ upstream
  logic hold, front_busy, park_busy;
  logic query, query_completion, query_behind;
  logic [15:0] query_sid;
  tlp_beat_t pass_beat, park_beat, out_beat;
  logic pass_valid, pass_ready, park_valid, park_first, park_ready, out_valid, out_ready;
  req_t park_req;

  myr_iommu_front u_front (
      .clk_i(clk_i),
      .rst_i(rst_i),
      .up_i(dev_up_i),
      .up_valid_i(dev_up_valid_i),
      .up_ready_o(dev_up_ready_o),
      .enable_i(enable_q),
      .hold_i(hold),
      .busy_o(front_busy),
      .ctx_lookup_o(front_ctx_lookup),
      .ctx_sid_o(front_ctx_sid),
      .ctx_hit_i(front_ctx_hit),
      .ctx_i(front_ctx),
      .tlb_lookup_o(front_tlb_lookup),
      .tlb_did_o(front_tlb_did),
      .tlb_page_o(front_tlb_page),
      .tlb_hit_i(tlb_hit),
      .tlb_leaf_i(tlb_leaf),
      .query_o(query),
      .query_completion_o(query_completion),
      .query_sid_o(query_sid),
      .query_behind_i(query_behind),
      .pass_o(pass_beat),
      .pass_valid_o(pass_valid),
      .pass_ready_i(pass_ready),
      .park_o(park_beat),
      .park_valid_o(park_valid),
      .park_first_o(park_first),
      .park_req_o(park_req),
      .park_ready_i(park_ready),
      .translation_o(translation)
  );

  logic alloc;
  logic [SlotWidth-1:0] alloc_slot;
  access_t alloc_access;
  logic [ParkSlots-1:0] deferred, shared, freed;
  logic result, result_fault, result_quiet;
  logic [SlotWidth-1:0] result_slot;
  logic [7:0] result_reason;
  logic [51:12] result_page;
  fault_t fault;
  logic fault_valid, fault_ready, ur_valid, ur_ready;
  req_t ur_req;

  myr_iommu_park #(
      .Slots(ParkSlots)
  ) u_park (
      .clk_i(clk_i),
      .rst_i(rst_i),
      .in_i(park_beat),
      .in_valid_i(park_valid),
      .in_first_i(park_first),
      .in_req_i(park_req),
      .in_ready_o(park_ready),
      .query_i(query),
      .query_completion_i(query_completion),
      .query_sid_i(query_sid),
      .query_behind_o(query_behind),
      .alloc_o(alloc),
      .alloc_slot_o(alloc_slot),
      .alloc_access_o(alloc_access),
      .deferred_o(deferred),
      .result_i(result),
      .result_slot_i(result_slot),
      .result_fault_i(result_fault),
      .result_reason_i(result_reason),
      .result_quiet_i(result_quiet),
      .result_page_i(result_page),
      .shared_o(shared),
      .restart_i(inval.valid),
      .busy_o(park_busy),
      .out_o(out_beat),
      .out_valid_o(out_valid),
      .out_ready_i(out_ready),
      .fault_o(fault),
      .fault_valid_o(fault_valid),
      .fault_ready_i(fault_ready),
      .ur_o(ur_req),
      .ur_valid_o(ur_valid),
      .ur_ready_i(ur_ready),
      .freed_o(freed)
  );

  myr_tlp_merge u_merge_up (
      .clk_i(clk_i),
      .rst_i(rst_i),
      .a_i(pass_beat),
      .a_valid_i(pass_valid),
      .a_ready_o(pass_ready),
      .b_i(out_beat),
      .b_valid_i(out_valid),
      .b_ready_o(out_ready),
      .out_o(mem_up_o),
      .out_valid_o(mem_up_valid_o),
      .out_ready_i(mem_up_ready_i)
  );

  // ------------------------------------------------------------------ walks
  logic read_valid, read_ready;
  logic [SlotWidth-1:0] read_slot;
  logic [51:4] read_addr;
  wire rsp_is_queue = walk_rsp_id_i == QueueId;

  myr_walker #(
      .Slots(ParkSlots)
  ) u_walker (
      .clk_i(clk_i),
      .rst_i(rst_i),
      .root_i(root_q),
      .alloc_i(alloc),
      .alloc_slot_i(alloc_slot),
      .alloc_access_i(alloc_access),
      .deferred_i(deferred),
      .shared_i(shared),
      .freed_i(freed),
      .restart_i(inval.valid),
      .result_o(result),
      .result_slot_o(result_slot),
      .result_fault_o(result_fault),
      .result_reason_o(result_reason),
      .result_quiet_o(result_quiet),
      .result_page_o(result_page),
      .ctx_lookup_o(walk_ctx_lookup),
      .ctx_sid_o(walk_ctx_sid),
      .ctx_hit_i(walk_ctx_hit),
      .ctx_i(walk_ctx),
      .ctx_insert_o(ctx_insert),
      .ctx_insert_sid_o(ctx_insert_sid),
      .ctx_insert_ctx_o(ctx_insert_ctx),
      .tlb_lookup_o(walk_tlb_lookup),
      .tlb_grant_i(!front_tlb_lookup),
      .tlb_did_o(walk_tlb_did),
      .tlb_page_o(walk_tlb_page),
      .tlb_hit_i(tlb_hit),
      .tlb_leaf_i(tlb_leaf),
      .tlb_insert_o(tlb_insert),
      .tlb_insert_did_o(tlb_insert_did),
      .tlb_insert_page_o(tlb_insert_page),
      .tlb_insert_leaf_o(tlb_insert_leaf),
      .read_valid_o(read_valid),
      .read_slot_o(read_slot),
      .read_addr_o(read_addr),
      .read_ready_i(read_ready),
      .rsp_valid_i(walk_rsp_valid_i && !rsp_is_queue),
      .rsp_slot_i(SlotWidth'(walk_rsp_id_i)),
      .rsp_data_i(walk_rsp_data_i),
      .rsp_error_i(walk_rsp_error_i),
      .miss_o(miss)
  );

  // ------------------------------------------------------------------ invalidation
  logic queue_valid, queue_write, queue_ready;
  logic [63:0] queue_addr;
  logic drain_start, drain_reads, drain_reads_done, drain_writes_done;

  myr_inval_queue u_inval_queue (
      .clk_i(clk_i),
      .rst_i(rst_i),
      .enable_i(hw_out.GCMD.qie.value),
      .enabled_o(queue_enabled),
      .base_i({hw_out.IQA_HI.iqa.value[19:0], hw_out.IQA_LO.iqa.value}),
      .size_i(hw_out.IQA_LO.qs.value),
      .tail_i(hw_out.IQT_LO.qt.value),
      .head_o(queue_head),
      .error_i(hw_out.FSTS.iqe.value),
      .set_error_o(set_error),
      .set_complete_o(set_complete),
      .set_blocked_i(set_blocked),
      .mem_valid_o(queue_valid),
      .mem_write_o(queue_write),
      .mem_addr_o(queue_addr),
      .mem_wdata_o(walk_req_wdata_o),
      .mem_ready_i(queue_ready),
      .rsp_valid_i(walk_rsp_valid_i && rsp_is_queue),
      .rsp_data_i(walk_rsp_data_i),
      .rsp_error_i(walk_rsp_error_i),
      .hold_o(hold),
      .busy_i(front_busy || park_busy),
      .inval_o(inval),
      .drain_start_o(drain_start),
      .drain_reads_o(drain_reads),
      .drain_reads_done_i(drain_reads_done),
      .drain_writes_done_i(drain_writes_done)
  );

  myr_iommu_drain u_drain (
      .clk_i(clk_i),
      .rst_i(rst_i),
      .up_i(mem_up_o),
      .up_moved_i(mem_up_valid_o && mem_up_ready_i),
      .dn_i(mem_dn_i),
      .dn_moved_i(mem_dn_valid_i && mem_dn_ready_o),
      .landed_i(posted_landed_i),
      .start_i(drain_start),
      .start_reads_i(drain_reads),
      .reads_done_o(drain_reads_done),
      .writes_done_o(drain_writes_done)
  );

  // Walk port: a walk that is offered stays; otherwise the queue goes first.
  logic walk_offered_q;
  always_comb begin
    queue_ready = walk_req_ready_i && !walk_offered_q;
    read_ready = walk_req_ready_i && (walk_offered_q || !queue_valid);
    walk_req_valid_o = queue_valid || read_valid;
    if (queue_valid && !walk_offered_q) begin
      walk_req_write_o = queue_write;
      walk_req_id_o = QueueId;
      walk_req_addr_o = queue_addr;
    end else begin
      walk_req_write_o = 1'b0;
      walk_req_id_o = 5'(read_slot);
      walk_req_addr_o = {12'd0, read_addr, 4'd0};
    end
  end

  always_ff @(posedge clk_i) begin
    walk_offered_q <= read_valid && !read_ready && (walk_offered_q || !queue_valid) && !rst_i;
  end

  // ------------------------------------------------------------------ faults and downstream
  myr_fault_log #(
      .Records(FaultRecords)
  ) u_fault_log (
      .clk_i(clk_i),
      .rst_i(rst_i),
      .fault_i(fault),
      .fault_valid_i(fault_valid),
      .fault_ready_o(fault_ready),
      .set_blocked_i(set_blocked),
      .valid_i(record_valid),
      .set_valid_o(set_record_valid),
      .overflow_i(hw_out.FSTS.pfo.value),
      .set_overflow_o(set_overflow),
      .record_o(record),
      .pending_o(fault_pending),
      .first_o(fault_first),
      .counted_o(fault_counted)
  );

  tlp_beat_t ur_beat;
  logic ur_beat_valid, ur_beat_ready;

  myr_ur_completer #(
      .Depth(ParkSlots)
  ) u_ur_completer (
      .clk_i(clk_i),
      .rst_i(rst_i),
      .req_i(ur_req),
      .req_valid_i(ur_valid),
      .req_ready_o(ur_ready),
      .out_o(ur_beat),
      .out_valid_o(ur_beat_valid),
      .out_ready_i(ur_beat_ready)
  );

  myr_tlp_merge u_merge_dn (
      .clk_i(clk_i),
      .rst_i(rst_i),
      .a_i(mem_dn_i),
      .a_valid_i(mem_dn_valid_i),
      .a_ready_o(mem_dn_ready_o),
      .b_i(ur_beat),
      .b_valid_i(ur_beat_valid),
      .b_ready_o(ur_beat_ready),
      .out_o(dev_dn_o),
      .out_valid_o(dev_dn_valid_o),
      .out_ready_i(dev_dn_ready_i)
  );

  initial begin
    if (FaultRecords != myr_iommu_regs_pkg::N_FAULT_RECORDS) $fatal(1, "FaultRecords differs from the register source");
    if (ParkSlots > 16 || ParkSlots < 2) $fatal(1, "ParkSlots is not in 2 to 16");
  end

endmodule
`default_nettype wire
