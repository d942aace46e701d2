`default_nettype none
/// 10 Gb/s transmitter: preamble, padding to 60 bytes, FCS, gap.
///
/// The line is accounted in byte times: a 4 ns cycle is 5 bytes, so 8-byte beats leave in 5 of 8 cycles, and a frame
/// occupies exactly its bytes, 8 of preamble and 12 of gap, whatever its length. A frame offered to an idle line has
/// its preamble on the wire in the next cycle.
module myr_mac_tx
  import myr_abi_pkg::*;
  import myr_nic_pkg::*;
  import myr_crc32_pkg::*;
(
    /// Clock.
    input  wire logic                  clk_i,
    /// Synchronous reset.
    input  wire logic                  rst_i,
    /// Cycle counter.
    input  wire logic [63:0]           cycle_i,
    /// A frame is offered.
    input  wire logic                  frame_valid_i,
    /// Its slot.
    input  wire logic [FrameW-1:0]     frame_slot_i,
    /// Its bytes without padding and FCS.
    input  wire logic [LenW-1:0]       frame_len_i,
    /// Anything but OK: not sent.
    input  wire status_e               frame_status_i,
    /// Its endpoint.
    input  wire logic [EpW-1:0]        frame_ep_i,
    /// Index after its chain.
    input  wire logic [15:0]           frame_next_i,
    /// The slot is no longer needed.
    output logic                       frame_done_o,
    /// Frame buffer word to read; data come in the next cycle.
    output logic [FrameAddrW-4:0]      read_addr_o,
    /// The word.
    input  wire logic [63:0]           read_data_i,
    /// A chain has ended.
    output chain_end_t                 end_o,
    /// It is offered.
    output logic                       end_valid_o,
    /// It is taken.
    input  wire logic                  end_ready_i,
    /// Beat on the wire.
    output logic                       wire_valid_o,
    /// It is the preamble.
    output logic                       wire_first_o,
    /// It holds the last FCS byte.
    output logic                       wire_last_o,
    /// Bytes of the beat.
    output logic [3:0]                 wire_bytes_o,
    /// Lane 0 in bits 7:0.
    output logic [63:0]                wire_data_o
);
  localparam logic [5:0] CycleBytes = 6'd5;
  localparam logic [5:0] GapBytes = 6'd12;
  localparam logic [63:0] Preamble = 64'hD555_5555_5555_5555;

  typedef enum logic [1:0] {StIdle, StData, StFcs, StEnd} state_e;

  state_e          state_q, state_d;
  logic [5:0]      debt_q, debt_d;       // byte times of the line already given away at the start of the cycle
  logic [31:0]     crc_q, crc_d, crc_now, fcs;
  logic [LenW-1:0] left_q, left_d;       // bytes to send, padding included, FCS not
  logic [LenW-1:0] real_q, real_d;       // of these, bytes that are in the buffer
  logic [2:0]      fcs_left_q, fcs_left_d;
  logic [FrameWordW-1:0] word_q, word_d;
  logic [63:0]     stamp_q, stamp_d;
  status_e         status_q, status_d;

  logic            line_free, send;
  logic [3:0]      n, room;
  logic [3:0]      bytes;
  logic [63:0]     masked, data;
  logic            first, last;

  always_comb begin
    state_d    = state_q;
    crc_d      = crc_q;
    left_d     = left_q;
    real_d     = real_q;
    fcs_left_d = fcs_left_q;
    word_d     = word_q;
    stamp_d    = stamp_q;
    status_d   = status_q;
    line_free  = debt_q < CycleBytes;
    send       = 1'b0;
    first      = 1'b0;
    last       = 1'b0;
    bytes      = 4'd8;
    data       = Preamble;
    n          = '0;
    room       = '0;
    masked     = '0;
    crc_now    = crc_q;
    fcs        = '0;
    unique case (state_q)
      StIdle: if (frame_valid_i) begin
        status_d = frame_status_i;
        word_d   = '0;
        crc_d    = CrcInit;
        real_d   = frame_len_i;
        left_d   = (frame_len_i < LenW'(MinFrame)) ? LenW'(MinFrame) : frame_len_i;
        if (frame_status_i != StatusOk) begin
          stamp_d = cycle_i;
          state_d = StEnd;
        end else if (line_free) begin
          send    = 1'b1;
          first   = 1'b1;
          state_d = StData;
        end
      end
      StData: if (line_free) begin
        send = 1'b1;
        n    = (left_q > LenW'(8)) ? 4'd8 : 4'(left_q);
        for (int unsigned i = 0; i < 8; i++) masked[8*i +: 8] = (LenW'(i) < real_q) ? read_data_i[8*i +: 8] : 8'd0;
        crc_now = crc32_next(crc_q, masked, n);
        crc_d   = crc_now;
        fcs     = ~crc_now;
        data    = masked;
        word_d  = word_q + 1'b1;
        left_d  = left_q - LenW'(n);
        real_d  = (real_q > LenW'(8)) ? real_q - LenW'(8) : '0;
        if (left_q <= LenW'(8)) begin
          room       = 4'd8 - n;
          fcs_left_d = (room >= 4'd4) ? 3'd0 : 3'd4 - room[2:0];
          bytes      = (room >= 4'd4) ? n + 4'd4 : 4'd8;
          data       = masked | (64'(fcs) << {n, 3'b000});
          last       = room >= 4'd4;
          state_d    = last ? StEnd : StFcs;
        end
      end
      StFcs: if (line_free) begin
        send    = 1'b1;
        fcs     = ~crc_q;
        bytes   = {1'b0, fcs_left_q};
        data    = 64'(fcs >> {3'd4 - fcs_left_q, 3'b000});
        last    = 1'b1;
        state_d = StEnd;
      end
      StEnd: if (end_ready_i) state_d = StIdle;
      default: state_d = StIdle;
    endcase
    if (last) stamp_d = cycle_i + 64'd1;  // the cycle in which the beat is on the wire
    debt_d = debt_q;
    if (send) debt_d = debt_d + 6'(bytes) + (last ? GapBytes : 6'd0);
    debt_d = (debt_d > CycleBytes) ? debt_d - CycleBytes : 6'd0;
  end

  assign read_addr_o  = {frame_slot_i, word_d};
  assign end_valid_o  = state_q == StEnd;
  assign frame_done_o = state_q == StEnd && end_ready_i;
  assign end_o = '{ep: frame_ep_i, next_index: frame_next_i,
                   len: (status_q == StatusOk) ? frame_len_i : '0, status: status_q, stamp: stamp_q};

  always_ff @(posedge clk_i) begin
    state_q      <= state_d;
    debt_q       <= debt_d;
    crc_q        <= crc_d;
    left_q       <= left_d;
    real_q       <= real_d;
    fcs_left_q   <= fcs_left_d;
    word_q       <= word_d;
    stamp_q      <= stamp_d;
    status_q     <= status_d;
    wire_valid_o <= send;
    wire_first_o <= first;
    wire_last_o  <= last;
    if (send) begin
      wire_bytes_o <= bytes;
      wire_data_o  <= data;
    end
    if (rst_i) begin
      state_q      <= StIdle;
      debt_q       <= '0;
      wire_valid_o <= 1'b0;
    end
  end

`ifndef SYNTHESIS
  always_ff @(posedge clk_i)
    if (!rst_i && send) assert (bytes != 4'd0 && bytes <= 4'd8) else $error("myr_mac_tx: a beat has 1 to 8 bytes");
`endif
endmodule
`default_nettype wire
