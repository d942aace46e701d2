`default_nettype none
/// The line's blocks as the NIC joins them: receiver, receive buffer, transmitter; fields of records as pins.
module myr_mac_bench
  import myr_abi_pkg::*;
  import myr_nic_pkg::*;
(
    /// Clock.
    input  wire logic                 clk_i,
    /// Synchronous reset.
    input  wire logic                 rst_i,
    /// Line towards the receiver.
    input  wire logic                 rx_valid_i,
    /// Preamble.
    input  wire logic                 rx_first_i,
    /// Last beat.
    input  wire logic                 rx_last_i,
    /// Bytes of the beat.
    input  wire logic [3:0]           rx_bytes_i,
    /// Line error.
    input  wire logic                 rx_error_i,
    /// Lane 0 in bits 7:0.
    input  wire logic [63:0]          rx_data_i,
    /// The NIC's address.
    input  wire logic [47:0]          mac_i,
    /// A frame number is taken.
    input  wire logic                 number_take_i,
    /// The number.
    output logic [15:0]               number_o,
    /// A frame is dropped.
    output logic                      drop_o,
    /// Why.
    output logic [7:0]                reason_o,
    /// Number of the frame that ends.
    output logic [15:0]               drop_number_o,
    /// A frame is offered.
    output logic                      frame_valid_o,
    /// It is taken.
    input  wire logic                 frame_ready_i,
    /// Its first word.
    output logic [RxBufferW-1:0]      base_o,
    /// Its bytes.
    output logic [LenW-1:0]           len_o,
    /// Its number.
    output logic [15:0]               frame_number_o,
    /// Destination address.
    output logic [47:0]               dst_o,
    /// Source address.
    output logic [47:0]               src_o,
    /// It has a VLAN tag.
    output logic                      has_tag_o,
    /// VLAN of the tag.
    output logic [11:0]               vid_o,
    /// Type behind the tag.
    output logic [15:0]               ethertype_o,
    /// The oldest taken frame is released.
    input  wire logic                 release_i,
    /// Word to read.
    input  wire logic [RxBufferW-1:0] read_addr_i,
    /// The word.
    output logic [63:0]               read_data_o,
    /// Pause threshold.
    input  wire logic [15:0]          xoff_words_i,
    /// Threshold to go on.
    input  wire logic [15:0]          xon_words_i,
    /// The line is to pause.
    output logic                      xoff_o,
    /// Pause frames are sent.
    input  wire logic                 pause_tx_i,
    /// A frame of 100 zero bytes is offered to the transmitter.
    input  wire logic                 tx_frame_i,
    /// It has left.
    output logic                      tx_done_o,
    /// Ends of chains are taken.
    input  wire logic                 end_ready_i,
    /// Line of the transmitter.
    output logic                      tx_valid_o,
    /// Preamble.
    output logic                      tx_first_o,
    /// Last beat.
    output logic                      tx_last_o,
    /// Bytes of the beat.
    output logic [3:0]                tx_bytes_o,
    /// Lane 0 in bits 7:0.
    output logic [63:0]               tx_data_o,
    /// The beat is a pause frame's.
    output logic                      tx_pause_o
);
  logic        word_valid, end_valid, end_keep, overflow, pause_valid;
  logic [63:0] word;
  rx_frame_t   end_frame, frame;
  logic [15:0] quanta;
  rx_drop_e    reason;

  assign reason_o       = reason;
  assign drop_number_o  = end_frame.number;
  assign base_o         = frame.base;
  assign len_o          = frame.len;
  assign frame_number_o = frame.number;
  assign dst_o          = frame.header.dst;
  assign src_o          = frame.header.src;
  assign has_tag_o      = frame.header.has_tag;
  assign vid_o          = frame.header.vid;
  assign ethertype_o    = frame.header.ethertype;

  myr_mac_rx u_rx (
      .clk_i, .rst_i, .wire_valid_i(rx_valid_i), .wire_first_i(rx_first_i), .wire_last_i(rx_last_i),
      .wire_bytes_i(rx_bytes_i), .wire_error_i(rx_error_i), .wire_data_i(rx_data_i), .mac_i, .word_valid_o(word_valid),
      .word_o(word), .end_valid_o(end_valid), .end_keep_o(end_keep), .end_frame_o(end_frame), .overflow_i(overflow),
      .pause_valid_o(pause_valid), .pause_quanta_o(quanta), .drop_valid_o(drop_o), .drop_reason_o(reason), .first_o(),
      .first_number_o(), .last_o(), .number_take_i, .number_o
  );

  myr_rx_buffer u_buffer (
      .clk_i, .rst_i, .word_valid_i(word_valid), .word_i(word), .end_valid_i(end_valid), .end_keep_i(end_keep),
      .end_frame_i(end_frame), .overflow_o(overflow), .frame_o(frame), .frame_valid_o, .frame_ready_i, .release_i,
      .read_addr_i, .read_data_o, .xoff_words_i, .xon_words_i, .xoff_o
  );

  myr_mac_tx u_tx (
      .clk_i, .rst_i, .cycle_i('0), .frame_valid_i(tx_frame_i), .frame_slot_i('0), .frame_len_i(LenW'(100)),
      .frame_status_i(StatusOk), .frame_ep_i('0), .frame_next_i('0), .frame_done_o(tx_done_o), .read_addr_o(),
      .read_data_i('0), .end_o(), .end_valid_o(), .end_ready_i, .pause_valid_i(pause_valid), .pause_quanta_i(quanta),
      .xoff_i(xoff_o && pause_tx_i), .mac_i, .wire_valid_o(tx_valid_o), .wire_first_o(tx_first_o),
      .wire_last_o(tx_last_o), .wire_bytes_o(tx_bytes_o), .wire_data_o(tx_data_o), .wire_pause_o(tx_pause_o)
  );
endmodule
`default_nettype wire
