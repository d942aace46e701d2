`default_nettype none
/// MSI-X: a vector for each endpoint, with its table entry and pending bit (PCI 3.0, 6.8.2). A vector that fires is
/// pending until its message is offered to the link; further fires until the message has left are the same message.
/// A masked vector stays pending. Masking does not recall a message that is offered already.
module myr_msix
  import myr_pkg::*;
  import myr_abi_pkg::*;
  import myr_nic_pkg::*;
(
    /// Clock.
    input  wire logic                 clk_i,
    /// Synchronous reset: masks all vectors.
    input  wire logic                 rst_i,
    /// Table and pending bits: access strobe (PeakRDL external block).
    input  wire logic                 req_i,
    /// It is a write.
    input  wire logic                 write_i,
    /// Byte address in the block.
    input  wire logic [10:0]          addr_i,
    /// Write data.
    input  wire logic [31:0]          data_i,
    /// Read is answered.
    output logic                      rd_ack_o,
    /// Write is done.
    output logic                      wr_ack_o,
    /// Read data.
    output logic [31:0]               data_o,
    /// MSI-X enable of the capability.
    input  wire logic                 msix_enable_i,
    /// Function mask of the capability.
    input  wire logic                 msix_mask_i,
    /// Captured bus number.
    input  wire logic [7:0]           bus_i,
    /// Bus master enable.
    input  wire logic                 bus_master_i,
    /// Endpoint functions are enabled.
    input  wire logic                 vf_enable_i,
    /// Endpoint whose set-up is needed.
    output logic [EpW-1:0]            ep_o,
    /// Its set-up.
    input  wire ep_ctrl_t             ctrl_i,
    /// These vectors fire.
    input  wire logic [Endpoints-1:0] fire_i,
    /// Message offered as a memory write.
    output logic                      mwr_valid_o,
    /// Its header.
    output mwr_t                      mwr_o,
    /// Its data, in the low 32 bits.
    output logic [63:0]               mwr_data_o,
    /// Its last beat has left.
    input  wire logic                 mwr_done_i,
    /// Trace lane IRQ_OUT.
    output trace_lane_t               irq_out_o
);
  localparam logic [1:0] KindInterrupt = 2'd3;
  localparam logic [10:0] OffPbaLo = 11'(NicControlPbaLoAddr - NicControlMsixBase);
  localparam logic [10:0] OffPbaHi = 11'(NicControlPbaHiAddr - NicControlMsixBase);
  localparam logic [3:0] OffAddressLo = 4'(NicControlMsixAddressLoAddr - NicControlMsixBase);
  localparam logic [3:0] OffAddressHi = 4'(NicControlMsixAddressHiAddr - NicControlMsixBase);
  localparam logic [3:0] OffData = 4'(NicControlMsixDataAddr - NicControlMsixBase);
  localparam logic [3:0] OffControl = 4'(NicControlMsixControlAddr - NicControlMsixBase);

  typedef enum logic [1:0] {StIdle, StLook, StSend} state_e;

  logic [63:2]          address_q[Endpoints];
  logic [31:0]          message_q[Endpoints];
  logic [Endpoints-1:0] mask_q, pending_q, sendable;
  logic [15:0]          sent_q[Endpoints];      // messages of each vector so far
  state_e               state_q;
  logic [EpW-1:0]       pick, vector_q;
  logic                 pick_valid, go;
  logic [5:0]           number_q;               // running count of all messages
  mwr_t                 mwr_q;
  logic [31:0]          data_q;
  logic [EpW-1:0]       entry;
  logic                 in_table;

  // ---- messages --------------------------------------------------------------------------------
  assign sendable = (msix_enable_i && !msix_mask_i && bus_master_i) ? pending_q & ~mask_q : '0;

  myr_rr_arb #(.N(Endpoints)) u_pick (
      .clk_i, .rst_i, .req_i(sendable), .take_i(state_q == StIdle), .valid_o(pick_valid), .id_o(pick)
  );

  assign ep_o = vector_q;
  assign go   = state_q == StLook && sendable[vector_q];  // not masked in between

  always_ff @(posedge clk_i) begin
    unique case (state_q)
      StIdle: if (pick_valid) begin
        vector_q <= pick;
        state_q  <= StLook;
      end
      StLook: begin
        mwr_q <= '{rid: (ctrl_i.mode == ModeIommu && vf_enable_i) ? {bus_i, 8'(vector_q) + 8'd1} : {bus_i, 8'd0},
                   tag: {KindInterrupt, number_q}, addr: {address_q[vector_q], 2'b00}, dws: 10'd1, first_be: 4'hF,
                   last_be: 4'h0};
        data_q  <= message_q[vector_q];
        state_q <= go ? StSend : StIdle;
      end
      StSend: if (mwr_done_i) begin
        number_q         <= number_q + 6'd1;
        sent_q[vector_q] <= sent_q[vector_q] + 16'd1;
        state_q          <= StIdle;
      end
      default: state_q <= StIdle;
    endcase
    if (go || |fire_i) begin
      pending_q <= pending_q | fire_i;
      // the message on offer covers what fires before its last beat: its handler runs after that
      if (go || (state_q == StSend && !mwr_done_i)) pending_q[vector_q] <= 1'b0;
    end
    if (rst_i) begin
      state_q   <= StIdle;
      number_q  <= '0;
      pending_q <= '0;
      for (int unsigned v = 0; v < Endpoints; v++) sent_q[v] <= '0;
    end
  end

  assign mwr_valid_o = state_q == StSend;
  assign mwr_o       = mwr_q;
  assign mwr_data_o  = {32'd0, data_q};
  assign irq_out_o   = '{valid: state_q == StSend && mwr_done_i, age: '0, endpoint: 6'(vector_q),
                         index: sent_q[vector_q], info: '0};

  // ---- table -----------------------------------------------------------------------------------
  assign entry    = addr_i[4 +: EpW];
  assign in_table = !addr_i[10];

  always_ff @(posedge clk_i) begin
    rd_ack_o <= req_i && !write_i;
    wr_ack_o <= req_i && write_i;
    if (req_i) begin
      data_o <= '0;
      if (addr_i == OffPbaLo) data_o <= pending_q[31:0];
      if (addr_i == OffPbaHi) data_o <= pending_q[63:32];
      if (in_table) begin
        unique case (addr_i[3:0])
          OffAddressLo: data_o <= {address_q[entry][31:2], 2'b00};
          OffAddressHi: data_o <= address_q[entry][63:32];
          OffData: data_o <= message_q[entry];
          OffControl: data_o <= {31'd0, mask_q[entry]};
          default: ;
        endcase
        if (write_i) begin
          unique case (addr_i[3:0])
            OffAddressLo: address_q[entry][31:2] <= data_i[31:2];
            OffAddressHi: address_q[entry][63:32] <= data_i;
            OffData: message_q[entry] <= data_i;
            OffControl: mask_q[entry] <= data_i[NicControlMsixControlMaskLsb];
            default: ;
          endcase
        end
      end
    end
    if (rst_i) begin
      rd_ack_o <= 1'b0;
      wr_ack_o <= 1'b0;
      mask_q   <= '1;
      for (int unsigned v = 0; v < Endpoints; v++) begin
        address_q[v] <= '0;
        message_q[v] <= '0;
      end
    end
  end

`ifndef SYNTHESIS
  always_ff @(posedge clk_i)
    if (!rst_i) assert (!mwr_done_i || state_q == StSend) else $error("myr_msix: a message that was not offered has left");
`endif
endmodule
`default_nettype wire
