`default_nettype none
/// The protocol checkers by themselves, on pins that the main program drives.
module checker_bench
  import myr_pkg::*;
  import myr_nic_pkg::*;
  import myr_check_pkg::*;
(
    /// Clock, reset, the checkers are on.
    input wire logic        clk,
    input wire logic        rst,
    input wire logic        enable,
    /// Any stream.
    input wire logic        valid,
    input wire logic        ready,
    input wire logic [7:0]  data,
    /// From the device, towards it, and from the IOMMU to the root complex: a beat moves, and it is {last, half, data}.
    input wire logic        up_moved,
    input wire logic        up_last,
    input wire logic        up_half,
    input wire logic [63:0] up_data,
    input wire logic        dn_moved,
    input wire logic        dn_last,
    input wire logic        dn_half,
    input wire logic [63:0] dn_data,
    input wire logic        mem_moved,
    input wire logic        mem_last,
    input wire logic        mem_half,
    input wire logic [63:0] mem_data,
    /// Cycles after which a tag may be given up.
    input wire logic [63:0] timeout,
    /// Limits granted to the device (fc_t).
    input wire logic [39:0] limit,
    /// Of the NIC: entries visible (posted_t without `valid`: {ep, cq, index, count}), refused, arming, restart, interrupt.
    input wire logic        send_posted,
    input wire logic        recv_posted,
    input wire logic [5:0]  ep,
    input wire logic [2:0]  cq,
    input wire logic [15:0] index,
    input wire logic [3:0]  count,
    input wire logic        refused,
    input wire logic        arm,
    input wire logic        start,
    input wire logic        irq,
    /// Line from the NIC.
    input wire logic        tx_valid,
    input wire logic        tx_first,
    input wire logic        tx_last,
    input wire logic [3:0]  tx_bytes,
    input wire logic [63:0] tx_data,
    /// Line towards it, and its verdict.
    input wire logic        rx_valid,
    input wire logic        rx_first,
    input wire logic        rx_last,
    input wire logic [3:0]  rx_bytes,
    input wire logic        rx_error,
    input wire logic [63:0] rx_data,
    input wire logic        judged,
    input wire logic        bad
);
  localparam int unsigned IdleCycles = 128;

  logic [63:0] cycle_q;
  always_ff @(posedge clk) cycle_q <= rst ? '0 : cycle_q + 64'd1;

  tlp_beat_t up, dn, mem;
  assign up  = '{last: up_last, half: up_half, data: up_data};
  assign dn  = '{last: dn_last, half: dn_half, data: dn_data};
  assign mem = '{last: mem_last, half: mem_half, data: mem_data};

  head_t   up_head, dn_head, mem_head;
  limits_t limits;
  posted_t posted[2];
  arm_t    arming;
  assign posted[0] = '{valid: send_posted, ep: ep, cq: cq, index: index, count: count};
  assign posted[1] = '{valid: recv_posted, ep: ep, cq: cq, index: index, count: count};
  assign arming    = '{valid: arm, ep: ep, cq: cq, index: index};

  myr_check_stream #(.T(logic [7:0]), .Stream("any")) u_stream (
      .clk_i(clk), .rst_i(rst), .enable_i(enable), .cycle_i(cycle_q), .valid_i(valid), .ready_i(ready), .data_i(data));
  myr_check_config u_config (.clk_i(clk), .rst_i(rst), .head_i(dn_head), .limits_o(limits));
  myr_check_tlp #(.Stream("up")) u_up (
      .clk_i(clk), .rst_i(rst), .enable_i(enable), .cycle_i(cycle_q), .limits_i(limits), .beat_i(up), .moved_i(up_moved),
      .head_o(up_head));
  myr_check_tlp #(.Stream("dn"), .Upstream(1'b0)) u_dn (
      .clk_i(clk), .rst_i(rst), .enable_i(enable), .cycle_i(cycle_q), .limits_i(limits), .beat_i(dn), .moved_i(dn_moved),
      .head_o(dn_head));
  myr_check_tlp #(.Stream("mem"), .Translated(1'b1)) u_mem (
      .clk_i(clk), .rst_i(rst), .enable_i(enable), .cycle_i(cycle_q), .limits_i(limits), .beat_i(mem), .moved_i(mem_moved),
      .head_o(mem_head));
  myr_check_completion #(.Stream("up to dn")) u_reads (
      .clk_i(clk), .rst_i(rst), .enable_i(enable), .cycle_i(cycle_q), .timeout_i(timeout), .request_i(up_head),
      .completion_i(dn_head));
  myr_check_completion #(.Stream("dn to up")) u_accesses (
      .clk_i(clk), .rst_i(rst), .enable_i(enable), .cycle_i(cycle_q), .timeout_i('1), .request_i(dn_head),
      .completion_i(up_head));
  myr_check_credit #(.Stream("up"), .IdleCycles(IdleCycles)) u_credit (
      .clk_i(clk), .rst_i(rst), .enable_i(enable), .cycle_i(cycle_q), .prompt_i(1'b1), .beat_i(up), .moved_i(up_moved),
      .limit_i(limit));
  myr_check_order #(.Stream("up to mem")) u_order (
      .clk_i(clk), .rst_i(rst), .enable_i(enable), .cycle_i(cycle_q), .sent_i(up_head), .beat_i(up), .moved_i(up_moved),
      .passed_i(mem_head), .posted_i(posted), .refused_i({2{refused}}), .arm_i(arming), .start_i(start), .start_ep_i(ep),
      .interrupt_i(irq), .interrupt_ep_i(ep));
  myr_check_ethernet #(.Stream("tx")) u_tx (
      .clk_i(clk), .rst_i(rst), .enable_i(enable), .cycle_i(cycle_q), .valid_i(tx_valid), .first_i(tx_first),
      .last_i(tx_last), .bytes_i(tx_bytes), .error_i(1'b0), .data_i(tx_data), .judged_i(1'b0), .bad_i(1'b0));
  myr_check_ethernet #(.Stream("rx"), .Receive(1'b1)) u_rx (
      .clk_i(clk), .rst_i(rst), .enable_i(enable), .cycle_i(cycle_q), .valid_i(rx_valid), .first_i(rx_first),
      .last_i(rx_last), .bytes_i(rx_bytes), .error_i(rx_error), .data_i(rx_data), .judged_i(judged), .bad_i(bad));
endmodule
`default_nettype wire
