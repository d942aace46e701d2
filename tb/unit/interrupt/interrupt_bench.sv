`default_nettype none
/// `myr_interrupt` and `myr_msix` together, behind plain ports.
module interrupt_bench
  import myr_pkg::*;
  import myr_abi_pkg::*;
  import myr_nic_pkg::*;
(
    input  wire logic                 clk_i,
    input  wire logic                 rst_i,
    input  wire logic                 req_i,
    input  wire logic                 msix_i,
    input  wire logic                 write_i,
    input  wire logic [10:0]          addr_i,
    input  wire logic [31:0]          data_i,
    output logic                      ack_o,
    output logic [31:0]               data_o,
    input  wire logic [1:0]           capability_i,
    input  wire logic                 bus_master_i,
    input  wire logic                 vf_enable_i,
    input  wire logic [Endpoints-1:0] native_i,
    input  wire logic [Endpoints-1:0] enable_i,
    input  wire logic                 start_i,
    input  wire logic [EpW-1:0]       start_ep_i,
    input  wire posted_t              send_i,
    input  wire posted_t              recv_i,
    input  wire arm_t                 arm_i,
    output logic [Endpoints-1:0]      fire_o,
    output logic                      mwr_valid_o,
    output mwr_t                      mwr_o,
    output logic [63:0]               mwr_data_o,
    input  wire logic                 mwr_done_i,
    output trace_lane_t               irq_out_o
);
  logic [63:0]    cycle_q;
  logic [EpW-1:0] ep;
  ep_ctrl_t       ctrl;
  logic           irq_rd, irq_wr, msix_rd, msix_wr;
  logic [31:0]    irq_data, msix_data;

  always_ff @(posedge clk_i) cycle_q <= rst_i ? 64'hFFFF_F000 : cycle_q + 64'd1;

  always_comb begin
    ctrl      = '0;
    ctrl.mode = native_i[ep] ? ModeNative : ModeIommu;
  end

  assign ack_o  = irq_rd || irq_wr || msix_rd || msix_wr;
  assign data_o = msix_rd ? msix_data : irq_data;

  myr_interrupt u_interrupt (
      .clk_i, .rst_i, .cycle_i(cycle_q), .req_i(req_i && !msix_i), .write_i, .addr_i(addr_i[7:0]), .data_i,
      .rd_ack_o(irq_rd), .wr_ack_o(irq_wr), .data_o(irq_data), .enable_i, .start_i, .start_ep_i, .send_i, .recv_i,
      .arm_i, .fire_o
  );

  myr_msix u_msix (
      .clk_i, .rst_i, .req_i(req_i && msix_i), .write_i, .addr_i, .data_i, .rd_ack_o(msix_rd), .wr_ack_o(msix_wr),
      .data_o(msix_data), .msix_enable_i(capability_i[1]), .msix_mask_i(capability_i[0]), .bus_i(8'h01), .bus_master_i,
      .vf_enable_i, .ep_o(ep), .ctrl_i(ctrl), .fire_i(fire_o), .mwr_valid_o, .mwr_o, .mwr_data_o, .mwr_done_i, .irq_out_o
  );
endmodule
`default_nettype wire
