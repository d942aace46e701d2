`default_nettype none
/// The control queue with the register block, the endpoints' table and their state behind it, as the NIC joins them. Every
/// other table answers a read with its number and the address that it is given, `table_delay_i` cycles late.
module control_bench
  import myr_abi_pkg::*;
  import myr_nic_pkg::*;
#(
    localparam int unsigned Tables = 7
) (
    input  wire logic               clk_i,
    input  wire logic               rst_i,
    // queue
    input  wire logic               ctl_valid_i,
    input  wire ctl_req_t           ctl_i,
    output logic                    posted_done_o,
    output logic                    np_done_o,
    output logic                    np_data_o,
    output cpl_t                    cpl_o,
    output logic                    cpl_valid_o,
    input  wire logic               cpl_ready_i,
    // configuration space
    output logic                    cfg_write_o,
    output logic [11:0]             cfg_addr_o,
    output logic [3:0]              cfg_be_o,
    output logic [31:0]             cfg_data_o,
    output logic [7:0]              cfg_bus_o,
    input  wire logic [31:0]        cfg_data_i,
    // other tables: one bit for a write that has come there
    input  wire logic [2:0]         table_delay_i,
    output logic [Tables-1:0]       table_write_o,
    output logic [17:0]             table_addr_o,
    output logic [31:0]             table_data_o,
    // registers that hardware sets
    input  wire refusal_t           refusal_i,
    input  wire logic               overflow_i,
    input  wire logic               fence_busy_i,
    input  wire logic [15:0]        fences_i,
    input  wire logic               frame_i,
    input  wire logic [63:0]        cycle_i,
    output logic                    enabled_o,
    output logic                    fence_start_o,
    // endpoints: what is looked up
    input  wire logic [EpW-1:0]     look_ep_i,
    input  wire logic               look_big_i,
    input  wire logic [1:0]         look_queue_i,
    output ep_ctrl_t                look_ctrl_o,
    output logic                    look_same_o,
    output logic [63:0]             look_send_base_o,
    output logic [63:0]             look_cq_base_o,
    output rx_ctrl_t                look_rx_ctrl_o,
    output logic [63:0]             look_rq_base_o,
    output ep_ctrl_t                look_ring_ctrl_o,
    output logic [63:0]             look_ring_base_o,
    output logic                    look_halted_o,
    output logic [Endpoints-1:0]    enable_o,
    output logic [Endpoints-1:0]    pushed_o,
    output logic [Endpoints-1:0]    fetched_o,
    output logic [Endpoints-1:0]    rx_pushed_o,
    output logic [Endpoints-1:0]    rx_fetched_o,
    output logic [Endpoints-1:0]    stale_o,
    output logic                    start_o,
    output logic [EpW-1:0]          start_ep_o,
    // ... and what becomes of them
    input  wire logic               alloc_i,
    input  wire logic [EpW-1:0]     alloc_ep_i,
    input  wire logic               retire_i,
    input  wire logic [EpW-1:0]     retire_ep_i,
    input  wire logic [3:0]         retire_count_i,
    input  wire logic               silent_i,
    input  wire logic [EpW-1:0]     silent_ep_i,
    input  wire logic               halt_i,
    input  wire logic [EpW-1:0]     halt_ep_i,
    input  wire logic               halt_stale_i,
    input  wire logic               rx_stale_i,
    input  wire logic [EpW-1:0]     rx_stale_ep_i,
    input  wire logic               failed_i,
    input  wire logic [EpW-1:0]     failed_ep_i,
    input  wire status_e            failed_status_i
);
  localparam int unsigned AddrW = $clog2(NicControlWindowBase + NicControlWindowCount * NicControlWindowStride);

  logic                req, write, rd_ack, wr_ack, table_rd, table_wr, halted, busy;
  logic [ControlW-1:0] addr;
  logic [31:0]         data, rdata, biten, table_rdata;
  logic [3:0]          be;
  logic [EpW-1:0]      read_ep;
  logic                unused_rd_stall, unused_wr_stall, unused_rd_err, unused_wr_err;
  ep_ctrl_t            ctrl[7];
  rx_ctrl_t            rx_ctrl[2];
  ep_ctrl_t            ring_ctrl[2];
  myr_nic_regs_pkg::nic_control__in_t  hw_in;
  myr_nic_regs_pkg::nic_control__out_t hw_out;

  myr_control u_control (
      .clk_i, .rst_i, .ctl_i, .ctl_valid_i, .posted_done_o, .np_done_o, .np_data_o, .cpl_o, .cpl_valid_o, .cpl_ready_i,
      .cfg_write_o, .cfg_addr_o, .cfg_be_o, .cfg_data_o, .cfg_bus_o, .cfg_data_i, .reg_req_o(req), .reg_write_o(write),
      .reg_addr_o(addr), .reg_data_o(data), .reg_be_o(be), .reg_ack_i(rd_ack || wr_ack), .reg_data_i(rdata)
  );

  for (genvar b = 0; b < 4; b++) begin : gen_biten
    assign biten[8*b +: 8] = {8{be[b]}};
  end

  myr_nic_regs u_regs (
      .clk(clk_i), .rst(rst_i), .s_cpuif_req(req), .s_cpuif_req_is_wr(write), .s_cpuif_addr(addr[AddrW-1:0]),
      .s_cpuif_wr_data(data), .s_cpuif_wr_biten(biten), .s_cpuif_req_stall_wr(unused_wr_stall),
      .s_cpuif_req_stall_rd(unused_rd_stall), .s_cpuif_rd_ack(rd_ack), .s_cpuif_rd_err(unused_rd_err),
      .s_cpuif_rd_data(rdata), .s_cpuif_wr_ack(wr_ack), .s_cpuif_wr_err(unused_wr_err), .hwif_in(hw_in), .hwif_out(hw_out)
  );

  myr_endpoint_table u_table (
      .clk_i, .rst_i, .req_i(hw_out.EP_TABLE.req), .write_i(hw_out.EP_TABLE.req_is_wr), .addr_i(hw_out.EP_TABLE.addr),
      .data_i(hw_out.EP_TABLE.wr_data), .rd_ack_o(table_rd), .wr_ack_o(table_wr), .data_o(table_rdata), .enable_o,
      .pushed_o, .fetched_o, .start_o, .start_ep_o, .ring_ep_i(look_ep_i), .ring_ctrl_o(ctrl[0]), .exec_ep_i(look_ep_i),
      .exec_ctrl_o(ctrl[1]), .sched_ep_i(look_ep_i), .sched_ctrl_o(ctrl[2]), .fetch_ep_i(look_ep_i), .fetch_ctrl_o(ctrl[3]),
      .fetch_base_o(look_send_base_o), .doorbell_ep_i(look_ep_i), .doorbell_ctrl_o(ctrl[4]), .cq_ep_i(look_ep_i),
      .cq_ctrl_o(ctrl[5]), .cq_base_o(look_cq_base_o), .irq_ep_i(look_ep_i), .irq_ctrl_o(ctrl[6]), .place_ep_i(look_ep_i),
      .place_ctrl_o(rx_ctrl[0]), .rq_ep_i(look_ep_i), .rq_queue_i(look_queue_i), .rq_ctrl_o(rx_ctrl[1]),
      .rq_base_o(look_rq_base_o), .rx_fetch_ring_i({look_ep_i, look_big_i}), .rx_fetch_ctrl_o(ring_ctrl[0]),
      .rx_fetch_base_o(look_ring_base_o), .rx_doorbell_ring_i({look_ep_i, look_big_i}), .rx_doorbell_ctrl_o(ring_ctrl[1]),
      .rx_pushed_o, .rx_fetched_o, .rx_index_i({10'h155, read_ep, 10'h0AA, read_ep}), .read_ep_o(read_ep),
      .halted_i(halted), .busy_i(busy), .producer_i({10'h2A1, read_ep}), .consumer_i({10'h0F3, read_ep}),
      .cq_index_i({10'h1C7, read_ep}), .failed_i, .failed_ep_i, .failed_status_i, .stale_i(rx_stale_i),
      .stale_ep_i(rx_stale_ep_i)
  );

  myr_endpoint_state u_state (
      .clk_i, .rst_i, .alloc_i, .alloc_ep_i, .retire_i, .retire_ep_i, .retire_count_i, .silent_i, .silent_ep_i, .halt_i,
      .halt_ep_i, .halt_stale_i, .rx_stale_i, .rx_stale_ep_i, .start_i(start_o), .start_ep_i(start_ep_o), .stale_o,
      .look_ep_i, .look_halted_o, .status_ep_i(read_ep), .status_halted_o(halted), .status_busy_o(busy)
  );

  // all users of the table must see the same
  assign look_ctrl_o      = ctrl[0];
  assign look_rx_ctrl_o   = rx_ctrl[0];
  assign look_ring_ctrl_o = ring_ctrl[0];
  always_comb begin
    look_same_o = rx_ctrl[0] == rx_ctrl[1] && ring_ctrl[0] == ring_ctrl[1];
    for (int unsigned n = 1; n < 7; n++) look_same_o = look_same_o && ctrl[n] == ctrl[0];
  end

  // ---- tables that are not here ------------------------------------------------------------------
  logic [Tables-1:0] reqs, which_q;
  logic              any, any_write, pending_q, write_q, answer;
  logic [17:0]       at, at_q;
  logic [2:0]        left_q;

  assign reqs = {hw_out.WINDOW_TABLE.req, hw_out.RX_STATISTICS.req, hw_out.RSS_TABLE.req, hw_out.MSIX_TABLE.req,
                 hw_out.IRQ_TABLE.req, hw_out.GROUP_TABLE.req, hw_out.PORT_TABLE.req};
  assign any = |reqs;

  always_comb begin
    at        = '0;
    any_write = 1'b0;
    table_data_o = '0;
    unique case (1'b1)
      reqs[0]: begin at = 18'(hw_out.PORT_TABLE.addr); any_write = hw_out.PORT_TABLE.req_is_wr; table_data_o = hw_out.PORT_TABLE.wr_data; end
      reqs[1]: begin at = 18'(hw_out.GROUP_TABLE.addr); any_write = hw_out.GROUP_TABLE.req_is_wr; table_data_o = hw_out.GROUP_TABLE.wr_data; end
      reqs[2]: begin at = 18'(hw_out.IRQ_TABLE.addr); any_write = hw_out.IRQ_TABLE.req_is_wr; table_data_o = hw_out.IRQ_TABLE.wr_data; end
      reqs[3]: begin at = 18'(hw_out.MSIX_TABLE.addr); any_write = hw_out.MSIX_TABLE.req_is_wr; table_data_o = hw_out.MSIX_TABLE.wr_data; end
      reqs[4]: begin at = 18'(hw_out.RSS_TABLE.addr); any_write = hw_out.RSS_TABLE.req_is_wr; table_data_o = hw_out.RSS_TABLE.wr_data; end
      reqs[5]: begin at = 18'(hw_out.RX_STATISTICS.addr); any_write = hw_out.RX_STATISTICS.req_is_wr; table_data_o = hw_out.RX_STATISTICS.wr_data; end
      reqs[6]: begin at = 18'(hw_out.WINDOW_TABLE.addr); any_write = hw_out.WINDOW_TABLE.req_is_wr; table_data_o = hw_out.WINDOW_TABLE.wr_data; end
      default: ;
    endcase
  end
  assign table_write_o = any_write ? reqs : '0;
  assign table_addr_o  = at;
  assign answer        = pending_q && left_q == 3'd0;

  always_ff @(posedge clk_i) begin
    if (any) begin
      pending_q <= 1'b1;
      which_q   <= reqs;
      write_q   <= any_write;
      at_q      <= at;
      left_q    <= table_delay_i;
    end else if (answer) pending_q <= 1'b0;
    else left_q <= left_q - 3'd1;
    if (rst_i) pending_q <= 1'b0;
  end

  // ---- what hardware sets ----------------------------------------------------------------------
  logic [31:0] told;
  assign told = {7'(which_q), 7'd0, at_q};

  always_comb begin
    hw_in = '{default: '0};
    hw_in.CYCLE_LO.lo.next       = cycle_i[31:0];
    hw_in.CYCLE_HI.hi.next       = cycle_i[63:32];
    hw_in.FRAMES.count.incr      = frame_i;
    hw_in.REFUSAL.valid.hwset    = refusal_i.valid;
    hw_in.REFUSAL.overflow.hwset = overflow_i;
    hw_in.REFUSAL.write          = '{next: refusal_i.write, we: refusal_i.valid};
    hw_in.REFUSAL.reason         = '{next: refusal_i.reason, we: refusal_i.valid};
    hw_in.REFUSAL.endpoint       = '{next: refusal_i.ep, we: refusal_i.valid};
    hw_in.REFUSAL_ADDRESS_LO.address = '{next: refusal_i.addr[31:0], we: refusal_i.valid};
    hw_in.REFUSAL_ADDRESS_HI.address = '{next: refusal_i.addr[63:32], we: refusal_i.valid};
    hw_in.FENCE.busy.next  = fence_busy_i;
    hw_in.FENCE.ended.next = fences_i;
    hw_in.EP_TABLE      = '{rd_ack: table_rd, rd_data: table_rdata, wr_ack: table_wr};
    hw_in.PORT_TABLE    = '{rd_ack: answer && which_q[0] && !write_q, rd_data: told, wr_ack: answer && which_q[0] && write_q};
    hw_in.GROUP_TABLE   = '{rd_ack: answer && which_q[1] && !write_q, rd_data: told, wr_ack: answer && which_q[1] && write_q};
    hw_in.IRQ_TABLE     = '{rd_ack: answer && which_q[2] && !write_q, rd_data: told, wr_ack: answer && which_q[2] && write_q};
    hw_in.MSIX_TABLE    = '{rd_ack: answer && which_q[3] && !write_q, rd_data: told, wr_ack: answer && which_q[3] && write_q};
    hw_in.RSS_TABLE     = '{rd_ack: answer && which_q[4] && !write_q, rd_data: told, wr_ack: answer && which_q[4] && write_q};
    hw_in.RX_STATISTICS = '{rd_ack: answer && which_q[5] && !write_q, rd_data: told, wr_ack: answer && which_q[5] && write_q};
    hw_in.WINDOW_TABLE  = '{rd_ack: answer && which_q[6] && !write_q, rd_data: told, wr_ack: answer && which_q[6] && write_q};
  end
  assign enabled_o     = hw_out.CTRL.enable.value;
  assign fence_start_o = hw_out.FENCE.start.value;
endmodule
`default_nettype wire
