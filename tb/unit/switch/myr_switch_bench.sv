`default_nettype none
/// Frame buffer and switch as the NIC joins them, with records taken apart, so that Python needs no layout of theirs.
/// With `direct_i` the bench asks the switch's send side itself.
module myr_switch_bench
  import myr_pkg::*;
  import myr_abi_pkg::*;
  import myr_nic_pkg::*;
(
    input  wire logic                  clk_i,
    input  wire logic                  rst_i,
    // switch
    input  wire logic                  port_req_i,
    input  wire logic                  port_write_i,
    input  wire logic [9:0]            port_addr_i,
    input  wire logic [31:0]           port_data_i,
    output logic                       port_ack_o,
    output logic [31:0]                port_data_o,
    input  wire logic                  group_req_i,
    input  wire logic                  group_write_i,
    input  wire logic [8:0]            group_addr_i,
    input  wire logic [31:0]           group_data_i,
    output logic                       group_ack_o,
    output logic [31:0]                group_data_o,
    input  wire logic [1:0]            policy_i,
    input  wire logic                  wire_valid_i,
    input  wire logic [143:0]          wire_bytes_i,
    output logic [Endpoints-1:0]       wire_dest_o,
    output logic                       wire_group_o,
    input  wire logic                  direct_i,
    input  wire logic                  send_valid_i,
    input  wire logic [143:0]          send_bytes_i,
    input  wire logic [EpW-1:0]        send_ep_i,
    output logic [Endpoints-1:0]       send_dest_o,
    output logic                       send_to_wire_o,
    output logic                       send_spoofed_o,
    // frame buffer
    input  wire logic [63:0]           cycle_i,
    output logic                       free_o,
    output logic [FrameW-1:0]          free_slot_o,
    input  wire logic                  alloc_i,
    input  wire logic [EpW-1:0]        alloc_ep_i,
    input  wire logic                  piece_i,
    input  wire logic [FrameW-1:0]     piece_slot_i,
    input  wire logic                  done_i,
    input  wire logic [FrameW-1:0]     done_slot_i,
    input  wire logic [7:0]            done_status_i,
    input  wire logic                  close_i,
    input  wire logic [FrameW-1:0]     close_slot_i,
    input  wire logic [15:0]           close_head_i,
    input  wire logic [15:0]           close_next_i,
    input  wire logic [LenW-1:0]       close_len_i,
    input  wire logic [7:0]            close_status_i,
    input  wire logic                  close_silent_i,
    input  wire logic [FrameSlots-1:0] hold_i,
    output logic [FrameSlots-1:0]      complete_o,
    input  wire logic                  word_i,
    input  wire logic [FrameAddrW-4:0] word_addr_i,
    input  wire logic [63:0]           word_data_i,
    input  wire logic [7:0]            word_be_i,
    input  wire logic                  inline_valid_i,
    input  wire logic [FrameAddrW-4:0] inline_addr_i,
    input  wire logic [63:0]           inline_data_i,
    output logic                       inline_ready_o,
    input  wire logic                  edit_valid_i,
    input  wire logic [FrameAddrW-4:0] edit_addr_i,
    input  wire logic [63:0]           edit_data_i,
    input  wire logic [7:0]            edit_be_i,
    output logic                       edit_ready_o,
    input  wire logic [FrameAddrW-4:0] edit_read_addr_i,
    output logic [63:0]                edit_read_data_o,
    output logic                       look_valid_o,
    output logic                       spoofed_o,
    output logic                       tx_valid_o,
    output logic [FrameW-1:0]          tx_slot_o,
    output logic [LenW-1:0]            tx_len_o,
    output logic [EpW-1:0]             tx_ep_o,
    output logic [15:0]                tx_head_o,
    input  wire logic                  tx_done_i,
    input  wire logic [63:0]           tx_stamp_i,
    input  wire logic [FrameAddrW-4:0] read_addr_i,
    output logic [63:0]                read_data_o,
    output logic                       job_valid_o,
    output logic [FrameW-1:0]          job_slot_o,
    output logic [LenW-1:0]            job_len_o,
    output logic [15:0]                job_number_o,
    output logic [Endpoints-1:0]       job_dest_o,
    input  wire logic                  job_ready_i,
    input  wire logic [15:0]           number_i,
    output logic                       number_take_o,
    output logic                       lane_valid_o,
    output logic [EpW-1:0]             lane_ep_o,
    output logic [15:0]                lane_index_o,
    output logic [31:0]                lane_info_o,
    input  wire logic                  job_done_i,
    input  wire logic [FrameW-1:0]     job_done_slot_i,
    input  wire logic [FrameAddrW-4:0] job_read_addr_i,
    output logic [63:0]                job_read_data_o,
    output logic                       end_valid_o,
    output logic [EpW-1:0]             end_ep_o,
    output logic [15:0]                end_next_o,
    output logic [LenW-1:0]            end_len_o,
    output logic [7:0]                 end_status_o,
    output logic [63:0]                end_stamp_o,
    output logic [15:0]                end_head_o,
    input  wire logic [Endpoints-1:0]  end_full_i,
    output logic                       silent_o,
    output logic [EpW-1:0]             silent_ep_o
);
  frame_header_t  look_header;
  logic [EpW-1:0] look_ep;
  logic           port_rd, port_wr, group_rd, group_wr;
  rx_word_t       word;
  read_done_t     done;
  rx_job_t        job;
  chain_end_t     chain;
  trace_lane_t    lane, data_in;
  logic [15:0]    tx_next;

  assign port_ack_o  = port_rd || port_wr;
  assign group_ack_o = group_rd || group_wr;

  myr_switch u_switch (
      .clk_i, .rst_i, .port_req_i, .port_write_i, .port_addr_i, .port_data_i, .port_rd_ack_o(port_rd),
      .port_wr_ack_o(port_wr), .port_data_o, .group_req_i, .group_write_i, .group_addr_i, .group_data_i,
      .group_rd_ack_o(group_rd), .group_wr_ack_o(group_wr), .group_data_o, .policy_i, .wire_valid_i,
      .wire_header_i(parse_header(wire_bytes_i)), .wire_dest_o, .wire_group_o,
      .send_valid_i(direct_i ? send_valid_i : look_valid_o),
      .send_header_i(direct_i ? parse_header(send_bytes_i) : look_header),
      .send_ep_i(direct_i ? send_ep_i : look_ep), .send_dest_o, .send_to_wire_o, .send_spoofed_o
  );

  always_comb begin
    word       = '0;
    word.frame = word_i;
    word.addr  = 21'({word_addr_i, 3'b000});
    word.data  = word_data_i;
    word.be    = word_be_i;
    done        = '0;
    done.valid  = done_i;
    done.slot   = done_slot_i;
    done.status = status_e'(done_status_i);
  end

  myr_frame_buffer u_frames (
      .clk_i, .rst_i, .cycle_i, .free_o, .free_slot_o, .alloc_i, .alloc_ep_i, .start_i(1'b0),
      .start_ep_i('0), .piece_i, .piece_slot_i, .extra_i(1'b0),
      .extra_slot_i('0), .done_i(done), .close_i, .close_slot_i, .close_head_i, .close_next_i, .close_len_i,
      .close_status_i(status_e'(close_status_i)), .close_silent_i, .hold_i, .complete_o, .word_i(word),
      .inline_valid_i, .inline_addr_i, .inline_data_i, .inline_ready_o, .edit_valid_i, .edit_addr_i, .edit_data_i,
      .edit_be_i, .edit_ready_o, .edit_fail_i(1'b0), .edit_fail_slot_i('0), .edit_read_addr_i, .edit_read_data_o, .data_in_o(data_in), .look_valid_o,
      .look_header_o(look_header), .look_ep_o(look_ep), .look_dest_i(send_dest_o), .look_to_wire_i(send_to_wire_o),
      .look_spoofed_i(send_spoofed_o), .spoofed_o, .tx_valid_o, .tx_slot_o, .tx_len_o, .tx_ep_o, .tx_head_o,
      .tx_next_o(tx_next), .tx_done_i, .tx_stamp_i, .read_addr_i, .read_data_o, .job_valid_o, .job_o(job),
      .job_ready_i, .number_i, .number_take_o, .job_lane_o(lane), .job_done_i, .job_done_slot_i, .job_read_addr_i,
      .job_read_data_o, .end_o(chain), .end_valid_o, .end_ready_i(!end_full_i[chain.ep]), .end_head_o, .silent_o,
      .silent_ep_o
  );

  assign job_slot_o   = job.slot;
  assign job_len_o    = job.len;
  assign job_number_o = job.number;
  assign job_dest_o   = job.dest;
  assign lane_valid_o = lane.valid;
  assign lane_ep_o    = lane.endpoint;
  assign lane_index_o = lane.index;
  assign lane_info_o  = lane.info;
  assign end_ep_o     = chain.ep;
  assign end_next_o   = chain.next_index;
  assign end_len_o    = chain.len;
  assign end_status_o = chain.status;
  assign end_stamp_o  = chain.stamp;
endmodule
`default_nettype wire
