`default_nettype none
/// Downstream TLPs: decodes headers, aligns payload to its destination byte by byte, and hands out
/// doorbells, ring writes, read completions and control accesses.
///
/// Never stalls: payload has a reserved place, and control accesses are bounded by the credits granted here.
/// A beat's payload word leaves in the second cycle after the beat was taken (the third where the
/// destination alignment needs one word more).
module myr_tlp_rx
  import myr_pkg::*;
  import myr_abi_pkg::*;
  import myr_nic_pkg::*;
#(
    /// Posted and non-posted headers that the link partner may have outstanding.
    parameter int unsigned PostedCredits = 32,
    /// Non-posted headers likewise.
    parameter int unsigned NonPostedCredits = 8
) (
    /// Clock.
    input  wire logic                 clk_i,
    /// Synchronous reset.
    input  wire logic                 rst_i,
    /// Downstream beat.
    input  wire tlp_beat_t            rx_i,
    /// A beat is offered.
    input  wire logic                 rx_valid_i,
    /// Always 1.
    output logic                      rx_ready_o,
    /// Limits granted to the link partner.
    output fc_t                       rx_fc_o,
    /// BAR2 (4 MiB), address bits 63:22.
    input  wire logic [63:22]         bar2_i,
    /// BAR4 (1 MiB), address bits 63:20.
    input  wire logic [63:ControlW]   bar4_i,
    /// Memory space is enabled.
    input  wire logic                 mem_enable_i,
    /// Endpoints that take descriptors by PIO.
    input  wire logic [Endpoints-1:0] pushed_i,
    /// Endpoints that take doorbells.
    input  wire logic [Endpoints-1:0] fetched_i,
    /// Endpoints that take receive buffers by PIO.
    input  wire logic [Endpoints-1:0] rx_pushed_i,
    /// Endpoints that take doorbells of receive rings.
    input  wire logic [Endpoints-1:0] rx_fetched_i,
    /// A TLP is between its header and its last word.
    output logic                      tag_busy_o,
    /// Tag and requester of the completion being received.
    output logic [7:0]                tag_o,
    /// Requester ID likewise.
    output logic [15:0]               tag_rid_o,
    /// The tag is outstanding for that requester.
    input  wire logic                 tag_hit_i,
    /// Its read's destination is the ring SRAM.
    input  wire logic                 tag_fetch_i,
    /// Its read's destination is the receive-ring SRAM.
    input  wire logic                 tag_rx_i,
    /// Byte address of the next byte.
    input  wire logic [20:0]          tag_dest_i,
    /// Bytes still to come.
    input  wire logic [12:0]          tag_left_i,
    /// Bits 1:0 of the next byte's bus address.
    input  wire logic [1:0]           tag_lower_i,
    /// The completion TLP ends: the tag moves on by `tag_advance_bytes_o`.
    output logic                      tag_advance_o,
    /// Bytes taken from the read by this TLP.
    output logic [12:0]               tag_advance_bytes_o,
    /// A word for the ring SRAM or the frame buffer.
    output rx_word_t                  word_o,
    /// Ring slots written by PIO.
    output ring_done_t                ring_done_o,
    /// Doorbell.
    output doorbell_t                 doorbell_o,
    /// Doorbell of a receive ring.
    output doorbell_t                 rx_doorbell_o,
    /// A guest arms a completion ring.
    output arm_t                      arm_o,
    /// A completion TLP of an outstanding tag has been stored.
    output logic                      cpl_valid_o,
    /// Its tag.
    output logic [7:0]                cpl_tag_o,
    /// The read ends with it.
    output logic                      cpl_last_o,
    /// How it went.
    output status_e                   cpl_status_o,
    /// Its last beat was taken 3 cycles ago, not 2.
    output logic                      cpl_late_o,
    /// Control access.
    output ctl_req_t                  ctl_o,
    /// One is handed over; there is always room.
    output logic                      ctl_valid_o,
    /// A posted control access was done: its credit returns.
    input  wire logic                 ctl_posted_done_i,
    /// A non-posted one likewise.
    input  wire logic                 ctl_np_done_i,
    /// It was a configuration write (one data credit).
    input  wire logic                 ctl_np_data_i,
    /// A completion that nobody waits for was dropped.
    output logic                      unexpected_o,
    /// A posted write was dropped.
    output logic                      dropped_o
);
  assign rx_ready_o = 1'b1;

  // ------------------------------------------------------------------------------------------
  // A: header capture; the beat is looked at one cycle later, with its whole header known
  // ------------------------------------------------------------------------------------------
  logic [1:0]  pos_q;  // 0: first header beat, 1: second, 2: payload
  logic [31:0] dw0_q, dw1_q, dw2_q, dw3_q;
  logic [63:0] beat_q;
  logic        b_valid_q, b_first_q, b_last_q;

  always_ff @(posedge clk_i) begin
    b_valid_q <= 1'b0;
    if (rx_valid_i) begin
      beat_q    <= rx_i.data;
      b_last_q  <= rx_i.last;
      b_first_q <= pos_q == 2'd1;
      b_valid_q <= pos_q != 2'd0;
      unique case (pos_q)
        2'd0: begin
          {dw1_q, dw0_q} <= rx_i.data;
          pos_q <= 2'd1;
        end
        2'd1: begin
          {dw3_q, dw2_q} <= rx_i.data;
          pos_q <= rx_i.last ? 2'd0 : 2'd2;
        end
        default: if (rx_i.last) pos_q <= 2'd0;
      endcase
    end
    if (rst_i) begin
      pos_q     <= 2'd0;
      b_valid_q <= 1'b0;
    end
  end

  // ------------------------------------------------------------------------------------------
  // B: decode
  // ------------------------------------------------------------------------------------------
  typedef enum logic [3:0] {KindDrop, KindRing, KindDoorbell, KindRxRing, KindRxDoorbell, KindArm, KindControl, KindNonPosted,
                            KindData, KindNoData} kind_e;

  logic        is_mwr, is_cpl, long_header, has_data, poisoned;
  logic [10:0] dws;
  logic [63:0] addr;
  logic [3:0]  fbe, lbe;
  logic        be_ok;
  logic [1:0]  skip, trim;
  logic        hit2, hit4;
  logic [12:0] cpl_bytes, cpl_count;
  kind_e       kind;
  logic [20:0] dest;
  logic [13:0] count;
  logic        cpl_ok;
  status_e     cpl_status;

  logic        end_q;              // the TLP's last word comes one cycle after its last beat was looked at

  assign tag_busy_o = pos_q == 2'd2 || b_valid_q || end_q;
  assign tag_o     = dw2_q[15:8];
  assign tag_rid_o = dw2_q[31:16];

  always_comb begin
    long_header = dw0_q[29];
    has_data    = dw0_q[30];
    poisoned    = dw0_q[14];
    is_mwr      = dw0_q[31:24] == TlpMWr32 || dw0_q[31:24] == TlpMWr64;
    is_cpl      = dw0_q[31:24] == TlpCpl || dw0_q[31:24] == TlpCplD;
    dws         = {dw0_q[9:0] == 10'd0, dw0_q[9:0]};
    addr        = long_header ? {dw2_q, dw3_q[31:2], 2'b00} : {32'd0, dw2_q[31:2], 2'b00};
    fbe         = dw1_q[3:0];
    lbe         = (dws == 11'd1) ? fbe : dw1_q[7:4];
    skip        = fbe[0] ? 2'd0 : fbe[1] ? 2'd1 : fbe[2] ? 2'd2 : 2'd3;
    trim        = lbe[3] ? 2'd0 : lbe[2] ? 2'd1 : lbe[1] ? 2'd2 : 2'd3;
    // only one run of bytes has a single destination range
    if (dws == 11'd1) be_ok = fbe inside {4'h1, 4'h2, 4'h3, 4'h4, 4'h6, 4'h7, 4'h8, 4'hC, 4'hE, 4'hF};
    else be_ok = (fbe inside {4'h8, 4'hC, 4'hE, 4'hF}) && (lbe inside {4'h1, 4'h3, 4'h7, 4'hF});
    hit2        = mem_enable_i && addr[63:22] == bar2_i;
    hit4        = mem_enable_i && addr[63:ControlW] == bar4_i;
    cpl_count   = {dw1_q[11:0] == 12'd0, dw1_q[11:0]};
    cpl_bytes   = {dws, 2'b00} - {11'd0, dw2_q[1:0]};
    if (cpl_bytes > cpl_count) cpl_bytes = cpl_count;
    cpl_ok      = tag_hit_i && cpl_count == tag_left_i && dw2_q[1:0] == tag_lower_i;

    kind  = KindDrop;
    dest  = '0;
    count = {1'b0, dws, 2'b00} - {12'd0, skip} - {12'd0, trim};
    if (is_mwr) begin
      if (hit4 && dws == 11'd1 && !poisoned) kind = KindControl;
      else if (hit2 && !poisoned && be_ok) begin
        if (addr[15:0] == 16'(ApertureSendDoorbellAddr)) begin
          if (fetched_i[addr[21:16]] && dws == 11'd1 && fbe[1:0] == 2'b11) kind = KindDoorbell;
        end else if (addr[15:0] == 16'(ApertureRxSmallDoorbellAddr) || addr[15:0] == 16'(ApertureRxBigDoorbellAddr)) begin
          if (rx_fetched_i[addr[21:16]] && dws == 11'd1 && fbe[1:0] == 2'b11) kind = KindRxDoorbell;
        end else if (addr[15:13] == 3'(ApertureRxSmallRingAddr >> 13)) begin
          if (rx_pushed_i[addr[21:16]] && {1'b0, addr[11:2]} + 11'(dws) <= 11'(ApertureRxSmallRingSize >> 2)) begin
            kind = KindRxRing;
            dest = 21'({addr[21:16], addr[12:2], skip});
          end
        end else if (addr[15:0] == 16'(ApertureArmAddr)) begin
          if ((pushed_i[addr[21:16]] || fetched_i[addr[21:16]]) && dws == 11'd1 && fbe == 4'hF) kind = KindArm;
        end else if (addr[15:14] == 2'(ApertureSendRingAddr >> 14) && pushed_i[addr[21:16]]
                     && {1'b0, addr[13:2]} + 13'(dws) <= 13'(ApertureSendRingSize >> 2)) begin
          kind = KindRing;
          dest = {1'b0, addr[21:16], addr[13:2], skip};
        end
      end
    end else if (is_cpl) begin
      if (cpl_ok || (tag_hit_i && dw1_q[15:13] != CplSc)) begin
        kind  = (has_data && dw1_q[15:13] == CplSc && !poisoned) ? KindData : KindNoData;
        dest  = tag_dest_i;
        count = {1'b0, cpl_bytes};
      end
    end else kind = KindNonPosted;

    cpl_status = StatusOk;
    if (dw1_q[15:13] == CplUr) cpl_status = StatusReadUr;
    else if (dw1_q[15:13] != CplSc || !has_data) cpl_status = StatusReadCa;
    else if (poisoned) cpl_status = StatusReadPoisoned;
  end

  // poisoned payload is not stored, but the read moves on past it
  assign tag_advance_o       = b_valid_q && b_last_q
                               && (kind == KindData || (kind == KindNoData && has_data && dw1_q[15:13] == CplSc));
  assign tag_advance_bytes_o = cpl_bytes;

  // ------------------------------------------------------------------------------------------
  // B: alignment
  // ------------------------------------------------------------------------------------------
  logic        store;               // this TLP's payload is stored
  logic        pay_first_q;         // no payload beat of this TLP seen yet
  logic        payload, pay_first;
  logic [2:0]  start, rot;
  logic        wrapped;
  logic [63:0] rotated, prev_q, merged;
  logic [17:0] waddr_q, waddr;
  logic [13:0] left_q, left, left_after;
  logic [2:0]  low_q, low;
  logic        flush_q, flush_d;
  logic        flush_ring_q, flush_frame_q, flush_rx_q;
  logic        to_ring, to_frame, to_rx;
  logic        emit;
  logic [7:0]  be;

  assign store    = kind == KindRing || kind == KindRxRing || kind == KindData;
  assign to_rx    = kind == KindRxRing || (kind == KindData && tag_rx_i);
  assign to_ring  = kind == KindRing || (kind == KindData && tag_fetch_i);
  assign to_frame = kind == KindData && !tag_fetch_i && !tag_rx_i;

  always_comb begin
    payload   = b_valid_q && has_data && (!b_first_q || !long_header);
    pay_first = payload && (b_first_q || (long_header && pay_first_q));
    start     = long_header ? {1'b0, is_cpl ? dw2_q[1:0] : skip} : {1'b1, is_cpl ? dw2_q[1:0] : skip};
    rot       = dest[2:0] - start;
    wrapped   = dest[2:0] < start;
    waddr     = pay_first ? dest[20:3] : waddr_q;
    left      = pay_first ? {11'd0, dest[2:0]} + count : left_q;
    low       = pay_first ? dest[2:0] : low_q;
    rotated   = '0;
    merged    = '0;
    be        = '0;
    emit      = 1'b0;
    left_after = left;
    flush_d   = 1'b0;
    if (payload && store) begin
      unique case (rot)
        3'd0: rotated = beat_q;
        3'd1: rotated = {beat_q[55:0], beat_q[63:56]};
        3'd2: rotated = {beat_q[47:0], beat_q[63:48]};
        3'd3: rotated = {beat_q[39:0], beat_q[63:40]};
        3'd4: rotated = {beat_q[31:0], beat_q[63:32]};
        3'd5: rotated = {beat_q[23:0], beat_q[63:24]};
        3'd6: rotated = {beat_q[15:0], beat_q[63:16]};
        default: rotated = {beat_q[7:0], beat_q[63:8]};
      endcase
      merged = (rotated & (64'hFFFF_FFFF_FFFF_FFFF << {rot, 3'b000}))
             | (prev_q & ~(64'hFFFF_FFFF_FFFF_FFFF << {rot, 3'b000}));
      emit = !(pay_first && wrapped);
      if (emit) left_after = (left > 14'd8) ? left - 14'd8 : 14'd0;
      flush_d = b_last_q && left_after != 14'd0;
    end else if (flush_q) begin
      merged = prev_q;
      emit   = 1'b1;
      left   = left_q;
      low    = low_q;
      waddr  = waddr_q;
    end
    for (int unsigned j = 0; j < 8; j++) be[j] = 3'(j) >= low && 14'(j) < left;
  end

  // ------------------------------------------------------------------------------------------
  // C: registered outputs
  // ------------------------------------------------------------------------------------------
  logic        done_now;           // the TLP's last word is in word_o with this event
  kind_e       kind_q;
  logic [20:0] end_dest_q;
  logic [13:0] end_count_q;
  logic [7:0]  end_tag_q;
  logic        end_last_q;
  status_e     end_status_q;
  kind_e       end_kind;
  logic [20:0] end_dest;
  logic [13:0] end_count;
  logic [7:0]  end_tag;
  logic        end_last;
  status_e     end_status;

  // dest and count belong to the header; they are stable while the TLP is in B
  always_comb begin
    done_now   = (b_valid_q && b_last_q && !flush_d) || end_q;
    end_kind   = end_q ? kind_q : kind;
    end_dest   = end_q ? end_dest_q : dest;
    end_count  = end_q ? end_count_q : count;
    end_tag    = end_q ? end_tag_q : tag_o;
    end_last   = end_q ? end_last_q : (cpl_bytes == cpl_count || dw1_q[15:13] != CplSc || !has_data);
    end_status = end_q ? end_status_q : cpl_status;
  end

  always_ff @(posedge clk_i) begin
    if (payload) begin
      prev_q      <= rotated;
      pay_first_q <= 1'b0;
      if (store) begin
        waddr_q <= waddr + {17'd0, emit};
        left_q  <= left_after;
        low_q   <= emit ? 3'd0 : low;
      end
    end
    if (b_valid_q && b_last_q) pay_first_q <= 1'b1;
    flush_q <= flush_d;
    end_q   <= flush_d;
    if (b_valid_q && b_last_q) begin
      flush_ring_q  <= to_ring;
      flush_frame_q <= to_frame;
      flush_rx_q    <= to_rx;
      kind_q        <= kind;
      end_dest_q    <= dest;
      end_count_q   <= count;
      end_tag_q     <= tag_o;
      end_last_q    <= cpl_bytes == cpl_count || dw1_q[15:13] != CplSc || !has_data;
      end_status_q  <= cpl_status;
    end

    word_o.ring  <= emit && (flush_q ? flush_ring_q : to_ring);
    word_o.pio   <= (flush_q ? kind_q : kind) inside {KindRing, KindRxRing};
    word_o.frame <= emit && (flush_q ? flush_frame_q : to_frame);
    word_o.rx    <= emit && (flush_q ? flush_rx_q : to_rx);
    if (emit) begin
      word_o.addr <= {waddr, 3'b000};
      word_o.data <= merged;
      word_o.be   <= be;
    end

    ring_done_o.valid <= done_now && end_kind == KindRing;
    ring_done_o.ep    <= end_dest[19:14];
    ring_done_o.slot  <= end_dest[13:4];
    ring_done_o.late  <= end_q;
    ring_done_o.count <= 8'((14'(end_dest[3:0]) + end_count + 14'd15) >> 4);
    cpl_valid_o       <= done_now && (end_kind == KindData || end_kind == KindNoData);
    cpl_tag_o         <= end_tag;
    cpl_last_o        <= end_last;
    cpl_late_o        <= end_q;
    cpl_status_o      <= end_status;

    doorbell_o.valid    <= b_valid_q && b_last_q && kind == KindDoorbell;
    doorbell_o.ep       <= addr[21:16];
    doorbell_o.producer <= long_header ? beat_q[15:0] : beat_q[47:32];
    doorbell_o.big      <= 1'b0;
    rx_doorbell_o.valid    <= b_valid_q && b_last_q && kind == KindRxDoorbell;
    rx_doorbell_o.ep       <= addr[21:16];
    rx_doorbell_o.big      <= addr[3];
    rx_doorbell_o.producer <= long_header ? beat_q[15:0] : beat_q[47:32];
    arm_o.valid         <= b_valid_q && b_last_q && kind == KindArm;
    arm_o.ep            <= addr[21:16];
    arm_o.cq            <= long_header ? beat_q[18:16] : beat_q[50:48];
    arm_o.index         <= long_header ? beat_q[15:0] : beat_q[47:32];
    dropped_o           <= b_valid_q && b_last_q && kind == KindDrop && !is_cpl;
    unexpected_o        <= b_valid_q && b_last_q && kind == KindDrop && is_cpl;
    ctl_valid_o         <= b_valid_q && b_last_q && (kind == KindControl || kind == KindNonPosted);
    ctl_o <= '{
        posted:    kind == KindControl,
        cfg:       dw0_q[31:24] == TlpCfgRd0 || dw0_q[31:24] == TlpCfgWr0,
        cfg_write: dw0_q[31:24] == TlpCfgWr0,
        control:   hit4,
        bad:       !(dw0_q[31:24] inside {TlpMRd32, TlpMRd64, TlpCfgRd0, TlpCfgWr0}) || dws != 11'd1 || poisoned
                   || (dw0_q[31:24] inside {TlpMRd32, TlpMRd64} && !hit2 && !hit4),
        addr:      dw0_q[26] ? ControlW'({dw2_q[11:2], 2'b00}) : addr[ControlW-1:0],
        be:        fbe,
        data:      (is_mwr && long_header) ? beat_q[31:0] : beat_q[63:32],
        requester: dw1_q[31:16],
        tag:       dw1_q[15:8],
        devfn:     dw2_q[23:16],
        bus:       dw2_q[31:24]
    };
    if (rst_i) begin
      pay_first_q       <= 1'b1;
      flush_q           <= 1'b0;
      end_q             <= 1'b0;
      word_o.ring       <= 1'b0;
      word_o.frame      <= 1'b0;
      word_o.rx         <= 1'b0;
      rx_doorbell_o.valid <= 1'b0;
      ring_done_o.valid <= 1'b0;
      cpl_valid_o       <= 1'b0;
      doorbell_o.valid  <= 1'b0;
      arm_o.valid       <= 1'b0;
      dropped_o         <= 1'b0;
      unexpected_o      <= 1'b0;
      ctl_valid_o       <= 1'b0;
    end
  end

  // ------------------------------------------------------------------------------------------
  // Credits: returned when a TLP is done with; control accesses when their queue lets go of them
  // ------------------------------------------------------------------------------------------
  logic posted_end;
  assign posted_end = b_valid_q && b_last_q && is_mwr && kind != KindControl;

  always_ff @(posedge clk_i) begin
    rx_fc_o.ph  <= rx_fc_o.ph + 8'(posted_end) + 8'(ctl_posted_done_i);
    rx_fc_o.pd  <= rx_fc_o.pd + (posted_end ? 12'((dws + 11'd3) >> 2) : 12'd0) + 12'(ctl_posted_done_i);
    rx_fc_o.nph <= rx_fc_o.nph + 8'(ctl_np_done_i);
    rx_fc_o.npd <= rx_fc_o.npd + 12'(ctl_np_data_i);
    if (rst_i) begin
      rx_fc_o.ph  <= 8'(PostedCredits);
      rx_fc_o.pd  <= 12'(PostedCredits * 16);
      rx_fc_o.nph <= 8'(NonPostedCredits);
      rx_fc_o.npd <= 12'(NonPostedCredits);
    end
  end

`ifndef SYNTHESIS
  always_ff @(posedge clk_i)
    if (!rst_i) begin
      assert (!(payload && flush_q)) else $error("myr_tlp_rx: a payload beat came in the cycle of the flush");
      if (word_o.ring || word_o.frame || word_o.rx) assert (word_o.be != 8'd0) else $error("myr_tlp_rx: a word without bytes");
    end
`endif
endmodule
`default_nettype wire
