`default_nettype none
/// Window table, authorisation, fence and log of refusals together. Each user is one look-up and, in the cycle after it
/// is served, one decision, in every mode. What happens at a clock edge is registered, so that the bench reads it once
/// a cycle.
module windows_bench
  import myr_abi_pkg::*;
  import myr_nic_pkg::*;
(
    input  wire logic                clk_i,
    input  wire logic                rst_i,
    // control BAR
    input  wire logic                req_i,
    input  wire logic                write_i,
    input  wire logic [17:0]         addr_i,
    input  wire logic [31:0]         data_i,
    output logic                     rd_ack_o,
    output logic                     wr_ack_o,
    output logic [31:0]              data_o,
    // users
    input  wire logic [3:0]          want_i,
    input  wire logic [4*EpW-1:0]    ep_i,
    input  wire logic [11:0]         mode_i,
    input  wire logic [4*64-1:0]     range_i,
    input  wire logic [4*LenW-1:0]   len_i,
    input  wire logic [3:0]          store_i,
    input  wire logic                bus_master_i,
    input  wire logic                vf_enable_i,
    output logic [3:0]               served_o,
    output logic [3:0]               judged_o,
    output logic [3:0]               ok_o,
    output logic [4*8-1:0]           reason_o,
    output logic [4*64-1:0]          machine_o,
    output logic [4*16-1:0]          rid_o,
    // fence
    input  wire logic                start_i,
    input  wire logic [4:0]          end_i,
    input  wire logic [4:0]          end_epoch_i,
    output logic                     epoch_o,
    output logic                     busy_o,
    output logic [15:0]              ended_o,
    // log of refusals
    input  wire logic [4:0]          refuse_i,
    input  wire logic                full_i,
    output logic                     record_o,
    output logic [EpW-1:0]           record_ep_o,
    output logic                     overflow_o
);
  typedef struct packed {
    logic [EpW-1:0]  ep;
    mode_e           mode;
    logic [63:0]     addr;
    logic [LenW-1:0] len;
    logic            store;
  } ask_t;

  ask_t               ask_q[4];
  logic [EpW-1:0]     look_ep[4];
  logic [WindowW-1:0] look_index[4];
  logic [3:0]         ready, asked_q, ok;
  window_t            window;
  refusal_e           reason[4];
  logic [63:0]        machine[4];
  logic [15:0]        rid[4];
  refusal_t           refusal[5];
  refusal_t           log_record;
  logic               rd_ack, wr_ack, epoch, busy, lost;
  logic [31:0]        data;
  logic [15:0]        ended;

  myr_window_table #(.Users(4)) u_windows (
      .clk_i, .rst_i, .req_i, .write_i, .addr_i, .data_i, .rd_ack_o(rd_ack), .wr_ack_o(wr_ack), .data_o(data),
      .look_i(want_i), .look_ep_i(look_ep), .look_index_i(look_index), .look_ready_o(ready), .window_o(window)
  );

  for (genvar u = 0; u < 4; u++) begin : gen_user
    assign look_ep[u]    = ep_i[EpW*u +: EpW];
    assign look_index[u] = window_index(range_i[64*u +: 64]);

    myr_authorise u_authorise (
        .ep_i(ask_q[u].ep), .mode_i(ask_q[u].mode), .addr_i(ask_q[u].addr), .len_i(ask_q[u].len), .window_i(window),
        .write_i(ask_q[u].store), .bus_i(8'h01), .bus_master_i, .vf_enable_i, .ok_o(ok[u]), .reason_o(reason[u]),
        .addr_o(machine[u]), .rid_o(rid[u])
    );

    always_ff @(posedge clk_i) begin
      if (ready[u])
        ask_q[u] <= '{ep: look_ep[u], mode: mode_e'(mode_i[3*u +: 3]), addr: range_i[64*u +: 64],
                      len: len_i[LenW*u +: LenW], store: store_i[u]};
      reason_o[8*u +: 8]    <= reason[u];
      machine_o[64*u +: 64] <= machine[u];
      rid_o[16*u +: 16]     <= rid[u];
    end
  end

  myr_fence #(.Begins(4), .Ends(5)) u_fence (
      .clk_i, .rst_i, .start_i, .busy_o(busy), .ended_o(ended), .epoch_o(epoch), .begin_i(asked_q & ok), .end_i,
      .end_epoch_i
  );

  always_comb for (int unsigned n = 0; n < 5; n++) begin
    refusal[n]       = '0;
    refusal[n].valid = refuse_i[n];
    refusal[n].ep    = EpW'(n + 1);
  end

  myr_refusal_log #(.N(5)) u_refusals (.refusal_i(refusal), .full_i, .record_o(log_record), .overflow_o(lost));

  always_ff @(posedge clk_i) begin
    asked_q     <= rst_i ? '0 : ready;
    served_o    <= rst_i ? '0 : ready;
    judged_o    <= rst_i ? '0 : asked_q;
    ok_o        <= ok;
    rd_ack_o    <= rd_ack && !rst_i;
    wr_ack_o    <= wr_ack && !rst_i;
    data_o      <= data;
    epoch_o     <= epoch;
    busy_o      <= busy;
    ended_o     <= ended;
    record_o    <= log_record.valid;
    record_ep_o <= log_record.ep;
    overflow_o  <= lost;
  end
endmodule
`default_nettype wire
