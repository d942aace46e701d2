`default_nettype none
/// Sum of a frame's bytes as they come and the editor of its headers, joined as in the NIC. The frame buffer is the
/// bench's: it stores words and edits, and answers reads.
module offload_bench
  import myr_nic_pkg::*;
(
    input  wire logic                  clk_i,
    input  wire logic                  rst_i,
    // a slot is taken for a frame with an offload
    input  wire logic                  sum_i,
    input  wire logic [FrameW-1:0]     sum_slot_i,
    input  wire logic                  sum_tso_i,
    input  wire logic [LenW-1:0]       sum_start_i,
    input  wire logic [LenW-1:0]       sum_field_i,
    // its bytes: word address, data, enables
    input  wire logic                  word_valid_i,
    input  wire logic [FrameAddrW-4+72:0] word_i,
    // its end
    input  wire logic                  close_i,
    input  wire logic                  close_bad_i,
    input  wire logic [FrameW-1:0]     close_slot_i,
    input  wire logic [LenW-1:0]       close_len_i,
    input  wire segment_t              close_segment_i,
    input  wire logic [FrameSlots-1:0] complete_i,
    output logic [FrameSlots-1:0]      hold_o,
    // the editor's side of the frame buffer; an edit as a word
    output logic [FrameAddrW-4:0]      edit_read_addr_o,
    input  wire logic [63:0]           edit_read_data_i,
    output logic                       edit_valid_o,
    output logic [FrameAddrW-4+72:0]   edit_o,
    input  wire logic                  edit_ready_i,
    output logic                       edit_fail_o,
    output logic [FrameW-1:0]          edit_fail_slot_o
);
  logic [FrameW-1:0]     slot;
  logic [15:0]           sum;
  logic                  odd;
  logic [FrameAddrW-4:0] word_addr, edit_addr;
  logic [63:0]           word_data, edit_data;
  logic [7:0]            word_be, edit_be;

  assign {word_addr, word_data, word_be} = word_i;
  assign edit_o = {edit_addr, edit_data, edit_be};

  myr_frame_sum u_sum (
      .clk_i, .start_i(sum_i), .start_slot_i(sum_slot_i), .start_offset_i(sum_start_i), .wanted_i(hold_o),
      .valid_i(word_valid_i), .addr_i(word_addr), .data_i(word_data), .be_i(word_be), .slot_i(slot), .sum_o(sum),
      .odd_o(odd)
  );

  myr_offload u_offload (
      .clk_i, .rst_i, .sum_i, .sum_slot_i, .sum_tso_i, .sum_field_i, .close_i, .close_bad_i, .close_slot_i, .close_len_i,
      .close_segment_i, .complete_i, .hold_o, .slot_o(slot), .sum_value_i(sum), .sum_odd_i(odd), .edit_read_addr_o,
      .edit_read_data_i, .edit_valid_o, .edit_addr_o(edit_addr), .edit_data_o(edit_data), .edit_be_o(edit_be),
      .edit_ready_i, .edit_fail_o, .edit_fail_slot_o
  );
endmodule
`default_nettype wire
