`default_nettype none
/// The receiver of TLPs with the tags of outstanding reads, which it looks up and moves on within the cycle.
module tlp_rx_bench
  import myr_pkg::*;
  import myr_nic_pkg::*;
(
    input  wire logic                 clk_i,
    input  wire logic                 rst_i,
    input  wire tlp_beat_t            rx_i,
    input  wire logic                 rx_valid_i,
    output logic                      rx_ready_o,
    output fc_t                       fc_o,
    input  wire logic [63:22]         bar2_i,
    input  wire logic [63:ControlW]   bar4_i,
    input  wire logic                 mem_enable_i,
    input  wire logic [Endpoints-1:0] pushed_i,
    input  wire logic [Endpoints-1:0] fetched_i,
    input  wire logic [Endpoints-1:0] rx_pushed_i,
    input  wire logic [Endpoints-1:0] rx_fetched_i,
    // a read becomes outstanding
    input  wire logic                 set_i,
    input  wire logic [3:0]           set_tag_i,
    input  wire logic [15:0]          set_rid_i,
    input  wire logic                 set_fetch_i,
    input  wire logic                 set_rx_i,
    input  wire logic [20:0]          set_dest_i,
    input  wire logic [12:0]          set_left_i,
    input  wire logic [1:0]           set_lower_i,
    // what happened at the last edge
    output rx_word_t                  word_o,
    output ring_done_t                ring_done_o,
    output doorbell_t                 doorbell_o,
    output doorbell_t                 rx_doorbell_o,
    output arm_t                      arm_o,
    output logic [19:0]               cpl_o,       ///< valid, tag, last, late, status
    output ctl_req_t                  ctl_o,
    output logic [6:0]                event_o,     ///< unexpected, dropped, ctl, arm, rx_doorbell, doorbell, ring_done
    // control accesses are done
    input  wire logic                 posted_done_i,
    input  wire logic                 np_done_i,
    input  wire logic                 np_data_i
);
  import myr_abi_pkg::*;

  typedef struct packed {
    logic        valid;
    logic [15:0] rid;
    logic        fetch;
    logic        rx;
    logic [20:0] dest;
    logic [12:0] left;
    logic [1:0]  lower;
  } entry_t;

  entry_t      tag_q[16];
  entry_t      now;
  logic [7:0]  tag, cpl_tag;
  logic [15:0] rid;
  logic        advance, cpl_valid, cpl_last, cpl_late, ctl_valid, unexpected, dropped, unused_busy;
  logic [12:0] bytes;
  status_e     status;

  assign now     = tag_q[tag[3:0]];
  assign cpl_o   = {cpl_valid, cpl_tag, cpl_last, cpl_late, 9'(status)};
  assign event_o = {unexpected, dropped, ctl_valid, arm_o.valid, rx_doorbell_o.valid, doorbell_o.valid, ring_done_o.valid};

  myr_tlp_rx u_rx (
      .clk_i, .rst_i, .rx_i, .rx_valid_i, .rx_ready_o, .rx_fc_o(fc_o), .bar2_i, .bar4_i, .mem_enable_i, .pushed_i,
      .fetched_i, .rx_pushed_i, .rx_fetched_i, .tag_busy_o(unused_busy), .tag_o(tag), .tag_rid_o(rid),
      .tag_hit_i(tag < 8'd16 && now.valid && now.rid == rid), .tag_fetch_i(now.fetch), .tag_rx_i(now.rx),
      .tag_dest_i(now.dest), .tag_left_i(now.left), .tag_lower_i(now.lower), .tag_advance_o(advance),
      .tag_advance_bytes_o(bytes), .word_o, .ring_done_o, .doorbell_o, .rx_doorbell_o, .arm_o, .cpl_valid_o(cpl_valid),
      .cpl_tag_o(cpl_tag), .cpl_last_o(cpl_last), .cpl_status_o(status), .cpl_late_o(cpl_late), .ctl_o,
      .ctl_valid_o(ctl_valid), .ctl_posted_done_i(posted_done_i), .ctl_np_done_i(np_done_i), .ctl_np_data_i(np_data_i),
      .unexpected_o(unexpected), .dropped_o(dropped)
  );

  always_ff @(posedge clk_i) begin
    if (advance) begin
      tag_q[tag[3:0]].left  <= now.left - bytes;
      tag_q[tag[3:0]].dest  <= now.dest + 21'(bytes);
      tag_q[tag[3:0]].lower <= now.lower + bytes[1:0];
    end
    if (cpl_valid && cpl_last) tag_q[cpl_tag[3:0]].valid <= 1'b0;
    if (set_i) tag_q[set_tag_i] <= '{valid: 1'b1, rid: set_rid_i, fetch: set_fetch_i, rx: set_rx_i, dest: set_dest_i,
                                     left: set_left_i, lower: set_lower_i};
    if (rst_i) for (int unsigned t = 0; t < 16; t++) tag_q[t].valid <= 1'b0;
  end
endmodule
`default_nettype wire
