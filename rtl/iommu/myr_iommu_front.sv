`default_nettype none
/// Parses upstream TLPs, looks each up in both caches, lets hits pass and hands the rest to the park.
///
/// A beat that is let through leaves 3 cycles after it came in (taken in cycle t, offered in cycle t + 3), one beat a
/// cycle, whatever the TLP is. Only a clean hit passes; misses and faults are decided from the park.
module myr_iommu_front
  import myr_pkg::*;
  import myr_iommu_pkg::*;
(
    /// Clock, 250 MHz.
    input  wire          clk_i,
    /// Synchronous reset, of control only.
    input  wire          rst_i,
    /// TLPs from the device.
    input  tlp_beat_t    up_i,
    input  wire          up_valid_i,
    output logic         up_ready_o,
    /// Translation is enabled.
    input  wire          enable_i,
    /// Start no look-up: an invalidation is about to happen.
    input  wire          hold_i,
    /// A TLP that was looked up has not left yet.
    output logic         busy_o,
    /// Context cache look-up, same cycle.
    output logic         ctx_lookup_o,
    output logic [15:0]  ctx_sid_o,
    input  wire          ctx_hit_i,
    input  ctx_t         ctx_i,
    /// IOTLB look-up, same cycle.
    output logic         tlb_lookup_o,
    output logic [15:0]  tlb_did_o,
    output logic [47:12] tlb_page_o,
    input  wire          tlb_hit_i,
    input  leaf_t        tlb_leaf_i,
    /// Question to the park, in the cycle of the look-up: must this request (or completion) stay behind a parked one?
    output logic         query_o,
    output logic         query_completion_o,
    output logic [15:0]  query_sid_o,
    input  wire          query_behind_i,
    /// TLPs let through.
    output tlp_beat_t    pass_o,
    output logic         pass_valid_o,
    input  wire          pass_ready_i,
    /// TLPs to be parked; the request comes with the first beat.
    output tlp_beat_t    park_o,
    output logic         park_valid_o,
    output logic         park_first_o,
    output req_t         park_req_o,
    input  wire          park_ready_i,
    /// Pulse: a request was presented for translation.
    output logic         translation_o
);

  typedef struct packed {
    logic      first;
    logic      second;
    tlp_beat_t beat;
  } stage_t;

  stage_t s1_q, s2_q, s3_q;
  logic s1_valid_q, s2_valid_q, s3_valid_q;
  logic in_first_q, in_second_q;

  logic s3_taken, s2_go, s1_go;
  logic looked_up_q;  // the TLP in s3 has been looked up and is not out

  // ------------------------------------------------------------------ pipeline
  assign s2_go = s2_valid_q && (!s3_valid_q || s3_taken) && (!s2_q.first || (s1_valid_q && !hold_i));
  assign s1_go = s1_valid_q && (!s2_valid_q || s2_go);
  assign up_ready_o = !s1_valid_q || s1_go;

  always_ff @(posedge clk_i) begin
    if (up_ready_o) begin
      s1_valid_q <= up_valid_i;
      if (up_valid_i) begin
        s1_q <= '{first: in_first_q, second: in_second_q, beat: up_i};
        in_first_q <= up_i.last;
        in_second_q <= in_first_q;
      end
    end
    if (s1_go || s2_go) begin
      s2_valid_q <= s1_go;
      s2_q <= s1_q;
    end
    if (s2_go || s3_taken) begin
      s3_valid_q <= s2_go;
      s3_q <= s2_q;
    end
    if (rst_i) begin
      s1_valid_q <= 1'b0;
      s2_valid_q <= 1'b0;
      s3_valid_q <= 1'b0;
      in_first_q <= 1'b1;
      in_second_q <= 1'b0;
    end
  end

  // ------------------------------------------------------------------ look-up: header in s2 (DW 0, 1) and s1 (DW 2, 3)
  wire [31:0] dw0 = s2_q.beat.data[31:0];
  wire [31:0] dw1 = s2_q.beat.data[63:32];
  wire lookup = s2_go && s2_q.first;
  ctx_t ctx_q;
  logic ctx_hit_q;
  req_t req;
  logic [11:0] end_dw;
  logic interrupt;

  always_comb begin
    unique case (dw0[31:24])
      TlpMRd32, TlpMRd64: req.kind = KindRead;
      TlpMWr32, TlpMWr64: req.kind = KindWrite;
      TlpCpl, TlpCplD: req.kind = KindCompletion;
      default: req.kind = KindOther;
    endcase
    req.short_header = !dw0[29];
    req.at = dw0[11:10];
    req.tc = dw0[22:20];
    req.attr = {dw0[18], dw0[13:12]};
    req.sid = dw1[31:16];
    req.tag = dw1[15:8];
    req.last_be = dw1[7:4];
    req.first_be = dw1[3:0];
    req.length = dw0[9:0];
    req.addr = dw0[29] ? {s1_q.beat.data[31:0], s1_q.beat.data[63:34]} : {32'd0, s1_q.beat.data[31:2]};
    // length 0 means 1024 DW, a whole page
    end_dw = {2'b00, req.addr[11:2]} + {1'b0, req.length == 10'd0, req.length};
    req.crosses = end_dw > 12'd1024;
    // writes to the interrupt window are messages, not memory
    interrupt = req.kind == KindWrite && req.addr[63:20] == 44'hFEE && !req.crosses && req.at == 2'd0;
    req.bypass = (req.kind != KindRead && req.kind != KindWrite) || !enable_i || interrupt;
  end

  always_comb begin
    ctx_lookup_o = (s1_go && s1_q.first) || (s2_valid_q && s2_q.first && !s2_go);
    ctx_sid_o = s1_go ? s1_q.beat.data[63:48] : dw1[31:16];
    tlb_lookup_o = lookup && !req.bypass && ctx_hit_q;
    tlb_did_o = ctx_q.did;
    tlb_page_o = req.addr[47:12];
    query_o = lookup;
    query_completion_o = req.kind == KindCompletion;
    query_sid_o = req.sid;
  end

  req_t req_q;
  ctx_t held_ctx_q;
  leaf_t leaf_q;
  logic held_ctx_hit_q, leaf_hit_q, behind_q;

  always_ff @(posedge clk_i) begin
    if (ctx_lookup_o) begin
      ctx_q <= ctx_i;
      ctx_hit_q <= ctx_hit_i;
    end
    if (lookup) begin
      req_q <= req;
      behind_q <= query_behind_i;
      held_ctx_q <= ctx_q;
      held_ctx_hit_q <= ctx_hit_q;
      leaf_q <= tlb_leaf_i;
      leaf_hit_q <= tlb_hit_i;
    end
    if (lookup) looked_up_q <= 1'b1;
    else if (s3_taken && s3_q.beat.last) looked_up_q <= 1'b0;
    if (rst_i) looked_up_q <= 1'b0;
  end

  // ------------------------------------------------------------------ decision: first beat in s3
  verdict_e verdict;
  logic [51:12] page;
  logic [7:0] unused_reason;

  myr_access_check u_check (
      .access_i('{
          bypass: req_q.bypass,
          write: req_q.kind == KindWrite,
          short_header: req_q.short_header,
          blocked: req_q.crosses || req_q.at != 2'd0,
          sid: req_q.sid,
          page: req_q.addr[63:12]
      }),
      .ctx_hit_i(held_ctx_hit_q),
      .ctx_i(held_ctx_q),
      .leaf_hit_i(leaf_hit_q),
      .leaf_i(leaf_q),
      .verdict_o(verdict),
      .reason_o(unused_reason),
      .page_o(page)
  );

  // A TLP of any other type is swallowed: it may name memory in a way that is not checked here.
  wire drop = req_q.kind == KindOther;
  wire pass = !drop && !behind_q && verdict == VerdictPass;

  always_comb begin
    pass_o = s3_q.beat;
    if (s3_q.second && !req_q.bypass) pass_o = patch(s3_q.beat, req_q.short_header, page);
  end

  assign pass_valid_o = s3_valid_q && pass;
  assign park_o = s3_q.beat;
  assign park_valid_o = s3_valid_q && !pass && !drop;
  assign park_first_o = s3_q.first;
  assign park_req_o = req_q;
  assign s3_taken = s3_valid_q && (drop || (pass ? pass_ready_i : park_ready_i));
  assign busy_o = looked_up_q;
  assign translation_o = s3_taken && s3_q.first && !req_q.bypass;

  wire unused_ok = &{1'b0, unused_reason, dw0[28:0], s1_q.second, s2_q.second, req.addr};

`ifndef SYNTHESIS
  logic offered_q;
  tlp_beat_t pass_q;
  always_ff @(posedge clk_i) begin
    offered_q <= pass_valid_o && !pass_ready_i && !rst_i;
    pass_q <= pass_o;
    if (!rst_i) begin
      assert (!(up_valid_i && up_ready_o && in_first_q && up_i.last))
      else $error("An upstream TLP ends in its first beat: no header is that short.");
      assert (!offered_q || (pass_valid_o && pass_o == pass_q))
      else $error("A beat that was offered was changed or withdrawn.");
    end
  end
`endif

endmodule
`default_nettype wire
