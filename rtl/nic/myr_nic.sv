`default_nettype none
/// The NIC: doorbells and rings of up to 64 endpoints, descriptor fetch, DMA reads, frame buffer, 10 Gb/s
/// transmitter and completion writer, behind one PCIe endpoint at the transaction layer.
module myr_nic
  import myr_pkg::*;
  import myr_abi_pkg::*;
  import myr_nic_pkg::*;
#(
    /// Read tags, 15 as on the card.
    parameter int unsigned ReadTags = 15
) (
    /// 250 MHz clock.
    input  wire logic        clk_i,
    /// Synchronous reset.
    input  wire logic        rst_i,
    /// Downstream TLPs.
    input  wire tlp_beat_t   rx_i,
    /// A beat is offered.
    input  wire logic        rx_valid_i,
    /// It is taken.
    output logic             rx_ready_o,
    /// Upstream TLPs.
    output tlp_beat_t        tx_o,
    /// A beat is offered.
    output logic             tx_valid_o,
    /// It is taken.
    input  wire logic        tx_ready_i,
    /// Limits granted to the NIC.
    input  wire fc_t         tx_fc_i,
    /// Limits granted by the NIC.
    output fc_t              rx_fc_o,
    /// Beat on the wire.
    output logic             wire_valid_o,
    /// Preamble.
    output logic             wire_first_o,
    /// Last beat of a frame.
    output logic             wire_last_o,
    /// Bytes of the beat, 1 to 8.
    output logic [3:0]       wire_bytes_o,
    /// Lane 0 in bits 7:0.
    output logic [63:0]      wire_data_o,
    /// Beat from the wire.
    input  wire logic        wire_rx_valid_i,
    /// Preamble.
    input  wire logic        wire_rx_first_i,
    /// Last beat of a frame.
    input  wire logic        wire_rx_last_i,
    /// Bytes of the beat, 1 to 8.
    input  wire logic [3:0]  wire_rx_bytes_i,
    /// The line signals an error in it.
    input  wire logic        wire_rx_error_i,
    /// Lane 0 in bits 7:0.
    input  wire logic [63:0] wire_rx_data_i,
    /// Cycle counter of the machine.
    input  wire logic [63:0] cycle_i,
    /// Trace port, a lane for each `trace_kind_e`.
    output trace_lane_t [TraceKinds-1:0] trace_o
);
  // ---- receive side --------------------------------------------------------------------------
  logic [63:22] bar2;
  logic [63:ControlW] bar4;
  logic         mem_enable, bus_master, vf_enable, msix_enable, msix_mask;
  logic [2:0]   mrrs;
  logic [7:0]   bus;
  logic [Endpoints-1:0] enable, pushed, fetched_form;
  logic [7:0]   tag;
  logic [15:0]  tag_rid;
  logic         tag_busy, tag_hit, tag_fetch, tag_advance;
  logic [20:0]  tag_dest;
  logic [12:0]  tag_left, tag_advance_bytes;
  logic [1:0]   tag_lower;
  rx_word_t     word;
  ring_done_t   ring_done;
  doorbell_t    doorbell, rx_doorbell;
  logic         mps_256, tag_rx, rx_doorbell_bad;
  logic [Endpoints-1:0] rx_pushed, rx_fetched;
  arm_t         arm;
  logic         cpl_in_valid, cpl_in_last, cpl_in_late;
  logic [7:0]   cpl_in_tag;
  status_e      cpl_in_status;
  ctl_req_t     ctl;
  logic         ctl_valid, ctl_posted_done, ctl_np_done, ctl_np_data;
  logic         unexpected, dropped, doorbell_bad;

  myr_tlp_rx u_rx (
      .clk_i, .rst_i, .rx_i, .rx_valid_i, .rx_ready_o, .rx_fc_o,
      .bar2_i(bar2), .bar4_i(bar4), .mem_enable_i(mem_enable), .pushed_i(pushed), .fetched_i(fetched_form),
      .rx_pushed_i(rx_pushed), .rx_fetched_i(rx_fetched), .tag_rx_i(tag_rx), .rx_doorbell_o(rx_doorbell),
      .tag_busy_o(tag_busy), .tag_o(tag), .tag_rid_o(tag_rid), .tag_hit_i(tag_hit), .tag_fetch_i(tag_fetch), .tag_dest_i(tag_dest),
      .tag_left_i(tag_left), .tag_lower_i(tag_lower), .tag_advance_o(tag_advance),
      .tag_advance_bytes_o(tag_advance_bytes), .word_o(word), .ring_done_o(ring_done), .doorbell_o(doorbell), .arm_o(arm),
      .cpl_valid_o(cpl_in_valid), .cpl_tag_o(cpl_in_tag), .cpl_last_o(cpl_in_last), .cpl_status_o(cpl_in_status),
      .cpl_late_o(cpl_in_late), .ctl_o(ctl), .ctl_valid_o(ctl_valid), .ctl_posted_done_i(ctl_posted_done),
      .ctl_np_done_i(ctl_np_done), .ctl_np_data_i(ctl_np_data), .unexpected_o(unexpected), .dropped_o(dropped)
  );

  // ---- control -------------------------------------------------------------------------------
  cpl_t        cpl;
  logic        cpl_valid, cpl_ready, cfg_write, reg_req, reg_write, reg_ack;
  logic [11:0] cfg_addr;
  logic [3:0]  cfg_be, reg_be;
  logic [31:0] cfg_wdata, cfg_rdata, reg_wdata, reg_rdata, reg_biten;
  logic [7:0]  cfg_bus;
  logic [ControlW-1:0] reg_addr;
  logic        reg_rd_ack, reg_wr_ack;
  logic        unused_rd_stall, unused_wr_stall, unused_rd_err, unused_wr_err;
  myr_nic_regs_pkg::nic_control__in_t  hw_in;
  myr_nic_regs_pkg::nic_control__out_t hw_out;

  myr_control u_control (
      .clk_i, .rst_i, .ctl_i(ctl), .ctl_valid_i(ctl_valid), .posted_done_o(ctl_posted_done), .np_done_o(ctl_np_done),
      .np_data_o(ctl_np_data), .cpl_o(cpl), .cpl_valid_o(cpl_valid), .cpl_ready_i(cpl_ready),
      .cfg_write_o(cfg_write), .cfg_addr_o(cfg_addr), .cfg_be_o(cfg_be), .cfg_data_o(cfg_wdata), .cfg_bus_o(cfg_bus),
      .cfg_data_i(cfg_rdata), .reg_req_o(reg_req), .reg_write_o(reg_write), .reg_addr_o(reg_addr),
      .reg_data_o(reg_wdata), .reg_be_o(reg_be), .reg_ack_i(reg_ack), .reg_data_i(reg_rdata)
  );

  myr_cfg_space u_cfg (
      .clk_i, .rst_i, .write_i(cfg_write), .addr_i(cfg_addr), .be_i(cfg_be), .data_i(cfg_wdata), .bus_i(cfg_bus),
      .data_o(cfg_rdata), .bar2_o(bar2), .bar4_o(bar4), .mem_enable_o(mem_enable), .bus_master_o(bus_master),
      .mrrs_o(mrrs), .mps_256_o(mps_256), .bus_o(bus), .vf_enable_o(vf_enable), .msix_enable_o(msix_enable), .msix_mask_o(msix_mask)
  );

  for (genvar b = 0; b < 4; b++) begin : gen_biten
    assign reg_biten[8*b +: 8] = {8{reg_be[b]}};
  end
  assign reg_ack = reg_rd_ack || reg_wr_ack;

  myr_nic_regs u_regs (
      .clk(clk_i), .rst(rst_i), .s_cpuif_req(reg_req), .s_cpuif_req_is_wr(reg_write), .s_cpuif_addr(reg_addr[$clog2(NicControlWindowBase + NicControlWindowCount * NicControlWindowStride)-1:0]),
      .s_cpuif_wr_data(reg_wdata), .s_cpuif_wr_biten(reg_biten), .s_cpuif_req_stall_wr(unused_wr_stall),
      .s_cpuif_req_stall_rd(unused_rd_stall), .s_cpuif_rd_ack(reg_rd_ack), .s_cpuif_rd_err(unused_rd_err),
      .s_cpuif_rd_data(reg_rdata), .s_cpuif_wr_ack(reg_wr_ack), .s_cpuif_wr_err(unused_wr_err),
      .hwif_in(hw_in), .hwif_out(hw_out)
  );

  // ---- endpoints -----------------------------------------------------------------------------
  logic           start;
  logic [EpW-1:0] start_ep, look_ep, exec_ep, fetch_ep, cq_ep, status_ep, sched_ep, irq_ep;
  ep_ctrl_t       look_ctrl, exec_ctrl, fetch_ctrl, doorbell_ctrl, cq_ctrl, sched_ctrl, irq_ctrl;
  logic [63:0]    fetch_base, cq_base;
  logic [15:0]    status_producer, status_consumer, status_cq_index;
  logic           exec_stale, rx_stale;   // a send descriptor, a receive buffer is stale
  send_desc_t     stale_descriptor;
  logic           status_halted, busy_ring, busy_fetch, busy_flight;
  logic           table_rd_ack, table_wr_ack, busy_rx_fetch, busy_rx;
  logic [EpW-1:0] place_ep, rq_ep;
  logic [EpW:0]   rx_fetch_ring, place_ring;
  logic [1:0]     rq_queue;
  rx_ctrl_t       place_ctrl, rq_ctrl;
  ep_ctrl_t       rx_fetch_ctrl, rx_doorbell_ctrl;
  logic [63:0]    rq_base, rx_fetch_base;
  logic [31:0]    rx_index;
  logic [31:0]    table_rdata;
  chain_end_t     chain_end;
  logic           chain_end_valid, chain_end_ready, chain_failed;

  assign chain_failed = chain_end_valid && chain_end_ready && chain_end.status != StatusOk;

  myr_endpoint_table u_table (
      .clk_i, .rst_i, .req_i(hw_out.EP_TABLE.req), .write_i(hw_out.EP_TABLE.req_is_wr), .addr_i(hw_out.EP_TABLE.addr),
      .data_i(hw_out.EP_TABLE.wr_data), .rd_ack_o(table_rd_ack), .wr_ack_o(table_wr_ack), .data_o(table_rdata),
      .enable_o(enable), .pushed_o(pushed), .fetched_o(fetched_form), .start_o(start), .start_ep_o(start_ep),
      .ring_ep_i(look_ep), .ring_ctrl_o(look_ctrl), .exec_ep_i(exec_ep), .exec_ctrl_o(exec_ctrl),
      .sched_ep_i(sched_ep), .sched_ctrl_o(sched_ctrl),
      .fetch_ep_i(fetch_ep), .fetch_ctrl_o(fetch_ctrl), .fetch_base_o(fetch_base), .doorbell_ep_i(doorbell.ep),
      .doorbell_ctrl_o(doorbell_ctrl), .cq_ep_i(cq_ep), .cq_ctrl_o(cq_ctrl), .cq_base_o(cq_base),
      .irq_ep_i(irq_ep), .irq_ctrl_o(irq_ctrl), .place_ep_i(place_ep), .place_ctrl_o(place_ctrl), .rq_ep_i(rq_ep),
      .rq_queue_i(rq_queue), .rq_ctrl_o(rq_ctrl), .rq_base_o(rq_base), .rx_fetch_ring_i(rx_fetch_ring),
      .rx_fetch_ctrl_o(rx_fetch_ctrl), .rx_fetch_base_o(rx_fetch_base),
      .rx_doorbell_ring_i({rx_doorbell.ep, rx_doorbell.big}), .rx_doorbell_ctrl_o(rx_doorbell_ctrl),
      .rx_pushed_o(rx_pushed), .rx_fetched_o(rx_fetched), .rx_index_i(rx_index),
      .read_ep_o(status_ep), .halted_i(status_halted), .busy_i(busy_ring || busy_fetch || busy_flight || busy_rx_fetch || busy_rx),
      .producer_i(status_producer), .consumer_i(status_consumer), .cq_index_i(status_cq_index),
      .failed_i(chain_failed), .failed_ep_i(chain_end.ep), .failed_status_i(chain_end.status),
      .stale_i(rx_stale), .stale_ep_i(place_ep)
  );

  // ---- authorisation: windows, fence, record of refusals; users: reads, placement, send and receive completions ------
  localparam int unsigned DmaUsers = 4;

  logic [DmaUsers-1:0] look, look_ready, dma_begin, checked, denied;
  logic [DmaUsers:0]   dma_end, dma_end_epoch;  // the last one: a copy has been written
  logic [EpW-1:0]      window_ep[DmaUsers];
  logic [WindowW-1:0]  look_index[DmaUsers];
  window_t             window;
  logic                window_rd_ack, window_wr_ack, epoch, fence_busy, refusal_overflow;
  logic [31:0]         window_rdata;
  logic [15:0]         fences;
  refusal_t            refusal[DmaUsers+1];  // the last one is for stale descriptors
  refusal_t            refusal_record;
  logic [Endpoints-1:0] stale;               // endpoints that stand still

  myr_window_table #(.Users(DmaUsers)) u_windows (
      .clk_i, .rst_i, .req_i(hw_out.WINDOW_TABLE.req), .write_i(hw_out.WINDOW_TABLE.req_is_wr),
      .addr_i(hw_out.WINDOW_TABLE.addr), .data_i(hw_out.WINDOW_TABLE.wr_data), .rd_ack_o(window_rd_ack),
      .wr_ack_o(window_wr_ack), .data_o(window_rdata), .look_i(look), .look_ep_i(window_ep),
      .look_index_i(look_index), .look_ready_o(look_ready), .window_o(window)
  );
  assign window_ep[1] = place_ep;
  assign window_ep[2] = cq_ep;
  assign window_ep[3] = rq_ep;

  myr_fence #(.Begins(DmaUsers), .Ends(DmaUsers + 1)) u_fence (
      .clk_i, .rst_i, .start_i(hw_out.FENCE.start.value), .busy_o(fence_busy), .ended_o(fences), .epoch_o(epoch),
      .begin_i(dma_begin), .end_i(dma_end), .end_epoch_i(dma_end_epoch)
  );

  myr_refusal_log #(.N(DmaUsers + 1)) u_refusals (
      .refusal_i(refusal), .full_i(hw_out.REFUSAL.valid.value), .record_o(refusal_record), .overflow_o(refusal_overflow)
  );
  // what is stale was not checked further
  always_comb for (int unsigned u = 0; u < DmaUsers; u++) denied[u] = refusal[u].valid && refusal[u].reason != RefusalStale;
  assign refusal[DmaUsers] = '{valid: exec_stale, ep: exec_ep, write: 1'b0, reason: RefusalStale,
                               addr: stale_descriptor.addr};
  assign rx_stale = refusal[1].valid && refusal[1].reason == RefusalStale;

  // ---- descriptors ---------------------------------------------------------------------------
  read_done_t  read_done;
  dma_req_t    fetch_req, pay_req;
  logic        fetch_req_valid, fetch_req_ready, pay_valid, pay_ready;
  logic [15:0] look_fetched, exec_fetched, sched_consumer, fetch_consumer;
  logic        look_fetch_failed, exec_fetch_failed, look_halted;
  logic [Endpoints-1:0] ready;
  logic        sched_valid, sched_take;
  logic [EpW+SlotIdxW-1:0] ring_read_slot, ring_clear_slot;
  logic [127:0] ring_data;
  logic        ring_valid, ring_clear;
  logic        finish, halt, alloc, slot_free, close;
  logic [15:0] finish_consumer, head, close_next;
  logic [7:0]  finish_need, fetch_need;
  logic [FrameW-1:0] slot, close_slot;
  logic [LenW-1:0]   close_len;
  status_e     close_status;
  logic        inline_valid, inline_ready, inline_start, started;
  logic [FrameAddrW-4:0] inline_addr;
  logic [63:0] inline_data;
  logic [7:0]  inline_be;
  logic        alloc_sum, close_silent;
  logic [7:0]  close_status_bits;
  logic [LenW-1:0] alloc_start, alloc_field;

  dma_req_t    send_fetch, rx_fetch;
  logic        send_fetch_valid, rx_fetch_valid, fetch_turn, fetch_turn_q, rx_take, entry_valid;

  myr_fetch u_fetch (
      .clk_i, .rst_i, .enable_i(hw_out.CTRL.enable.value), .fetched_form_i(fetched_form & ~stale), .mrrs_i(mrrs),
      .doorbell_i(doorbell), .doorbell_ctrl_i(doorbell_ctrl), .doorbell_bad_o(doorbell_bad), .start_i(start),
      .start_ep_i(start_ep), .ring_o(fetch_ep), .ctrl_i(fetch_ctrl), .base_i(fetch_base),
      .consumer_i(fetch_consumer), .need_i(fetch_need), .finish_i(finish), .finish_ring_i(exec_ep), .req_o(send_fetch),
      .req_valid_o(send_fetch_valid), .req_ready_i(fetch_req_ready && !fetch_turn), .done_i(read_done), .look_ring_i(look_ep),
      .look_fetched_o(look_fetched), .look_failed_o(look_fetch_failed), .exec_ring_i(exec_ep),
      .exec_fetched_o(exec_fetched), .exec_failed_o(exec_fetch_failed), .status_ep_i(status_ep),
      .status_producer_o(status_producer), .status_busy_o(busy_fetch)
  );

  // ---- receive rings -------------------------------------------------------------------------
  logic [15:0] rx_fetch_consumer, place_index;
  logic [3:0]  place_log2;
  logic [2:0]  place_ahead, take_count;
  logic [63:0] entry_addr;
  logic [15:0] unused_look, unused_exec, unused_producer;
  logic        unused_look_failed, unused_exec_failed;

  myr_fetch #(.PerEp(2), .BytesLog2(3), .Batch(RxFetchBatch), .IdxW(RxSlotIdxW)) u_rx_fetch (
      .clk_i, .rst_i, .enable_i(hw_out.CTRL.enable.value), .fetched_form_i(rx_fetched & ~stale), .mrrs_i(mrrs),
      .doorbell_i(rx_doorbell), .doorbell_ctrl_i(rx_doorbell_ctrl), .doorbell_bad_o(rx_doorbell_bad), .start_i(start),
      .start_ep_i(start_ep), .ring_o(rx_fetch_ring), .ctrl_i(rx_fetch_ctrl), .base_i(rx_fetch_base),
      .consumer_i(rx_fetch_consumer), .need_i(8'd1), .finish_i(rx_take), .finish_ring_i(place_ring), .req_o(rx_fetch),
      .req_valid_o(rx_fetch_valid), .req_ready_i(fetch_req_ready && fetch_turn), .done_i(read_done), .look_ring_i('0),
      .look_fetched_o(unused_look), .look_failed_o(unused_look_failed), .exec_ring_i('0),
      .exec_fetched_o(unused_exec), .exec_failed_o(unused_exec_failed), .status_ep_i(status_ep),
      .status_producer_o(unused_producer), .status_busy_o(busy_rx_fetch)
  );

  // send and receive rings in turn
  assign fetch_turn      = rx_fetch_valid && (fetch_turn_q || !send_fetch_valid);
  assign fetch_req       = fetch_turn ? rx_fetch : send_fetch;
  assign fetch_req_valid = rx_fetch_valid || send_fetch_valid;
  always_ff @(posedge clk_i) if (rst_i || (fetch_req_valid && fetch_req_ready)) fetch_turn_q <= !rst_i && !fetch_turn;

  myr_rx_ring u_rx_ring (
      .clk_i, .rst_i, .word_i(word), .start_i(start), .start_ep_i(start_ep), .ring_i(place_ring), .log2_i(place_log2),
      .ahead_i(place_ahead), .index_o(place_index), .valid_o(entry_valid), .addr_o(entry_addr), .take_i(rx_take),
      .take_count_i(take_count), .fetch_ring_i(rx_fetch_ring), .fetch_index_o(rx_fetch_consumer),
      .status_ep_i(status_ep), .status_index_o(rx_index)
  );

  myr_send_ring u_ring (
      .clk_i, .rst_i, .word_i(word), .ring_done_i(ring_done), .fetch_done_i(read_done.valid && read_done.fetch && !read_done.rx),
      .fetch_done_ep_i(read_done.ep), .enable_i(enable & ~stale), .start_i(start), .start_ep_i(start_ep), .look_ep_o(look_ep),
      .look_ctrl_i(look_ctrl), .look_fetched_i(look_fetched), .look_fetch_failed_i(look_fetch_failed),
      .look_halted_i(look_halted), .ready_o(ready), .grant_i(sched_take), .grant_ep_i(sched_ep),
      .grant_consumer_o(sched_consumer), .read_slot_i(ring_read_slot), .read_data_o(ring_data),
      .read_valid_o(ring_valid), .clear_i(ring_clear), .clear_slot_i(ring_clear_slot), .finish_i(finish),
      .finish_ep_i(exec_ep), .finish_consumer_i(finish_consumer), .finish_need_i(finish_need),
      .fetch_ep_i(fetch_ep), .fetch_consumer_o(fetch_consumer), .fetch_need_o(fetch_need),
      .status_ep_i(status_ep), .status_consumer_o(status_consumer), .status_busy_o(busy_ring)
  );

  // the scheduler: round robin; a better one takes the same three signals
  myr_rr_arb #(.N(Endpoints)) u_sched (
      .clk_i, .rst_i, .req_i(ready), .take_i(sched_take), .valid_o(sched_valid), .id_o(sched_ep)
  );

  // one executor for plain chains, one for TSO; the second has the ports while it works
  typedef struct packed {
    logic [EpW+SlotIdxW-1:0] read_slot;
    logic                    clear;
    logic [EpW+SlotIdxW-1:0] clear_slot;
    logic                    finish;
    logic [15:0]             finish_consumer;
    logic [7:0]              finish_need;
    logic                    alloc;
    logic                    alloc_sum;
    logic                    close;
    logic [FrameW-1:0]       close_slot;
    logic [LenW-1:0]         close_len;
    status_e                 close_status;
    logic                    close_silent;
    logic [15:0]             close_next;
    dma_req_t                pay;
    logic                    pay_valid;
    logic                    started;
    logic                    halt;
    logic                    stale;
  } exec_ports_t;

  exec_ports_t plain, tso;
  segment_t    segment;
  logic        tso_start, tso_active, tso_running;

  myr_send_exec u_exec (
      .clk_i, .rst_i, .enable_i(hw_out.CTRL.enable.value), .sched_valid_i(sched_valid), .sched_ep_i(sched_ep),
      .sched_take_o(sched_take), .sched_consumer_i(sched_consumer), .sched_log2_i(sched_ctrl.send_log2), .ep_o(exec_ep),
      .ctrl_i(exec_ctrl), .fetched_i(exec_fetched), .fetch_failed_i(exec_fetch_failed), .read_slot_o(plain.read_slot),
      .read_data_i(ring_data), .read_valid_i(ring_valid), .clear_o(plain.clear), .clear_slot_o(plain.clear_slot),
      .finish_o(plain.finish), .finish_consumer_o(plain.finish_consumer), .finish_need_o(plain.finish_need),
      .slot_free_i(slot_free), .slot_i(slot), .alloc_o(plain.alloc), .alloc_sum_o(plain.alloc_sum),
      .alloc_start_o(alloc_start), .alloc_field_o(alloc_field), .head_o(head), .close_o(plain.close),
      .close_slot_o(plain.close_slot), .close_len_o(plain.close_len), .close_status_o(plain.close_status),
      .close_next_o(plain.close_next), .dma_o(plain.pay), .dma_valid_o(plain.pay_valid), .dma_ready_i(pay_ready),
      .inline_valid_o(inline_valid), .inline_addr_o(inline_addr), .inline_data_o(inline_data), .inline_be_o(inline_be),
      .inline_ready_i(inline_ready), .started_o(plain.started), .inline_start_o(inline_start),
      .tso_start_o(tso_start), .tso_running_i(tso_running), .tso_done_i(tso.finish), .halt_o(plain.halt),
      .stale_o(plain.stale)
  );
  assign plain.close_silent = 1'b0;

  myr_tso_exec u_tso (
      .clk_i, .rst_i, .start_i(tso_start), .ep_i(exec_ep), .head_i(head), .active_o(tso_active), .running_o(tso_running),
      .restart_i(start), .restart_ep_i(start_ep), .ctrl_i(exec_ctrl), .fetched_i(exec_fetched),
      .fetch_failed_i(exec_fetch_failed), .read_slot_o(tso.read_slot), .read_data_i(ring_data), .read_valid_i(ring_valid),
      .clear_o(tso.clear), .clear_slot_o(tso.clear_slot), .finish_o(tso.finish), .finish_consumer_o(tso.finish_consumer),
      .finish_need_o(tso.finish_need), .slot_i(slot), .alloc_o(tso.alloc), .alloc_sum_o(tso.alloc_sum),
      .close_o(tso.close), .close_slot_o(tso.close_slot), .close_len_o(tso.close_len), .close_status_o(tso.close_status),
      .close_silent_o(tso.close_silent), .close_segment_o(segment), .close_next_o(tso.close_next), .dma_o(tso.pay),
      .dma_valid_o(tso.pay_valid), .dma_ready_i(pay_ready), .started_o(tso.started), .halt_o(tso.halt), .stale_o(tso.stale)
  );

  assign {ring_read_slot, ring_clear, ring_clear_slot, finish, finish_consumer, finish_need, alloc, alloc_sum, close,
          close_slot, close_len, close_status_bits, close_silent, close_next, pay_req, pay_valid, started, halt, exec_stale}
         = tso_active ? tso : plain;
  assign close_status = status_e'(close_status_bits);
  assign stale_descriptor = parse_descriptor(ring_data);

  // ---- DMA reads -----------------------------------------------------------------------------
  mrd_t        mrd;
  logic        mrd_valid, mrd_ready, extra, authorised, timed_out;
  logic [FrameW-1:0] extra_slot;
  logic [EpW-1:0]    authorised_ep;
  logic [15:0]       authorised_index;

  myr_dma_read #(.ReadTags(ReadTags)) u_read (
      .clk_i, .rst_i, .cycle_i, .timeout_i(hw_out.READ_TIMEOUT.cycles.value), .mrrs_i(mrrs), .bus_i(bus),
      .bus_master_i(bus_master), .vf_enable_i(vf_enable), .look_o(look[0]), .look_index_o(look_index[0]), .look_ready_i(look_ready[0]),
      .window_i(window), .epoch_i(epoch), .begin_o(dma_begin[0]), .end_o(dma_end[0]), .end_epoch_o(dma_end_epoch[0]),
      .fetch_i(fetch_req), .fetch_valid_i(fetch_req_valid),
      .fetch_ready_o(fetch_req_ready), .pay_i(pay_req), .pay_valid_i(pay_valid), .pay_ready_o(pay_ready),
      .mrd_o(mrd), .mrd_valid_o(mrd_valid), .mrd_ready_i(mrd_ready), .extra_o(extra), .extra_slot_o(extra_slot),
      .tag_busy_i(tag_busy), .tag_i(tag), .tag_rid_i(tag_rid), .tag_hit_o(tag_hit), .tag_fetch_o(tag_fetch), .tag_rx_o(tag_rx), .tag_dest_o(tag_dest),
      .tag_left_o(tag_left), .tag_lower_o(tag_lower), .tag_advance_i(tag_advance),
      .tag_advance_bytes_i(tag_advance_bytes), .cpl_valid_i(cpl_in_valid), .cpl_tag_i(cpl_in_tag),
      .cpl_last_i(cpl_in_last), .cpl_status_i(cpl_in_status), .cpl_late_i(cpl_in_late), .done_o(read_done),
      .checked_o(checked[0]), .refusal_o(refusal[0]), .authorised_o(authorised), .authorised_ep_o(authorised_ep),
      .authorised_index_o(authorised_index), .timed_out_o(timed_out)
  );
  assign window_ep[0] = authorised_ep;

  // ---- switch --------------------------------------------------------------------------------
  logic          port_rd_ack, port_wr_ack, group_rd_ack, group_wr_ack;
  logic [31:0]   port_rdata, group_rdata;
  logic          wire_look, wire_group, send_look, send_to_wire, send_spoofed;
  frame_header_t wire_header, send_header;
  logic [Endpoints-1:0] wire_dest, send_dest;
  logic [EpW-1:0] send_look_ep;
  rx_frame_t     rx_frame;
  logic [15:0]   number;

  assign wire_header = rx_frame.header;

  myr_switch u_switch (
      .clk_i, .rst_i, .port_req_i(hw_out.PORT_TABLE.req), .port_write_i(hw_out.PORT_TABLE.req_is_wr),
      .port_addr_i(hw_out.PORT_TABLE.addr), .port_data_i(hw_out.PORT_TABLE.wr_data), .port_rd_ack_o(port_rd_ack),
      .port_wr_ack_o(port_wr_ack), .port_data_o(port_rdata), .group_req_i(hw_out.GROUP_TABLE.req),
      .group_write_i(hw_out.GROUP_TABLE.req_is_wr), .group_addr_i(hw_out.GROUP_TABLE.addr),
      .group_data_i(hw_out.GROUP_TABLE.wr_data), .group_rd_ack_o(group_rd_ack), .group_wr_ack_o(group_wr_ack),
      .group_data_o(group_rdata), .policy_i(hw_out.SWITCH_CTRL.policy.value), .wire_valid_i(wire_look),
      .wire_header_i(wire_header), .wire_dest_o(wire_dest), .wire_group_o(wire_group), .send_valid_i(send_look),
      .send_header_i(send_header), .send_ep_i(send_look_ep), .send_dest_o(send_dest), .send_to_wire_o(send_to_wire),
      .send_spoofed_o(send_spoofed)
  );

  // ---- frames --------------------------------------------------------------------------------
  logic        tx_frame, tx_frame_done, spoofed;
  logic [FrameW-1:0] tx_slot;
  logic [LenW-1:0]   tx_len;
  logic [EpW-1:0]    tx_ep;
  logic [15:0]       tx_head, tx_next;
  logic [FrameAddrW-4:0] frame_read_addr, job_read_addr;
  logic [63:0]       frame_read_data, job_read_data;
  trace_lane_t       data_in, job_lane;
  chain_end_t        mac_end;
  logic              mac_end_valid;
  logic              job_valid, job_ready, job_done, number_take;
  rx_job_t           job;
  logic [FrameW-1:0] job_done_slot;
  logic [15:0]       chain_head;
  logic              silent, edit_ready;
  logic [EpW-1:0]    silent_ep;
  logic [FrameSlots-1:0] complete;
  logic [63:0]       edit_read_data;
  logic [FrameSlots-1:0] hold;
  logic        edit_valid, edit_fail, sum_odd;
  logic [FrameW-1:0] edit_fail_slot;
  logic [FrameAddrW-4:0] edit_addr, edit_read_addr;
  logic [63:0]       edit_data;
  logic [7:0]        edit_be;
  logic [FrameW-1:0] edit_slot;
  logic [15:0]       sum_value;

  myr_frame_sum u_sum (
      .clk_i, .start_i(alloc_sum), .start_slot_i(slot), .start_offset_i(tso_active ? '0 : alloc_start), .wanted_i(hold),
      .valid_i(word.frame || (inline_valid && inline_ready)),
      .addr_i(word.frame ? word.addr[FrameAddrW-1:3] : inline_addr), .data_i(word.frame ? word.data : inline_data),
      .be_i(word.frame ? word.be : inline_be), .slot_i(edit_slot), .sum_o(sum_value), .odd_o(sum_odd)
  );

  myr_offload u_offload (
      .clk_i, .rst_i, .sum_i(alloc_sum), .sum_slot_i(slot), .sum_tso_i(tso_active), .sum_field_i(alloc_field),
      .close_i(close), .close_bad_i(close_status != StatusOk), .close_slot_i(close_slot), .close_len_i(close_len),
      .close_segment_i(segment), .complete_i(complete), .hold_o(hold), .slot_o(edit_slot), .sum_value_i(sum_value),
      .sum_odd_i(sum_odd), .edit_read_addr_o(edit_read_addr), .edit_read_data_i(edit_read_data),
      .edit_valid_o(edit_valid), .edit_addr_o(edit_addr), .edit_data_o(edit_data), .edit_be_o(edit_be),
      .edit_ready_i(edit_ready), .edit_fail_o(edit_fail), .edit_fail_slot_o(edit_fail_slot)
  );

  myr_frame_buffer u_frames (
      .clk_i, .rst_i, .cycle_i, .free_o(slot_free), .free_slot_o(slot), .alloc_i(alloc), .alloc_ep_i(exec_ep),
      .start_i(start), .start_ep_i(start_ep),
      .piece_i(pay_valid && pay_ready), .piece_slot_i(pay_req.slot), .extra_i(extra), .extra_slot_i(extra_slot),
      .done_i(read_done), .close_i(close), .close_slot_i(close_slot), .close_head_i(head), .close_next_i(close_next),
      .close_len_i(close_len), .close_status_i(close_status), .close_silent_i(close_silent), .hold_i(hold),
      .complete_o(complete), .word_i(word), .inline_valid_i(inline_valid), .inline_addr_i(inline_addr),
      .inline_data_i(inline_data), .inline_ready_o(inline_ready), .edit_valid_i(edit_valid), .edit_addr_i(edit_addr),
      .edit_data_i(edit_data), .edit_be_i(edit_be), .edit_ready_o(edit_ready), .edit_fail_i(edit_fail),
      .edit_fail_slot_i(edit_fail_slot), .edit_read_addr_i(edit_read_addr),
      .edit_read_data_o(edit_read_data), .data_in_o(data_in), .look_valid_o(send_look), .look_header_o(send_header),
      .look_ep_o(send_look_ep), .look_dest_i(send_dest), .look_to_wire_i(send_to_wire),
      .look_spoofed_i(send_spoofed), .spoofed_o(spoofed), .tx_valid_o(tx_frame), .tx_slot_o(tx_slot),
      .tx_len_o(tx_len), .tx_ep_o(tx_ep), .tx_head_o(tx_head), .tx_next_o(tx_next), .tx_done_i(tx_frame_done),
      .tx_stamp_i(mac_end.stamp), .read_addr_i(frame_read_addr), .read_data_o(frame_read_data),
      .job_valid_o(job_valid), .job_o(job), .job_ready_i(job_ready), .number_i(number),
      .number_take_o(number_take), .job_lane_o(job_lane), .job_done_i(job_done), .job_done_slot_i(job_done_slot),
      .job_read_addr_i(job_read_addr), .job_read_data_o(job_read_data), .end_o(chain_end),
      .end_valid_o(chain_end_valid), .end_ready_i(chain_end_ready), .end_head_o(chain_head), .silent_o(silent),
      .silent_ep_o(silent_ep)
  );

  logic [47:0] mac;
  logic        wire_pause, pause_in, pause_out;
  logic [15:0] pause_quanta;

  assign mac = {hw_out.MAC_HI.address.value, hw_out.MAC_LO.address.value};

  myr_mac_tx u_mac (
      .clk_i, .rst_i, .cycle_i, .frame_valid_i(tx_frame), .frame_slot_i(tx_slot), .frame_len_i(tx_len),
      .frame_status_i(StatusOk), .frame_ep_i(tx_ep), .frame_next_i(tx_next), .frame_done_o(tx_frame_done),
      .read_addr_o(frame_read_addr), .read_data_i(frame_read_data), .end_o(mac_end), .end_valid_o(mac_end_valid),
      .end_ready_i(1'b1), .pause_valid_i(pause_in || !hw_out.SWITCH_CTRL.pause_rx.value),
      .pause_quanta_i(hw_out.SWITCH_CTRL.pause_rx.value ? pause_quanta : 16'd0),
      .xoff_i(pause_out && hw_out.SWITCH_CTRL.pause_tx.value), .mac_i(mac),
      .wire_valid_o, .wire_first_o, .wire_last_o, .wire_bytes_o, .wire_data_o, .wire_pause_o(wire_pause)
  );

  // ---- frames from the wire ------------------------------------------------------------------
  logic        rx_word_valid, rx_end, rx_keep, rx_overflow, rx_frame_valid, rx_frame_ready, rx_release;
  logic [63:0] rx_word, rx_read_data;
  logic [RxBufferW-1:0] rx_read_addr;
  rx_frame_t   rx_end_frame;
  logic        rx_first, rx_last, mac_drop, filtered, filtered_group;
  logic [15:0] rx_first_number, filtered_number;
  rx_drop_e    mac_drop_reason, last_drop_q;
  rx_job_t     wire_job;
  logic        wire_job_valid, wire_job_ready, wire_job_done;

  myr_mac_rx u_mac_rx (
      .clk_i, .rst_i, .wire_valid_i(wire_rx_valid_i), .wire_first_i(wire_rx_first_i), .wire_last_i(wire_rx_last_i),
      .wire_bytes_i(wire_rx_bytes_i), .wire_error_i(wire_rx_error_i), .wire_data_i(wire_rx_data_i), .mac_i(mac),
      .word_valid_o(rx_word_valid), .word_o(rx_word), .end_valid_o(rx_end), .end_keep_o(rx_keep),
      .end_frame_o(rx_end_frame), .overflow_i(rx_overflow), .pause_valid_o(pause_in), .pause_quanta_o(pause_quanta),
      .drop_valid_o(mac_drop), .drop_reason_o(mac_drop_reason), .first_o(rx_first), .first_number_o(rx_first_number),
      .last_o(rx_last), .number_take_i(number_take), .number_o(number)
  );

  myr_rx_buffer u_rx_buffer (
      .clk_i, .rst_i, .word_valid_i(rx_word_valid), .word_i(rx_word), .end_valid_i(rx_end), .end_keep_i(rx_keep),
      .end_frame_i(rx_end_frame), .overflow_o(rx_overflow), .frame_o(rx_frame), .frame_valid_o(rx_frame_valid),
      .frame_ready_i(rx_frame_ready), .release_i(rx_release), .read_addr_i(rx_read_addr), .read_data_o(rx_read_data),
      .xoff_words_i(hw_out.PAUSE_LIMITS.xoff.value), .xon_words_i(hw_out.PAUSE_LIMITS.xon.value), .xoff_o(pause_out)
  );

  myr_rx_dispatch u_dispatch (
      .clk_i, .rst_i, .frame_i(rx_frame), .frame_valid_i(rx_frame_valid), .frame_ready_o(rx_frame_ready),
      .release_o(rx_release), .lookup_o(wire_look), .dest_i(wire_dest), .group_i(wire_group), .job_o(wire_job),
      .job_valid_o(wire_job_valid), .job_ready_i(wire_job_ready), .job_done_i(wire_job_done), .filtered_o(filtered),
      .filtered_group_o(filtered_group), .filtered_number_o(filtered_number)
  );

  // sources of writes: interrupts, send completions, receive completions, payload
  logic [3:0]  source_valid, source_next, source_done;
  mwr_t        source[4];
  logic [63:0] source_data[4];

  // ---- placement -----------------------------------------------------------------------------
  rx_segment_t rx_segment, placed;
  logic        piece_valid, piece_ready, rx_segment_valid, rx_segment_ready;
  logic        rx_grant, rx_drop, drop_ready, filter_tell, filter_held_q, word_valid, word_first, word_last;
  rx_drop_e    rx_reason, filter_reason, filter_reason_q;
  logic [15:0] rx_number, filter_number_q, tell_number, sum;
  logic [LenW-1:0] rx_len;
  logic [63:0] sum_word;
  rx_copy_t    word_copy, sum_copy, out_copy;
  logic        sum_done, hash_busy, hash_done, formed, out_first, out_last, rx_written;
  logic [64*11-1:0] header;
  logic [319:0] rss_key;
  logic [31:0] hash, rss_rdata, statistics_rdata;
  logic [2:0]  hash_kind;
  logic [1:0]  rss_queue, rx_queue;
  logic        rss_rd_ack, rss_wr_ack, statistics_rd_ack, statistics_wr_ack;
  logic [7:0]  drop_ep_q;

  rx_ctrl_t place_live;

  always_comb begin
    place_live        = place_ctrl;
    place_live.enable = place_ctrl.enable && !stale[place_ep];
  end

  myr_rx_place u_place (
      .clk_i, .rst_i, .wire_i(wire_job), .wire_valid_i(wire_job_valid), .wire_ready_o(wire_job_ready), .sibling_i(job),
      .sibling_valid_i(job_valid), .sibling_ready_o(job_ready), .bus_i(bus), .bus_master_i(bus_master),
      .vf_enable_i(vf_enable), .look_o(look[1]), .look_index_o(look_index[1]), .look_ready_i(look_ready[1]),
      .window_i(window), .epoch_i(epoch), .begin_o(dma_begin[1]), .end_o(dma_end[1]), .end_epoch_o(dma_end_epoch[1]),
      .checked_o(checked[1]), .refusal_o(refusal[1]), .ep_o(place_ep), .ctrl_i(place_live), .ring_o(place_ring), .log2_o(place_log2),
      .ahead_o(place_ahead), .index_i(place_index), .entry_valid_i(entry_valid), .entry_addr_i(entry_addr),
      .take_o(rx_take), .take_count_o(take_count), .segment_o(placed), .segment_valid_o(piece_valid),
      .segment_ready_i(piece_ready), .grant_o(rx_grant), .drop_o(rx_drop), .reason_o(rx_reason),
      .number_o(rx_number), .len_o(rx_len), .drop_ready_i(drop_ready)
  );

  myr_fifo #(.Width($bits(rx_segment_t)), .Depth(8)) u_segments (
      .clk_i, .rst_i, .in_i(placed), .in_valid_i(piece_valid), .in_ready_o(piece_ready), .out_o(rx_segment),
      .out_valid_o(rx_segment_valid), .out_ready_i(rx_segment_ready)
  );

  myr_dma_write u_write (
      .clk_i, .rst_i, .mps_256_i(mps_256), .segment_i(rx_segment), .segment_valid_i(rx_segment_valid),
      .segment_ready_o(rx_segment_ready), .rx_addr_o(rx_read_addr), .rx_data_i(rx_read_data), .frame_addr_o(job_read_addr),
      .frame_data_i(job_read_data), .wire_done_o(wire_job_done), .sibling_done_o(job_done), .done_slot_o(job_done_slot),
      .word_valid_o(word_valid), .word_first_o(word_first), .word_last_o(word_last), .word_o(sum_word),
      .word_copy_o(word_copy), .hash_busy_i(sum_done || hash_busy), .formed_i(formed), .mwr_valid_o(source_valid[3]),
      .mwr_o(source[3]), .mwr_data_o(source_data[3]), .mwr_next_i(source_next[3]), .mwr_done_i(source_done[3]),
      .mwr_copy_o(out_copy), .mwr_first_o(out_first), .mwr_last_o(out_last)
  );
  assign rx_written = source_done[3] && out_last;
  assign dma_end[DmaUsers]       = rx_written;
  assign dma_end_epoch[DmaUsers] = out_copy.epoch;

  myr_rx_sum u_rx_sum (
      .clk_i, .rst_i, .valid_i(word_valid), .first_i(word_first), .last_i(word_last), .word_i(sum_word),
      .copy_i(word_copy), .done_o(sum_done), .sum_o(sum), .header_o(header), .copy_o(sum_copy)
  );

  // the copy and its sum wait for the hash
  rx_copy_t    hash_copy_q;
  logic [15:0] hash_sum_q;
  always_ff @(posedge clk_i) if (sum_done) begin
    hash_copy_q <= sum_copy;
    hash_sum_q  <= sum;
  end

  myr_toeplitz u_toeplitz (
      .clk_i, .rst_i, .start_i(sum_done), .header_i(header), .len_i(sum_copy.len), .key_i(rss_key), .busy_o(hash_busy),
      .done_o(hash_done), .hash_o(hash), .kind_o(hash_kind)
  );

  myr_rss_table u_rss (
      .clk_i, .rst_i, .req_i(hw_out.RSS_TABLE.req), .write_i(hw_out.RSS_TABLE.req_is_wr),
      .addr_i(hw_out.RSS_TABLE.addr), .data_i(hw_out.RSS_TABLE.wr_data), .rd_ack_o(rss_rd_ack), .wr_ack_o(rss_wr_ack),
      .data_o(rss_rdata), .key_ep_i(sum_copy.ep), .key_o(rss_key), .queue_ep_i(hash_copy_q.ep), .hash_i(hash[6:0]),
      .queue_o(rss_queue)
  );
  assign rx_queue = (hash_copy_q.rss && hash_kind != 3'd0 && rss_queue <= hash_copy_q.queues) ? rss_queue : 2'd0;

  myr_rx_statistics u_statistics (
      .clk_i, .rst_i, .req_i(hw_out.RX_STATISTICS.req), .write_i(hw_out.RX_STATISTICS.req_is_wr),
      .addr_i(hw_out.RX_STATISTICS.addr), .rd_ack_o(statistics_rd_ack), .wr_ack_o(statistics_wr_ack),
      .data_o(statistics_rdata), .ep_i(place_ep), .grant_i(rx_grant), .len_i(rx_len), .drop_i(rx_drop),
      .reason_i(rx_reason)
  );

  // one drop is told in a cycle: the MAC's first, then a filtered one (one cycle late at most), then placement's
  assign filter_tell = !mac_drop && (filtered || filter_held_q);
  assign drop_ready  = !mac_drop && !filtered && !filter_held_q;
  assign filter_reason = filter_held_q ? filter_reason_q : filtered_group ? RxDropFilteredMulticast : RxDropFilteredUnicast;
  assign tell_number = mac_drop ? rx_end_frame.number : filter_held_q ? filter_number_q
                       : filtered ? filtered_number : rx_number;
  always_ff @(posedge clk_i) begin
    if (filtered) begin
      filter_reason_q <= filtered_group ? RxDropFilteredMulticast : RxDropFilteredUnicast;
      filter_number_q <= filtered_number;
    end
    filter_held_q <= filtered && (mac_drop || filter_held_q) && !rst_i;
    if (mac_drop || filter_tell || rx_drop) begin
      last_drop_q <= mac_drop ? mac_drop_reason : filter_tell ? filter_reason : rx_reason;
      drop_ep_q   <= (mac_drop || filter_tell) ? 8'd0 : 8'(place_ep);
    end
    if (rst_i) begin
      last_drop_q <= rx_drop_e'(0);
      drop_ep_q   <= '0;
    end
  end

  // ---- completions ---------------------------------------------------------------------------
  logic        retire;
  logic [15:0] retire_index;
  posted_t     recv_posted, send_posted;
  trace_lane_t rx_data_out, rx_cpl_out;
  logic [EpW-1:0] retire_ep;
  logic [3:0]  retire_count;

  myr_completion u_completion (
      .clk_i, .rst_i, .end_i(chain_end), .end_valid_i(chain_end_valid), .end_ready_o(chain_end_ready), .start_i(start),
      .start_ep_i(start_ep), .bus_i(bus), .bus_master_i(bus_master), .vf_enable_i(vf_enable),
      .look_o(look[2]), .look_index_o(look_index[2]), .look_ready_i(look_ready[2]),
      .window_i(window), .epoch_i(epoch), .begin_o(dma_begin[2]), .end_o(dma_end[2]), .end_epoch_o(dma_end_epoch[2]),
      .checked_o(checked[2]), .refusal_o(refusal[2]), .ep_o(cq_ep), .ctrl_i(cq_ctrl), .base_i(cq_base), .mwr_valid_o(source_valid[1]), .mwr_o(source[1]),
      .mwr_data_o(source_data[1]), .mwr_next_i(source_next[1]), .mwr_done_i(source_done[1]), .posted_o(send_posted),
      .retire_o(retire), .retire_ep_o(retire_ep), .retire_index_o(retire_index), .retire_count_o(retire_count),
      .status_ep_i(status_ep), .status_index_o(status_cq_index)
  );

  myr_rx_completion u_rx_completion (
      .clk_i, .rst_i, .cycle_i, .result_valid_i(hash_done), .result_copy_i(hash_copy_q), .result_sum_i(hash_sum_q),
      .result_hash_i(hash), .result_kind_i(hash_kind), .result_queue_i(rx_queue), .written_i(rx_written),
      .formed_o(formed), .place_i(dma_begin[1]), .drop_i(dma_end[1]), .place_ep_i(place_ep), .start_i(start),
      .start_ep_i(start_ep), .bus_i(bus),
      .bus_master_i(bus_master), .vf_enable_i(vf_enable), .look_o(look[3]), .look_index_o(look_index[3]), .look_ready_i(look_ready[3]),
      .window_i(window), .epoch_i(epoch), .begin_o(dma_begin[3]), .end_o(dma_end[3]), .end_epoch_o(dma_end_epoch[3]),
      .checked_o(checked[3]), .refusal_o(refusal[3]), .ep_o(rq_ep), .queue_o(rq_queue), .ctrl_i(rq_ctrl),
      .base_i(rq_base), .mwr_valid_o(source_valid[2]), .mwr_o(source[2]), .mwr_data_o(source_data[2]),
      .mwr_next_i(source_next[2]), .mwr_done_i(source_done[2]), .posted_o(recv_posted), .data_out_o(rx_data_out),
      .cpl_out_o(rx_cpl_out), .status_ep_i(status_ep), .status_busy_o(busy_rx)
  );

  // ---- interrupts ----------------------------------------------------------------------------
  logic [Endpoints-1:0] fire;
  logic           irq_rd_ack, irq_wr_ack, msix_rd_ack, msix_wr_ack, write_valid, write_next, write_done;
  logic [31:0]    irq_rdata, msix_rdata;
  logic [63:0]    write_data;
  mwr_t           write;
  trace_lane_t    irq_out;

  myr_interrupt u_interrupt (
      .clk_i, .rst_i, .cycle_i, .req_i(hw_out.IRQ_TABLE.req), .write_i(hw_out.IRQ_TABLE.req_is_wr),
      .addr_i(hw_out.IRQ_TABLE.addr), .data_i(hw_out.IRQ_TABLE.wr_data), .rd_ack_o(irq_rd_ack), .wr_ack_o(irq_wr_ack),
      .data_o(irq_rdata), .enable_i(enable), .start_i(start), .start_ep_i(start_ep), .send_i(send_posted), .recv_i(recv_posted),
      .arm_i(arm), .fire_o(fire)
  );

  myr_msix u_msix (
      .clk_i, .rst_i, .req_i(hw_out.MSIX_TABLE.req), .write_i(hw_out.MSIX_TABLE.req_is_wr),
      .addr_i(hw_out.MSIX_TABLE.addr), .data_i(hw_out.MSIX_TABLE.wr_data), .rd_ack_o(msix_rd_ack),
      .wr_ack_o(msix_wr_ack), .data_o(msix_rdata), .msix_enable_i(msix_enable), .msix_mask_i(msix_mask), .bus_i(bus),
      .bus_master_i(bus_master), .vf_enable_i(vf_enable), .ep_o(irq_ep), .ctrl_i(irq_ctrl), .fire_i(fire),
      .mwr_valid_o(source_valid[0]), .mwr_o(source[0]), .mwr_data_o(source_data[0]), .mwr_done_i(source_done[0]), .irq_out_o(irq_out)
  );

  myr_mwr_arb u_writes (
      .clk_i, .rst_i, .valid_i(source_valid), .mwr_i(source), .data_i(source_data), .next_o(source_next),
      .done_o(source_done), .valid_o(write_valid), .mwr_o(write), .data_o(write_data), .next_i(write_next),
      .done_i(write_done)
  );

  myr_endpoint_state u_state (
      .clk_i, .rst_i, .alloc_i(alloc), .alloc_ep_i(exec_ep), .retire_i(retire), .retire_ep_i(retire_ep),
      .retire_count_i(retire_count), .silent_i(silent), .silent_ep_i(silent_ep), .halt_i(halt), .halt_ep_i(exec_ep),
      .halt_stale_i(exec_stale), .rx_stale_i(rx_stale), .rx_stale_ep_i(place_ep), .stale_o(stale), .start_i(start),
      .start_ep_i(start_ep),
      .look_ep_i(look_ep), .look_halted_o(look_halted), .status_ep_i(status_ep), .status_halted_o(status_halted),
      .status_busy_o(busy_flight)
  );

  // ---- transmit side -------------------------------------------------------------------------
  logic        sent, sent_fetch, sent_rx, sent_first;
  logic [EpW-1:0] sent_ep;
  logic [15:0] sent_index;
  logic [12:0] sent_len;

  myr_tlp_tx u_tx (
      .clk_i, .rst_i, .tx_o, .tx_valid_o, .tx_ready_i, .fc_i(tx_fc_i), .bus_i(bus), .cpl_i(cpl),
      .cpl_valid_i(cpl_valid), .cpl_ready_o(cpl_ready), .mwr_valid_i(write_valid),
      .mwr_i(write), .mwr_data_i(write_data), .mwr_next_o(write_next), .mwr_done_o(write_done),
      .mrd_i(mrd), .mrd_valid_i(mrd_valid), .mrd_ready_o(mrd_ready), .mrd_sent_o(sent), .mrd_sent_fetch_o(sent_fetch), .mrd_sent_rx_o(sent_rx),
      .mrd_sent_first_o(sent_first), .mrd_sent_ep_o(sent_ep), .mrd_sent_index_o(sent_index), .mrd_sent_len_o(sent_len)
  );

  // ---- registers -----------------------------------------------------------------------------
  always_comb begin
    hw_in.CAPS.read_tags.next   = 8'(ReadTags);
    hw_in.CYCLE_LO.lo.next = cycle_i[31:0];
    hw_in.CYCLE_HI.hi.next = cycle_i[63:32];
    hw_in.FRAMES.count.incr         = wire_valid_o && wire_last_o && !wire_pause;
    hw_in.FAILED_CHAINS.count.incr  = chain_failed;
    hw_in.AUTH_CHECKS.count.incr      = |checked;
    hw_in.AUTH_CHECKS.count.incrvalue = 3'($countones(checked));
    hw_in.AUTH_DENIED.count.incr      = |denied;
    hw_in.AUTH_DENIED.count.incrvalue = 3'($countones(denied));
    hw_in.REFUSAL.valid.hwset    = refusal_record.valid;
    hw_in.REFUSAL.overflow.hwset = refusal_overflow;
    hw_in.REFUSAL.write          = '{next: refusal_record.write, we: refusal_record.valid};
    hw_in.REFUSAL.reason         = '{next: refusal_record.reason, we: refusal_record.valid};
    hw_in.REFUSAL.endpoint       = '{next: refusal_record.ep, we: refusal_record.valid};
    hw_in.REFUSAL_ADDRESS_LO.address = '{next: refusal_record.addr[31:0], we: refusal_record.valid};
    hw_in.REFUSAL_ADDRESS_HI.address = '{next: refusal_record.addr[63:32], we: refusal_record.valid};
    hw_in.FENCE.busy.next  = fence_busy;
    hw_in.FENCE.ended.next = fences;
    hw_in.WINDOW_TABLE     = '{rd_ack: window_rd_ack, rd_data: window_rdata, wr_ack: window_wr_ack};
    hw_in.READ_ERRORS.count.incr    = cpl_in_valid && cpl_in_status != StatusOk;
    hw_in.READ_TIMEOUTS.count.incr  = timed_out;
    hw_in.UNEXPECTED_CPL.count.incr = unexpected;
    hw_in.MMIO_DROPPED.count.incr   = dropped || doorbell_bad || rx_doorbell_bad;
    hw_in.EP_TABLE.rd_ack  = table_rd_ack;
    hw_in.EP_TABLE.rd_data = table_rdata;
    hw_in.EP_TABLE.wr_ack  = table_wr_ack;
    hw_in.RX_FRAMES.count.incr = rx_end && rx_keep;
    hw_in.RX_BAD_FCS.count.incr = mac_drop && mac_drop_reason == RxDropBadFcs;
    hw_in.RX_RUNT.count.incr = mac_drop && mac_drop_reason == RxDropRunt;
    hw_in.RX_OVERSIZE.count.incr = mac_drop && mac_drop_reason == RxDropOversize;
    hw_in.RX_BAD_FRAMING.count.incr = mac_drop && mac_drop_reason == RxDropBadFraming;
    hw_in.RX_PAUSE.count.incr = pause_in;
    hw_in.RX_OVERFLOW.count.incr = mac_drop && mac_drop_reason == RxDropOverflow;
    hw_in.RX_FILTERED_UNICAST.count.incr = filtered && !filtered_group;
    hw_in.RX_FILTERED_MULTICAST.count.incr = filtered && filtered_group;
    hw_in.TX_PAUSE.count.incr = wire_valid_o && wire_last_o && wire_pause;
    hw_in.LOCAL_FRAMES.count.incr = job_lane.valid;
    hw_in.SPOOFED_FRAMES.count.incr = spoofed;
    hw_in.RX_NO_BUFFER.count.incr = rx_drop && (rx_reason == RxDropNoSmall || rx_reason == RxDropNoBig);
    hw_in.INTERRUPTS.count.incr = source_done[0];
    hw_in.RX_LAST_DROP.reason.next = last_drop_q;
    hw_in.RX_LAST_DROP.endpoint.next = drop_ep_q;
    hw_in.PORT_TABLE = '{rd_ack: port_rd_ack, rd_data: port_rdata, wr_ack: port_wr_ack};
    hw_in.GROUP_TABLE = '{rd_ack: group_rd_ack, rd_data: group_rdata, wr_ack: group_wr_ack};
    hw_in.IRQ_TABLE = '{rd_ack: irq_rd_ack, rd_data: irq_rdata, wr_ack: irq_wr_ack};
    hw_in.MSIX_TABLE = '{rd_ack: msix_rd_ack, rd_data: msix_rdata, wr_ack: msix_wr_ack};
    hw_in.RSS_TABLE = '{rd_ack: rss_rd_ack, rd_data: rss_rdata, wr_ack: rss_wr_ack};
    hw_in.RX_STATISTICS = '{rd_ack: statistics_rd_ack, rd_data: statistics_rdata, wr_ack: statistics_wr_ack};
  end

  // ---- trace ---------------------------------------------------------------------------------
  logic [EpW-1:0] wire_ep_q;
  logic [15:0]    wire_head_q;
  logic [LenW-1:0] wire_len_q;

  // the beat is on the wire one cycle after the MAC took it from the frame at the queue's head
  always_ff @(posedge clk_i) begin
    wire_ep_q   <= tx_ep;
    wire_head_q <= tx_head;
    wire_len_q  <= tx_len;
  end

  // an inline frame's event waits while a read's takes the lane: a look-up in the window table ends in its own time
  logic           inline_wait_q;
  logic [3:0]     inline_age_q;
  logic [EpW-1:0] inline_ep_q;
  logic [15:0]    inline_head_q;

  always_ff @(posedge clk_i) begin
    inline_wait_q <= authorised && (inline_start || inline_wait_q) && !rst_i;
    inline_age_q  <= inline_wait_q ? inline_age_q + 4'd1 : 4'd1;
    if (!inline_wait_q) begin
      inline_ep_q   <= exec_ep;
      inline_head_q <= head;
    end
  end

  always_comb begin
    trace_o = '0;
    if (doorbell.valid && !doorbell_bad)
      trace_o[TraceKindDoorbell] = '{valid: 1'b1, age: 4'd2, endpoint: doorbell.ep, index: doorbell.producer, info: '0};
    else if (ring_done.valid)
      trace_o[TraceKindDoorbell] = '{valid: 1'b1, age: 4'd2 + 4'(ring_done.late), endpoint: ring_done.ep,
                                     index: 16'(ring_done.slot), info: 32'(ring_done.count)};
    trace_o[TraceKindFetchOut] = '{valid: sent && sent_fetch && !sent_rx, age: '0, endpoint: sent_ep, index: sent_index,
                                   info: 32'(sent_len >> 4)};
    trace_o[TraceKindFetchBack] = '{valid: read_done.valid && read_done.fetch && !read_done.rx && read_done.status == StatusOk,
                                    age: 4'd2 + 4'(read_done.late), endpoint: read_done.ep, index: read_done.index,
                                    info: 32'(read_done.count)};
    trace_o[TraceKindGrant] = '{valid: started, age: 4'd1, endpoint: exec_ep, index: head, info: '0};
    trace_o[TraceKindAuthorised] = '{valid: authorised || inline_start || inline_wait_q, age: '0, endpoint: exec_ep, index: head,
                                     info: '0};
    if (authorised) begin
      trace_o[TraceKindAuthorised].endpoint = authorised_ep;
      trace_o[TraceKindAuthorised].index    = authorised_index;
    end else if (inline_wait_q) begin
      trace_o[TraceKindAuthorised].age      = inline_age_q;
      trace_o[TraceKindAuthorised].endpoint = inline_ep_q;
      trace_o[TraceKindAuthorised].index    = inline_head_q;
    end
    trace_o[TraceKindReadOut] = '{valid: sent && !sent_fetch && sent_first, age: '0, endpoint: sent_ep,
                                  index: sent_index, info: '0};
    trace_o[TraceKindDataIn] = data_in;
    trace_o[TraceKindWireFirst] = '{valid: wire_valid_o && wire_first_o && !wire_pause, age: '0, endpoint: wire_ep_q,
                                    index: wire_head_q, info: '0};
    trace_o[TraceKindWireLast] = '{valid: wire_valid_o && wire_last_o && !wire_pause, age: '0, endpoint: wire_ep_q,
                                   index: wire_head_q, info: 32'(wire_len_q)};
    trace_o[TraceKindRxLocal] = job_lane;
    trace_o[TraceKindCplOut] = '{valid: retire, age: '0, endpoint: retire_ep, index: retire_index,
                                 info: {source[1].tag, 20'd0, retire_count}};
    trace_o[TraceKindIrqOut] = irq_out;
    trace_o[TraceKindFailed] = '{valid: chain_failed, age: '0, endpoint: chain_end.ep, index: chain_head,
                                 info: 32'(chain_end.status)};
    trace_o[TraceKindRxFirst] = '{valid: rx_first, age: '0, endpoint: '0, index: rx_first_number, info: '0};
    trace_o[TraceKindRxLast] = '{valid: rx_last, age: 4'd1, endpoint: '0, index: rx_end_frame.number,
                                 info: 32'(rx_end_frame.len)};
    trace_o[TraceKindRxGrant] = '{valid: rx_grant, age: '0, endpoint: place_ep, index: rx_number, info: 32'(rx_len)};
    trace_o[TraceKindRxWrite] = '{valid: source_done[3] && out_first, age: '0, endpoint: out_copy.ep,
                                  index: out_copy.number, info: '0};
    trace_o[TraceKindRxDataOut] = rx_data_out;
    trace_o[TraceKindRxCplOut]  = rx_cpl_out;
    trace_o[TraceKindRxDrop] = '{valid: mac_drop || filter_tell || rx_drop, age: '0,
                                 endpoint: (mac_drop || filter_tell) ? '0 : place_ep, index: tell_number,
                                 info: mac_drop ? 32'(mac_drop_reason) : filter_tell ? 32'(filter_reason) : 32'(rx_reason)};
  end

`ifndef SYNTHESIS
  always_ff @(posedge clk_i)
    if (!rst_i) assert (!(inline_wait_q && inline_start)) else $error("myr_nic: two inline frames wait for the trace");
`endif
endmodule
`default_nettype wire
