`default_nettype none
/// The fetch of descriptors with the set-up of its rings and the executor's place in each, which it looks up within the
/// cycle. The tables are the bench's to write.
module fetch_bench
  import myr_abi_pkg::*;
  import myr_nic_pkg::*;
#(
    parameter int unsigned PerEp = 1,
    parameter int unsigned BytesLog2 = 4,
    parameter int unsigned Batch = FetchBatch,
    parameter int unsigned IdxW = SlotIdxW,
    localparam int unsigned Rings = Endpoints * PerEp,
    localparam int unsigned RingW = $clog2(Rings)
) (
    input  wire logic                 clk_i,
    input  wire logic                 rst_i,
    input  wire logic                 enable_i,
    input  wire logic [Endpoints-1:0] fetched_form_i,
    input  wire logic [2:0]           mrrs_i,
    input  wire doorbell_t            doorbell_i,
    output logic                      doorbell_bad_o,
    input  wire logic                 start_i,
    input  wire logic [EpW-1:0]       start_ep_i,
    input  wire logic                 finish_i,
    input  wire logic [RingW-1:0]     finish_ring_i,
    output dma_req_t                  req_o,
    output logic                      req_valid_o,
    input  wire logic                 req_ready_i,
    input  wire read_done_t           done_i,
    input  wire logic [RingW-1:0]     look_ring_i,
    output logic [15:0]               look_fetched_o,
    output logic                      look_failed_o,
    output logic [15:0]               exec_fetched_o,
    output logic                      exec_failed_o,
    output logic [15:0]               status_producer_o,
    output logic                      status_busy_o
);
  ep_ctrl_t    ctrl_q[Rings];
  logic [63:0] base_q[Rings];
  logic [15:0] consumer_q[Rings];
  logic [7:0]  need_q[Rings];

  logic [RingW-1:0] ring, rung;
  if (PerEp > 1) begin : gen_pair
    assign rung = {doorbell_i.ep, doorbell_i.big};
  end else begin : gen_one
    assign rung = doorbell_i.ep;
  end

  myr_fetch #(.PerEp(PerEp), .BytesLog2(BytesLog2), .Batch(Batch), .IdxW(IdxW)) u_fetch (
      .clk_i, .rst_i, .enable_i, .fetched_form_i, .mrrs_i, .doorbell_i, .doorbell_ctrl_i(ctrl_q[rung]), .doorbell_bad_o,
      .start_i, .start_ep_i, .ring_o(ring), .ctrl_i(ctrl_q[ring]), .base_i(base_q[ring]), .consumer_i(consumer_q[ring]),
      .need_i(need_q[ring]), .finish_i, .finish_ring_i, .req_o, .req_valid_o, .req_ready_i, .done_i, .look_ring_i,
      .look_fetched_o, .look_failed_o, .exec_ring_i(look_ring_i), .exec_fetched_o, .exec_failed_o,
      .status_ep_i(EpW'(look_ring_i >> (RingW - EpW))), .status_producer_o, .status_busy_o
  );
endmodule
`default_nettype wire
