`default_nettype none
/// All protocol checkers of the machine: a child of `myr_top`, whose signals, and those of the blocks below it, it names.
module myr_checkers
  import myr_pkg::*;
  import myr_nic_pkg::*;
  import myr_abi_pkg::*;
  import myr_check_pkg::*;
(
    /// Clock.
    input  wire logic        clk_i,
    /// Synchronous reset.
    input  wire logic        rst_i,
    /// The checkers are on.
    input  wire logic        enable_i,
    /// The host returns credits promptly.
    input  wire logic        prompt_i,
    /// Cycle counter.
    input  wire logic [63:0] cycle_i
);
  // ---- TLPs --------------------------------------------------------------------------------------
  logic    nic_up, nic_dn, mem_up, mem_dn;   // a beat moves
  head_t   nic_up_head, nic_dn_head, mem_up_head, mem_dn_head;
  limits_t limits;

  assign nic_up = myr_top.nic_tx_valid && myr_top.nic_tx_ready;
  assign nic_dn = myr_top.nic_rx_valid && myr_top.nic_rx_ready;
  assign mem_up = myr_top.mem_up_valid && myr_top.out_q.up_ready;
  assign mem_dn = myr_top.out_q.dn_valid && myr_top.mem_dn_ready;

  myr_check_config u_config (.clk_i, .rst_i, .head_i(nic_dn_head), .limits_o(limits));

  myr_check_tlp #(.Stream("nic.up")) u_nic_up (
      .clk_i, .rst_i, .enable_i, .cycle_i, .limits_i(limits), .beat_i(myr_top.nic_tx), .moved_i(nic_up), .head_o(nic_up_head));
  myr_check_tlp #(.Stream("nic.dn"), .Upstream(1'b0)) u_nic_dn (
      .clk_i, .rst_i, .enable_i, .cycle_i, .limits_i(limits), .beat_i(myr_top.nic_rx), .moved_i(nic_dn), .head_o(nic_dn_head));
  myr_check_tlp #(.Stream("mem.up"), .Translated(1'b1)) u_mem_up (
      .clk_i, .rst_i, .enable_i, .cycle_i, .limits_i(limits), .beat_i(myr_top.mem_up), .moved_i(mem_up), .head_o(mem_up_head));
  myr_check_tlp #(.Stream("mem.dn"), .Upstream(1'b0)) u_mem_dn (
      .clk_i, .rst_i, .enable_i, .cycle_i, .limits_i(limits), .beat_i(myr_top.mem_dn), .moved_i(mem_dn), .head_o(mem_dn_head));

  myr_check_completion #(.Stream("nic.up to nic.dn")) u_nic_reads (
      .clk_i, .rst_i, .enable_i, .cycle_i, .timeout_i(64'(myr_top.u_nic.hw_out.READ_TIMEOUT.cycles.value)),
      .request_i(nic_up_head), .completion_i(nic_dn_head));
  myr_check_completion #(.Stream("nic.dn to nic.up")) u_accesses (
      .clk_i, .rst_i, .enable_i, .cycle_i, .timeout_i('1), .request_i(nic_dn_head), .completion_i(nic_up_head));
  myr_check_completion #(.Stream("mem.up to mem.dn")) u_memory_reads (
      .clk_i, .rst_i, .enable_i, .cycle_i, .timeout_i(64'(myr_top.u_nic.hw_out.READ_TIMEOUT.cycles.value)),
      .request_i(mem_up_head), .completion_i(mem_dn_head));

  myr_check_credit #(.Stream("nic.up")) u_credit_up (
      .clk_i, .rst_i, .enable_i, .cycle_i, .prompt_i, .beat_i(myr_top.nic_tx), .moved_i(nic_up), .limit_i(myr_top.tx_fc));
  myr_check_credit #(.Stream("mem.dn")) u_credit_dn (
      .clk_i, .rst_i, .enable_i, .cycle_i, .prompt_i(1'b1), .beat_i(myr_top.mem_dn), .moved_i(mem_dn), .limit_i(myr_top.rx_fc));

  posted_t posted[2];
  assign posted = '{myr_top.u_nic.send_posted, myr_top.u_nic.recv_posted};

  myr_check_order #(.Stream("nic.up to mem.up")) u_order (
      .clk_i, .rst_i, .enable_i, .cycle_i, .sent_i(nic_up_head), .beat_i(myr_top.nic_tx), .moved_i(nic_up),
      .passed_i(mem_up_head), .posted_i(posted),
      .refused_i({myr_top.u_nic.refusal[3].valid, myr_top.u_nic.refusal[2].valid}), .arm_i(myr_top.u_nic.arm),
      .start_i(myr_top.u_nic.start), .start_ep_i(myr_top.u_nic.start_ep), .interrupt_i(myr_top.trace[TraceKindIrqOut].valid),
      .interrupt_ep_i(myr_top.trace[TraceKindIrqOut].endpoint));

  // ---- line --------------------------------------------------------------------------------------
  logic bad;
  assign bad = myr_top.u_nic.mac_drop && myr_top.u_nic.mac_drop_reason inside {RxDropBadFcs, RxDropRunt, RxDropOversize,
                                                                               RxDropBadFraming};

  myr_check_ethernet #(.Stream("line.tx")) u_line_tx (
      .clk_i, .rst_i, .enable_i, .cycle_i, .valid_i(myr_top.wire_valid), .first_i(myr_top.wire_first),
      .last_i(myr_top.wire_last), .bytes_i(myr_top.wire_bytes), .error_i(1'b0), .data_i(myr_top.wire_data), .judged_i(1'b0),
      .bad_i(1'b0));
  myr_check_ethernet #(.Stream("line.rx"), .Receive(1'b1)) u_line_rx (
      .clk_i, .rst_i, .enable_i, .cycle_i, .valid_i(myr_top.out_q.wire_valid), .first_i(myr_top.out_q.wire_first),
      .last_i(myr_top.out_q.wire_last), .bytes_i(myr_top.out_q.wire_bytes), .error_i(myr_top.out_q.wire_error),
      .data_i(myr_top.out_q.wire_data), .judged_i(myr_top.u_nic.rx_end), .bad_i(bad));

  // ---- what is offered stays -----------------------------------------------------------------------
  typedef logic [FrameAddrW-3+64+8-1:0] frame_word_t;  // address, data, byte enables
  typedef logic [1+5+64-1:0] walk_t;                 // write, id, address
  typedef logic [4+48-1:0] table_read_t;             // slot, address
  typedef logic [64:0] queue_t;                      // write, address

  // Not among them: `pay_req`, whose descriptor its writer may change until it is taken, and then is checked as it is;
  // `chain_end`, whose turn moves on whether or not it is taken (myr_frame_buffer).
  // Others without what is chosen when they are taken: a tag, a frame number.
  mrd_t    mrd;
  rx_job_t job;
  always_comb begin
    mrd        = myr_top.u_nic.mrd;
    mrd.tag    = '0;
    job        = myr_top.u_nic.job;
    job.number = '0;
  end

  myr_check_stream #(.T(tlp_beat_t), .Stream("nic.up")) u_str_nic_up (
      .clk_i, .rst_i, .enable_i, .cycle_i, .valid_i(myr_top.nic_tx_valid), .ready_i(myr_top.nic_tx_ready),
      .data_i(myr_top.nic_tx));
  myr_check_stream #(.T(tlp_beat_t), .Stream("link.up")) u_str_link_up (
      .clk_i, .rst_i, .enable_i, .cycle_i, .valid_i(myr_top.up_valid), .ready_i(myr_top.up_ready),
      .data_i(myr_top.up));
  myr_check_stream #(.T(tlp_beat_t), .Stream("mem.up")) u_str_mem_up (
      .clk_i, .rst_i, .enable_i, .cycle_i, .valid_i(myr_top.mem_up_valid), .ready_i(myr_top.out_q.up_ready),
      .data_i(myr_top.mem_up));
  myr_check_stream #(.T(tlp_beat_t), .Stream("mem.dn")) u_str_mem_dn (
      .clk_i, .rst_i, .enable_i, .cycle_i, .valid_i(myr_top.out_q.dn_valid), .ready_i(myr_top.mem_dn_ready),
      .data_i(myr_top.mem_dn));
  myr_check_stream #(.T(tlp_beat_t), .Stream("link.dn")) u_str_link_dn (
      .clk_i, .rst_i, .enable_i, .cycle_i, .valid_i(myr_top.dn_valid), .ready_i(myr_top.dn_ready),
      .data_i(myr_top.dn));
  myr_check_stream #(.T(tlp_beat_t), .Stream("nic.dn")) u_str_nic_dn (
      .clk_i, .rst_i, .enable_i, .cycle_i, .valid_i(myr_top.nic_rx_valid), .ready_i(myr_top.nic_rx_ready),
      .data_i(myr_top.nic_rx));
  myr_check_stream #(.T(mrd_t), .Stream("nic.mrd")) u_str_nic_mrd (
      .clk_i, .rst_i, .enable_i, .cycle_i, .valid_i(myr_top.u_nic.mrd_valid), .ready_i(myr_top.u_nic.mrd_ready),
      .data_i(mrd));
  myr_check_stream #(.T(cpl_t), .Stream("nic.cpl")) u_str_nic_cpl (
      .clk_i, .rst_i, .enable_i, .cycle_i, .valid_i(myr_top.u_nic.cpl_valid), .ready_i(myr_top.u_nic.cpl_ready),
      .data_i(myr_top.u_nic.cpl));
  myr_check_stream #(.T(mwr_t), .Stream("nic.write")) u_str_nic_write (
      .clk_i, .rst_i, .enable_i, .cycle_i, .valid_i(myr_top.u_nic.write_valid), .ready_i(myr_top.u_nic.write_done),
      .data_i(myr_top.u_nic.write));
  myr_check_stream #(.T(mwr_t), .Stream("nic.interrupt")) u_str_nic_interrupt (
      .clk_i, .rst_i, .enable_i, .cycle_i, .valid_i(myr_top.u_nic.source_valid[0]), .ready_i(myr_top.u_nic.source_done[0]),
      .data_i(myr_top.u_nic.source[0]));
  myr_check_stream #(.T(mwr_t), .Stream("nic.send_entry")) u_str_nic_send_entry (
      .clk_i, .rst_i, .enable_i, .cycle_i, .valid_i(myr_top.u_nic.source_valid[1]), .ready_i(myr_top.u_nic.source_done[1]),
      .data_i(myr_top.u_nic.source[1]));
  myr_check_stream #(.T(mwr_t), .Stream("nic.receive_entry")) u_str_nic_receive_entry (
      .clk_i, .rst_i, .enable_i, .cycle_i, .valid_i(myr_top.u_nic.source_valid[2]), .ready_i(myr_top.u_nic.source_done[2]),
      .data_i(myr_top.u_nic.source[2]));
  myr_check_stream #(.T(mwr_t), .Stream("nic.payload")) u_str_nic_payload (
      .clk_i, .rst_i, .enable_i, .cycle_i, .valid_i(myr_top.u_nic.source_valid[3]), .ready_i(myr_top.u_nic.source_done[3]),
      .data_i(myr_top.u_nic.source[3]));
  myr_check_stream #(.T(dma_req_t), .Stream("nic.send_fetch")) u_str_nic_send_fetch (
      .clk_i, .rst_i, .enable_i, .cycle_i, .valid_i(myr_top.u_nic.send_fetch_valid), .ready_i(myr_top.u_nic.fetch_req_ready && !myr_top.u_nic.fetch_turn),
      .data_i(myr_top.u_nic.send_fetch));
  myr_check_stream #(.T(dma_req_t), .Stream("nic.receive_fetch")) u_str_nic_receive_fetch (
      .clk_i, .rst_i, .enable_i, .cycle_i, .valid_i(myr_top.u_nic.rx_fetch_valid), .ready_i(myr_top.u_nic.fetch_req_ready && myr_top.u_nic.fetch_turn),
      .data_i(myr_top.u_nic.rx_fetch));
  myr_check_stream #(.T(logic [FrameW+LenW+EpW-1:0]), .Stream("nic.tx_frame")) u_str_nic_tx_frame (
      .clk_i, .rst_i, .enable_i, .cycle_i, .valid_i(myr_top.u_nic.tx_frame), .ready_i(myr_top.u_nic.tx_frame_done),
      .data_i({myr_top.u_nic.tx_slot, myr_top.u_nic.tx_len, myr_top.u_nic.tx_ep}));
  myr_check_stream #(.T(rx_job_t), .Stream("nic.sibling_job")) u_str_nic_sibling_job (
      .clk_i, .rst_i, .enable_i, .cycle_i, .valid_i(myr_top.u_nic.job_valid), .ready_i(myr_top.u_nic.job_ready),
      .data_i(job));
  myr_check_stream #(.T(rx_job_t), .Stream("nic.wire_job")) u_str_nic_wire_job (
      .clk_i, .rst_i, .enable_i, .cycle_i, .valid_i(myr_top.u_nic.wire_job_valid), .ready_i(myr_top.u_nic.wire_job_ready),
      .data_i(myr_top.u_nic.wire_job));
  myr_check_stream #(.T(rx_frame_t), .Stream("nic.rx_frame")) u_str_nic_rx_frame (
      .clk_i, .rst_i, .enable_i, .cycle_i, .valid_i(myr_top.u_nic.rx_frame_valid), .ready_i(myr_top.u_nic.rx_frame_ready),
      .data_i(myr_top.u_nic.rx_frame));
  myr_check_stream #(.T(rx_segment_t), .Stream("nic.piece")) u_str_nic_piece (
      .clk_i, .rst_i, .enable_i, .cycle_i, .valid_i(myr_top.u_nic.piece_valid), .ready_i(myr_top.u_nic.piece_ready),
      .data_i(myr_top.u_nic.placed));
  myr_check_stream #(.T(rx_segment_t), .Stream("nic.segment")) u_str_nic_segment (
      .clk_i, .rst_i, .enable_i, .cycle_i, .valid_i(myr_top.u_nic.rx_segment_valid), .ready_i(myr_top.u_nic.rx_segment_ready),
      .data_i(myr_top.u_nic.rx_segment));
  myr_check_stream #(.T(frame_word_t), .Stream("nic.inline")) u_str_nic_inline (
      .clk_i, .rst_i, .enable_i, .cycle_i, .valid_i(myr_top.u_nic.inline_valid), .ready_i(myr_top.u_nic.inline_ready),
      .data_i({myr_top.u_nic.inline_addr, myr_top.u_nic.inline_data, myr_top.u_nic.inline_be}));
  myr_check_stream #(.T(frame_word_t), .Stream("nic.edit")) u_str_nic_edit (
      .clk_i, .rst_i, .enable_i, .cycle_i, .valid_i(myr_top.u_nic.edit_valid), .ready_i(myr_top.u_nic.edit_ready),
      .data_i({myr_top.u_nic.edit_addr, myr_top.u_nic.edit_data, myr_top.u_nic.edit_be}));
  myr_check_stream #(.T(walk_t), .Stream("iommu.walk")) u_str_iommu_walk (
      .clk_i, .rst_i, .enable_i, .cycle_i, .valid_i(myr_top.walk_req_valid), .ready_i(myr_top.out_q.walk_ready),
      .data_i({myr_top.walk_req_write, myr_top.walk_req_id, myr_top.walk_req_addr}));
  myr_check_stream #(.T(tlp_beat_t), .Stream("iommu.pass")) u_str_iommu_pass (
      .clk_i, .rst_i, .enable_i, .cycle_i, .valid_i(myr_top.u_iommu.pass_valid), .ready_i(myr_top.u_iommu.pass_ready),
      .data_i(myr_top.u_iommu.pass_beat));
  myr_check_stream #(.T(tlp_beat_t), .Stream("iommu.park")) u_str_iommu_park (
      .clk_i, .rst_i, .enable_i, .cycle_i, .valid_i(myr_top.u_iommu.park_valid), .ready_i(myr_top.u_iommu.park_ready),
      .data_i(myr_top.u_iommu.park_beat));
  myr_check_stream #(.T(tlp_beat_t), .Stream("iommu.out")) u_str_iommu_out (
      .clk_i, .rst_i, .enable_i, .cycle_i, .valid_i(myr_top.u_iommu.out_valid), .ready_i(myr_top.u_iommu.out_ready),
      .data_i(myr_top.u_iommu.out_beat));
  myr_check_stream #(.T(myr_iommu_pkg::fault_t), .Stream("iommu.fault")) u_str_iommu_fault (
      .clk_i, .rst_i, .enable_i, .cycle_i, .valid_i(myr_top.u_iommu.fault_valid), .ready_i(myr_top.u_iommu.fault_ready),
      .data_i(myr_top.u_iommu.fault));
  myr_check_stream #(.T(myr_iommu_pkg::req_t), .Stream("iommu.refused")) u_str_iommu_refused (
      .clk_i, .rst_i, .enable_i, .cycle_i, .valid_i(myr_top.u_iommu.ur_valid), .ready_i(myr_top.u_iommu.ur_ready),
      .data_i(myr_top.u_iommu.ur_req));
  myr_check_stream #(.T(tlp_beat_t), .Stream("iommu.answer")) u_str_iommu_answer (
      .clk_i, .rst_i, .enable_i, .cycle_i, .valid_i(myr_top.u_iommu.ur_beat_valid), .ready_i(myr_top.u_iommu.ur_beat_ready),
      .data_i(myr_top.u_iommu.ur_beat));
  myr_check_stream #(.T(table_read_t), .Stream("iommu.table_read")) u_str_iommu_table_read (
      .clk_i, .rst_i, .enable_i, .cycle_i, .valid_i(myr_top.u_iommu.read_valid), .ready_i(myr_top.u_iommu.read_ready),
      .data_i({myr_top.u_iommu.read_slot, myr_top.u_iommu.read_addr}));
  myr_check_stream #(.T(queue_t), .Stream("iommu.queue")) u_str_iommu_queue (
      .clk_i, .rst_i, .enable_i, .cycle_i, .valid_i(myr_top.u_iommu.queue_valid), .ready_i(myr_top.u_iommu.queue_ready),
      .data_i({myr_top.u_iommu.queue_write, myr_top.u_iommu.queue_addr}));
endmodule

// what moves while time stands still has not happened
bind myr_top myr_checkers u_checkers (
    .clk_i, .rst_i(rst_q), .enable_i(checks[0] && !hold_i), .prompt_i(checks[1]), .cycle_i(cycle_q));
`default_nettype wire
