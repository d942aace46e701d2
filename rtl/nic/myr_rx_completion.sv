`default_nettype none
/// Receive completions: joins a copy's checksum and hash with the cycle its payload left, gives it the next entry of
/// its queue's ring, and writes entries, one MWr for neighbours of one ring that are ready together. It never waits
/// for more entries.
module myr_rx_completion
  import myr_pkg::*;
  import myr_abi_pkg::*;
  import myr_nic_pkg::*;
#(
    /// Copies between their first word read and their completion at most.
    parameter int unsigned Copies = 8,
    /// Entries that can wait.
    parameter int unsigned Depth = 16
) (
    /// Clock.
    input  wire logic           clk_i,
    /// Synchronous reset.
    input  wire logic           rst_i,
    /// Cycle counter.
    input  wire logic [63:0]    cycle_i,
    /// Checksum and hash of a copy are known.
    input  wire logic           result_valid_i,
    /// The copy.
    input  wire rx_copy_t       result_copy_i,
    /// Its checksum.
    input  wire logic [15:0]    result_sum_i,
    /// Its hash.
    input  wire logic [31:0]    result_hash_i,
    /// What was hashed.
    input  wire logic [2:0]     result_kind_i,
    /// Its queue.
    input  wire logic [1:0]     result_queue_i,
    /// A copy's last payload write has left.
    input  wire logic           written_i,
    /// A copy has its entry.
    output logic                formed_o,
    /// A copy begins to look for its buffers.
    input  wire logic           place_i,
    /// A copy that has begun is dropped.
    input  wire logic           drop_i,
    /// Endpoint of either.
    input  wire logic [EpW-1:0] place_ep_i,
    /// An endpoint is being enabled: its rings restart.
    input  wire logic           start_i,
    /// Which.
    input  wire logic [EpW-1:0] start_ep_i,
    /// Captured bus number.
    input  wire logic [7:0]     bus_i,
    /// Bus master enable.
    input  wire logic           bus_master_i,
    /// Endpoint functions are enabled.
    input  wire logic           vf_enable_i,
    /// The window that the address names is wanted (mode `windows`).
    output logic             look_o,
    /// Its number.
    output logic [WindowW-1:0] look_index_o,
    /// The look-up is taken: the window comes in the next cycle.
    input  wire logic        look_ready_i,
    /// The window.
    input  wire window_t     window_i,
    /// Epoch of what is authorised in this cycle (myr_fence).
    input  wire logic        epoch_i,
    /// A DMA is authorised.
    output logic             begin_o,
    /// An authorised DMA has ended.
    output logic             end_o,
    /// Its epoch.
    output logic             end_epoch_o,
    /// A write was checked.
    output logic                checked_o,
    /// ... or refused.
    output refusal_t            refusal_o,
    /// Endpoint whose set-up is needed.
    output logic [EpW-1:0]      ep_o,
    /// Queue of it.
    output logic [1:0]          queue_o,
    /// Its set-up.
    input  wire rx_ctrl_t       ctrl_i,
    /// The queue's ring in guest memory.
    input  wire logic [63:0]    base_i,
    /// Write offered.
    output logic                mwr_valid_o,
    /// The write.
    output mwr_t                mwr_o,
    /// Payload, 8 bytes, lowest address in bits 7:0.
    output logic [63:0]         mwr_data_o,
    /// They are taken.
    input  wire logic           mwr_next_i,
    /// Its last beat has left.
    input  wire logic           mwr_done_i,
    /// New entries are visible, for interrupts.
    output posted_t             posted_o,
    /// Last payload write of a copy (trace).
    output trace_lane_t         data_out_o,
    /// Entries have left (trace).
    output trace_lane_t         cpl_out_o,
    /// Endpoint being read back.
    input  wire logic [EpW-1:0] status_ep_i,
    /// Some of its copies are not completed.
    output logic                status_busy_o
);
  localparam int unsigned EntryBytes = 16;
  localparam int unsigned Batch = 8;
  localparam int unsigned DepthW = $clog2(Depth);

  if (Batch * EntryBytes > 128) begin : gen_check
    $error("myr_rx_completion: Batch entries exceed a Max_Payload_Size of 128 bytes");
  end

  // ---- join ------------------------------------------------------------------------------------
  typedef struct packed {
    rx_copy_t    copy;
    logic [15:0] sum;
    logic [31:0] hash;
    logic [2:0]  kind;
    logic [1:0]  rq;
  } result_t;
  typedef struct packed {
    rx_entry_t   entry;
    logic [15:0] index;
  } place_t;

  result_t     result;
  logic        result_room, result_there, stamp_room, stamp_there, room;
  logic [31:0] stamp;
  place_t      put;
  place_t      mem_q[Depth];
  logic [DepthW:0] wr_q, rd_q, fill;
  logic [15:0] index_q[Endpoints*RxQueues];

  myr_fifo #(.Width($bits(result_t)), .Depth(Copies)) u_results (
      .clk_i, .rst_i, .in_i({result_copy_i, result_sum_i, result_hash_i, result_kind_i, result_queue_i}),
      .in_valid_i(result_valid_i), .in_ready_o(result_room), .out_o(result), .out_valid_o(result_there),
      .out_ready_i(formed_o)
  );
  myr_fifo #(.Width(32), .Depth(Copies)) u_stamps (
      .clk_i, .rst_i, .in_i(cycle_i[31:0]), .in_valid_i(written_i), .in_ready_o(stamp_room), .out_o(stamp),
      .out_valid_o(stamp_there), .out_ready_i(formed_o)
  );

  assign fill     = wr_q - rd_q;
  assign room     = fill != (DepthW + 1)'(Depth);
  assign formed_o = result_there && stamp_there && room;

  assign put = '{
      entry: '{ep: result.copy.ep, rq: result.rq, hash: result.hash, hash_kind: result.kind, stamp: stamp,
               buffer: result.copy.buffer, len: result.copy.len, checksum: result.sum, sibling: result.copy.sibling,
               big: result.copy.big},
      index: index_q[{result.copy.ep, result.rq}]
  };
  // the lane is late by the time a copy waited for its hash, or for room
  assign data_out_o = '{valid: formed_o, age: 4'(cycle_i[31:0] - stamp), endpoint: result.copy.ep,
                        index: result.copy.number, info: {14'd0, result.rq, put.index}};

  // ---- write -----------------------------------------------------------------------------------
  typedef enum logic [1:0] {StIdle, StAddr, StLook, StWrite} state_e;

  state_e      state_q;
  place_t      head, now;
  logic [3:0]  run, count, count_q, word_q;
  logic        same, allowed, retire, windowed, judge, epoch_q;
  refusal_e    reason;
  logic [63:0] machine;
  logic [15:0] mask, ring_index, to_end, to_page, rid, rid_q;
  logic [63:0] addr, addr_q;
  logic [31:0] w0, w1, w2, w3;
  logic [5:0]  tag_q;

  assign head    = mem_q[rd_q[DepthW-1:0]];
  assign ep_o    = head.entry.ep;
  assign queue_o = head.entry.rq;

  always_comb begin
    run  = 4'd1;
    same = 1'b1;
    if (state_q == StAddr) begin
      for (int unsigned n = 1; n < Batch; n++) begin
        same = same && (DepthW + 1)'(n) < fill && mem_q[rd_q[DepthW-1:0] + DepthW'(n)].entry.ep == head.entry.ep
               && mem_q[rd_q[DepthW-1:0] + DepthW'(n)].entry.rq == head.entry.rq;
        run  = run + 4'(same);
      end
    end
    mask       = (16'd1 << ctrl_i.rq_log2) - 16'd1;
    ring_index = head.index & mask;
    addr       = {base_i[63:4], 4'd0} + {44'd0, ring_index, 4'd0};
    to_end     = mask + 16'd1 - ring_index;
    to_page    = 16'd256 - {8'd0, addr[11:4]};
    count      = run;
    if (to_end < 16'(count)) count = to_end[3:0];
    if (to_page < 16'(count)) count = to_page[3:0];
    // more may become ready while the window is looked up
    if (state_q == StLook) begin
      addr  = addr_q;
      count = count_q;
    end
  end

  myr_authorise u_authorise (
      .ep_i(head.entry.ep), .mode_i(ctrl_i.mode), .addr_i(addr), .len_i(LenW'({count, 4'd0})), .window_i, .write_i(1'b1),
      .bus_i, .bus_master_i, .vf_enable_i, .ok_o(allowed), .reason_o(reason), .addr_o(machine), .rid_o(rid)
  );

  assign windowed     = ctrl_i.mode == ModeWindows;
  assign judge        = (state_q == StAddr && !windowed) || state_q == StLook;
  assign look_o       = state_q == StAddr && windowed;
  assign look_index_o = window_index(addr);
  assign begin_o      = judge && allowed;
  assign end_o        = state_q == StWrite && mwr_done_i;
  assign end_epoch_o  = epoch_q;
  assign checked_o    = judge;
  assign refusal_o    = '{valid: judge && !allowed, ep: head.entry.ep, write: 1'b1, reason: reason, addr: addr};

  // entry under the word pointer, big-endian words
  always_comb begin
    now = mem_q[rd_q[DepthW-1:0] + DepthW'(word_q[3:1])];
    w0  = now.entry.hash;
    w1  = now.entry.stamp;
    w2  = {now.entry.buffer, 16'(now.entry.len)};
    w3  = {now.entry.checksum, 8'd0, now.entry.hash_kind, 1'b0, now.entry.sibling, now.entry.big, 1'b1,
           ~|((now.index >> ctrl_i.rq_log2) & 16'd1)};
    if (word_q[0]) mwr_data_o = {w3[7:0], w3[15:8], w3[23:16], w3[31:24], w2[7:0], w2[15:8], w2[23:16], w2[31:24]};
    else mwr_data_o = {w1[7:0], w1[15:8], w1[23:16], w1[31:24], w0[7:0], w0[15:8], w0[23:16], w0[31:24]};
  end

  assign mwr_valid_o = state_q == StWrite;
  assign mwr_o       = '{rid: rid_q, tag: {2'd2, tag_q}, addr: addr_q, dws: {4'd0, count_q, 2'b00}, first_be: 4'hF,
                         last_be: 4'hF};
  assign retire      = (state_q == StWrite && mwr_done_i) || (judge && !allowed);
  assign posted_o    = '{valid: retire, ep: head.entry.ep, cq: {1'b0, head.entry.rq} + QueueW'(1),
                         index: head.index + 16'(state_q == StAddr ? count : count_q),
                         count: state_q == StAddr ? count : count_q};
  assign cpl_out_o   = '{valid: retire && state_q == StWrite, age: '0, endpoint: head.entry.ep, index: head.index,
                         info: {2'd2, tag_q, 6'd0, head.entry.rq, 12'd0, count_q}};

  always_ff @(posedge clk_i) begin
    unique case (state_q)
      StIdle: if (fill != '0) state_q <= StAddr;
      StAddr, StLook: begin
        if (state_q == StAddr) count_q <= count;
        addr_q  <= judge ? machine : addr;
        rid_q   <= rid;
        word_q  <= '0;
        epoch_q <= epoch_i;
        // an endpoint without a usable ring loses its completions, nobody else's
        if (judge) state_q <= allowed ? StWrite : StIdle;
        else if (look_ready_i) state_q <= StLook;
      end
      StWrite: begin
        if (mwr_next_i) word_q <= word_q + 1'b1;
        if (mwr_done_i) begin
          state_q <= StIdle;
          tag_q   <= tag_q + 1'b1;
        end
      end
      default: state_q <= StIdle;
    endcase
    if (retire) rd_q <= rd_q + (DepthW + 1)'(posted_o.count);
    if (formed_o) begin
      mem_q[wr_q[DepthW-1:0]] <= put;
      wr_q <= wr_q + 1'b1;
      index_q[{result.copy.ep, result.rq}] <= put.index + 16'd1;
    end
    if (start_i) for (int unsigned q = 0; q < RxQueues; q++) index_q[{start_ep_i, 2'(q)}] <= '0;
    if (rst_i) begin
      state_q <= StIdle;
      tag_q   <= '0;
      wr_q    <= '0;
      rd_q    <= '0;
    end
  end

  // ---- copies in flight --------------------------------------------------------------------------
  localparam int unsigned FlightW = 6;

  // from its first look at the ring on: what the endpoint's disabling finds here still goes to its buffers
  logic [FlightW-1:0] flight_q[Endpoints];
  logic [FlightW-1:0] placed, retired;

  assign placed  = FlightW'(place_i) - FlightW'(drop_i);
  assign retired = retire ? FlightW'(posted_o.count) : '0;

  always_ff @(posedge clk_i) begin
    flight_q[place_ep_i] <= flight_q[place_ep_i] + placed;
    if (retire) flight_q[head.entry.ep] <= flight_q[head.entry.ep] - retired + (place_ep_i == head.entry.ep ? placed : '0);
    if (rst_i) for (int unsigned e = 0; e < Endpoints; e++) flight_q[e] <= '0;
  end
  assign status_busy_o = flight_q[status_ep_i] != '0;

`ifndef SYNTHESIS
  always_ff @(posedge clk_i)
    if (!rst_i) begin
      if (result_valid_i) assert (result_room) else $error("myr_rx_completion: no place for a result");
      if (written_i) assert (stamp_room) else $error("myr_rx_completion: no place for a stamp");
      if (place_i) assert (flight_q[place_ep_i] != '1) else $error("myr_rx_completion: too many copies in flight");
      if (state_q == StAddr) assert ({1'b0, addr[11:4]} + 9'(count) <= 9'd256)
        else $error("myr_rx_completion: a write crosses a 4 KiB boundary");
    end
`endif
endmodule
`default_nettype wire
