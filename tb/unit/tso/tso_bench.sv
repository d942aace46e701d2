`default_nettype none
/// The TSO executor with the editor of headers behind it, so that whole segments come out. Rings, set-up, scheduler and
/// frame buffer are the bench's.
module tso_bench
  import myr_abi_pkg::*;
  import myr_nic_pkg::*;
(
    input  wire logic                    clk_i,
    input  wire logic                    rst_i,
    // a grant
    input  wire logic                    start_i,
    input  wire logic [EpW-1:0]          ep_i,
    input  wire logic [15:0]             head_i,
    input  wire ep_ctrl_t                ctrl_i,
    input  wire logic [15:0]             fetched_i,
    input  wire logic                    fetch_failed_i,
    input  wire logic                    restart_i,
    input  wire logic [EpW-1:0]          restart_ep_i,
    output logic                         active_o,
    output logic                         running_o,
    output logic                         finish_o,
    output logic [15:0]                  finish_consumer_o,
    output logic [7:0]                   finish_need_o,
    // the ring
    output logic [EpW+SlotIdxW-1:0]      read_slot_o,
    input  wire logic [127:0]            read_data_i,
    input  wire logic                    read_valid_i,
    output logic                         clear_o,
    output logic [EpW+SlotIdxW-1:0]      clear_slot_o,
    // frame slots
    input  wire logic [FrameW-1:0]       slot_i,
    output logic                         alloc_o,
    output logic                         alloc_sum_o,
    output logic                         close_o,
    output logic [FrameW-1:0]            close_slot_o,
    output logic [LenW-1:0]              close_len_o,
    output status_e                      close_status_o,
    output logic                         close_silent_o,
    output segment_t                     close_segment_o,
    output logic [15:0]                  close_next_o,
    output logic                         started_o,
    output logic                         halt_o,
    output logic                         stale_o,
    // reads, and the words that come of them
    output dma_req_t                     dma_o,
    output logic                         dma_valid_o,
    input  wire logic                    dma_ready_i,
    input  wire logic                    word_valid_i,
    input  wire logic [FrameAddrW-4+72:0] word_i,
    // the editor's side of the frame buffer
    input  wire logic [FrameSlots-1:0]   complete_i,
    output logic [FrameSlots-1:0]        hold_o,
    output logic [FrameAddrW-4:0]        edit_read_addr_o,
    input  wire logic [63:0]             edit_read_data_i,
    output logic                         edit_valid_o,
    output logic [FrameAddrW-4+72:0]     edit_o,
    input  wire logic                    edit_ready_i,
    output logic                         edit_fail_o,
    output logic [FrameW-1:0]            edit_fail_slot_o
);
  myr_tso_exec u_exec (
      .clk_i, .rst_i, .start_i, .ep_i, .head_i, .active_o, .running_o, .restart_i, .restart_ep_i, .ctrl_i, .fetched_i,
      .fetch_failed_i, .read_slot_o, .read_data_i, .read_valid_i, .clear_o, .clear_slot_o, .finish_o, .finish_consumer_o,
      .finish_need_o, .slot_i, .alloc_o, .alloc_sum_o, .close_o, .close_slot_o, .close_len_o, .close_status_o,
      .close_silent_o, .close_segment_o, .close_next_o, .dma_o, .dma_valid_o, .dma_ready_i, .started_o, .halt_o, .stale_o
  );

  offload_bench u_offload (
      .clk_i, .rst_i, .sum_i(alloc_sum_o), .sum_slot_i(slot_i), .sum_tso_i(1'b1), .sum_start_i('0), .sum_field_i('0),
      .word_valid_i, .word_i, .close_i(close_o), .close_bad_i(close_status_o != StatusOk), .close_slot_i(close_slot_o),
      .close_len_i(close_len_o), .close_segment_i(close_segment_o), .complete_i, .hold_o, .edit_read_addr_o,
      .edit_read_data_i, .edit_valid_o, .edit_o, .edit_ready_i, .edit_fail_o, .edit_fail_slot_o
  );
endmodule
`default_nettype wire
