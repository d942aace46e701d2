`default_nettype none
/// Decides when an endpoint's interrupt fires: arming by the guest, moderation by the hypervisor.
///
/// A ring that was armed and gets an entry (or had more than software has seen when it was armed) has an event. An
/// endpoint with events waits until as many entries as its limit have come, or for its time from the first of them;
/// then it fires and its rings with events are disarmed, the others stay as they are. Arming a ring again takes its
/// event back and counts anew, from the index that software names; a wait that goes on keeps its deadline.
///
/// No wake-up is lost. Posted indices and armings meet here in one order, and an arming carries what software has
/// seen: entries posted before it differ from that index (event at once), entries posted after it find the ring armed.
/// An event goes away in three ways only: it fires (the message follows the entries on the link); software re-arms the
/// ring with the posted index (it has seen all of them); the endpoint restarts. An arming in the cycle of a fire is
/// taken after it, so the fire does not disarm it.
module myr_interrupt
  import myr_abi_pkg::*;
  import myr_nic_pkg::*;
(
    /// Clock.
    input  wire logic                 clk_i,
    /// Synchronous reset: nothing armed, no moderation.
    input  wire logic                 rst_i,
    /// Cycle counter of the machine.
    input  wire logic [63:0]          cycle_i,
    /// Moderation registers: access strobe (PeakRDL external block).
    input  wire logic                 req_i,
    /// It is a write.
    input  wire logic                 write_i,
    /// Byte address in the table.
    input  wire logic [EpW+1:0]       addr_i,
    /// Write data.
    input  wire logic [31:0]          data_i,
    /// Read is answered.
    output logic                      rd_ack_o,
    /// Write is done.
    output logic                      wr_ack_o,
    /// Read data.
    output logic [31:0]               data_o,
    /// Bit of each endpoint: enabled. A disabled one cannot be armed and does not fire.
    input  wire logic [Endpoints-1:0] enable_i,
    /// An endpoint is being enabled: its indices and its armed state restart.
    input  wire logic                 start_i,
    /// Which.
    input  wire logic [EpW-1:0]       start_ep_i,
    /// New send completions are visible (ring 0).
    input  wire posted_t              send_i,
    /// New receive completions are visible (rings 1 to RxQueues).
    input  wire posted_t              recv_i,
    /// The guest arms a ring; rings that do not exist are ignored. Never two in consecutive cycles.
    input  wire arm_t                 arm_i,
    /// These endpoints fire, 1 cycle after the event when nothing moderates them.
    output logic [Endpoints-1:0]      fire_o
);
  localparam int unsigned Rings = RxQueues + 1;
  localparam int unsigned CyclesW = NicControlIrqModerationCyclesWidth;
  localparam int unsigned CountW = NicControlIrqModerationCountWidth;
  localparam int unsigned RecvW = EpW + $clog2(RxQueues);

  // moderation
  logic [CyclesW-1:0]   cycles_q[Endpoints];
  logic [CountW-1:0]    limit_q[Endpoints];
  logic [EpW-1:0]       reg_ep;
  // rings: posted index, entries of the event (meaningful while there is one)
  logic [15:0]          send_index_q[Endpoints];
  logic [CountW-1:0]    send_count_q[Endpoints];
  logic [15:0]          recv_index_q[Endpoints*RxQueues];
  logic [CountW-1:0]    recv_count_q[Endpoints*RxQueues];
  logic [Endpoints-1:0] armed_q[Rings];
  logic [Endpoints-1:0] event_q[Rings];
  logic [Endpoints-1:0] waiting;
  logic [CyclesW-1:0]   deadline_q[Endpoints];

  // one step of a ring
  typedef struct packed {
    logic              valid;
    logic              arm;
    logic [EpW-1:0]    ep;
    logic [QueueW-1:0] cq;
    logic [15:0]       index;
    logic [3:0]        count;
  } step_t;

  arm_t              arm;
  logic              arm_valid, arm_take, arm_room, arm_ok;
  step_t             send, recv;
  logic [RecvW-1:0]  recv_ring;
  logic [15:0]       send_behind, recv_behind;
  logic              send_armed, recv_armed, send_had, recv_had, send_event, recv_event, send_waits, recv_waits;
  logic [CountW-1:0] send_count, recv_count;
  logic              send_check_q, recv_check_q;     // the endpoint's count may have reached its limit
  logic [EpW-1:0]    send_check_ep_q, recv_check_ep_q;

  function automatic logic [CountW-1:0] saturate(input logic [16:0] value);
    return (value > 17'((1 << CountW) - 1)) ? '1 : value[CountW-1:0];
  endfunction

  // ---- fire ------------------------------------------------------------------------------------
  function automatic logic reached(input logic [EpW-1:0] ep);
    logic [CountW+2:0] sum;
    sum = event_q[0][ep] ? (CountW + 3)'(send_count_q[ep]) : '0;
    for (int unsigned r = 0; r < RxQueues; r++)
      if (event_q[r+1][ep]) sum = sum + (CountW + 3)'(recv_count_q[{ep, 2'(r)}]);
    return sum >= (CountW + 3)'(limit_q[ep]);
  endfunction

  always_comb begin
    waiting = '0;
    for (int unsigned r = 0; r < Rings; r++) waiting = waiting | event_q[r];
    waiting = waiting & enable_i;
    fire_o  = '0;
    if (|waiting) begin
      for (int unsigned e = 0; e < Endpoints; e++) fire_o[e] = deadline_q[e] == cycle_i[CyclesW-1:0];
      if (send_check_q && reached(send_check_ep_q)) fire_o[send_check_ep_q] = 1'b1;
      if (recv_check_q && reached(recv_check_ep_q)) fire_o[recv_check_ep_q] = 1'b1;
      fire_o = fire_o & waiting;
    end
  end

  // ---- steps -----------------------------------------------------------------------------------
  // armings wait while entries are posted, so that an entry of the same cycle is seen first; the transmitter needs
  // at least two cycles for each post
  myr_fifo #(.Width($bits(arm_t)), .Depth(4)) u_arms (
      .clk_i, .rst_i, .in_i(arm_i), .in_valid_i(arm_i.valid), .in_ready_o(arm_room), .out_o(arm),
      .out_valid_o(arm_valid), .out_ready_i(arm_take)
  );
  assign arm_take = !send_i.valid && !recv_i.valid;
  assign arm_ok   = arm_valid && arm_take && enable_i[arm.ep] && arm.cq <= QueueW'(RxQueues);

  always_comb begin
    send = '{valid: send_i.valid, arm: 1'b0, ep: send_i.ep, cq: '0, index: send_i.index, count: send_i.count};
    recv = '{valid: recv_i.valid, arm: 1'b0, ep: recv_i.ep, cq: recv_i.cq, index: recv_i.index, count: recv_i.count};
    if (arm_ok && arm.cq == '0)
      send = '{valid: 1'b1, arm: 1'b1, ep: arm.ep, cq: '0, index: arm.index, count: '0};
    if (arm_ok && arm.cq != '0)
      recv = '{valid: 1'b1, arm: 1'b1, ep: arm.ep, cq: arm.cq, index: arm.index, count: '0};
  end

  always_comb begin
    recv_ring   = {recv.ep, 2'(recv.cq - QueueW'(1))};
    // as they are once the rings that fire in this cycle are disarmed
    send_had    = event_q[0][send.ep] && !fire_o[send.ep];
    recv_had    = event_q[recv.cq][recv.ep] && !fire_o[recv.ep];
    send_armed  = armed_q[0][send.ep] && !(event_q[0][send.ep] && fire_o[send.ep]);
    recv_armed  = armed_q[recv.cq][recv.ep] && !(event_q[recv.cq][recv.ep] && fire_o[recv.ep]);
    send_waits  = waiting[send.ep] && !fire_o[send.ep];
    recv_waits  = waiting[recv.ep] && !fire_o[recv.ep];
    send_behind = send_index_q[send.ep] - send.index;
    recv_behind = recv_index_q[recv_ring] - recv.index;
    if (send.arm) begin
      send_event = send_behind != '0;
      send_count = saturate({1'b0, send_behind});
    end else begin
      send_event = send_armed;
      send_count = saturate(17'(send.count) + (send_had ? 17'(send_count_q[send.ep]) : 17'd0));
    end
    if (recv.arm) begin
      recv_event = recv_behind != '0;
      recv_count = saturate({1'b0, recv_behind});
    end else begin
      recv_event = recv_armed;
      recv_count = saturate(17'(recv.count) + (recv_had ? 17'(recv_count_q[recv_ring]) : 17'd0));
    end
  end

  always_ff @(posedge clk_i) begin
    send_check_q    <= send.valid && send_event;
    recv_check_q    <= recv.valid && recv_event;
    send_check_ep_q <= send.ep;
    recv_check_ep_q <= recv.ep;
    if (|fire_o) begin
      for (int unsigned r = 0; r < Rings; r++) begin
        armed_q[r] <= armed_q[r] & ~(fire_o & event_q[r]);
        event_q[r] <= event_q[r] & ~fire_o;
      end
    end
    if (send.valid) begin
      if (send.arm) armed_q[0][send.ep] <= 1'b1;
      else send_index_q[send.ep] <= send.index;
      event_q[0][send.ep]   <= send_event;
      send_count_q[send.ep] <= send_count;
      if (send_event && !send_waits) deadline_q[send.ep] <= cycle_i[CyclesW-1:0] + CyclesW'(1) + cycles_q[send.ep];
    end
    if (recv.valid) begin
      if (recv.arm) armed_q[recv.cq][recv.ep] <= 1'b1;
      else recv_index_q[recv_ring] <= recv.index;
      event_q[recv.cq][recv.ep] <= recv_event;
      recv_count_q[recv_ring]   <= recv_count;
      if (recv_event && !recv_waits) deadline_q[recv.ep] <= cycle_i[CyclesW-1:0] + CyclesW'(1) + cycles_q[recv.ep];
    end
    if (start_i) begin
      send_index_q[start_ep_i] <= '0;
      for (int unsigned r = 0; r < RxQueues; r++) recv_index_q[{start_ep_i, 2'(r)}] <= '0;
      for (int unsigned r = 0; r < Rings; r++) begin
        armed_q[r][start_ep_i] <= 1'b0;
        event_q[r][start_ep_i] <= 1'b0;
      end
    end
    if (rst_i) begin
      send_check_q <= 1'b0;
      recv_check_q <= 1'b0;
      for (int unsigned r = 0; r < Rings; r++) begin
        armed_q[r] <= '0;
        event_q[r] <= '0;
      end
    end
  end

  // ---- moderation registers --------------------------------------------------------------------
  assign reg_ep = addr_i[2 +: EpW];

  always_ff @(posedge clk_i) begin
    rd_ack_o <= req_i && !write_i;
    wr_ack_o <= req_i && write_i;
    if (req_i) begin
      data_o <= (32'(cycles_q[reg_ep]) << NicControlIrqModerationCyclesLsb)
          | (32'(limit_q[reg_ep]) << NicControlIrqModerationCountLsb);
      if (write_i) begin
        cycles_q[reg_ep] <= data_i[NicControlIrqModerationCyclesLsb +: CyclesW];
        limit_q[reg_ep]  <= data_i[NicControlIrqModerationCountLsb +: CountW];
      end
    end
    if (rst_i) begin
      rd_ack_o <= 1'b0;
      wr_ack_o <= 1'b0;
      for (int unsigned e = 0; e < Endpoints; e++) begin
        cycles_q[e] <= '0;
        limit_q[e]  <= '0;
      end
    end
  end

`ifndef SYNTHESIS
  always_ff @(posedge clk_i)
    if (!rst_i) begin
      assert (!arm_i.valid || arm_room) else $error("myr_interrupt: an arming is lost, the queue is full");
      assert (!send_i.valid || (send_i.cq == '0 && send_i.count != '0))
        else $error("myr_interrupt: send completions without entries or of a receive ring");
      assert (!recv_i.valid || (recv_i.cq != '0 && recv_i.cq <= QueueW'(RxQueues) && recv_i.count != '0))
        else $error("myr_interrupt: receive completions without entries or of no receive ring");
    end
`endif
endmodule
`default_nettype wire
