`default_nettype none
/// Queued invalidation: fetches 16-byte descriptors from the ring, executes them one after another, moves the head
/// only when one is done.
///
/// For an invalidation it holds the front, waits until nothing that was looked up is on its way out, then drops the
/// entries and restarts all parked requests in one cycle. An IOTLB invalidation that asks for it then waits for the
/// drain. So the fence flag of a wait has nothing left to do.
module myr_inval_queue
  import myr_iommu_pkg::*;
(
    /// Clock, 250 MHz.
    input  wire          clk_i,
    /// Synchronous reset, of control only.
    input  wire          rst_i,
    /// Software wants the queue enabled.
    input  wire          enable_i,
    /// The queue is enabled.
    output logic         enabled_o,
    /// Ring base.
    input  wire  [51:12] base_i,
    /// Ring size: 2^n pages of 256 descriptors.
    input  wire  [2:0]   size_i,
    /// Index after the last descriptor.
    input  wire  [14:0]  tail_i,
    /// Index of the descriptor being executed.
    output logic [14:0]  head_o,
    /// Queue error is set.
    input  wire          error_i,
    /// Set the queue error.
    output logic         set_error_o,
    /// Set the wait-completed flag.
    output logic         set_complete_o,
    /// Flags cannot be set in this cycle (software writes a register).
    input  wire          set_blocked_i,
    /// Memory request: read a descriptor, or write 4 bytes of status.
    output logic         mem_valid_o,
    output logic         mem_write_o,
    output logic [63:0]  mem_addr_o,
    output logic [31:0]  mem_wdata_o,
    input  wire          mem_ready_i,
    /// Answer to the read.
    input  wire          rsp_valid_i,
    input  wire  [127:0] rsp_data_i,
    input  wire          rsp_error_i,
    /// Let no new request be looked up.
    output logic         hold_o,
    /// Something that was looked up is still on its way out.
    input  wire          busy_i,
    /// Invalidation of the caches; everything parked restarts.
    output inval_t       inval_o,
    /// Pulse: take the drain snapshot.
    output logic         drain_start_o,
    /// With it: reads are to be waited for, and will be.
    output logic         drain_reads_o,
    /// Reads since the snapshot's past are complete.
    input  wire          drain_reads_done_i,
    /// Writes since the snapshot's past are visible.
    input  wire          drain_writes_done_i
);

  typedef enum logic [3:0] {
    StateIdle,
    StateFetch,
    StateWait,
    StateDecode,
    StateHold,
    StateSnapshot,
    StateDrain,
    StateStatus,
    StateComplete,
    StateNext,
    StateError,
    StateHalted
  } state_e;

  localparam logic [3:0] TypeContext = 4'd1;
  localparam logic [3:0] TypeIotlb = 4'd2;
  localparam logic [3:0] TypeWait = 4'd5;
  /// Largest address mask of the capability register.
  localparam logic [5:0] MaxAddressMask = 6'd18;

  state_e state_q;
  logic [127:0] entry_q;
  logic [14:0] head_q;
  logic enabled_q;

  wire [3:0] kind = entry_q[3:0];
  wire [14:0] last_index = 15'((16'd256 << size_i) - 16'd1);
  wire iotlb_valid = kind == TypeIotlb && entry_q[5:4] != 2'd0
      && (entry_q[5:4] != 2'd3 || (entry_q[69:64] <= MaxAddressMask && entry_q[127:112] == 16'd0));
  wire context_valid = kind == TypeContext && entry_q[5:4] != 2'd0;
  wire drained = (drain_reads_done_i || !entry_q[7]) && (drain_writes_done_i || !entry_q[6]);

  always_comb begin
    enabled_o = enabled_q;
    head_o = head_q;
    set_error_o = state_q == StateError && !set_blocked_i;
    set_complete_o = state_q == StateComplete && !set_blocked_i;
    mem_valid_o = state_q == StateFetch || state_q == StateStatus;
    mem_write_o = state_q == StateStatus;
    mem_addr_o = mem_write_o ? {entry_q[127:66], 2'b00} : {12'd0, base_i, 12'd0} + {45'd0, head_q, 4'd0};
    mem_wdata_o = entry_q[63:32];
    hold_o = state_q == StateHold;
    inval_o = '{
        valid: state_q == StateHold && !busy_i,
        context_cache: kind == TypeContext,
        granularity: entry_q[5:4],
        did: entry_q[31:16],
        sid: entry_q[47:32],
        function_mask: entry_q[49:48],
        page: entry_q[111:76],
        address_mask: entry_q[69:64]
    };
    drain_start_o = state_q == StateSnapshot;
    drain_reads_o = entry_q[7];
  end

  always_ff @(posedge clk_i) begin
    unique case (state_q)
      StateIdle: begin
        enabled_q <= enable_i;
        if (!enable_i) head_q <= '0;
        else if (enabled_q && head_q != tail_i && !error_i) begin
          state_q <= tail_i > last_index ? StateError : StateFetch;
        end
      end
      StateFetch: if (mem_ready_i) state_q <= StateWait;
      StateWait: begin
        if (rsp_valid_i) begin
          entry_q <= rsp_data_i;
          state_q <= rsp_error_i ? StateError : StateDecode;
        end
      end
      StateDecode: begin
        if (context_valid || iotlb_valid) state_q <= StateHold;
        else if (kind != TypeWait) state_q <= StateError;
        else if (entry_q[5]) state_q <= StateStatus;
        else state_q <= entry_q[4] ? StateComplete : StateNext;
      end
      StateHold: if (!busy_i) state_q <= kind == TypeIotlb ? StateSnapshot : StateNext;
      StateSnapshot: state_q <= StateDrain;
      StateDrain: if (drained) state_q <= StateNext;
      StateStatus: if (mem_ready_i) state_q <= entry_q[4] ? StateComplete : StateNext;
      StateComplete: if (!set_blocked_i) state_q <= StateNext;
      StateNext: begin
        head_q <= head_q == last_index ? '0 : head_q + 15'd1;
        state_q <= StateIdle;
      end
      StateError: if (!set_blocked_i) state_q <= StateHalted;
      // software clears the error, and the head is tried again
      default: if (!error_i) state_q <= StateIdle;
    endcase
    if (rst_i) begin
      state_q <= StateIdle;
      enabled_q <= 1'b0;
      head_q <= '0;
    end
  end

  // the hint (leaf only) changes nothing without a paging-structure cache
  wire unused_ok = &{1'b0, entry_q[75:70], entry_q[15:8]};

endmodule
`default_nettype wire
