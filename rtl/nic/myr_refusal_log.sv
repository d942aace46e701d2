`default_nettype none
/// Chooses what of the refusals of a cycle goes into the record that the hypervisor reads: the first one since it was
/// cleared. Of several at once the lowest source's; the others are an overflow.
module myr_refusal_log
  import myr_nic_pkg::*;
#(
    /// Sources.
    parameter int unsigned N = 4
) (
    /// Refusals.
    input  wire refusal_t refusal_i[N],
    /// The record holds one.
    input  wire logic     full_i,
    /// To be recorded, when valid.
    output refusal_t      record_o,
    /// One is lost.
    output logic          overflow_o
);
  logic [N-1:0] valid;

  always_comb begin
    record_o = '0;
    for (int unsigned n = 0; n < N; n++) valid[n] = refusal_i[n].valid;
    if (|valid && !full_i)
      for (int unsigned n = N; n > 0; n--) if (valid[n-1]) record_o = refusal_i[n-1];
    overflow_o = full_i ? |valid : (valid & (valid - N'(1))) != '0;
  end
endmodule
`default_nettype wire
