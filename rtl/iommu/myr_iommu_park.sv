`default_nettype none
/// Holds TLPs that could not pass at once, whole, and lets each out (or answers its fault) when it is decided.
///
/// TLPs of one requester leave in the order in which they came; a completion waits for every write and completion
/// parked before it. Nothing else waits for anything. A request to the page of an older parked one of the same
/// requester starts no walk of its own: it is looked up when the older one is gone, or shares its fault when that
/// is of the same kind. So a requester's run of faults costs one walk for each page, not one for each request.
module myr_iommu_park
  import myr_pkg::*;
  import myr_iommu_pkg::*;
#(
    /// TLPs held at most, 2 to 16.
    parameter int unsigned Slots = 16,
    /// Width of a slot number.
    localparam int unsigned SlotWidth = $clog2(Slots)
) (
    /// Clock, 250 MHz.
    input  wire                  clk_i,
    /// Synchronous reset, of control only.
    input  wire                  rst_i,
    /// TLPs from the front; the request comes with the first beat.
    input  tlp_beat_t            in_i,
    input  wire                  in_valid_i,
    input  wire                  in_first_i,
    input  req_t                 in_req_i,
    output logic                 in_ready_o,
    /// Would this request (or completion) have to stay behind a parked TLP? Same cycle.
    input  wire                  query_i,
    input  wire                  query_completion_i,
    input  wire  [15:0]          query_sid_i,
    output logic                 query_behind_o,
    /// Pulse: a request was parked in this slot.
    output logic                 alloc_o,
    output logic [SlotWidth-1:0] alloc_slot_o,
    output access_t              alloc_access_o,
    /// Slots whose look-up has to wait.
    output logic [Slots-1:0]     deferred_o,
    /// Decision on a slot: a machine page, or a fault.
    input  wire                  result_i,
    input  wire  [SlotWidth-1:0] result_slot_i,
    input  wire                  result_fault_i,
    input  wire  [7:0]           result_reason_i,
    input  wire                  result_quiet_i,
    input  wire  [51:12]         result_page_i,
    /// Slots that share this cycle's fault: their look-up is not needed any more.
    output logic [Slots-1:0]     shared_o,
    /// Forget all decisions; the walker starts all slots again.
    input  wire                  restart_i,
    /// A decided TLP is on its way out.
    output logic                 busy_o,
    /// TLPs let through.
    output tlp_beat_t            out_o,
    output logic                 out_valid_o,
    input  wire                  out_ready_i,
    /// Faults, to be recorded.
    output fault_t               fault_o,
    output logic                 fault_valid_o,
    input  wire                  fault_ready_i,
    /// Faulted reads, to be answered; offered together with the fault, which is taken only if this is ready.
    output req_t                 ur_o,
    output logic                 ur_valid_o,
    input  wire                  ur_ready_i,
    /// Slots that become free.
    output logic [Slots-1:0]     freed_o
);
  /// Beats of a slot: 4 DW of header and 256 bytes are 34.
  localparam int unsigned SlotBeats = 64;
  localparam int unsigned BeatWidth = $clog2(SlotBeats);

  typedef struct packed {
    logic         quiet;
    logic [7:0]   reason;
    logic [51:12] page;
  } result_t;

  tlp_beat_t memory[Slots*SlotBeats];
  req_t req_q[Slots];
  result_t result_q[Slots];
  logic [Slots-1:0] behind_q[Slots];  // older slots that must leave first
  logic [Slots-1:0] valid_q, whole_q, decided_q, fault_q, defer_q, posted_q, completions_q;

  // ------------------------------------------------------------------ arrival
  logic [SlotWidth-1:0] free_slot, write_slot_q;
  logic [BeatWidth-1:0] write_beat_q;
  logic [Slots-1:0] behind, same_page;
  logic [Slots-1:0] freed;

  wire accept = in_valid_i && in_ready_o;
  wire is_completion = in_req_i.kind == KindCompletion;
  assign alloc_o = accept && in_first_i && !is_completion;
  assign alloc_slot_o = free_slot;
  assign in_ready_o = !in_first_i || !(&valid_q);
  assign freed_o = freed;

  always_comb begin
    alloc_access_o = '{
        bypass: in_req_i.bypass,
        write: in_req_i.kind == KindWrite,
        short_header: in_req_i.short_header,
        blocked: in_req_i.crosses || in_req_i.at != 2'd0,
        sid: in_req_i.sid,
        page: in_req_i.addr[63:12]
    };
    free_slot = '0;
    behind = '0;
    same_page = '0;
    if (in_valid_i && in_first_i) begin
      for (int unsigned i = 0; i < Slots; i++) if (!valid_q[i]) free_slot = SlotWidth'(i);
      for (int unsigned i = 0; i < Slots; i++) begin
        if (valid_q[i] && !freed[i]) begin
          if (is_completion) behind[i] = posted_q[i];
          else if (req_q[i].kind != KindCompletion && req_q[i].sid == in_req_i.sid) begin
            behind[i] = 1'b1;
            same_page[i] = req_q[i].addr[63:12] == in_req_i.addr[63:12];
          end
        end
      end
    end
    query_behind_o = 1'b0;
    if (query_i && valid_q != '0) begin
      if (query_completion_i) query_behind_o = (valid_q & posted_q) != '0;
      else begin
        for (int unsigned i = 0; i < Slots; i++) begin
          if (valid_q[i] && req_q[i].kind != KindCompletion && req_q[i].sid == query_sid_i) query_behind_o = 1'b1;
        end
      end
    end
  end

  // ------------------------------------------------------------------ who may leave
  logic [Slots-1:0] first_in_line, go_out, go_fault;
  always_comb begin
    first_in_line = '0;
    if (valid_q != '0) for (int unsigned i = 0; i < Slots; i++) first_in_line[i] = behind_q[i] == '0;
    go_out = valid_q & whole_q & decided_q & ~fault_q & first_in_line;
    go_fault = valid_q & whole_q & decided_q & fault_q & first_in_line;
    deferred_o = defer_q & ~first_in_line;
    shared_o = '0;
    if (result_i && result_fault_i && !restart_i) begin
      for (int unsigned i = 0; i < Slots; i++) begin
        shared_o[i] = valid_q[i] && deferred_o[i] && !decided_q[i] && behind_q[i][result_slot_i]
            && req_q[i].kind == req_q[result_slot_i].kind && req_q[i].bypass == req_q[result_slot_i].bypass
            && req_q[i].crosses == req_q[result_slot_i].crosses && req_q[i].at == req_q[result_slot_i].at
            && req_q[i].short_header == req_q[result_slot_i].short_header
            && req_q[i].addr[63:12] == req_q[result_slot_i].addr[63:12];
      end
    end
  end

  // ------------------------------------------------------------------ out: read ahead by one beat
  logic out_active_q, out_second_q, out_valid_q;
  logic [SlotWidth-1:0] out_slot_q, out_last_slot_q;
  logic [BeatWidth-1:0] out_beat_q;
  tlp_beat_t out_data_q;
  logic out_short_q, out_patch_q;
  logic [51:12] out_page_q;

  wire out_start = !out_active_q && !restart_i && go_out != '0;
  wire [SlotWidth-1:0] out_pick = SlotWidth'(pick(32'(go_out), 5'(out_last_slot_q)));
  wire out_step = out_valid_q && out_ready_i;
  wire out_done = out_step && out_data_q.last;
  wire out_read = out_active_q && (!out_valid_q || out_step) && !out_done;

  always_comb begin
    out_o = out_data_q;
    if (out_second_q && out_patch_q) out_o = patch(out_data_q, out_short_q, out_page_q);
    out_valid_o = out_valid_q;
    busy_o = out_active_q;
  end

  // ------------------------------------------------------------------ faults
  logic fault_active_q;
  logic [SlotWidth-1:0] fault_slot_q;
  wire [SlotWidth-1:0] fault_pick = SlotWidth'(pick(32'(go_fault), 5'(fault_slot_q)));
  wire fault_is_read = req_q[fault_slot_q].kind == KindRead;
  wire fault_done = fault_valid_o && fault_ready_i;

  assign fault_valid_o = fault_active_q && (ur_ready_i || !fault_is_read);
  assign ur_valid_o = fault_active_q && fault_is_read && fault_ready_i;

  always_comb begin
    ur_o = req_q[fault_slot_q];
    fault_o = '{
        quiet: result_q[fault_slot_q].quiet,
        read: fault_is_read,
        reason: result_q[fault_slot_q].reason,
        sid: ur_o.sid,
        page: ur_o.addr[63:12]
    };
    freed = '0;
    if (out_done) freed[out_slot_q] = 1'b1;
    if (fault_done) freed[fault_slot_q] = 1'b1;
  end

  // ------------------------------------------------------------------ state
  always_ff @(posedge clk_i) begin
    if (restart_i) decided_q <= decided_q & ~(valid_q & ~completions_q);
    if (result_i) begin
      result_q[result_slot_i] <= '{
          quiet: result_quiet_i,
          reason: result_reason_i,
          page: result_page_i
      };
      decided_q[result_slot_i] <= 1'b1;
      fault_q[result_slot_i] <= result_fault_i;
      for (int unsigned i = 0; i < Slots; i++) begin
        if (shared_o[i]) begin
          result_q[i] <= '{quiet: result_quiet_i, reason: result_reason_i, page: result_page_i};
          decided_q[i] <= 1'b1;
          fault_q[i] <= 1'b1;
        end
      end
    end
    if (accept) begin
      memory[{in_first_i ? free_slot : write_slot_q, write_beat_q}] <= in_i;
      write_beat_q <= in_i.last ? '0 : write_beat_q + BeatWidth'(1);
      if (in_i.last) whole_q[write_slot_q] <= 1'b1;
    end
    if (freed != '0) begin
      valid_q <= valid_q & ~freed;
      for (int unsigned i = 0; i < Slots; i++) behind_q[i] <= behind_q[i] & ~freed;
    end
    if (accept && in_first_i) begin
      write_slot_q <= free_slot;
      req_q[free_slot] <= in_req_i;
      valid_q <= (valid_q & ~freed) | (Slots'(1) << free_slot);
      whole_q[free_slot] <= 1'b0;
      decided_q[free_slot] <= is_completion;
      completions_q[free_slot] <= is_completion;
      fault_q[free_slot] <= 1'b0;
      posted_q[free_slot] <= in_req_i.kind != KindRead;
      behind_q[free_slot] <= behind;
      defer_q[free_slot] <= same_page != '0;
    end

    if (out_start) begin
      out_active_q <= 1'b1;
      out_slot_q <= out_pick;
      out_last_slot_q <= out_pick;
      out_beat_q <= '0;
      out_page_q <= result_q[out_pick].page;
      out_short_q <= req_q[out_pick].short_header;
      out_patch_q <= !req_q[out_pick].bypass;
    end
    if (out_read) begin
      out_data_q <= memory[{out_slot_q, out_beat_q}];
      out_beat_q <= out_beat_q + BeatWidth'(1);
      out_second_q <= out_beat_q == BeatWidth'(1);
      out_valid_q <= 1'b1;
    end
    if (out_done) begin
      out_active_q <= 1'b0;
      out_valid_q <= 1'b0;
    end

    // a fault that is not yet taken is forgotten with its decision
    if (!fault_active_q && go_fault != '0) begin
      fault_active_q <= 1'b1;
      fault_slot_q <= fault_pick;
    end
    if (fault_done || restart_i) fault_active_q <= 1'b0;

    if (rst_i) begin
      valid_q <= '0;
      defer_q <= '0;
      write_beat_q <= '0;
      out_active_q <= 1'b0;
      out_valid_q <= 1'b0;
      out_last_slot_q <= '0;
      fault_active_q <= 1'b0;
      fault_slot_q <= '0;
    end
  end

`ifndef SYNTHESIS
  always_ff @(posedge clk_i) begin
    if (!rst_i) begin
      assert (!(restart_i && busy_o))
      else $error("Decisions were dropped while a decided TLP was on its way out.");
      assert (!(result_i && !valid_q[result_slot_i]))
      else $error("A decision came for a slot that holds nothing.");
      assert (!(accept && !in_i.last && &write_beat_q))
      else $error("A parked TLP is longer than its slot: the payload exceeds 256 bytes.");
    end
  end
`endif

endmodule
`default_nettype wire
