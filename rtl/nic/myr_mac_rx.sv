`default_nettype none
/// 10 Gb/s receiver: framing, length and FCS of what comes from the line; pause frames end here.
///
/// Words go to the receive buffer as they come; the verdict on a frame follows in the cycle after its last beat. The
/// FCS is stripped: a word that holds nothing else is not stored, the other bytes behind the frame's length are
/// undefined.
module myr_mac_rx
  import myr_abi_pkg::*;
  import myr_nic_pkg::*;
  import myr_crc32_pkg::*;
(
    /// Clock.
    input  wire logic              clk_i,
    /// Synchronous reset.
    input  wire logic              rst_i,
    /// Beat on the line.
    input  wire logic              wire_valid_i,
    /// It is the preamble.
    input  wire logic              wire_first_i,
    /// It holds the last FCS byte.
    input  wire logic              wire_last_i,
    /// Bytes of the beat.
    input  wire logic [3:0]        wire_bytes_i,
    /// The line signals an error in it.
    input  wire logic              wire_error_i,
    /// Lane 0 in bits 7:0.
    input  wire logic [63:0]       wire_data_i,
    /// The NIC's own address: pause frames may come to it.
    input  wire logic [47:0]       mac_i,
    /// Word for the receive buffer.
    output logic                   word_valid_o,
    /// The word.
    output logic [63:0]            word_o,
    /// A frame has ended: keep or forget its words.
    output logic                   end_valid_o,
    /// It is good.
    output logic                   end_keep_o,
    /// What it is; its `base` is the buffer's business.
    output rx_frame_t              end_frame_o,
    /// The buffer had no room for a word of the frame that ends.
    input  wire logic              overflow_i,
    /// A good pause frame has ended, one cycle after its last beat.
    output logic                   pause_valid_o,
    /// Its pause time in units of 512 bit times.
    output logic [15:0]            pause_quanta_o,
    /// A frame is dropped, one cycle after the beat that ended it.
    output logic                   drop_valid_o,
    /// Why.
    output rx_drop_e               drop_reason_o,
    /// A frame's first beat is on the line, and takes the next frame number (trace).
    output logic                   first_o,
    /// Its number.
    output logic [15:0]            first_number_o,
    /// A frame ended by the rules of framing, one cycle after its last beat (trace).
    output logic                   last_o,
    /// A frame that did not come from the line takes a frame number, too.
    input  wire logic              number_take_i,
    /// The number it gets.
    output logic [15:0]            number_o
);
  localparam logic [63:0] Preamble = 64'hD555_5555_5555_5555;
  // the register after a frame and its FCS, whatever the frame
  localparam logic [31:0] CrcGood = 32'hDEBB_20E3;
  localparam logic [47:0] PauseAddress = 48'h0180_C200_0001;
  localparam logic [15:0] ControlType = 16'h8808;
  localparam logic [15:0] PauseOpcode = 16'd1;
  localparam logic [LenW-1:0] FcsBytes = LenW'(4);
  localparam logic [LenW-1:0] LenMax = LenW'(MaxFrame) + FcsBytes;
  localparam logic [LenW-1:0] LenMin = LenW'(MinFrame) + FcsBytes;

  logic            open_q, bad_q, bad_d;
  logic [LenW-1:0] bytes_q, bytes_d;       // with FCS, at most one beat above LenMax
  logic [31:0]     crc_q;
  logic [143:0]    head_q;                 // first 18 bytes
  logic [15:0]     number_q, next_q;
  logic            start, data, over;      // a frame starts, goes on, ends

  logic            end_q, end_bad_q;
  logic [LenW-1:0] end_bytes_q;
  logic [15:0]     end_number_q;

  // ---- beats ---------------------------------------------------------------------------------
  always_comb begin
    start   = wire_valid_i && (wire_first_i || !open_q);
    data    = wire_valid_i && !wire_first_i && open_q;
    // a frame that another one cuts short ends as well; a preamble that says it is the last beat ends nothing
    over    = wire_valid_i && (wire_first_i ? open_q : wire_last_i);
    bad_d   = bad_q;
    bytes_d = bytes_q;
    if (start) begin
      bad_d   = !wire_first_i || wire_last_i || wire_error_i || wire_bytes_i != 4'd8 || wire_data_i != Preamble;
      bytes_d = '0;
    end else if (data) begin
      if (wire_error_i || wire_bytes_i == 4'd0 || wire_bytes_i > 4'd8 || (wire_bytes_i != 4'd8 && !wire_last_i))
        bad_d = 1'b1;
      if (bytes_q <= LenMax) bytes_d = bytes_q + LenW'(wire_bytes_i);
    end
  end

  assign word_valid_o   = data && !bad_q && bytes_d <= LenMax && !(wire_last_i && wire_bytes_i <= 4'd4);
  assign word_o         = wire_data_i;
  assign first_o        = wire_valid_i && wire_first_i;
  assign first_number_o = next_q;
  assign number_o       = next_q + 16'(start);

  always_ff @(posedge clk_i) begin
    end_q <= over;
    if (over) begin
      end_bad_q    <= wire_first_i || bad_d;
      end_bytes_q  <= bytes_d;
      end_number_q <= open_q ? number_q : next_q;
    end
    if (wire_valid_i) begin
      open_q  <= wire_first_i || !wire_last_i;
      bad_q   <= bad_d;
      bytes_q <= bytes_d;
    end
    if (start) begin
      number_q <= next_q;
      crc_q    <= CrcInit;
    end
    if (data) begin
      crc_q <= crc32_next(crc_q, wire_data_i, wire_bytes_i);
      if (bytes_q == LenW'(0)) head_q[63:0] <= wire_data_i;
      if (bytes_q == LenW'(8)) head_q[127:64] <= wire_data_i;
      if (bytes_q == LenW'(16)) head_q[143:128] <= wire_data_i[15:0];
    end
    if (start || number_take_i) next_q <= next_q + 16'(start) + 16'(number_take_i);
    if (rst_i) begin
      end_q   <= 1'b0;
      open_q  <= 1'b0;
      bad_q   <= 1'b0;
      bytes_q <= '0;
      next_q  <= '0;
    end
  end

  // ---- verdict -------------------------------------------------------------------------------
  frame_header_t header;
  logic          is_pause;

  always_comb begin
    header         = '0;
    is_pause       = 1'b0;
    drop_valid_o   = 1'b0;
    drop_reason_o  = RxDropBadFraming;
    if (end_q) begin
      header       = parse_header(head_q);
      is_pause     = (header.dst == PauseAddress || header.dst == mac_i) && !header.has_tag
                     && header.ethertype == ControlType && {head_q[119:112], head_q[127:120]} == PauseOpcode;
      drop_valid_o = 1'b1;
      if (end_bad_q) drop_reason_o = RxDropBadFraming;
      else if (end_bytes_q < LenMin) drop_reason_o = RxDropRunt;
      else if (end_bytes_q > LenMax) drop_reason_o = RxDropOversize;
      else if (crc_q != CrcGood) drop_reason_o = RxDropBadFcs;
      else if (is_pause) drop_reason_o = RxDropPause;
      else if (overflow_i) drop_reason_o = RxDropOverflow;
      else drop_valid_o = 1'b0;
    end
  end

  assign end_valid_o    = end_q;
  assign end_keep_o     = !drop_valid_o;
  assign end_frame_o    = '{base: '0, len: end_bytes_q - FcsBytes, number: end_number_q, header: header};
  assign pause_valid_o  = drop_valid_o && drop_reason_o == RxDropPause;
  assign pause_quanta_o = {head_q[135:128], head_q[143:136]};
  assign last_o         = end_q && !end_bad_q;

`ifndef SYNTHESIS
  always_ff @(posedge clk_i)
    if (!rst_i && word_valid_o) assert (open_q) else $error("myr_mac_rx: a word outside any frame goes to the buffer");
`endif
endmodule
`default_nettype wire
