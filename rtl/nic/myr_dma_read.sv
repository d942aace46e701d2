`default_nettype none
/// DMA read engine: takes reads of payload and descriptors, authorises each, splits it at MRRS and 4 KiB
/// boundaries into tagged MRd requests, and follows each tag until its last completion, error or time-out. In mode
/// `windows` each of the pieces is looked up and authorised by itself, one cycle before it is offered.
///
/// Completions may come in any order between tags. Descriptor fetches go first and have FetchTags tags that
/// payload cannot take. A request is offered as MRd in the cycle after it was taken.
module myr_dma_read
  import myr_abi_pkg::*;
  import myr_nic_pkg::*;
#(
    /// Tags, 15 as on the card; 255 at most.
    parameter int unsigned ReadTags = 15,
    /// Tags that only descriptor fetches may take.
    parameter int unsigned FetchTags = 2,
    /// Dependent, do not set.
    localparam int unsigned TagW = $clog2(ReadTags + 1)
) (
    /// Clock.
    input  wire logic        clk_i,
    /// Synchronous reset.
    input  wire logic        rst_i,
    /// Cycle counter.
    input  wire logic [63:0] cycle_i,
    /// Completion time-out in cycles.
    input  wire logic [19:0] timeout_i,
    /// Max_Read_Request_Size code.
    input  wire logic [2:0]  mrrs_i,
    /// Captured bus number.
    input  wire logic [7:0]  bus_i,
    /// Bus master enable.
    input  wire logic        bus_master_i,
    /// Endpoint functions are enabled.
    input  wire logic        vf_enable_i,
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
    /// Descriptor fetch.
    input  wire dma_req_t    fetch_i,
    /// It is offered.
    input  wire logic        fetch_valid_i,
    /// It is taken.
    output logic             fetch_ready_o,
    /// Payload read.
    input  wire dma_req_t    pay_i,
    /// It is offered.
    input  wire logic        pay_valid_i,
    /// It is taken.
    output logic             pay_ready_o,
    /// Read request for the transmit side.
    output mrd_t             mrd_o,
    /// It is offered.
    output logic             mrd_valid_o,
    /// It is taken.
    input  wire logic        mrd_ready_i,
    /// One more MRd than reads taken: the frame slot waits for it, too.
    output logic             extra_o,
    /// Frame slot of that one.
    output logic [FrameW-1:0] extra_slot_o,
    /// A completion may be under way: its tag does not time out meanwhile.
    input  wire logic        tag_busy_i,
    /// Tag of the completion being received.
    input  wire logic [7:0]  tag_i,
    /// Its requester ID.
    input  wire logic [15:0] tag_rid_i,
    /// The tag is outstanding.
    output logic             tag_hit_o,
    /// Its destination is the ring SRAM.
    output logic             tag_fetch_o,
    /// Its destination is the receive-ring SRAM.
    output logic             tag_rx_o,
    /// Byte address of its next byte.
    output logic [20:0]      tag_dest_o,
    /// Bytes to come.
    output logic [12:0]      tag_left_o,
    /// Bits 1:0 of the next byte's bus address.
    output logic [1:0]       tag_lower_o,
    /// A completion TLP of that tag ends.
    input  wire logic        tag_advance_i,
    /// Its bytes.
    input  wire logic [12:0] tag_advance_bytes_i,
    /// A completion TLP has been stored.
    input  wire logic        cpl_valid_i,
    /// Its tag.
    input  wire logic [7:0]  cpl_tag_i,
    /// The read ends with it.
    input  wire logic        cpl_last_i,
    /// How it went.
    input  wire status_e     cpl_status_i,
    /// Its last beat was taken 3 cycles ago, not 2.
    input  wire logic        cpl_late_i,
    /// A read has ended.
    output read_done_t       done_o,
    /// A range was checked.
    output logic             checked_o,
    /// ... or a piece of one was refused.
    output refusal_t         refusal_o,
    /// A payload read is authorised (its first piece, for the trace).
    output logic             authorised_o,
    /// Endpoint of the checked range.
    output logic [EpW-1:0]   authorised_ep_o,
    /// Chain head.
    output logic [15:0]      authorised_index_o,
    /// A read timed out.
    output logic             timed_out_o
);
  // ---- the read being split ------------------------------------------------------------------
  dma_req_t cur_q;
  logic     cur_valid_q, cur_new_q;
  logic     allowed, windowed, answered;
  logic     asked_q, held_q;       // the window comes in this cycle, has come before
  window_t  window, window_q;
  logic     begun_q, epoch_q;      // the piece is counted under an epoch
  refusal_e reason;
  logic [63:0] machine;
  logic [15:0] rid;
  logic     take_cur, last_chunk, denied_done;
  logic [12:0] chunk, boundary;
  logic [TagW:0] free_count;
  logic     tag_free;
  logic [TagW-1:0] tag_pick;
  logic [ReadTags-1:0] busy_q, zombie_q;

  myr_authorise u_authorise (
      .ep_i(cur_q.ep), .mode_i(cur_q.mode), .addr_i(cur_q.addr), .len_i(windowed ? LenW'(chunk) : cur_q.len),
      .window_i(window), .write_i(1'b0), .bus_i, .bus_master_i, .vf_enable_i, .ok_o(allowed), .reason_o(reason),
      .addr_o(machine), .rid_o(rid)
  );

  assign windowed     = cur_q.mode == ModeWindows;
  assign look_o       = cur_valid_q && windowed && !asked_q && !held_q;
  assign look_index_o = window_index(cur_q.addr);
  assign window       = asked_q ? window_i : window_q;
  assign answered     = !windowed || asked_q || held_q;

  always_comb begin
    boundary   = (13'd128 << mrrs_i) - (cur_q.addr[12:0] & ((13'd128 << mrrs_i) - 13'd1));
    chunk      = (cur_q.len > LenW'(boundary)) ? boundary : 13'(cur_q.len);
    last_chunk = LenW'(chunk) == cur_q.len;
    free_count = '0;
    tag_pick   = '0;
    if (cur_valid_q) begin
      for (int unsigned t = ReadTags; t > 0; t--) begin
        if (!busy_q[t-1]) begin
          tag_pick   = TagW'(t - 1);
          free_count = free_count + 1'b1;
        end
      end
    end
    tag_free    = free_count > (cur_q.fetch ? (TagW + 1)'(0) : (TagW + 1)'(FetchTags));
    mrd_valid_o = cur_valid_q && answered && allowed && tag_free;
    take_cur    = (mrd_valid_o && mrd_ready_i && last_chunk) || denied_done;
    fetch_ready_o = !cur_valid_q || take_cur;
    pay_ready_o   = (!cur_valid_q || take_cur) && !fetch_valid_i;
  end

  assign mrd_o = '{rid: rid, tag: 8'(tag_pick), addr: machine, len: chunk, fetch: cur_q.fetch, rx: cur_q.rx,
                   first: cur_q.first, ep: cur_q.ep, index: cur_q.index};
  assign extra_o      = mrd_valid_o && mrd_ready_i && !last_chunk;
  assign extra_slot_o = cur_q.slot;
  assign checked_o    = cur_valid_q && cur_new_q && answered;
  assign refusal_o    = '{valid: denied_done, ep: cur_q.ep, write: 1'b0, reason: reason, addr: cur_q.addr};
  assign begin_o      = cur_valid_q && answered && allowed && !begun_q;
  assign authorised_o = checked_o && allowed && cur_q.first && !cur_q.fetch;
  assign authorised_ep_o    = cur_q.ep;
  assign authorised_index_o = cur_q.index;

  always_ff @(posedge clk_i) begin
    if (checked_o) cur_new_q <= 1'b0;
    asked_q <= look_o && look_ready_i && !rst_i;
    if (asked_q) begin
      held_q   <= 1'b1;
      window_q <= window_i;
    end
    if (begin_o) begin
      begun_q <= 1'b1;
      epoch_q <= epoch_i;
    end
    if ((mrd_valid_o && mrd_ready_i) || denied_done) begin
      held_q  <= 1'b0;
      begun_q <= 1'b0;
    end
    if (mrd_valid_o && mrd_ready_i) begin
      cur_q.addr  <= cur_q.addr + 64'(chunk);
      cur_q.len   <= cur_q.len - LenW'(chunk);
      cur_q.dest  <= cur_q.dest + 21'(chunk);
      cur_q.first <= 1'b0;
    end
    if (take_cur) cur_valid_q <= 1'b0;
    if (fetch_valid_i && fetch_ready_o) begin
      cur_q       <= fetch_i;
      cur_valid_q <= 1'b1;
      cur_new_q   <= 1'b1;
    end else if (pay_valid_i && pay_ready_o) begin
      cur_q       <= pay_i;
      cur_valid_q <= 1'b1;
      cur_new_q   <= 1'b1;
    end
    if (rst_i) begin
      cur_valid_q <= 1'b0;
      cur_new_q   <= 1'b0;
      held_q      <= 1'b0;
      begun_q     <= 1'b0;
    end
  end

  // ---- tags ----------------------------------------------------------------------------------
  typedef struct packed {
    logic              fetch;
    logic              rx;
    logic [EpW-1:0]    ep;
    logic [FrameW-1:0] slot;
    logic [15:0]       index;
    logic [7:0]        count;
    logic [15:0]       rid;
    logic              epoch;
  } tag_t;

  tag_t        tag_q[ReadTags];
  logic [20:0] dest_q[ReadTags];
  logic [12:0] left_q[ReadTags];
  logic [1:0]  lower_q[ReadTags];
  status_e     status_q[ReadTags];
  logic [19:0] start_q[ReadTags];
  logic [TagW-1:0] scan_q, tag, cpl_tag;
  logic        known, expired, expire, release_zombie;
  logic [19:0] elapsed;

  assign tag         = tag_i[TagW-1:0];
  assign known       = tag_i < 8'(ReadTags) && busy_q[tag] && !zombie_q[tag];
  assign tag_hit_o   = known && tag_q[tag].rid == tag_rid_i;
  assign tag_fetch_o = tag_q[tag].fetch && !tag_q[tag].rx;
  assign tag_rx_o    = tag_q[tag].rx;
  assign tag_dest_o  = dest_q[tag];
  assign tag_left_o  = left_q[tag];
  assign tag_lower_o = lower_q[tag];
  assign cpl_tag     = cpl_tag_i[TagW-1:0];

  // one tag is looked at each cycle; a tag that timed out stays unused for a second period, so that a late
  // completion cannot be taken for the answer to a newer read
  assign elapsed        = cycle_i[19:0] - start_q[scan_q];
  assign expired        = busy_q[scan_q] && elapsed > timeout_i;
  assign expire         = expired && !zombie_q[scan_q] && !cpl_valid_i && !(tag_busy_i && tag_hit_o && tag == scan_q);
  assign release_zombie = expired && zombie_q[scan_q];
  assign denied_done    = cur_valid_q && answered && !allowed && !cpl_valid_i && !expire;
  assign timed_out_o    = expire;
  // a refused piece was not counted, unless it was allowed at first
  assign end_o        = done_o.valid && (cpl_valid_i || expire || begun_q);
  assign end_epoch_o  = cpl_valid_i ? tag_q[cpl_tag].epoch : expire ? tag_q[scan_q].epoch : epoch_q;

  always_comb begin
    done_o = '{valid: 1'b0, fetch: 1'b0, rx: 1'b0, ep: '0, slot: '0, index: '0, count: '0, late: 1'b0, status: StatusOk};
    if (cpl_valid_i) begin
      done_o = '{valid: cpl_last_i, fetch: tag_q[cpl_tag].fetch, rx: tag_q[cpl_tag].rx, ep: tag_q[cpl_tag].ep, slot: tag_q[cpl_tag].slot,
                 index: tag_q[cpl_tag].index, count: tag_q[cpl_tag].count, late: cpl_late_i,
                 status: (cpl_status_i != StatusOk) ? cpl_status_i : status_q[cpl_tag]};
    end else if (expire) begin
      done_o = '{valid: 1'b1, fetch: tag_q[scan_q].fetch, rx: tag_q[scan_q].rx, ep: tag_q[scan_q].ep, slot: tag_q[scan_q].slot,
                 index: tag_q[scan_q].index, count: tag_q[scan_q].count, late: 1'b0, status: StatusReadTimeout};
    end else if (denied_done) begin
      done_o = '{valid: 1'b1, fetch: cur_q.fetch, rx: cur_q.rx, ep: cur_q.ep, slot: cur_q.slot, index: cur_q.index, count: 8'd0, late: 1'b0,
                 status: StatusNotAuthorised};
    end
  end

  always_ff @(posedge clk_i) begin
    if (|busy_q) scan_q <= (scan_q == TagW'(ReadTags - 1)) ? '0 : scan_q + 1'b1;
    if (tag_advance_i) begin
      left_q[tag]  <= left_q[tag] - tag_advance_bytes_i;
      dest_q[tag]  <= dest_q[tag] + 21'(tag_advance_bytes_i);
      lower_q[tag] <= lower_q[tag] + tag_advance_bytes_i[1:0];
    end
    if (cpl_valid_i) begin
      if (cpl_status_i != StatusOk) status_q[cpl_tag] <= cpl_status_i;
      if (cpl_last_i) busy_q[cpl_tag] <= 1'b0;
    end
    if (expire) begin
      zombie_q[scan_q] <= 1'b1;
      start_q[scan_q]  <= cycle_i[19:0];
    end
    if (release_zombie) begin
      zombie_q[scan_q] <= 1'b0;
      busy_q[scan_q]   <= 1'b0;
    end
    if (mrd_valid_o && mrd_ready_i) begin
      busy_q[tag_pick]   <= 1'b1;
      tag_q[tag_pick]    <= '{fetch: cur_q.fetch, rx: cur_q.rx, ep: cur_q.ep, slot: cur_q.slot, index: cur_q.index,
                              count: cur_q.rx ? 8'(chunk >> 3) : 8'(chunk >> 4), rid: rid,
                              epoch: begun_q ? epoch_q : epoch_i};
      dest_q[tag_pick]   <= cur_q.dest;
      left_q[tag_pick]   <= chunk;
      lower_q[tag_pick]  <= cur_q.addr[1:0];
      status_q[tag_pick] <= StatusOk;
      start_q[tag_pick]  <= cycle_i[19:0];
    end
    if (rst_i) begin
      busy_q   <= '0;
      zombie_q <= '0;
      scan_q   <= '0;
    end
  end

`ifndef SYNTHESIS
  always_ff @(posedge clk_i)
    if (!rst_i) begin
      if (mrd_valid_o) assert ({1'b0, cur_q.addr[11:0]} + chunk <= 13'd4096)
        else $error("myr_dma_read: a read crosses a 4 KiB boundary");
      if (cpl_valid_i) assert (busy_q[cpl_tag]) else $error("myr_dma_read: a completion was taken for a tag that is free");
      if (extra_o) assert (!cur_q.fetch) else $error("myr_dma_read: a descriptor fetch was split");
    end
`endif
endmodule
`default_nettype wire
