`default_nettype none
/// Window table: what the hypervisor has registered of machine memory for each endpoint, in SRAM with one read and one
/// write port. The only writer is the control BAR.
///
/// One look-up in a cycle, users in turn with the control BAR; the window is at `window_o` in the next cycle, for that
/// cycle only. A look-up in the cycle of a write still finds what was there before. A window is valid from the write of
/// its control word on, until any word of it is written again.
module myr_window_table
  import myr_abi_pkg::*;
  import myr_nic_pkg::*;
#(
    /// Who looks windows up.
    parameter int unsigned Users = 4,
    /// Dependent, do not set.
    localparam int unsigned RowW = EpW + WindowW
) (
    /// Clock.
    input  wire logic               clk_i,
    /// Synchronous reset: no window is valid.
    input  wire logic               rst_i,
    /// Access strobe (PeakRDL external block).
    input  wire logic               req_i,
    /// It is a write.
    input  wire logic               write_i,
    /// Byte address in the table.
    input  wire logic [RowW+3:0]    addr_i,
    /// Write data.
    input  wire logic [31:0]        data_i,
    /// Read is answered.
    output logic                    rd_ack_o,
    /// Write is done.
    output logic                    wr_ack_o,
    /// Read data.
    output logic [31:0]             data_o,
    /// A user wants a window.
    input  wire logic [Users-1:0]   look_i,
    /// Of this endpoint.
    input  wire logic [EpW-1:0]     look_ep_i[Users],
    /// Its number.
    input  wire logic [WindowW-1:0] look_index_i[Users],
    /// The user is served: its window comes in the next cycle.
    output logic [Users-1:0]        look_ready_o,
    /// The window.
    output window_t                 window_o
);
  localparam int unsigned IdW = $clog2(Users + 1);
  localparam logic [IdW-1:0] Bar = IdW'(Users);
  localparam logic [3:0] OffLo = 4'(NicControlWindowAddressLoAddr - NicControlWindowBase);
  localparam logic [3:0] OffHi = 4'(NicControlWindowAddressHiAddr - NicControlWindowBase);
  localparam logic [3:0] OffControl = 4'(NicControlWindowControlAddr - NicControlWindowBase);

  typedef struct packed {
    logic        writable;
    logic        is_large;
    logic [15:0] number;
  } control_t;

  logic [31:12]       low_q[1 << RowW];
  logic [15:0]        high_q[1 << RowW];
  control_t           control_q[1 << RowW];
  logic [Windows-1:0] valid_q[Endpoints];
  logic               read_q, answer_q, there;   // the control BAR waits, is answered
  logic [RowW+3:0]    read_addr_q;
  logic [IdW-1:0]     pick;
  logic [RowW-1:0]    row, wr_row;
  window_t            window_q;

  myr_rr_arb #(.N(Users + 1)) u_pick (
      .clk_i, .rst_i, .req_i({read_q, look_i}), .take_i(1'b1), .valid_o(there), .id_o(pick)
  );

  always_comb begin
    row          = read_addr_q[4 +: RowW];
    look_ready_o = '0;
    for (int unsigned u = 0; u < Users; u++) begin
      if (there && pick == IdW'(u)) begin
        row             = {look_ep_i[u], look_index_i[u]};
        look_ready_o[u] = 1'b1;
      end
    end
  end

  assign wr_row   = addr_i[4 +: RowW];
  assign window_o = window_q;
  assign rd_ack_o = answer_q;

  always_comb begin
    unique case ({read_addr_q[3:2], 2'b00})
      OffLo: data_o = {window_q.address[31:12], 12'd0};
      OffHi: data_o = {16'd0, window_q.address[47:32]};
      OffControl: data_o = (32'(window_q.valid) << NicControlWindowControlValidLsb)
                           | (32'(window_q.writable) << NicControlWindowControlWritableLsb)
                           | (32'(window_q.is_large) << NicControlWindowControlLargeLsb)
                           | (32'(window_q.number) << NicControlWindowControlSequenceLsb);
      default: data_o = '0;
    endcase
  end

  always_ff @(posedge clk_i) begin
    wr_ack_o <= req_i && write_i;
    answer_q <= there && pick == Bar;
    if (req_i && !write_i) begin
      read_q      <= 1'b1;
      read_addr_q <= addr_i;
    end else if (there && pick == Bar) read_q <= 1'b0;
    if (there)
      window_q <= '{valid: valid_q[row[RowW-1:WindowW]][row[WindowW-1:0]], writable: control_q[row].writable,
                    is_large: control_q[row].is_large, number: control_q[row].number, address: {high_q[row], low_q[row]}};
    if (req_i && write_i) begin
      unique case ({addr_i[3:2], 2'b00})
        OffLo: low_q[wr_row] <= data_i[31:12];
        OffHi: high_q[wr_row] <= data_i[15:0];
        OffControl: control_q[wr_row] <= '{writable: data_i[NicControlWindowControlWritableLsb],
                                           is_large: data_i[NicControlWindowControlLargeLsb],
                                           number: data_i[NicControlWindowControlSequenceLsb +: 16]};
        default: ;
      endcase
      valid_q[wr_row[RowW-1:WindowW]][wr_row[WindowW-1:0]]
          <= {addr_i[3:2], 2'b00} == OffControl && data_i[NicControlWindowControlValidLsb];
    end
    if (rst_i) begin
      read_q   <= 1'b0;
      answer_q <= 1'b0;
      wr_ack_o <= 1'b0;
      for (int unsigned e = 0; e < Endpoints; e++) valid_q[e] <= '0;
    end
  end

`ifndef SYNTHESIS
  always_ff @(posedge clk_i)
    if (!rst_i) begin
      assert ($onehot0(look_ready_o) && (look_ready_o & ~look_i) == '0)
        else $error("myr_window_table: a user is served that did not ask, or two at once");
      if (req_i) assert (!read_q && !answer_q) else $error("myr_window_table: an access while another is not answered");
    end
`endif
endmodule
`default_nettype wire
