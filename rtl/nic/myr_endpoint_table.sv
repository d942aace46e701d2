`default_nettype none
/// What the hypervisor has set up for each endpoint, and what it reads back. The only writer is the control BAR.
module myr_endpoint_table
  import myr_abi_pkg::*;
  import myr_nic_pkg::*;
(
    /// Clock.
    input  wire logic                 clk_i,
    /// Synchronous reset: disables all endpoints.
    input  wire logic                 rst_i,
    /// Access strobe (PeakRDL external block).
    input  wire logic                 req_i,
    /// It is a write.
    input  wire logic                 write_i,
    /// Byte address in the table.
    input  wire logic [12:0]          addr_i,
    /// Write data.
    input  wire logic [31:0]          data_i,
    /// Read is answered.
    output logic                      rd_ack_o,
    /// Write is done.
    output logic                      wr_ack_o,
    /// Read data.
    output logic [31:0]               data_o,
    /// Bit of each endpoint: enabled.
    output logic [Endpoints-1:0]      enable_o,
    /// Bit of each endpoint: enabled in the pushed form.
    output logic [Endpoints-1:0]      pushed_o,
    /// Bit of each endpoint: enabled in the fetched form.
    output logic [Endpoints-1:0]      fetched_o,
    /// An endpoint goes from disabled to enabled in this cycle.
    output logic                      start_o,
    /// Which.
    output logic [EpW-1:0]            start_ep_o,
    /// Endpoint whose set-up the ring side needs.
    input  wire logic [EpW-1:0]       ring_ep_i,
    /// Its set-up.
    output ep_ctrl_t                  ring_ctrl_o,
    /// Endpoint whose set-up the executor needs.
    input  wire logic [EpW-1:0]       exec_ep_i,
    /// Its set-up.
    output ep_ctrl_t                  exec_ctrl_o,
    /// Endpoint whose set-up the scheduler's winner needs.
    input  wire logic [EpW-1:0]       sched_ep_i,
    /// Its set-up.
    output ep_ctrl_t                  sched_ctrl_o,
    /// Endpoint whose set-up the fetch engine needs.
    input  wire logic [EpW-1:0]       fetch_ep_i,
    /// Its set-up.
    output ep_ctrl_t                  fetch_ctrl_o,
    /// Its send ring in guest memory.
    output logic [63:0]               fetch_base_o,
    /// Endpoint whose set-up a doorbell needs.
    input  wire logic [EpW-1:0]       doorbell_ep_i,
    /// Its set-up.
    output ep_ctrl_t                  doorbell_ctrl_o,
    /// Endpoint whose set-up the completion writer needs.
    input  wire logic [EpW-1:0]       cq_ep_i,
    /// Its set-up.
    output ep_ctrl_t                  cq_ctrl_o,
    /// Its completion ring in guest memory.
    output logic [63:0]               cq_base_o,
    /// Endpoint whose set-up an interrupt message needs.
    input  wire logic [EpW-1:0]       irq_ep_i,
    /// Its set-up.
    output ep_ctrl_t                  irq_ctrl_o,
    /// Endpoint whose receive set-up the placement needs.
    input  wire logic [EpW-1:0]       place_ep_i,
    /// Its receive set-up.
    output rx_ctrl_t                  place_ctrl_o,
    /// Endpoint whose receive set-up the receive completions need.
    input  wire logic [EpW-1:0]       rq_ep_i,
    /// Its receive queue.
    input  wire logic [1:0]           rq_queue_i,
    /// Its receive set-up.
    output rx_ctrl_t                  rq_ctrl_o,
    /// The queue's completion ring in guest memory.
    output logic [63:0]               rq_base_o,
    /// Receive ring (endpoint, big) being fetched.
    input  wire logic [EpW:0]         rx_fetch_ring_i,
    /// Its set-up: form, mode, and `send_log2` is the ring's.
    output ep_ctrl_t                  rx_fetch_ctrl_o,
    /// The ring in guest memory.
    output logic [63:0]               rx_fetch_base_o,
    /// Receive ring of a doorbell.
    input  wire logic [EpW:0]         rx_doorbell_ring_i,
    /// Its set-up likewise.
    output ep_ctrl_t                  rx_doorbell_ctrl_o,
    /// Bit of each endpoint: receives, and takes buffers by PIO.
    output logic [Endpoints-1:0]      rx_pushed_o,
    /// Bit of each endpoint: receives, and fetches buffers.
    output logic [Endpoints-1:0]      rx_fetched_o,
    /// Next small and big buffers of the endpoint being read back.
    input  wire logic [31:0]          rx_index_i,
    /// Endpoint being read back.
    output logic [EpW-1:0]            read_ep_o,
    /// Its state, for the STATUS register.
    input  wire logic                 halted_i,
    /// Work in flight.
    input  wire logic                 busy_i,
    /// Producer rung.
    input  wire logic [15:0]          producer_i,
    /// Next descriptor to execute.
    input  wire logic [15:0]          consumer_i,
    /// Next completion entry.
    input  wire logic [15:0]          cq_index_i,
    /// A chain has failed.
    input  wire logic                 failed_i,
    /// Of this endpoint.
    input  wire logic [EpW-1:0]       failed_ep_i,
    /// For this reason.
    input  wire status_e              failed_status_i,
    /// A receive buffer was stale.
    input  wire logic                 stale_i,
    /// Of this endpoint.
    input  wire logic [EpW-1:0]       stale_ep_i
);
  localparam int unsigned B = NicControlEndpointBase;
  localparam logic [6:0] OffCtrl = 7'(NicControlEndpointCtrlAddr - B);
  localparam logic [6:0] OffStatus = 7'(NicControlEndpointStatusAddr - B);
  localparam logic [6:0] OffSendLo = 7'(NicControlEndpointSendBaseLoAddr - B);
  localparam logic [6:0] OffSendHi = 7'(NicControlEndpointSendBaseHiAddr - B);
  localparam logic [6:0] OffCqLo = 7'(NicControlEndpointCqBaseLoAddr - B);
  localparam logic [6:0] OffCqHi = 7'(NicControlEndpointCqBaseHiAddr - B);
  localparam logic [6:0] OffIndex = 7'(NicControlEndpointIndexAddr - B);
  localparam logic [6:0] OffCqIndex = 7'(NicControlEndpointCqIndexAddr - B);

  localparam logic [6:0] OffRxCtrl = 7'(NicControlEndpointRxCtrlAddr - B);
  localparam logic [6:0] OffRxSizes = 7'(NicControlEndpointRxSizesAddr - B);
  localparam logic [6:0] OffRxBases = 7'(NicControlEndpointRxSmallBaseLoAddr - B);
  localparam logic [6:0] OffRxIndex = 7'(NicControlEndpointRxIndexAddr - B);
  localparam logic [6:0] OffRqBases = 7'(NicControlEndpointRq0BaseLoAddr - B);
  localparam int unsigned RqPlaces = 4 * RxQueues * 2;

  ep_ctrl_t    ctrl_q[Endpoints];
  rx_ctrl_t    rx_q[Endpoints];              // receives, whether or not the endpoint is enabled
  logic [63:0] rx_base_q[2*Endpoints];       // small, big
  logic [63:0] rq_base_q[RxQueues*Endpoints];
  logic [Endpoints-1:0] rx_enable_q, rx_fetched_q;
  logic        hit_rx_base, hit_rq_base;
  logic        rx_base_big;
  logic [63:0] send_base_q[Endpoints];
  logic [63:0] cq_base_q[Endpoints];
  status_e     error_q[Endpoints];
  logic [Endpoints-1:0] enable_q, fetched_q, validated_q;

  logic [EpW-1:0] ep;
  logic [6:0]     off;
  ep_ctrl_t       wr_ctrl;

  assign ep        = addr_i[7 +: EpW];
  assign off       = addr_i[6:0];
  assign read_ep_o = ep;
  assign enable_o  = enable_q;
  assign pushed_o  = enable_q & ~fetched_q;
  assign fetched_o = enable_q & fetched_q;

  // sizes outside the card's 16 to 1024 entries are taken as the nearest allowed one
  function automatic logic [3:0] ring_log2(input logic [3:0] value);
    if (value < 4'd4) return 4'd4;
    if (value > 4'(SlotIdxW)) return 4'(SlotIdxW);
    return value;
  endfunction

  function automatic logic [3:0] clamp(input logic [3:0] value, input logic [3:0] low, input logic [3:0] high);
    if (value < low) return low;
    if (value > high) return high;
    return value;
  endfunction

  function automatic rx_ctrl_t rx_of(input rx_ctrl_t stored, input ep_ctrl_t ctrl, input logic enabled);
    rx_of        = stored;
    rx_of.enable = stored.enable && enabled && !(ctrl.mode == ModeValidated && stored.form == FormPushed);
    rx_of.mode   = ctrl.mode;
  endfunction

  function automatic ep_ctrl_t ring_of(input rx_ctrl_t stored, input ep_ctrl_t ctrl, input logic big);
    ring_of           = ctrl;
    ring_of.form      = stored.form;
    ring_of.send_log2 = big ? stored.big_log2 : stored.small_log2;
  endfunction

  assign hit_rx_base = off >= OffRxBases && off < OffRxBases + 7'd16;
  assign hit_rq_base = off >= OffRqBases && off < OffRqBases + 7'(RqPlaces);
  assign rx_base_big = off >= OffRxBases + 7'd8;
  assign rx_pushed_o  = enable_q & rx_enable_q & ~rx_fetched_q & ~validated_q;
  assign rx_fetched_o = enable_q & rx_enable_q & rx_fetched_q;

  always_comb begin
    wr_ctrl.form      = form_e'(data_i[NicControlEndpointCtrlFormLsb]);
    wr_ctrl.mode      = mode_e'(data_i[NicControlEndpointCtrlModeLsb +: 3]);
    // a ring that the guest could write is not one that the hypervisor has validated
    wr_ctrl.enable    = data_i[NicControlEndpointCtrlEnableLsb]
                        && !(wr_ctrl.mode == ModeValidated && wr_ctrl.form == FormPushed);
    wr_ctrl.send_log2 = ring_log2(data_i[NicControlEndpointCtrlSendLog2Lsb +: 4]);
    wr_ctrl.cq_log2   = ring_log2(data_i[NicControlEndpointCtrlCqLog2Lsb +: 4]);
  end

  assign start_o    = req_i && write_i && off == OffCtrl && wr_ctrl.enable && !enable_q[ep];
  assign start_ep_o = ep;

  always_comb begin
    ring_ctrl_o     = ctrl_q[ring_ep_i];
    exec_ctrl_o     = ctrl_q[exec_ep_i];
    sched_ctrl_o    = ctrl_q[sched_ep_i];
    fetch_ctrl_o    = ctrl_q[fetch_ep_i];
    fetch_base_o    = send_base_q[fetch_ep_i];
    doorbell_ctrl_o = ctrl_q[doorbell_ep_i];
    cq_ctrl_o       = ctrl_q[cq_ep_i];
    cq_base_o       = cq_base_q[cq_ep_i];
    irq_ctrl_o      = ctrl_q[irq_ep_i];
    place_ctrl_o    = rx_of(rx_q[place_ep_i], ctrl_q[place_ep_i], enable_q[place_ep_i]);
    rq_ctrl_o       = rx_of(rx_q[rq_ep_i], ctrl_q[rq_ep_i], enable_q[rq_ep_i]);
    rq_base_o       = rq_base_q[{rq_ep_i, rq_queue_i}];
    rx_fetch_ctrl_o    = ring_of(rx_q[rx_fetch_ring_i[EpW:1]], ctrl_q[rx_fetch_ring_i[EpW:1]], rx_fetch_ring_i[0]);
    rx_fetch_base_o    = rx_base_q[rx_fetch_ring_i];
    rx_doorbell_ctrl_o = ring_of(rx_q[rx_doorbell_ring_i[EpW:1]], ctrl_q[rx_doorbell_ring_i[EpW:1]], rx_doorbell_ring_i[0]);
  end

  always_ff @(posedge clk_i) begin
    rd_ack_o <= req_i && !write_i;
    wr_ack_o <= req_i && write_i;
    if (req_i) begin
      unique case (off)
        OffCtrl: data_o <= 32'(enable_q[ep])
            | (32'(ctrl_q[ep].form) << NicControlEndpointCtrlFormLsb)
            | (32'(ctrl_q[ep].mode) << NicControlEndpointCtrlModeLsb)
            | (32'(ctrl_q[ep].send_log2) << NicControlEndpointCtrlSendLog2Lsb)
            | (32'(ctrl_q[ep].cq_log2) << NicControlEndpointCtrlCqLog2Lsb);
        OffStatus: data_o <= 32'(enable_q[ep])
            | (32'(halted_i) << NicControlEndpointStatusHaltedLsb)
            | (32'(busy_i) << NicControlEndpointStatusBusyLsb)
            | (32'(error_q[ep]) << NicControlEndpointStatusErrorLsb);
        OffSendLo: data_o <= send_base_q[ep][31:0];
        OffSendHi: data_o <= send_base_q[ep][63:32];
        OffCqLo: data_o <= cq_base_q[ep][31:0];
        OffCqHi: data_o <= cq_base_q[ep][63:32];
        OffIndex: data_o <= {consumer_i, producer_i};
        OffCqIndex: data_o <= {16'd0, cq_index_i};
        OffRxCtrl: data_o <= 32'(rx_enable_q[ep])
            | (32'(rx_q[ep].form) << NicControlEndpointRxCtrlFormLsb)
            | (32'(rx_q[ep].rss) << NicControlEndpointRxCtrlRssLsb)
            | (32'(rx_q[ep].queues) << NicControlEndpointRxCtrlQueuesLsb)
            | (32'(rx_q[ep].small_log2) << NicControlEndpointRxCtrlSmallLog2Lsb)
            | (32'(rx_q[ep].big_log2) << NicControlEndpointRxCtrlBigLog2Lsb)
            | (32'(rx_q[ep].buffer_log2) << NicControlEndpointRxCtrlBufferLog2Lsb)
            | (32'(rx_q[ep].rq_log2) << NicControlEndpointRxCtrlRqLog2Lsb);
        OffRxSizes: data_o <= (32'(rx_q[ep].small_max) << NicControlEndpointRxSizesSmallLsb)
            | (32'(rx_q[ep].max_frame) << NicControlEndpointRxSizesMaxFrameLsb);
        OffRxIndex: data_o <= rx_index_i;
        default: begin
          data_o <= '0;
          if (hit_rx_base) data_o <= rx_base_q[{ep, rx_base_big}][{off[2], 5'd0} +: 32];
          if (hit_rq_base) data_o <= rq_base_q[{ep, off[4:3]}][{off[2], 5'd0} +: 32];
        end
      endcase
      if (write_i) begin
        unique case (off)
          OffCtrl: begin
            ctrl_q[ep]    <= wr_ctrl;
            enable_q[ep]  <= wr_ctrl.enable;
            fetched_q[ep] <= wr_ctrl.form == FormFetched;
            validated_q[ep] <= wr_ctrl.mode == ModeValidated;
          end
          OffSendLo: send_base_q[ep][31:0] <= data_i;
          OffSendHi: send_base_q[ep][63:32] <= data_i;
          OffCqLo: cq_base_q[ep][31:0] <= data_i;
          OffCqHi: cq_base_q[ep][63:32] <= data_i;
          OffRxCtrl: begin
            rx_enable_q[ep]      <= data_i[NicControlEndpointRxCtrlEnableLsb];
            rx_fetched_q[ep]     <= data_i[NicControlEndpointRxCtrlFormLsb];
            rx_q[ep].enable      <= data_i[NicControlEndpointRxCtrlEnableLsb];
            rx_q[ep].form        <= form_e'(data_i[NicControlEndpointRxCtrlFormLsb]);
            rx_q[ep].rss         <= data_i[NicControlEndpointRxCtrlRssLsb];
            rx_q[ep].queues      <= data_i[NicControlEndpointRxCtrlQueuesLsb +: 2];
            rx_q[ep].small_log2  <= clamp(data_i[NicControlEndpointRxCtrlSmallLog2Lsb +: 4], 4'd4, 4'(RxSlotIdxW));
            rx_q[ep].big_log2    <= clamp(data_i[NicControlEndpointRxCtrlBigLog2Lsb +: 4], 4'd4, 4'(RxSlotIdxW));
            rx_q[ep].buffer_log2 <= clamp(data_i[NicControlEndpointRxCtrlBufferLog2Lsb +: 4], 4'd11, 4'd12);
            rx_q[ep].rq_log2     <= clamp(data_i[NicControlEndpointRxCtrlRqLog2Lsb +: 4], 4'd4, 4'd10);
          end
          OffRxSizes: begin
            rx_q[ep].small_max <= data_i[NicControlEndpointRxSizesSmallLsb +: LenW];
            rx_q[ep].max_frame <= data_i[NicControlEndpointRxSizesMaxFrameLsb +: LenW];
          end
          default: begin
            if (hit_rx_base) rx_base_q[{ep, rx_base_big}][{off[2], 5'd0} +: 32] <= data_i;
            if (hit_rq_base) rq_base_q[{ep, off[4:3]}][{off[2], 5'd0} +: 32] <= data_i;
          end
        endcase
      end
    end
    if (failed_i) error_q[failed_ep_i] <= failed_status_i;
    if (stale_i) error_q[stale_ep_i] <= StatusStaleDescriptor;
    if (start_o) error_q[ep] <= StatusOk;
    if (rst_i) begin
      enable_q <= '0;
      rx_enable_q <= '0;
      rd_ack_o <= 1'b0;
      wr_ack_o <= 1'b0;
    end
  end
endmodule
`default_nettype wire
