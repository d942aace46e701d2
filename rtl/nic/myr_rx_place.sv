`default_nettype none
/// Placement: takes jobs from the wire and from siblings and finds, endpoint by endpoint, the buffers each copy goes
/// to. Nothing is used of an endpoint's rings unless all that a copy needs is there.
///
/// A copy goes by its endpoint's set-up as it was when the copy began: what is written to the registers later is for
/// later copies. A sibling's job waits for at most one job of the wire. A copy takes three cycles and one for each
/// buffer, in mode `windows` two for each buffer: a buffer must lie in one window.
module myr_rx_place
  import myr_abi_pkg::*;
  import myr_nic_pkg::*;
(
    /// Clock.
    input  wire logic                 clk_i,
    /// Synchronous reset.
    input  wire logic                 rst_i,
    /// Job from the wire.
    input  wire rx_job_t              wire_i,
    /// It is offered.
    input  wire logic                 wire_valid_i,
    /// It is taken.
    output logic                      wire_ready_o,
    /// Job from a sibling.
    input  wire rx_job_t              sibling_i,
    /// It is offered.
    input  wire logic                 sibling_valid_i,
    /// It is taken.
    output logic                      sibling_ready_o,
    /// Captured bus number.
    input  wire logic [7:0]           bus_i,
    /// Bus master enable.
    input  wire logic                 bus_master_i,
    /// Endpoint functions are enabled.
    input  wire logic                 vf_enable_i,
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
    /// A copy begins: its buffers are authorised under that epoch.
    output logic             begin_o,
    /// A copy that has begun is dropped.
    output logic             end_o,
    /// Its epoch.
    output logic             end_epoch_o,
    /// A buffer was checked.
    output logic                      checked_o,
    /// ... or refused, or is stale.
    output refusal_t                  refusal_o,
    /// Endpoint of the copy.
    output logic [EpW-1:0]            ep_o,
    /// Its set-up.
    input  wire rx_ctrl_t             ctrl_i,
    /// Its ring in use, bit 0: the big one.
    output logic [EpW:0]              ring_o,
    /// Entries of that ring, log2.
    output logic [3:0]                log2_o,
    /// Entry to read, counted from the next one to use.
    output logic [2:0]                ahead_o,
    /// Next entry to use.
    input  wire logic [15:0]          index_i,
    /// The entry read in the last cycle is valid.
    input  wire logic                 entry_valid_i,
    /// Its address.
    input  wire logic [63:0]          entry_addr_i,
    /// Use entries.
    output logic                      take_o,
    /// How many.
    output logic [2:0]                take_count_o,
    /// What to write into one buffer, or the end of a job.
    output rx_segment_t               segment_o,
    /// It is offered.
    output logic                      segment_valid_o,
    /// It is taken.
    input  wire logic                 segment_ready_i,
    /// A copy has its buffers.
    output logic                      grant_o,
    /// A copy is dropped.
    output logic                      drop_o,
    /// Why.
    output rx_drop_e                  reason_o,
    /// Frame number of the copy.
    output logic [15:0]               number_o,
    /// Its bytes.
    output logic [LenW-1:0]           len_o,
    /// A drop can be told.
    input  wire logic                 drop_ready_i
);
  localparam int unsigned MaxBuffers = (MaxFrame + RxPad + 2047) / 2048;

  typedef enum logic [2:0] {StJob, StCheck, StEntry, StLook, StEmit, StDrop, StEnd} state_e;

  state_e          state_q;
  rx_job_t         job_q;
  logic            turn_q;             // the last job was the wire's: a sibling goes next
  logic [EpW-1:0]  ep;
  logic            big, allowed, refused, refused_q, final_entry;
  logic            windowed, judge, stale, go, begun_q, epoch_q;
  refusal_e        reason;
  logic [2:0]      need, at_q;         // buffers of the copy; the one being looked at
  logic [LenW-1:0] room, from, bytes;  // bytes of the frame in this buffer, and where they start
  logic [15:0]     rid, first_q;
  logic [63:0]     addr, machine;
  logic [63:0]     addr_q[MaxBuffers];
  logic [15:0]     rid_q;
  rx_ctrl_t        ctrl, ctrl_q;       // set-up of the copy; it is read where the copy begins
  rx_drop_e        reason_q;
  logic [Endpoints-1:0] rest;

  always_comb begin
    ep = '0;
    if (|job_q.dest) for (int unsigned e = Endpoints; e > 0; e--) if (job_q.dest[e-1]) ep = EpW'(e - 1);
  end
  assign rest = job_q.dest & (job_q.dest - Endpoints'(1));

  assign wire_ready_o    = state_q == StJob && !(turn_q && sibling_valid_i);
  assign sibling_ready_o = state_q == StJob && !(wire_valid_i && !turn_q);

  assign ctrl     = state_q == StCheck ? ctrl_i : ctrl_q;
  assign ep_o     = ep;
  assign big      = job_q.len > ctrl.small_max;
  assign ring_o   = {ep, big};
  assign log2_o   = big ? ctrl.big_log2 : ctrl.small_log2;
  assign need     = big ? 3'((job_q.len + LenW'(RxPad - 1) + (LenW'(1) << ctrl.buffer_log2)) >> ctrl.buffer_log2) : 3'd1;

  // an entry stays in view until its window is there
  assign windowed = ctrl.mode == ModeWindows && !refused_q;
  always_comb begin
    ahead_o = 3'd0;
    if (state_q == StEntry) ahead_o = windowed ? at_q : at_q + 3'd1;
    if (state_q == StLook) ahead_o = at_q + 3'd1;
  end

  // piece of buffer at_q: the first buffer has pad bytes before it
  always_comb begin
    addr  = plain_address(ctrl.mode, {entry_addr_i[63:1], 1'b0});
    from  = '0;
    room  = (LenW'(1) << ctrl.buffer_log2) - LenW'(RxPad);
    if (at_q == 3'd0) addr = addr + 64'(RxPad);
    else begin
      from = (LenW'(at_q) << ctrl.buffer_log2) - LenW'(RxPad);
      room = LenW'(1) << ctrl.buffer_log2;
    end
    bytes = job_q.len - from;
    if (big && bytes > room) bytes = room;
  end

  myr_authorise u_authorise (
      .ep_i(ep), .mode_i(ctrl.mode), .addr_i(addr), .len_i(bytes), .window_i, .write_i(1'b1), .bus_i, .bus_master_i,
      .vf_enable_i, .ok_o(allowed), .reason_o(reason), .addr_o(machine), .rid_o(rid)
  );

  assign look_o       = state_q == StEntry && windowed && entry_valid_i;
  assign look_index_o = window_index(addr);
  assign judge        = (state_q == StEntry && !windowed && entry_valid_i) || state_q == StLook;
  assign stale        = is_stale(ctrl.mode, entry_addr_i, index_i + 16'(at_q));
  assign checked_o    = judge && !refused_q && !stale;
  assign refusal_o    = '{valid: judge && !refused_q && (stale || !allowed), ep: ep, write: 1'b1,
                          reason: stale ? RefusalStale : reason, addr: {entry_addr_i[63:48], addr[47:0]}};
  assign go           = state_q == StCheck && ctrl.enable && job_q.len <= ctrl.max_frame;
  assign begin_o      = go;
  assign end_o        = drop_o && begun_q;
  assign end_epoch_o  = epoch_q;

  assign final_entry  = at_q + 3'd1 == need;
  assign refused      = refused_q || stale || !allowed;
  assign take_o       = judge && final_entry;
  assign take_count_o = need;
  assign grant_o      = take_o && !refused;
  assign drop_o       = state_q == StDrop && drop_ready_i;
  assign reason_o     = reason_q;
  assign number_o     = job_q.number;
  assign len_o        = job_q.len;

  assign segment_valid_o = state_q == StEmit || state_q == StEnd;
  assign segment_o = '{
      end_job: state_q == StEnd, slot: job_q.slot, base: job_q.base, src: from, bytes: bytes, addr: addr_q[at_q], rid: rid_q,
      first: at_q == 3'd0, last: final_entry,
      copy: '{ep: ep, number: job_q.number, len: job_q.len, big: big, sibling: job_q.sibling, buffer: first_q,
              rss: ctrl.rss, queues: ctrl.queues, epoch: epoch_q}
  };

  always_ff @(posedge clk_i) begin
    unique case (state_q)
      StJob: if (wire_valid_i || sibling_valid_i) begin
        job_q   <= wire_ready_o && wire_valid_i ? wire_i : sibling_i;
        turn_q  <= wire_ready_o && wire_valid_i;
        state_q <= StCheck;
      end
      StCheck: begin
        ctrl_q    <= ctrl_i;
        at_q      <= '0;
        refused_q <= 1'b0;
        begun_q   <= go;
        epoch_q   <= epoch_i;
        state_q   <= StEntry;
        if (!ctrl.enable) begin
          reason_q <= RxDropDisabled;
          state_q  <= StDrop;
        end else if (job_q.len > ctrl.max_frame) begin
          reason_q <= RxDropTooLong;
          state_q  <= StDrop;
        end
      end
      StEntry, StLook: begin
        if (judge) begin
          addr_q[at_q] <= machine;
          rid_q        <= rid;
          refused_q    <= refused;
          at_q         <= at_q + 3'd1;
          state_q      <= StEntry;
          if (final_entry) begin
            first_q  <= index_i;
            at_q     <= '0;
            reason_q <= RxDropRefused;
            state_q  <= refused ? StDrop : StEmit;
          end
        end else if (!entry_valid_i) begin
          reason_q <= big ? RxDropNoBig : RxDropNoSmall;
          state_q  <= StDrop;
        end else if (look_ready_i) state_q <= StLook;
      end
      StEmit: if (segment_ready_i) begin
        at_q <= at_q + 3'd1;
        if (final_entry) begin
          job_q.dest <= rest;
          state_q    <= (rest == '0) ? StEnd : StCheck;
        end
      end
      StDrop: if (drop_ready_i) begin
        job_q.dest <= rest;
        state_q    <= (rest == '0) ? StEnd : StCheck;
      end
      default: if (segment_ready_i) state_q <= StJob;
    endcase
    if (rst_i) begin
      state_q <= StJob;
      turn_q  <= 1'b0;
    end
  end

`ifndef SYNTHESIS
  logic        stalled_q;
  rx_segment_t offered_q;
  always_ff @(posedge clk_i) begin
    stalled_q <= segment_valid_o && !segment_ready_i && !rst_i;
    offered_q <= segment_o;
    if (!rst_i && stalled_q) assert (segment_valid_o && segment_o == offered_q)
      else $error("myr_rx_place: a segment on offer was changed or taken back");
  end

  always_ff @(posedge clk_i)
    if (!rst_i && state_q == StEntry) begin
      assert (need != 3'd0 && need <= 3'(MaxBuffers)) else $error("myr_rx_place: a frame needs more buffers than there are places");
      assert (job_q.dest != '0) else $error("myr_rx_place: a job for nobody");
    end
`endif
endmodule
`default_nettype wire
