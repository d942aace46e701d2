`default_nettype none
/// Editor of complete frames before they are offered: puts a checksum into its field, or makes a TSO chain's header
/// into that of one segment.
///
/// A frame without an offload is never touched. One with a checksum leaves 2 cycles later than it would without, 3 when
/// the field lies across two words. A segment takes 9 cycles and one for each 2 bytes of header: 36 for IPv4 over
/// Ethernet without options. One frame is edited at a time; each cycle in which the buffer's port is taken is one more.
module myr_offload
  import myr_nic_pkg::*;
(
    /// Clock.
    input  wire logic                  clk_i,
    /// Synchronous reset.
    input  wire logic                  rst_i,
    /// A slot is taken for a frame with an offload.
    input  wire logic                  sum_i,
    /// The slot.
    input  wire logic [FrameW-1:0]     sum_slot_i,
    /// A TSO segment.
    input  wire logic                  sum_tso_i,
    /// Otherwise: offset of the checksum's field in the frame.
    input  wire logic [LenW-1:0]       sum_field_i,
    /// A slot is closed.
    input  wire logic                  close_i,
    /// With an error: its frame is not edited.
    input  wire logic                  close_bad_i,
    /// The slot.
    input  wire logic [FrameW-1:0]     close_slot_i,
    /// Its bytes.
    input  wire logic [LenW-1:0]       close_len_i,
    /// Which segment it is, if it is one.
    input  wire segment_t              close_segment_i,
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
    /// Word to read; data come in the next cycle.
    output logic [FrameAddrW-4:0]      edit_read_addr_o,
    /// The word.
    input  wire logic [63:0]           edit_read_data_i,
    /// Bytes to be changed.
    output logic                       edit_valid_o,
    /// Word address.
    output logic [FrameAddrW-4:0]      edit_addr_o,
    /// New bytes, in their lanes.
    output logic [63:0]                edit_data_o,
    /// Which.
    output logic [7:0]                 edit_be_o,
    /// They are stored.
    input  wire logic                  edit_ready_i,
    /// The headers are not what can be edited.
    output logic                       edit_fail_o,
    /// Of this slot.
    output logic [FrameW-1:0]          edit_fail_slot_o
);
  // longest: Ethernet with a tag, IPv4 and TCP with all their options
  localparam int unsigned MaxHalves = (18 + 60 + 60) / 2;
  localparam int unsigned HalfW = $clog2(MaxHalves + 1);
  localparam logic [15:0] TypeTag = 16'h8100;
  localparam logic [15:0] TypeIpv4 = 16'h0800;
  localparam logic [15:0] TypeIpv6 = 16'h86DD;
  localparam logic [7:0] ProtocolTcp = 8'd6;
  localparam logic [15:0] FlagFin = 16'h0001;
  localparam logic [15:0] FlagPsh = 16'h0008;
  localparam logic [15:0] FlagCwr = 16'h0080;

  typedef enum logic [2:0] {StIdle, StWrite, StSecond, StWalk, StCheck, StEdit} state_e;
  typedef enum logic [2:0] {EdLength, EdId, EdIpSum, EdSeqHi, EdSeqLo, EdFlags, EdTcpSum} edit_e;

  state_e                state_q;
  edit_e                 edit_q;
  logic [FrameSlots-1:0] hold_q, tso_q;
  logic [LenW-1:0]       field_q[FrameSlots];
  logic [LenW-1:0]       len_q[FrameSlots];
  segment_t              segment_q[FrameSlots];
  logic [FrameW-1:0]     slot_q, pick;
  logic                  pick_valid, done, walk_start, last_half;
  logic [LenW-1:0]       field, where;
  logic [15:0]           value, half;
  segment_t              seg;

  // what the walk over the header has found, and the sums it keeps
  logic [HalfW-1:0]      at_q, at_d, l3_q, l4_q, halves;
  logic                  tagged_q, v6_q, l3_known_q, l4_known_q, whole_q, bad_q;
  logic [HalfW-1:0]      rel3, rel4;
  logic                  is_type, in_address;
  logic [15:0]           ip_q, tcp_q, id_q, seq_hi_q, seq_lo_q, flags_q, flags_new;
  logic [15:0]           ip_add, tcp_add, ip_len;
  logic [3:0]            offset_q;      // TCP's own header length in 4 bytes
  logic [31:0]           sequence_new;

  myr_rr_arb #(.N(FrameSlots)) u_pick (
      .clk_i, .rst_i, .req_i(hold_q & complete_i), .take_i(state_q == StIdle), .valid_o(pick_valid), .id_o(pick)
  );

  assign hold_o = hold_q;
  assign slot_o = slot_q;
  assign field  = field_q[slot_q];
  assign seg    = segment_q[slot_q];
  assign halves = HalfW'(seg.header >> 1);
  assign walk_start = state_q == StIdle && pick_valid && tso_q[pick];

  // ---- walk: 2 bytes a cycle; the read address is the next ones', so that they are there when they are looked at
  assign at_d             = (state_q == StIdle) ? '0 : at_q + 1'b1;
  assign edit_read_addr_o = {(state_q == StIdle) ? pick : slot_q, FrameWordW'(at_d >> 2)};
  assign last_half        = at_q + 1'b1 == halves;

  always_comb begin
    half       = {edit_read_data_i[{at_q[1:0], 4'd0} +: 8], edit_read_data_i[{at_q[1:0], 4'd8} +: 8]};
    rel3       = at_q - l3_q;
    rel4       = at_q - l4_q;
    is_type    = (at_q == HalfW'(6) && half != TypeTag) || (at_q == HalfW'(8) && tagged_q);
    in_address = v6_q ? rel3 >= HalfW'(4) && rel3 < HalfW'(20) : rel3 >= HalfW'(6) && rel3 < HalfW'(10);
    in_address = in_address && l3_known_q;
    ip_len     = 16'(len_q[slot_q]) - 16'({l3_q, 1'b0}) - (v6_q ? 16'd40 : 16'd0);
    flags_new  = half & ~(seg.last ? 16'd0 : FlagFin | FlagPsh) & ~(seg.first ? 16'd0 : FlagCwr);

    // IPv4: all of the header as it will be, but its checksum
    ip_add = '0;
    if (l3_known_q && (!l4_known_q || at_q < l4_q)) begin
      ip_add = half;
      if (rel3 == HalfW'(1)) ip_add = ip_len;
      if (rel3 == HalfW'(2)) ip_add = half + seg.number;
      if (rel3 == HalfW'(5)) ip_add = '0;
    end
    // TCP: the whole frame's sum is added later. What is no part of the checksum is taken from it here (the addresses
    // are part of it, in the pseudo-header), and so is what changes
    tcp_add = '0;
    if (!l4_known_q || at_q < l4_q) tcp_add = in_address ? 16'd0 : ~half;
    else if (rel4 == HalfW'(2) || rel4 == HalfW'(3) || rel4 == HalfW'(8)) tcp_add = ~half;
    else if (rel4 == HalfW'(6)) tcp_add = add16(~half, flags_new);
  end

  assign sequence_new = {seq_hi_q, seq_lo_q} + seg.bytes;

  always_ff @(posedge clk_i) begin
    if (walk_start) begin
      at_q       <= '0;
      tagged_q   <= 1'b0;
      v6_q       <= 1'b0;
      l3_known_q <= 1'b0;
      l4_known_q <= 1'b0;
      whole_q    <= 1'b0;
      ip_q       <= '0;
      tcp_q      <= '0;
      bad_q      <= segment_q[pick].header[0] || segment_q[pick].header > LenW'(2 * MaxHalves)
                    || segment_q[pick].header < LenW'(54);
    end
    if (state_q == StWalk) begin
      at_q  <= at_d;
      ip_q  <= add16(ip_q, ip_add);
      tcp_q <= add16(tcp_q, tcp_add);
      if (at_q == HalfW'(6)) tagged_q <= half == TypeTag;
      if (is_type) begin
        v6_q       <= half == TypeIpv6;
        l3_q       <= at_q + 1'b1;
        l3_known_q <= 1'b1;
        if (half != TypeIpv4 && half != TypeIpv6) bad_q <= 1'b1;
      end
      if (l3_known_q && !l4_known_q) begin
        l4_known_q <= 1'b1;
        l4_q       <= l3_q + (v6_q ? HalfW'(20) : HalfW'({half[11:8], 1'b0}));
        if (v6_q ? half[15:12] != 4'd6 : half[15:12] != 4'd4 || half[11:8] < 4'd5) bad_q <= 1'b1;
      end
      if (l4_known_q && at_q < l4_q) begin
        if (!v6_q && rel3 == HalfW'(2)) id_q <= half + seg.number;
        // a fragment has no whole segment
        if (!v6_q && rel3 == HalfW'(3) && half[13:0] != '0) bad_q <= 1'b1;
        if (!v6_q && rel3 == HalfW'(4) && half[7:0] != ProtocolTcp) bad_q <= 1'b1;
        if (v6_q && rel3 == HalfW'(3) && half[15:8] != ProtocolTcp) bad_q <= 1'b1;
      end
      if (l4_known_q && at_q >= l4_q) begin
        if (rel4 == HalfW'(2)) seq_hi_q <= half;
        if (rel4 == HalfW'(3)) seq_lo_q <= half;
        if (rel4 == HalfW'(6)) begin
          flags_q  <= flags_new;
          offset_q <= half[15:12];
          whole_q  <= half[15:12] >= 4'd5 && l4_q + HalfW'({half[15:12], 1'b0}) == halves;
        end
      end
    end
    if (state_q == StEdit && done) begin
      unique case (edit_q)
        EdLength: tcp_q <= add16(tcp_q, 16'(len_q[slot_q]) - 16'({l4_q, 1'b0}) + 16'(ProtocolTcp));
        EdId: tcp_q <= add16(tcp_q, sum_value_i);
        EdIpSum: tcp_q <= add16(tcp_q, sequence_new[31:16]);
        EdSeqHi: tcp_q <= add16(tcp_q, sequence_new[15:0]);
        default: ;
      endcase
    end
  end

  assign edit_fail_o = state_q == StCheck
                       && (bad_q || !whole_q || seg.start != (v6_q ? {2'd0, offset_q, 2'd0} : 8'({l4_q, 1'b0})));
  assign edit_fail_slot_o = slot_q;

  // ---- writes: one 16-bit field, at most two words ------------------------------------------------
  always_comb begin
    where = field;
    // zero means "no checksum" to UDP, and its other form means the same to everybody else
    value = ~(sum_odd_i ? {sum_value_i[7:0], sum_value_i[15:8]} : sum_value_i);
    if (value == 16'd0) value = 16'hFFFF;
    if (state_q == StEdit) begin
      unique case (edit_q)
        EdLength: begin where = LenW'({l3_q, 1'b0}) + (v6_q ? LenW'(4) : LenW'(2)); value = ip_len; end
        EdId: begin where = LenW'({l3_q, 1'b0}) + LenW'(4); value = id_q; end
        EdIpSum: begin where = LenW'({l3_q, 1'b0}) + LenW'(10); value = ~ip_q; end
        EdSeqHi: begin where = LenW'({l4_q, 1'b0}) + LenW'(4); value = sequence_new[31:16]; end
        EdSeqLo: begin where = LenW'({l4_q, 1'b0}) + LenW'(6); value = sequence_new[15:0]; end
        EdFlags: begin where = LenW'({l4_q, 1'b0}) + LenW'(12); value = flags_q; end
        // the sum of bytes that are not all zero is never zero: its other form is meant
        default: begin
          where = LenW'({l4_q, 1'b0}) + LenW'(16);
          value = (tcp_q == 16'd0) ? 16'd0 : ~tcp_q;
        end
      endcase
    end
  end

  assign edit_valid_o = state_q == StWrite || state_q == StSecond
                        || (state_q == StEdit && !(v6_q && (edit_q == EdId || edit_q == EdIpSum)));
  assign edit_addr_o  = {slot_q, where[LenW-1:3] + (LenW - 3)'(state_q == StSecond)};
  assign edit_data_o  = (state_q == StSecond) ? 64'(value[7:0]) : 64'({value[7:0], value[15:8]}) << {where[2:0], 3'b000};
  assign edit_be_o    = (state_q == StSecond) ? 8'h01 : 8'h03 << where[2:0];
  assign done         = (edit_ready_i || !edit_valid_o) && !(state_q == StWrite && where[2:0] == 3'd7);

  always_ff @(posedge clk_i) begin
    unique case (state_q)
      StIdle: if (pick_valid) begin
        slot_q  <= pick;
        state_q <= tso_q[pick] ? StWalk : StWrite;
      end
      StWrite, StSecond: begin
        if (edit_ready_i) state_q <= done ? StIdle : StSecond;
        if (done) hold_q[slot_q] <= 1'b0;
      end
      StWalk: if (bad_q || last_half) state_q <= StCheck;
      StCheck: begin
        edit_q  <= EdLength;
        state_q <= edit_fail_o ? StIdle : StEdit;
        if (edit_fail_o) hold_q[slot_q] <= 1'b0;
      end
      StEdit: if (done) begin
        edit_q <= edit_e'(edit_q + 3'd1);
        if (edit_q == EdTcpSum) begin
          state_q        <= StIdle;
          hold_q[slot_q] <= 1'b0;
        end
      end
      default: state_q <= StIdle;
    endcase
    if (sum_i) begin
      hold_q[sum_slot_i]  <= 1'b1;
      tso_q[sum_slot_i]   <= sum_tso_i;
      field_q[sum_slot_i] <= sum_field_i;
    end
    if (close_i) begin
      len_q[close_slot_i]     <= close_len_i;
      segment_q[close_slot_i] <= close_segment_i;
      if (close_bad_i) hold_q[close_slot_i] <= 1'b0;
    end
    if (rst_i) begin
      state_q <= StIdle;
      hold_q  <= '0;
    end
  end

`ifndef SYNTHESIS
  always_ff @(posedge clk_i)
    if (!rst_i && edit_valid_o) begin
      assert (complete_i[slot_q]) else $error("myr_offload: a frame is edited that is not complete");
      assert (state_q != StEdit || where[2:0] != 3'd7) else $error("myr_offload: a header's field lies across two words");
    end
`endif
endmodule
`default_nettype wire
