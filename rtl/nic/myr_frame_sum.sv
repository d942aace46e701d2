`default_nettype none
/// Ones' complement sums of frames while they are being written into the frame buffer, in any order: of each slot's
/// bytes from its start offset on, as big-endian 16-bit words that begin at even offsets of the frame.
///
/// A word is part of the sum two cycles after it was offered; nothing moves while no frame with a sum is written.
module myr_frame_sum
  import myr_nic_pkg::*;
(
    /// Clock.
    input  wire logic                  clk_i,
    /// A sum starts.
    input  wire logic                  start_i,
    /// Of this slot, before its first byte comes.
    input  wire logic [FrameW-1:0]     start_slot_i,
    /// First byte that counts.
    input  wire logic [LenW-1:0]       start_offset_i,
    /// Slots whose sum somebody wants.
    input  wire logic [FrameSlots-1:0] wanted_i,
    /// A word is written.
    input  wire logic                  valid_i,
    /// Its word address.
    input  wire logic [FrameAddrW-4:0] addr_i,
    /// Its data.
    input  wire logic [63:0]           data_i,
    /// Its bytes.
    input  wire logic [7:0]            be_i,
    /// Slot whose sum is read.
    input  wire logic [FrameW-1:0]     slot_i,
    /// Its sum.
    output logic [15:0]                sum_o,
    /// Its first byte has an odd offset.
    output logic                       odd_o
);
  logic [15:0]       sum_q[FrameSlots];
  logic [LenW-1:0]   start_q[FrameSlots];
  logic              valid_q;
  logic [FrameW-1:0] slot, slot_q;
  logic [17:0]       lanes, lanes_q;

  assign slot = addr_i[FrameAddrW-4 -: FrameW];

  always_comb begin
    lanes = '0;
    if (valid_i && wanted_i[slot]) begin
      for (int unsigned i = 0; i < 8; i++)
        if (be_i[i] && {addr_i[FrameWordW-1:0], 3'(i)} >= start_q[slot])
          lanes = lanes + (18'(data_i[8*i +: 8]) << ((i % 2 == 0) ? 8 : 0));
    end
  end

  always_ff @(posedge clk_i) begin
    valid_q <= valid_i && wanted_i[slot];
    slot_q  <= slot;
    lanes_q <= lanes;
    if (valid_q) sum_q[slot_q] <= add16(sum_q[slot_q], add16(lanes_q[15:0], 16'(lanes_q[17:16])));
    if (start_i) begin
      sum_q[start_slot_i]   <= '0;
      start_q[start_slot_i] <= start_offset_i;
    end
  end

  assign sum_o = sum_q[slot_i];
  assign odd_o = start_q[slot_i][0];

`ifndef SYNTHESIS
  always_ff @(posedge clk_i)
    if (start_i && valid_q) assert (slot_q != start_slot_i)
      else $error("myr_frame_sum: a sum starts while words of its slot's last frame are still coming");
`endif
endmodule
`default_nettype wire
