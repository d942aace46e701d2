`default_nettype none
/// Send rings, executor and a scheduler that serves ready endpoints in turn. The tables of set-up and of fetched
/// descriptors are the bench's to write. No chain is a TSO chain.
module send_ring_bench
  import myr_abi_pkg::*;
  import myr_nic_pkg::*;
(
    input  wire logic              clk_i,
    input  wire logic              rst_i,
    input  wire logic              enable_i,
    // words and ends of TLPs and fetches
    input  wire rx_word_t          word_i,
    input  wire ring_done_t        ring_done_i,
    input  wire logic              fetch_done_i,
    input  wire logic [EpW-1:0]    fetch_done_ep_i,
    input  wire logic              start_i,
    input  wire logic [EpW-1:0]    start_ep_i,
    // frame slots
    input  wire logic              slot_free_i,
    input  wire logic [FrameW-1:0] slot_i,
    output logic                   alloc_o,
    output logic                   alloc_sum_o,
    output logic [LenW-1:0]        alloc_start_o,
    output logic [LenW-1:0]        alloc_field_o,
    output logic [EpW-1:0]         ep_o,
    output logic [15:0]            head_o,
    output logic                   close_o,
    output logic [FrameW-1:0]      close_slot_o,
    output logic [LenW-1:0]        close_len_o,
    output status_e                close_status_o,
    output logic [15:0]            close_next_o,
    output logic                   finish_o,
    output logic [15:0]            finish_consumer_o,
    output logic [7:0]             finish_need_o,
    output logic                   halt_o,
    output logic                   stale_o,
    // reads and inline words
    output dma_req_t               dma_o,
    output logic                   dma_valid_o,
    input  wire logic              dma_ready_i,
    output logic                   inline_valid_o,
    output logic [FrameAddrW-4:0]  inline_addr_o,
    output logic [63:0]            inline_data_o,
    output logic [7:0]             inline_be_o,
    input  wire logic              inline_ready_i,
    input  wire logic [EpW-1:0]    status_ep_i,
    output logic [15:0]            status_consumer_o,
    output logic                   status_busy_o
);
  ep_ctrl_t             ctrl_q[Endpoints];
  logic [15:0]          fetched_q[Endpoints];
  logic [Endpoints-1:0] failed_q, halted_q, enabled_q;

  logic [EpW-1:0]          look_ep, sched_ep;
  logic [Endpoints-1:0]    ready;
  logic                    sched_valid, sched_take, valid, clear;
  logic [15:0]             sched_consumer;
  logic [EpW+SlotIdxW-1:0] read_slot, clear_slot;
  logic [127:0]            data;
  logic                    unused_started, unused_inline_start, unused_tso;
  logic [15:0]             unused_fetch_consumer;
  logic [7:0]              unused_need;

  myr_send_ring u_ring (
      .clk_i, .rst_i, .word_i, .ring_done_i, .fetch_done_i, .fetch_done_ep_i, .enable_i(enabled_q), .start_i, .start_ep_i,
      .look_ep_o(look_ep), .look_ctrl_i(ctrl_q[look_ep]), .look_fetched_i(fetched_q[look_ep]),
      .look_fetch_failed_i(failed_q[look_ep]), .look_halted_i(halted_q[look_ep]), .ready_o(ready), .grant_i(sched_take),
      .grant_ep_i(sched_ep), .grant_consumer_o(sched_consumer), .read_slot_i(read_slot), .read_data_o(data),
      .read_valid_o(valid), .clear_i(clear), .clear_slot_i(clear_slot), .finish_i(finish_o), .finish_ep_i(ep_o),
      .finish_consumer_i(finish_consumer_o), .finish_need_i(finish_need_o), .fetch_ep_i('0),
      .fetch_consumer_o(unused_fetch_consumer), .fetch_need_o(unused_need), .status_ep_i, .status_consumer_o, .status_busy_o
  );

  myr_rr_arb #(.N(Endpoints)) u_sched (
      .clk_i, .rst_i, .req_i(ready), .take_i(sched_take), .valid_o(sched_valid), .id_o(sched_ep)
  );

  myr_send_exec u_exec (
      .clk_i, .rst_i, .enable_i, .sched_valid_i(sched_valid), .sched_ep_i(sched_ep), .sched_take_o(sched_take),
      .sched_consumer_i(sched_consumer), .sched_log2_i(ctrl_q[sched_ep].send_log2), .ep_o, .ctrl_i(ctrl_q[ep_o]),
      .fetched_i(fetched_q[ep_o]), .fetch_failed_i(failed_q[ep_o]), .read_slot_o(read_slot), .read_data_i(data),
      .read_valid_i(valid), .clear_o(clear), .clear_slot_o(clear_slot), .finish_o, .finish_consumer_o, .finish_need_o,
      .slot_free_i, .slot_i, .alloc_o, .alloc_sum_o, .alloc_start_o, .alloc_field_o, .head_o, .close_o, .close_slot_o,
      .close_len_o, .close_status_o, .close_next_o, .dma_o, .dma_valid_o, .dma_ready_i, .inline_valid_o, .inline_addr_o,
      .inline_data_o, .inline_be_o, .inline_ready_i, .started_o(unused_started), .inline_start_o(unused_inline_start),
      .tso_start_o(unused_tso), .tso_running_i(1'b0), .tso_done_i(1'b0), .halt_o, .stale_o
  );

  always_ff @(posedge clk_i) begin
    if (halt_o) halted_q[ep_o] <= 1'b1;
    if (start_i) halted_q[start_ep_i] <= 1'b0;
    if (rst_i) halted_q <= '0;
  end
endmodule
`default_nettype wire
