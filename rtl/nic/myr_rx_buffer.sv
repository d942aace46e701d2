`default_nettype none
/// Receive buffer: a circular store of frames from the line, with the queue of those that are whole.
///
/// A frame's words are stored as they come and become its own only with the verdict; until then they can be taken
/// back. A frame that does not fit is not stored at all. Frames are offered in order, and their words are free again
/// when they are released, in order.
module myr_rx_buffer
  import myr_nic_pkg::*;
(
    /// Clock.
    input  wire logic                 clk_i,
    /// Synchronous reset: empties the buffer.
    input  wire logic                 rst_i,
    /// Word of the frame under way.
    input  wire logic                 word_valid_i,
    /// The word.
    input  wire logic [63:0]          word_i,
    /// The frame under way has ended; a word in the same cycle is the next frame's.
    input  wire logic                 end_valid_i,
    /// Keep it, else forget its words; only when it has not overflowed.
    input  wire logic                 end_keep_i,
    /// What it is, but for `base`.
    input  wire rx_frame_t            end_frame_i,
    /// A word of the frame under way found no room.
    output logic                      overflow_o,
    /// The oldest frame that was not taken yet.
    output rx_frame_t                 frame_o,
    /// There is one.
    output logic                      frame_valid_o,
    /// It is taken.
    input  wire logic                 frame_ready_i,
    /// The oldest frame that was taken is no longer needed.
    input  wire logic                 release_i,
    /// Word to read, data come in the next cycle.
    input  wire logic [RxBufferW-1:0] read_addr_i,
    /// The word.
    output logic [63:0]               read_data_o,
    /// Words from which on the line is to pause.
    input  wire logic [15:0]          xoff_words_i,
    /// Words at which it may go on.
    input  wire logic [15:0]          xon_words_i,
    /// The line is to pause.
    output logic                      xoff_o
);
  // as many as the shortest frames that fill the store
  localparam int unsigned Frames = RxBufferWords / ((MinFrame + 7) / 8);
  localparam int unsigned FramesW = $clog2(Frames);
  localparam int unsigned WordW = RxBufferW + 1;

  logic [63:0]      mem_q[RxBufferWords];
  rx_frame_t        frames_q[Frames];
  logic [WordW-1:0] wr_q, base_q, tail_q, wr, fill;  // next word, first of the frame under way, oldest in use
  logic [FramesW:0] put_q, take_q, release_q;        // frames that came, were taken, were released
  logic             overflow_q, commit, store, xoff_q;
  rx_frame_t        entry;
  logic [LenW-1:0]  oldest_len;

  assign commit = end_valid_i && end_keep_i;
  assign wr     = (end_valid_i && !end_keep_i) ? base_q : wr_q;
  assign fill   = wr_q - tail_q;
  assign store  = word_valid_i && (end_valid_i || !overflow_q) && (wr - tail_q) != WordW'(RxBufferWords);

  assign overflow_o    = overflow_q;
  assign frame_valid_o = put_q != take_q;
  assign frame_o       = frames_q[take_q[FramesW-1:0]];
  assign oldest_len    = frames_q[release_q[FramesW-1:0]].len;
  assign xoff_o        = xoff_q;

  always_comb begin
    entry      = end_frame_i;
    entry.base = base_q[RxBufferW-1:0];
  end

  always_ff @(posedge clk_i) begin
    if (store) mem_q[wr[RxBufferW-1:0]] <= word_i;
    read_data_o <= mem_q[read_addr_i];
    if (commit) frames_q[put_q[FramesW-1:0]] <= entry;
  end

  always_ff @(posedge clk_i) begin
    if (store || end_valid_i) wr_q <= wr + WordW'(store);
    if (word_valid_i || end_valid_i) overflow_q <= (overflow_q && !end_valid_i) || (word_valid_i && !store);
    if (commit) begin
      base_q <= wr_q;
      put_q  <= put_q + 1'b1;
    end
    if (frame_valid_o && frame_ready_i) take_q <= take_q + 1'b1;
    if (release_i) begin
      tail_q    <= tail_q + WordW'((oldest_len + LenW'(7)) >> 3);
      release_q <= release_q + 1'b1;
    end
    // thresholds the wrong way round: pause as long as the upper one is reached
    if (16'(fill) >= xoff_words_i) xoff_q <= 1'b1;
    else if (16'(fill) <= xon_words_i || xon_words_i >= xoff_words_i) xoff_q <= 1'b0;
    if (rst_i) begin
      wr_q       <= '0;
      base_q     <= '0;
      tail_q     <= '0;
      put_q      <= '0;
      take_q     <= '0;
      release_q  <= '0;
      overflow_q <= 1'b0;
      xoff_q     <= 1'b0;
    end
  end

`ifndef SYNTHESIS
  always_ff @(posedge clk_i)
    if (!rst_i) begin
      assert (fill <= WordW'(RxBufferWords)) else $error("myr_rx_buffer: more words in use than there are");
      if (commit) assert ((put_q - release_q) != (FramesW + 1)'(Frames) && !overflow_q)
        else $error("myr_rx_buffer: a frame is kept that does not fit");
      if (commit) assert ((wr_q - base_q) == WordW'((end_frame_i.len + LenW'(7)) >> 3))
        else $error("myr_rx_buffer: a kept frame's words are not those of its length");
      if (release_i) assert (release_q != take_q) else $error("myr_rx_buffer: a frame is released that was not taken");
    end
`endif
endmodule
`default_nettype wire
