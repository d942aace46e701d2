`default_nettype none
/// Editor of complete frames before they are offered: puts the checksum into its field.
///
/// A frame without a checksum to insert is never touched. One with a checksum leaves 2 cycles later than it would
/// without, 3 when the field lies across two words, and one more for each cycle in which the buffer's port is taken.
module myr_offload
  import myr_nic_pkg::*;
(
    /// Clock.
    input  wire logic                  clk_i,
    /// Synchronous reset.
    input  wire logic                  rst_i,
    /// A slot is taken for a frame that wants a checksum.
    input  wire logic                  sum_i,
    /// The slot.
    input  wire logic [FrameW-1:0]     sum_slot_i,
    /// Offset of the field in the frame.
    input  wire logic [LenW-1:0]       sum_field_i,
    /// A slot is closed with an error: its frame is not edited.
    input  wire logic                  drop_i,
    /// The slot.
    input  wire logic [FrameW-1:0]     drop_slot_i,
    /// Slots whose bytes are all here.
    input  wire logic [FrameSlots-1:0] complete_i,
    /// Slots that are not to be offered yet.
    output logic [FrameSlots-1:0]      hold_o,
    /// Slot whose sum is needed.
    output logic [FrameW-1:0]          slot_o,
    /// Its sum.
    input  wire logic [15:0]           sum_value_i,
    /// Parity of its first byte: of an odd one the sum has its bytes the other way round.
    input  wire logic                  sum_odd_i,
    /// Bytes to be changed.
    output logic                       edit_valid_o,
    /// Word address.
    output logic [FrameAddrW-4:0]      edit_addr_o,
    /// New bytes, in their lanes.
    output logic [63:0]                edit_data_o,
    /// Which.
    output logic [7:0]                 edit_be_o,
    /// They are stored.
    input  wire logic                  edit_ready_i
);
  typedef enum logic [1:0] {StIdle, StWrite, StSecond} state_e;

  state_e                state_q;
  logic [FrameSlots-1:0] hold_q;
  logic [LenW-1:0]       field_q[FrameSlots];
  logic [FrameW-1:0]     slot_q, pick;
  logic                  pick_valid, done;
  logic [LenW-1:0]       field;
  logic [15:0]           value;

  myr_rr_arb #(.N(FrameSlots)) u_pick (
      .clk_i, .rst_i, .req_i(hold_q & complete_i), .take_i(state_q == StIdle), .valid_o(pick_valid), .id_o(pick)
  );

  assign hold_o = hold_q;
  assign slot_o = slot_q;
  assign field  = field_q[slot_q];

  // zero means "no checksum" to UDP, and its other form means the same to everybody else
  always_comb begin
    value = ~(sum_odd_i ? {sum_value_i[7:0], sum_value_i[15:8]} : sum_value_i);
    if (value == 16'd0) value = 16'hFFFF;
  end

  assign edit_valid_o = state_q != StIdle;
  assign edit_addr_o  = {slot_q, field[LenW-1:3] + (LenW - 3)'(state_q == StSecond)};
  assign edit_data_o  = (state_q == StSecond) ? 64'(value[7:0]) : 64'({value[7:0], value[15:8]}) << {field[2:0], 3'b000};
  assign edit_be_o    = (state_q == StSecond) ? 8'h01 : 8'h03 << field[2:0];
  assign done         = edit_valid_o && edit_ready_i && (state_q == StSecond || field[2:0] != 3'd7);

  always_ff @(posedge clk_i) begin
    unique case (state_q)
      StIdle: if (pick_valid) begin
        slot_q  <= pick;
        state_q <= StWrite;
      end
      default: if (edit_ready_i) state_q <= done ? StIdle : StSecond;
    endcase
    if (done) hold_q[slot_q] <= 1'b0;
    if (sum_i) begin
      hold_q[sum_slot_i]  <= 1'b1;
      field_q[sum_slot_i] <= sum_field_i;
    end
    if (drop_i) hold_q[drop_slot_i] <= 1'b0;
    if (rst_i) begin
      state_q <= StIdle;
      hold_q  <= '0;
    end
  end

`ifndef SYNTHESIS
  always_ff @(posedge clk_i)
    if (!rst_i && edit_valid_o) assert (complete_i[slot_q])
      else $error("myr_offload: a frame is edited that is not complete");
`endif
endmodule
`default_nettype wire
