`default_nettype none
/// The completion writer with the set-up of the endpoints, which it looks up within the cycle. The tables are the bench's
/// to write.
module completion_bench
  import myr_abi_pkg::*;
  import myr_nic_pkg::*;
(
    input  wire logic               clk_i,
    input  wire logic               rst_i,
    input  wire chain_end_t         end_i,
    input  wire logic               end_valid_i,
    output logic                    end_ready_o,
    input  wire logic               start_i,
    input  wire logic [EpW-1:0]     start_ep_i,
    input  wire logic [7:0]         bus_i,
    input  wire logic               bus_master_i,
    input  wire logic               vf_enable_i,
    output logic                    look_o,
    output logic [WindowW-1:0]      look_index_o,
    input  wire logic               look_ready_i,
    input  wire window_t            window_i,
    input  wire logic               epoch_i,
    output logic                    begin_o,
    output logic                    finished_o,
    output logic                    end_epoch_o,
    output logic                    checked_o,
    output refusal_t                refusal_o,
    output logic [EpW-1:0]          ep_o,
    output logic                    mwr_valid_o,
    output mwr_t                    mwr_o,
    output logic [63:0]             mwr_data_o,
    input  wire logic               mwr_next_i,
    input  wire logic               mwr_done_i,
    output logic                    retire_o,
    output logic [EpW-1:0]          retire_ep_o,
    output logic [15:0]             retire_index_o,
    output logic [3:0]              retire_count_o,
    output posted_t                 posted_o,
    input  wire logic [EpW-1:0]     status_ep_i,
    output logic [15:0]             status_index_o
);
  ep_ctrl_t    ctrl_q[Endpoints];
  logic [63:0] base_q[Endpoints];

  myr_completion u_completion (
      .clk_i, .rst_i, .end_i, .end_valid_i, .end_ready_o, .start_i, .start_ep_i, .bus_i, .bus_master_i, .vf_enable_i, .look_o,
      .look_index_o, .look_ready_i, .window_i, .epoch_i, .begin_o, .end_o(finished_o), .end_epoch_o, .checked_o, .refusal_o,
      .ep_o, .ctrl_i(ctrl_q[ep_o]), .base_i(base_q[ep_o]), .mwr_valid_o, .mwr_o, .mwr_data_o, .mwr_next_i, .mwr_done_i,
      .retire_o, .retire_ep_o, .retire_index_o, .retire_count_o, .posted_o, .status_ep_i, .status_index_o
  );
endmodule
`default_nettype wire
