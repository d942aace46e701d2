`default_nettype none
/// Fault records: fills free records in circular order, keeps the index of the oldest, marks overflow.
///
/// As VT-d asks, nothing is recorded while the overflow flag is set. The valid flags and the overflow flag live in the
/// register block; they are set here and cleared by software.
module myr_fault_log
  import myr_iommu_pkg::*;
#(
    /// Records, a power of two from 2 to 256.
    parameter int unsigned Records = 8
) (
    /// Clock, 250 MHz.
    input  wire                clk_i,
    /// Synchronous reset, of control only.
    input  wire                rst_i,
    /// A fault.
    input  fault_t             fault_i,
    input  wire                fault_valid_i,
    output logic               fault_ready_o,
    /// Flags cannot be set in this cycle (software writes a register).
    input  wire                set_blocked_i,
    /// Valid flags of the records.
    input  wire  [Records-1:0] valid_i,
    /// Set these valid flags.
    output logic [Records-1:0] set_valid_o,
    /// Overflow flag.
    input  wire                overflow_i,
    /// Set the overflow flag.
    output logic               set_overflow_o,
    /// Contents of the records.
    output fault_t             record_o[Records],
    /// Some record is valid.
    output logic               pending_o,
    /// Oldest valid record.
    output logic [7:0]         first_o,
    /// Pulse: a fault was taken.
    output logic               counted_o
);
  localparam int unsigned IndexWidth = $clog2(Records);

  fault_t record_q[Records];
  logic [IndexWidth-1:0] next_q;  // where the search for a free record starts
  logic [IndexWidth-1:0] free_index, first_index;

  wire taken = fault_valid_i && fault_ready_o;
  wire wanted = taken && !fault_i.quiet && !overflow_i;
  wire write = wanted && !(&valid_i);

  always_comb begin
    fault_ready_o = !set_blocked_i;
    free_index = next_q;
    first_index = '0;
    if (write) begin
      for (int unsigned i = Records; i > 0; i--) begin
        if (!valid_i[next_q+IndexWidth'(i-1)]) free_index = next_q + IndexWidth'(i - 1);
      end
    end
    if (valid_i != '0) begin
      first_index = next_q;
      for (int unsigned i = Records; i > 0; i--) begin
        if (valid_i[next_q+IndexWidth'(i-1)]) first_index = next_q + IndexWidth'(i - 1);
      end
    end
    set_valid_o = '0;
    if (write) set_valid_o[free_index] = 1'b1;
    set_overflow_o = wanted && !write;
    record_o = record_q;
    pending_o = valid_i != '0;
    first_o = 8'(first_index);
    counted_o = taken;
  end

  always_ff @(posedge clk_i) begin
    if (write) begin
      record_q[free_index] <= fault_i;
      next_q <= free_index + IndexWidth'(1);
    end
    if (rst_i) next_q <= '0;
  end

endmodule
`default_nettype wire
