`default_nettype none
/// Descriptor fetch: after a doorbell, reads up to FetchBatch descriptors at once from the ring in guest memory.
/// One read is outstanding for each endpoint; reads of all endpoints overlap, and none waits for payload.
module myr_fetch
  import myr_abi_pkg::*;
  import myr_nic_pkg::*;
#(
    /// Rings of an endpoint: 1 for send rings, 2 (small, big) for receive rings.
    parameter int unsigned PerEp = 1,
    /// Bytes of a descriptor, log2.
    parameter int unsigned BytesLog2 = 4,
    /// Descriptors of one read at most.
    parameter int unsigned Batch = FetchBatch,
    /// Bits of a descriptor's number in the ring SRAM.
    parameter int unsigned IdxW = SlotIdxW,
    /// Dependent, do not set.
    localparam int unsigned Rings = Endpoints * PerEp,
    /// Dependent, do not set.
    localparam int unsigned RingW = $clog2(Rings)
) (
    /// Clock.
    input  wire logic                 clk_i,
    /// Synchronous reset.
    input  wire logic                 rst_i,
    /// The device executes requests.
    input  wire logic                 enable_i,
    /// Enabled endpoints of the fetched form.
    input  wire logic [Endpoints-1:0] fetched_form_i,
    /// Max_Read_Request_Size code.
    input  wire logic [2:0]           mrrs_i,
    /// Doorbell.
    input  wire doorbell_t            doorbell_i,
    /// Set-up of the doorbell's endpoint.
    input  wire ep_ctrl_t             doorbell_ctrl_i,
    /// The doorbell names more descriptors than the ring holds and was ignored.
    output logic                      doorbell_bad_o,
    /// An endpoint is being enabled: its indices restart.
    input  wire logic                 start_i,
    /// Which.
    input  wire logic [EpW-1:0]       start_ep_i,
    /// Ring whose set-up is needed.
    output logic [RingW-1:0]          ring_o,
    /// Its set-up.
    input  wire ep_ctrl_t             ctrl_i,
    /// Its ring in guest memory.
    input  wire logic [63:0]          base_i,
    /// Its next descriptor to execute.
    input  wire logic [15:0]          consumer_i,
    /// Descriptors from there on that are needed before the executor looks again.
    input  wire logic [7:0]           need_i,
    /// A chain of this endpoint is done with: there may be room to fetch ahead again.
    input  wire logic                 finish_i,
    /// Which.
    input  wire logic [RingW-1:0]     finish_ring_i,
    /// Read to be made.
    output dma_req_t                  req_o,
    /// It is offered.
    output logic                      req_valid_o,
    /// It is taken.
    input  wire logic                 req_ready_i,
    /// A read has ended (when `fetch`).
    input  wire read_done_t           done_i,
    /// Endpoint being looked at by the ring side.
    input  wire logic [RingW-1:0]     look_ring_i,
    /// Index after its last fetched descriptor.
    output logic [15:0]               look_fetched_o,
    /// Its fetch has failed.
    output logic                      look_failed_o,
    /// Endpoint whose chain the executor looks at.
    input  wire logic [RingW-1:0]     exec_ring_i,
    /// Index after its last fetched descriptor.
    output logic [15:0]               exec_fetched_o,
    /// Its fetch has failed.
    output logic                      exec_failed_o,
    /// Endpoint being read back.
    input  wire logic [EpW-1:0]       status_ep_i,
    /// Its producer index.
    output logic [15:0]               status_producer_o,
    /// It has a fetch outstanding.
    output logic                      status_busy_o
);
  logic [15:0] producer_q[Rings];
  logic [15:0] fetched_q[Rings];
  logic [Rings-1:0] want_q, busy_q, failed_q, allowed;
  logic [RingW-1:0] done_ring, rung;
  logic             done;

  logic           pick_valid, pick_take, skip;
  logic [RingW-1:0] pick;
  dma_req_t       req_q, req_d;
  logic           req_valid_q;
  logic [15:0]    todo, mask, to_end, to_bound, count;
  logic [12:0]    read_max;
  logic [63:0]    addr;
  logic [15:0]    ahead;

  always_comb begin
    allowed = '0;
    if (|want_q) for (int unsigned r = 0; r < Rings; r++) allowed[r] = fetched_form_i[r / PerEp];
  end

  assign done = done_i.valid && done_i.fetch && done_i.rx == (PerEp > 1);
  if (PerEp > 1) begin : gen_pair
    assign done_ring = {done_i.ep, done_i.slot[0]};
    assign rung      = {doorbell_i.ep, doorbell_i.big};
  end else begin : gen_one
    assign done_ring = done_i.ep;
    assign rung      = doorbell_i.ep;
  end

  myr_rr_arb #(.N(Rings)) u_pick (
      .clk_i, .rst_i, .req_i(enable_i ? want_q & ~busy_q & ~failed_q & allowed : '0), .take_i(pick_take),
      .valid_o(pick_valid), .id_o(pick)
  );
  assign ring_o    = pick;
  assign pick_take = pick_valid && (!req_valid_q || req_ready_i);

  always_comb begin
    todo    = producer_q[pick] - fetched_q[pick];
    mask    = (16'd1 << ctrl_i.send_log2) - 16'd1;
    to_end  = mask + 16'd1 - (fetched_q[pick] & mask);
    addr    = {base_i[63:4], 4'd0} + (64'(fetched_q[pick] & mask) << BytesLog2);
    // one MRd: up to the next boundary of Max_Read_Request_Size
    read_max = 13'd128 << mrrs_i;
    to_bound = {3'd0, read_max - (addr[12:0] & (read_max - 13'd1))} >> BytesLog2;
    count   = todo;
    if (count > to_end) count = to_end;
    if (count > to_bound) count = to_bound;
    if (count > 16'(Batch)) count = 16'(Batch);
    req_d = '{fetch: 1'b1, rx: PerEp > 1, ep: EpW'(pick >> (RingW - EpW)), mode: ctrl_i.mode,
              slot: (PerEp > 1) ? FrameW'(pick[0]) : '0, first: 1'b0, index: fetched_q[pick], addr: addr,
              len: LenW'(count << BytesLog2),
              dest: 21'({pick, fetched_q[pick][IdxW-1:0] & mask[IdxW-1:0]}) << BytesLog2};
  end

  // nothing new (a doorbell may say the same twice), or far enough ahead: descriptors that nobody waits for would
  // only delay payload on the bus
  assign skip        = todo == 16'd0 || (fetched_q[pick] - consumer_i) >= 16'(2 * Batch) + 16'(need_i) - 16'd1;
  assign req_o       = req_q;
  assign req_valid_o = req_valid_q;
  // more descriptors than the ring holds would overwrite slots that are not executed yet
  assign ahead          = doorbell_i.producer - fetched_q[rung];
  assign doorbell_bad_o = doorbell_i.valid && ahead > (16'd1 << doorbell_ctrl_i.send_log2);

  always_ff @(posedge clk_i) begin
    if (req_ready_i) req_valid_q <= 1'b0;
    if (pick_take && skip) want_q[pick] <= 1'b0;
    if (pick_take && !skip) begin
      req_q        <= req_d;
      req_valid_q  <= 1'b1;
      busy_q[pick] <= 1'b1;
    end
    if (finish_i && producer_q[finish_ring_i] != fetched_q[finish_ring_i]) want_q[finish_ring_i] <= 1'b1;
    if (doorbell_i.valid && !doorbell_bad_o) begin
      producer_q[rung] <= doorbell_i.producer;
      want_q[rung]     <= 1'b1;
    end
    if (done) begin
      busy_q[done_ring] <= 1'b0;
      if (done_i.status == StatusOk) begin
        fetched_q[done_ring] <= fetched_q[done_ring] + 16'(done_i.count);
        if (!(doorbell_i.valid && rung == done_ring))
          want_q[done_ring] <= producer_q[done_ring] != fetched_q[done_ring] + 16'(done_i.count);
      end else failed_q[done_ring] <= 1'b1;
    end
    if (start_i) begin
      for (int unsigned g = 0; g < PerEp; g++) begin
        producer_q[RingW'(start_ep_i) * RingW'(PerEp) + RingW'(g)] <= '0;
        fetched_q[RingW'(start_ep_i) * RingW'(PerEp) + RingW'(g)]  <= '0;
        want_q[RingW'(start_ep_i) * RingW'(PerEp) + RingW'(g)]     <= 1'b0;
        failed_q[RingW'(start_ep_i) * RingW'(PerEp) + RingW'(g)]   <= 1'b0;
      end
    end
    if (rst_i) begin
      want_q      <= '0;
      busy_q      <= '0;
      failed_q    <= '0;
      req_valid_q <= 1'b0;
    end
  end

  assign look_fetched_o    = fetched_q[look_ring_i];
  assign look_failed_o     = failed_q[look_ring_i];
  assign exec_fetched_o    = fetched_q[exec_ring_i];
  assign exec_failed_o     = failed_q[exec_ring_i];
  assign status_producer_o = producer_q[RingW'(status_ep_i) * RingW'(PerEp)];
  assign status_busy_o     = |busy_q[RingW'(status_ep_i) * RingW'(PerEp) +: PerEp];

`ifndef SYNTHESIS
  always_ff @(posedge clk_i)
    if (!rst_i && pick_take && !skip) begin
      assert (count != 16'd0) else $error("myr_fetch: a fetch of no descriptor");
      assert ({1'b0, addr[11:0]} + (13'(count) << BytesLog2) <= 13'd4096) else $error("myr_fetch: a fetch crosses a page");
    end
`endif
endmodule
`default_nettype wire
