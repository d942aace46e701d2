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
    input  wire status_e              failed_status_i
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

  ep_ctrl_t    ctrl_q[Endpoints];
  logic [63:0] send_base_q[Endpoints];
  logic [63:0] cq_base_q[Endpoints];
  status_e     error_q[Endpoints];
  logic [Endpoints-1:0] enable_q, fetched_q;

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

  always_comb begin
    wr_ctrl.enable    = data_i[NicControlEndpointCtrlEnableLsb];
    wr_ctrl.form      = form_e'(data_i[NicControlEndpointCtrlFormLsb]);
    wr_ctrl.mode      = mode_e'(data_i[NicControlEndpointCtrlModeLsb +: 3]);
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
        default: data_o <= '0;
      endcase
      if (write_i) begin
        unique case (off)
          OffCtrl: begin
            ctrl_q[ep]    <= wr_ctrl;
            enable_q[ep]  <= wr_ctrl.enable;
            fetched_q[ep] <= wr_ctrl.form == FormFetched;
          end
          OffSendLo: send_base_q[ep][31:0] <= data_i;
          OffSendHi: send_base_q[ep][63:32] <= data_i;
          OffCqLo: cq_base_q[ep][31:0] <= data_i;
          OffCqHi: cq_base_q[ep][63:32] <= data_i;
          default: ;
        endcase
      end
    end
    if (failed_i) error_q[failed_ep_i] <= failed_status_i;
    if (start_o) error_q[ep] <= StatusOk;
    if (rst_i) begin
      enable_q <= '0;
      rd_ack_o <= 1'b0;
      wr_ack_o <= 1'b0;
    end
  end
endmodule
`default_nettype wire
