`default_nettype none
/// From the receive buffer to the receive engine: has the switch look at each frame and offers it, with the endpoints
/// that get it, as a job. A frame that nobody takes is filtered. Space is released in the order of the frames, so a
/// filtered one waits for those before it. A frame becomes a job in the cycle after it was offered.
module myr_rx_dispatch
  import myr_nic_pkg::*;
#(
    /// Frames between switch and release, a power of two.
    parameter int unsigned Depth = 8
) (
    /// Clock.
    input  wire logic                 clk_i,
    /// Synchronous reset.
    input  wire logic                 rst_i,
    /// Frame in the receive buffer.
    input  wire rx_frame_t            frame_i,
    /// It is offered.
    input  wire logic                 frame_valid_i,
    /// It is taken.
    output logic                      frame_ready_o,
    /// The oldest taken frame is no longer needed.
    output logic                      release_o,
    /// The switch is to look at `frame_i`; it answers in the next cycle.
    output logic                      lookup_o,
    /// Endpoints that get it.
    input  wire logic [Endpoints-1:0] dest_i,
    /// It is for a group.
    input  wire logic                 group_i,
    /// Job for the receive engine.
    output rx_job_t                   job_o,
    /// It is offered.
    output logic                      job_valid_o,
    /// It is taken.
    input  wire logic                 job_ready_i,
    /// The oldest taken job is done.
    input  wire logic                 job_done_i,
    /// A frame was filtered.
    output logic                      filtered_o,
    /// It was for a group.
    output logic                      filtered_group_o,
    /// Its number.
    output logic [15:0]               filtered_number_o
);
  localparam int unsigned DepthW = $clog2(Depth);

  logic             asked_q;             // the switch's answer for frame_q is there
  rx_frame_t        frame_q;
  logic             room, push, nobody;
  logic [Depth-1:0] is_job_q;            // by place: a job, not a filtered frame
  logic [DepthW:0]  put_q, free_q;
  logic [DepthW:0]  done_q;              // jobs that are done and not released yet
  logic             oldest_is_job;

  assign nobody        = dest_i == '0;
  assign room          = (put_q - free_q) != (DepthW + 1)'(Depth);
  assign job_valid_o   = asked_q && !nobody && room;
  assign filtered_o    = asked_q && nobody && room;
  assign push          = filtered_o || (job_valid_o && job_ready_i);
  assign frame_ready_o = !asked_q || push;
  assign lookup_o      = frame_valid_i && frame_ready_o;
  assign oldest_is_job = is_job_q[free_q[DepthW-1:0]];
  assign release_o     = free_q != put_q && (!oldest_is_job || done_q != '0);
  assign filtered_group_o  = group_i;
  assign filtered_number_o = frame_q.number;
  assign job_o = '{sibling: 1'b0, slot: '0, base: frame_q.base, len: frame_q.len, number: frame_q.number, dest: dest_i};

  always_ff @(posedge clk_i) begin
    if (lookup_o) frame_q <= frame_i;
    if (frame_ready_o) asked_q <= frame_valid_i;
    if (push) begin
      is_job_q[put_q[DepthW-1:0]] <= !filtered_o;
      put_q                       <= put_q + 1'b1;
    end
    if (release_o) free_q <= free_q + 1'b1;
    done_q <= done_q + (DepthW + 1)'(job_done_i) - (DepthW + 1)'(release_o && oldest_is_job);
    if (rst_i) begin
      asked_q <= 1'b0;
      put_q   <= '0;
      free_q  <= '0;
      done_q  <= '0;
    end
  end

`ifndef SYNTHESIS
  always_ff @(posedge clk_i)
    if (!rst_i) assert (done_q <= put_q - free_q) else $error("myr_rx_dispatch: more jobs are done than were given");
`endif
endmodule
`default_nettype wire
