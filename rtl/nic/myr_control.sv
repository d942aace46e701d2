`default_nettype none
/// Control queue: privileged register writes and every non-posted request, one at a time and in order, so that a
/// read never passes an earlier write. Answers non-posted requests with completions.
module myr_control
  import myr_pkg::*;
  import myr_abi_pkg::*;
  import myr_nic_pkg::*;
#(
    /// Places in the queue: at least the posted and non-posted credits granted.
    parameter int unsigned Depth = 64
) (
    /// Clock.
    input  wire logic        clk_i,
    /// Synchronous reset.
    input  wire logic        rst_i,
    /// Access from the receive side.
    input  wire ctl_req_t    ctl_i,
    /// One is handed over.
    input  wire logic        ctl_valid_i,
    /// A posted access is done.
    output logic             posted_done_o,
    /// A non-posted access is done.
    output logic             np_done_o,
    /// It was a configuration write.
    output logic             np_data_o,
    /// Completion to send.
    output cpl_t             cpl_o,
    /// It is offered.
    output logic             cpl_valid_o,
    /// It is taken.
    input  wire logic        cpl_ready_i,
    /// Configuration space: write strobe.
    output logic             cfg_write_o,
    /// Configuration space: byte address.
    output logic [11:0]      cfg_addr_o,
    /// Configuration space: byte enables.
    output logic [3:0]       cfg_be_o,
    /// Configuration space: write data.
    output logic [31:0]      cfg_data_o,
    /// Configuration space: bus number of the request.
    output logic [7:0]       cfg_bus_o,
    /// Configuration space: read data.
    input  wire logic [31:0] cfg_data_i,
    /// Register block: request strobe.
    output logic             reg_req_o,
    /// Register block: write.
    output logic             reg_write_o,
    /// Register block: byte address.
    output logic [ControlW-1:0] reg_addr_o,
    /// Register block: write data.
    output logic [31:0]      reg_data_o,
    /// Register block: byte enables.
    output logic [3:0]       reg_be_o,
    /// Register block: the access is done.
    input  wire logic        reg_ack_i,
    /// Register block: read data.
    input  wire logic [31:0] reg_data_i
);
  typedef enum logic [1:0] {StIdle, StReg, StCpl} state_e;

  ctl_req_t head;
  logic     head_valid, pop, room;
  state_e   state_q, state_d;
  cpl_t     cpl_q, cpl_d;
  logic     in_range;

  myr_fifo #(.Width($bits(ctl_req_t)), .Depth(Depth)) u_queue (
      .clk_i, .rst_i,
      .in_i(ctl_i), .in_valid_i(ctl_valid_i), .in_ready_o(room),
      .out_o(head), .out_valid_o(head_valid), .out_ready_i(pop)
  );

  assign in_range    = head.addr < ControlW'(NicControlWindowBase + NicControlWindowCount * NicControlWindowStride);
  assign cfg_addr_o  = head.addr[11:0];
  assign cfg_be_o    = head.be;
  assign cfg_data_o  = head.data;
  assign cfg_bus_o   = head.bus;
  assign reg_addr_o  = head.addr;
  assign reg_data_o  = head.data;
  assign reg_be_o    = head.be;
  assign reg_write_o = head.posted;
  assign cpl_o       = cpl_q;
  assign cpl_valid_o = state_q == StCpl;
  assign np_data_o   = np_done_o && head.cfg_write;

  always_comb begin
    state_d       = state_q;
    cpl_d         = cpl_q;
    pop           = 1'b0;
    posted_done_o = 1'b0;
    np_done_o     = 1'b0;
    cfg_write_o   = 1'b0;
    reg_req_o     = 1'b0;
    unique case (state_q)
      StIdle: if (head_valid) begin
        cpl_d = '{has_data: 1'b1, status: CplSc, requester: head.requester, tag: head.tag,
                  lower: {head.addr[6:2], 2'b00}, bytes: 12'd4, data: 32'd0};
        if (head.cfg) cpl_d.lower = 7'd0;
        if (head.posted) begin
          // a write of no byte has no effect (PCIe 3.0, 2.2.5), and the tables know no byte enables
          if (in_range && head.be != 4'd0) begin
            reg_req_o = 1'b1;
            state_d   = StReg;
          end else begin
            pop           = 1'b1;
            posted_done_o = 1'b1;
          end
        end else if (head.bad || (head.cfg && head.devfn != 8'd0)) begin
          cpl_d.has_data = 1'b0;
          cpl_d.status   = CplUr;
          state_d        = StCpl;
        end else if (head.cfg) begin
          cfg_write_o    = head.cfg_write;
          cpl_d.has_data = !head.cfg_write;
          cpl_d.data     = cfg_data_i;
          state_d        = StCpl;
        end else if (head.control && in_range) begin
          reg_req_o = 1'b1;
          state_d   = StReg;
        end else state_d = StCpl;  // apertures read as zero
      end
      StReg: ;
      StCpl: if (cpl_ready_i) begin
        pop       = 1'b1;
        np_done_o = 1'b1;
        state_d   = StIdle;
      end
      default: state_d = StIdle;
    endcase
    // the register block may answer in the cycle of the request
    if (state_d == StReg && reg_ack_i) begin
      cpl_d.data = reg_data_i;
      if (head.posted) begin
        pop           = 1'b1;
        posted_done_o = 1'b1;
        state_d       = StIdle;
      end else state_d = StCpl;
    end
  end

  always_ff @(posedge clk_i) begin
    state_q <= state_d;
    cpl_q   <= cpl_d;
    if (rst_i) state_q <= StIdle;
  end

`ifndef SYNTHESIS
  always_ff @(posedge clk_i)
    if (!rst_i) assert (!(ctl_valid_i && !room)) else $error("myr_control: more control accesses than credits granted");
`endif
endmodule
`default_nettype wire
