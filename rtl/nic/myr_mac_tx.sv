`default_nettype none
/// 10 Gb/s transmitter: preamble, padding to 60 bytes, FCS, gap.
///
/// The line is accounted in byte times: a 4 ns cycle is 5 bytes, so 8-byte beats leave in 5 of 8 cycles, and a frame
/// occupies exactly its bytes, 8 of preamble and 12 of gap, whatever its length. A frame offered to an idle line has
/// its preamble on the wire in the next cycle.
///
/// Pause works between frames. A received pause time counts from the end of the pause frame's last beat on the line,
/// in byte times, and holds frames but not the transmitter's own pause frames; these leave even when the end of a
/// chain is not taken. While `xoff_i` asks for it the peer is told to pause, again at half of the time it was given;
/// then it is told to go on.
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
    /// A pause frame was received, its last beat came in the cycle before; always, with 0 quanta, where none counts.
    input  wire logic                  pause_valid_i,
    /// Its pause time in units of 512 bit times; 0: go on.
    input  wire logic [15:0]           pause_quanta_i,
    /// The peer is to pause.
    input  wire logic                  xoff_i,
    /// Source address of pause frames.
    input  wire logic [47:0]           mac_i,
    /// Beat on the wire.
    output logic                       wire_valid_o,
    /// It is the preamble.
    output logic                       wire_first_o,
    /// It holds the last FCS byte.
    output logic                       wire_last_o,
    /// Bytes of the beat.
    output logic [3:0]                 wire_bytes_o,
    /// Lane 0 in bits 7:0.
    output logic [63:0]                wire_data_o,
    /// The beat is a pause frame's.
    output logic                       wire_pause_o
);
  localparam logic [5:0] CycleBytes = 6'd5;
  localparam logic [5:0] GapBytes = 6'd12;
  localparam logic [63:0] Preamble = 64'hD555_5555_5555_5555;

  localparam logic [47:0] PauseAddress = 48'h0180_C200_0001;
  localparam logic [31:0] PauseType = 32'h8808_0001;  // MAC control, opcode pause
  localparam logic [LenW-1:0] PauseLen = LenW'(18);
  localparam int unsigned PauseW = 22;                // byte times of 65535 quanta
  localparam logic [PauseW-1:0] PauseAll = {16'hFFFF, 6'd0};
  // loaded two cycles after the last beat, for a beat that is on the wire one cycle later: two cycles are over then
  localparam logic [PauseW-1:0] PauseLate = 2 * PauseW'(CycleBytes);

  typedef enum logic [1:0] {StIdle, StData, StFcs} state_e;

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

  logic                end_q, end_d;          // the end of a chain waits to be taken
  logic                pause_q, pause_d;      // the frame under way is a pause frame
  logic                stop_q, stop_d;        // ... that says stop
  logic [PauseW-1:0]   hold_q, peer_q;        // byte times left of the received pause, of the peer's pause
  logic                pause_due, pause_start;
  logic [143:0]        pause_frame;
  logic [255:0]        pause_words;
  logic [63:0]         source;

  // at half of the time the peer is told again
  assign pause_due = xoff_i ? peer_q <= (PauseAll >> 1) : peer_q != '0;

  // lane 0 of the first word is the frame's first byte
  assign pause_frame = {PauseAddress, mac_i, PauseType, {16{stop_q}}};
  always_comb begin
    pause_words = '0;
    if (pause_q) for (int unsigned i = 0; i < 18; i++) pause_words[8*i +: 8] = pause_frame[8*(17-i) +: 8];
  end
  assign source = pause_q ? pause_words[64*word_q[1:0] +: 64] : read_data_i;

  always_comb begin
    state_d    = state_q;
    crc_d      = crc_q;
    left_d     = left_q;
    real_d     = real_q;
    fcs_left_d = fcs_left_q;
    word_d     = word_q;
    stamp_d    = stamp_q;
    status_d   = status_q;
    end_d      = end_q && !end_ready_i;
    pause_d    = pause_q;
    stop_d     = stop_q;
    pause_start = 1'b0;
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
      StIdle: if (pause_due && line_free) begin
        pause_start = 1'b1;
        pause_d     = 1'b1;
        stop_d      = xoff_i;
        word_d      = '0;
        crc_d       = CrcInit;
        real_d      = PauseLen;
        left_d      = LenW'(MinFrame);
        send        = 1'b1;
        first       = 1'b1;
        state_d     = StData;
      end else if (frame_valid_i && !end_q) begin
        pause_d  = 1'b0;
        status_d = frame_status_i;
        word_d   = '0;
        crc_d    = CrcInit;
        real_d   = frame_len_i;
        left_d   = (frame_len_i < LenW'(MinFrame)) ? LenW'(MinFrame) : frame_len_i;
        if (frame_status_i != StatusOk) begin
          stamp_d = cycle_i;
          end_d   = 1'b1;
        end else if (line_free && hold_q < PauseW'(CycleBytes)) begin
          send    = 1'b1;
          first   = 1'b1;
          state_d = StData;
        end
      end
      StData: if (line_free) begin
        send = 1'b1;
        n    = (left_q > LenW'(8)) ? 4'd8 : 4'(left_q);
        for (int unsigned i = 0; i < 8; i++) masked[8*i +: 8] = (LenW'(i) < real_q) ? source[8*i +: 8] : 8'd0;
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
          state_d    = last ? StIdle : StFcs;
        end
      end
      StFcs: if (line_free) begin
        send    = 1'b1;
        fcs     = ~crc_q;
        bytes   = {1'b0, fcs_left_q};
        data    = 64'(fcs >> {3'd4 - fcs_left_q, 3'b000});
        last    = 1'b1;
        state_d = StIdle;
      end
      default: state_d = StIdle;
    endcase
    if (last && !pause_q) begin
      stamp_d = cycle_i + 64'd1;  // the cycle in which the beat is on the wire
      end_d   = 1'b1;
    end
    debt_d = debt_q;
    // a pause that ends within this cycle takes its part of it
    if (first && !pause_start && hold_q > PauseW'(debt_q)) debt_d = 6'(hold_q);
    if (send) debt_d = debt_d + 6'(bytes) + (last ? GapBytes : 6'd0);
    debt_d = (debt_d > CycleBytes) ? debt_d - CycleBytes : 6'd0;
  end

  assign read_addr_o  = {frame_slot_i, word_d};
  assign end_valid_o  = end_q;
  assign frame_done_o = end_q && end_ready_i;
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
    end_q        <= end_d;
    pause_q      <= pause_d;
    stop_q       <= stop_d;
    if (pause_valid_i) hold_q <= (pause_quanta_i == '0) ? '0 : {pause_quanta_i, 6'd0} - PauseLate;
    else if (hold_q != '0) hold_q <= (hold_q > PauseW'(CycleBytes)) ? hold_q - PauseW'(CycleBytes) : '0;
    if (pause_start) peer_q <= xoff_i ? PauseAll : '0;
    else if (peer_q != '0) peer_q <= (peer_q > PauseW'(CycleBytes)) ? peer_q - PauseW'(CycleBytes) : '0;
    wire_valid_o <= send;
    wire_first_o <= first;
    wire_last_o  <= last;
    if (send) begin
      wire_bytes_o <= bytes;
      wire_data_o  <= data;
      wire_pause_o <= pause_d;
    end
    if (rst_i) begin
      state_q      <= StIdle;
      debt_q       <= '0;
      end_q        <= 1'b0;
      pause_q      <= 1'b0;
      hold_q       <= '0;
      peer_q       <= '0;
      wire_valid_o <= 1'b0;
    end
  end

`ifndef SYNTHESIS
  always_ff @(posedge clk_i)
    if (!rst_i && send) assert (bytes != 4'd0 && bytes <= 4'd8) else $error("myr_mac_tx: a beat has 1 to 8 bytes");
`endif
endmodule
`default_nettype wire
