`default_nettype none
/// The receive side's data path as the NIC joins it: rings, placement, payload writer, checksum, hash, completions and
/// the transmit side, between two word memories and a stream of TLPs. What happens at a clock edge is registered, so
/// that the bench reads `event_o` once a cycle. No endpoint has a window.
module receive_bench
  import myr_pkg::*;
  import myr_abi_pkg::*;
  import myr_nic_pkg::*;
(
    input  wire logic                 clk_i,
    input  wire logic                 rst_i,
    // set-up of endpoints
    input  wire logic                 setup_i,
    input  wire logic [EpW-1:0]       setup_ep_i,
    input  wire logic                 enable_i,
    input  wire logic [2:0]           mode_i,
    input  wire logic                 rss_i,
    input  wire logic [1:0]           queues_i,
    input  wire logic [3:0]           small_log2_i,
    input  wire logic [3:0]           big_log2_i,
    input  wire logic [3:0]           buffer_log2_i,
    input  wire logic [3:0]           rq_log2_i,
    input  wire logic [LenW-1:0]      small_max_i,
    input  wire logic [LenW-1:0]      max_frame_i,
    input  wire logic [4*64-1:0]      bases_i,
    input  wire logic                 start_i,
    input  wire logic [EpW-1:0]       start_ep_i,
    input  wire logic                 rss_req_i,
    input  wire logic                 rss_write_i,
    input  wire logic [12:0]          rss_addr_i,
    input  wire logic [31:0]          rss_data_i,
    output logic                      rss_ack_o,
    output logic [31:0]               rss_data_o,
    input  wire logic                 bus_master_i,
    input  wire logic                 vf_enable_i,
    input  wire logic                 mps_256_i,
    // jobs
    input  wire logic                 wire_valid_i,
    input  wire logic [RxBufferW-1:0] wire_base_i,
    input  wire logic [LenW-1:0]      wire_len_i,
    input  wire logic [15:0]          wire_number_i,
    input  wire logic [Endpoints-1:0] wire_dest_i,
    input  wire logic                 sibling_valid_i,
    input  wire logic [FrameW-1:0]    sibling_slot_i,
    input  wire logic [LenW-1:0]      sibling_len_i,
    input  wire logic [15:0]          sibling_number_i,
    input  wire logic [Endpoints-1:0] sibling_dest_i,
    // words of receive rings
    input  wire logic                 ring_i,
    input  wire logic                 ring_pio_i,
    input  wire logic [20:0]          ring_addr_i,
    input  wire logic [63:0]          ring_data_i,
    input  wire logic [7:0]           ring_be_i,
    // transmit side; `other_i` offers writes of another source, `hold_i` keeps completions back until more wait,
    // `framing_i` makes a gap of one beat behind each TLP
    input  wire logic                 other_i,
    input  wire logic                 hold_i,
    input  wire logic                 ready_i,
    input  wire logic                 framing_i,
    input  wire logic [7:0]           ph_i,
    input  wire logic [11:0]          pd_i,
    input  wire logic                 drop_ready_i,
    // what happened at the last edge
    output logic [9:0]                event_o,
    output logic [65:0]               beat_o,
    output logic [EpW-1:0]            place_ep_o,
    output logic [7:0]                reason_o,
    output logic [15:0]               number_o,
    output logic [LenW-1:0]           len_o,
    output logic [FrameW-1:0]         done_slot_o,
    output logic [28:0]               posted_o,
    output logic [57:0]               data_lane_o,
    output logic [57:0]               cpl_lane_o,
    input  wire logic [EpW-1:0]       status_ep_i,
    output logic [31:0]               status_index_o,
    output logic                      status_busy_o
);
  typedef struct packed {
    rx_ctrl_t        ctrl;
    logic [4*64-1:0] bases;
  } setup_t;

  // words as the bench knows them
  function automatic logic [63:0] content(input logic [63:0] place);
    content = (place + 64'd1) * 64'h9E37_79B9_7F4A_7C15;
    content = (content ^ (content >> 29)) * 64'hBF58_476D_1CE4_E5B9;
    content = content ^ (content >> 32);
  endfunction

  logic [63:0] rx_mem[RxBufferWords];
  logic [63:0] frame_mem[FrameSlots*FrameWords];
  setup_t      setup_q[Endpoints];
  rx_ctrl_t    place_ctrl, rq_ctrl;
  rx_job_t     wire_job, job;
  rx_word_t    word;
  rx_segment_t placed, segment;
  rx_copy_t    word_copy, sum_copy, out_copy, hash_copy_q;
  rx_drop_e    reason;
  posted_t     posted;
  tlp_beat_t   tx;
  fc_t         fc;
  cpl_t        cpl;
  mrd_t        mrd;
  trace_lane_t data_lane, cpl_lane;
  logic        wire_ready, sibling_ready, entry_valid, take, piece_valid, piece_ready, segment_valid, segment_ready;
  logic        grant, drop, wire_done, sibling_done, word_valid, word_first, word_last, sum_done, hash_busy, hash_done;
  logic        place_begin, place_drop;
  logic        formed, out_first, out_last, write_valid, write_next, write_done, tx_valid, framing_q, rss_rd, rss_wr;
  logic [EpW-1:0]  place_ep, rq_ep;
  logic [EpW:0]    place_ring;
  logic [3:0]      place_log2;
  logic [2:0]      ahead, take_count, kind;
  logic [15:0]     index, number, sum, hash_sum_q, fetch_index;
  logic [63:0]     entry_addr, rx_data_q, frame_data_q, sum_word, write_data, cycle_q;
  logic [LenW-1:0] len;
  logic [RxBufferW-1:0]  rx_addr;
  logic [FrameAddrW-4:0] frame_addr;
  logic [FrameW-1:0]     done_slot;
  logic [64*11-1:0]      header;
  logic [319:0]    key;
  logic [31:0]     hash;
  logic [1:0]      rss_queue, rq, rx_queue;
  logic [3:0]      source_valid, source_next, source_done;
  mwr_t            source[4];
  mwr_t            write;
  logic [63:0]     source_data[4];
  logic [5:0]      other_tag_q;
  logic            rst_q, entry_valid_out, under_way_q;

  always_ff @(posedge clk_i) begin
    cycle_q <= rst_i ? 64'hFFFF_F000 : cycle_q + 64'd1;
    rx_data_q    <= rx_mem[rx_addr];
    frame_data_q <= frame_mem[frame_addr];
    if (rst_i && !rst_q) begin
      for (int unsigned w = 0; w < RxBufferWords; w++) rx_mem[w] <= content(64'(w));
      for (int unsigned w = 0; w < FrameSlots * FrameWords; w++) frame_mem[w] <= content(64'h1_0000_0000 + 64'(w));
    end
    rst_q <= rst_i;
    if (setup_i) begin
      setup_q[setup_ep_i].bases <= bases_i;
      setup_q[setup_ep_i].ctrl  <= '{
          enable: enable_i, form: form_e'(0), mode: mode_e'(mode_i), rss: rss_i, queues: queues_i,
          small_log2: small_log2_i, big_log2: big_log2_i, buffer_log2: buffer_log2_i, rq_log2: rq_log2_i,
          small_max: small_max_i, max_frame: max_frame_i
      };
    end
  end
  assign place_ctrl = setup_q[place_ep].ctrl;
  assign rq_ctrl    = setup_q[rq_ep].ctrl;

  always_comb begin
    wire_job = '{sibling: 1'b0, slot: '0, base: wire_base_i, len: wire_len_i, number: wire_number_i, dest: wire_dest_i};
    job      = '{sibling: 1'b1, slot: sibling_slot_i, base: '0, len: sibling_len_i, number: sibling_number_i,
                 dest: sibling_dest_i};
    word      = '0;
    word.rx   = ring_i;
    word.pio  = ring_pio_i;
    word.addr = ring_addr_i;
    word.data = ring_data_i;
    word.be   = ring_be_i;
    fc        = '0;
    fc.ph     = ph_i;
    fc.pd     = pd_i;
    cpl       = '0;
    mrd       = '0;
  end

  myr_rx_ring u_rx_ring (
      .clk_i, .rst_i, .word_i(word), .start_i, .start_ep_i, .ring_i(place_ring), .log2_i(place_log2), .ahead_i(ahead),
      .index_o(index), .valid_o(entry_valid), .addr_o(entry_addr), .take_i(take), .take_count_i(take_count),
      .fetch_ring_i({status_ep_i, 1'b1}), .fetch_index_o(fetch_index), .status_ep_i, .status_index_o
  );

  myr_rx_place u_place (
      .clk_i, .rst_i, .wire_i(wire_job), .wire_valid_i, .wire_ready_o(wire_ready), .sibling_i(job), .sibling_valid_i,
      .sibling_ready_o(sibling_ready), .bus_i(8'h01), .bus_master_i, .vf_enable_i, .look_o(), .look_index_o(), .look_ready_i(1'b1), .window_i('0), .epoch_i(1'b0),
      .begin_o(place_begin), .end_o(place_drop), .end_epoch_o(), .checked_o(), .refusal_o(), .ep_o(place_ep),
      .ctrl_i(place_ctrl), .ring_o(place_ring), .log2_o(place_log2), .ahead_o(ahead), .index_i(index),
      .entry_valid_i(entry_valid), .entry_addr_i(entry_addr), .take_o(take), .take_count_o(take_count),
      .segment_o(placed), .segment_valid_o(piece_valid), .segment_ready_i(piece_ready), .grant_o(grant), .drop_o(drop),
      .reason_o(reason), .number_o(number), .len_o(len), .drop_ready_i
  );

  myr_fifo #(.Width($bits(rx_segment_t)), .Depth(8)) u_segments (
      .clk_i, .rst_i, .in_i(placed), .in_valid_i(piece_valid), .in_ready_o(piece_ready), .out_o(segment),
      .out_valid_o(segment_valid), .out_ready_i(segment_ready)
  );

  myr_dma_write u_write (
      .clk_i, .rst_i, .mps_256_i, .segment_i(segment), .segment_valid_i(segment_valid),
      .segment_ready_o(segment_ready), .rx_addr_o(rx_addr), .rx_data_i(rx_data_q), .frame_addr_o(frame_addr),
      .frame_data_i(frame_data_q), .wire_done_o(wire_done), .sibling_done_o(sibling_done), .done_slot_o(done_slot),
      .word_valid_o(word_valid), .word_first_o(word_first), .word_last_o(word_last), .word_o(sum_word),
      .word_copy_o(word_copy), .hash_busy_i(sum_done || hash_busy), .formed_i(formed), .mwr_valid_o(source_valid[3]),
      .mwr_o(source[3]), .mwr_data_o(source_data[3]), .mwr_next_i(source_next[3]), .mwr_done_i(source_done[3]),
      .mwr_copy_o(out_copy), .mwr_first_o(out_first), .mwr_last_o(out_last)
  );

  myr_rx_sum u_rx_sum (
      .clk_i, .rst_i, .valid_i(word_valid), .first_i(word_first), .last_i(word_last), .word_i(sum_word),
      .copy_i(word_copy), .done_o(sum_done), .sum_o(sum), .header_o(header), .copy_o(sum_copy)
  );

  always_ff @(posedge clk_i) if (sum_done) begin
    hash_copy_q <= sum_copy;
    hash_sum_q  <= sum;
  end

  myr_toeplitz u_toeplitz (
      .clk_i, .rst_i, .start_i(sum_done), .header_i(header), .len_i(sum_copy.len), .key_i(key), .busy_o(hash_busy),
      .done_o(hash_done), .hash_o(hash), .kind_o(kind)
  );

  assign rss_ack_o = rss_rd || rss_wr;
  myr_rss_table u_rss (
      .clk_i, .rst_i, .req_i(rss_req_i), .write_i(rss_write_i), .addr_i(rss_addr_i), .data_i(rss_data_i),
      .rd_ack_o(rss_rd), .wr_ack_o(rss_wr), .data_o(rss_data_o), .key_ep_i(sum_copy.ep), .key_o(key),
      .queue_ep_i(hash_copy_q.ep), .hash_i(hash[6:0]), .queue_o(rss_queue)
  );
  assign rx_queue = (hash_copy_q.rss && kind != 3'd0 && rss_queue <= hash_copy_q.queues) ? rss_queue : 2'd0;

  myr_rx_completion u_rx_completion (
      .clk_i, .rst_i, .cycle_i(cycle_q), .result_valid_i(hash_done), .result_copy_i(hash_copy_q),
      .result_sum_i(hash_sum_q), .result_hash_i(hash), .result_kind_i(kind), .result_queue_i(rx_queue),
      .written_i(source_done[3] && out_last), .formed_o(formed), .place_i(place_begin), .drop_i(place_drop),
      .place_ep_i(place_ep), .start_i, .start_ep_i, .bus_i(8'h01), .bus_master_i, .vf_enable_i, .look_o(), .look_index_o(), .look_ready_i(1'b1), .window_i('0), .epoch_i(1'b0),
      .begin_o(), .end_o(), .end_epoch_o(), .checked_o(), .refusal_o(), .ep_o(rq_ep), .queue_o(rq), .ctrl_i(rq_ctrl),
      .base_i(setup_q[rq_ep].bases[{rq, 6'd0} +: 64]), .mwr_valid_o(entry_valid_out), .mwr_o(source[2]),
      .mwr_data_o(source_data[2]), .mwr_next_i(source_next[2]), .mwr_done_i(source_done[2]), .posted_o(posted),
      .data_out_o(data_lane), .cpl_out_o(cpl_lane), .status_ep_i, .status_busy_o
  );

  assign source_valid[2]   = entry_valid_out && (!hold_i || under_way_q);
  always_ff @(posedge clk_i) under_way_q <= write_valid && write.tag[7:6] == 2'd2 && !write_done && !rst_i;
  assign source_valid[1:0] = {1'b0, other_i};
  assign source[1]         = '0;
  assign source_data[1]    = '0;
  assign source_data[0]    = {32'd0, 32'hA500_0030};
  assign source[0]         = '{rid: 16'h0100, tag: {2'd3, other_tag_q}, addr: 64'hFEE0_1000, dws: 10'd1, first_be: 4'hF,
                               last_be: 4'h0};
  always_ff @(posedge clk_i) other_tag_q <= rst_i ? '0 : other_tag_q + 6'(source_done[0]);

  myr_mwr_arb u_writes (
      .clk_i, .rst_i, .valid_i(source_valid), .mwr_i(source), .data_i(source_data), .next_o(source_next),
      .done_o(source_done), .valid_o(write_valid), .mwr_o(write), .data_o(write_data), .next_i(write_next),
      .done_i(write_done)
  );

  myr_tlp_tx u_tx (
      .clk_i, .rst_i, .tx_o(tx), .tx_valid_o(tx_valid), .tx_ready_i(ready_i && !framing_q), .fc_i(fc), .bus_i(8'h01),
      .cpl_i(cpl), .cpl_valid_i(1'b0), .cpl_ready_o(), .mwr_valid_i(write_valid), .mwr_i(write),
      .mwr_data_i(write_data), .mwr_next_o(write_next), .mwr_done_o(write_done), .mrd_i(mrd), .mrd_valid_i(1'b0),
      .mrd_ready_o(), .mrd_sent_o(), .mrd_sent_fetch_o(), .mrd_sent_rx_o(), .mrd_sent_first_o(), .mrd_sent_ep_o(),
      .mrd_sent_index_o(), .mrd_sent_len_o()
  );

  always_ff @(posedge clk_i) begin
    framing_q <= framing_i && tx_valid && ready_i && !framing_q && tx.last;
    event_o   <= rst_i ? '0 : {
        cpl_lane.valid, data_lane.valid, posted.valid, sibling_valid_i && sibling_ready, wire_valid_i && wire_ready,
        sibling_done, wire_done, drop, grant, tx_valid && ready_i && !framing_q
    };
    beat_o      <= tx;
    place_ep_o  <= place_ep;
    reason_o    <= reason;
    number_o    <= number;
    len_o       <= len;
    done_slot_o <= done_slot;
    posted_o    <= {posted.ep, posted.cq, posted.index, posted.count};
    data_lane_o <= {data_lane.age, data_lane.endpoint, data_lane.index, data_lane.info};
    cpl_lane_o  <= {cpl_lane.age, cpl_lane.endpoint, cpl_lane.index, cpl_lane.info};
  end

`ifndef SYNTHESIS
  logic first_q;  // the next payload write is a copy's first
  always_ff @(posedge clk_i) begin
    if (source_done[3]) first_q <= out_last;
    if (rst_i) first_q <= 1'b1;
    if (!rst_i) begin
      if (source_done[3]) assert (out_first == first_q && out_copy.len != '0)
        else $error("receive_bench: a write is not its copy's first, or is");
      assert (fetch_index == status_index_o[31:16]) else $error("receive_bench: the fetch engine sees another index");
    end
  end
`endif
endmodule
`default_nettype wire
