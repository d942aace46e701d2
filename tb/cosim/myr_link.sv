`default_nettype none
/// One direction of the PCIe link: what the link layer takes from a stream of TLPs.
///
/// * One register: a beat taken in cycle c is offered in cycle c + 1; one beat a cycle otherwise.
/// * The beat after a TLP's last one is taken by framing, sequence number and LCRC.
/// * Acknowledge and credit packets: the link counts beats (TLP and framing) since the last idle beat or DLLP; at the
///   first TLP boundary where the count has reached `AckInterval`, one beat is a DLLP and the count restarts.
///   A beat between TLPs with no TLP offered is idle: it carries such a packet for free, so a quiet link never waits.
module myr_link
  import myr_pkg::*;
#(
    /// Beats after which a saturated link owes one DLLP beat.
    parameter int unsigned AckInterval = 32
) (
    /// Clock and reset.
    input  wire        clk_i,
    input  wire        rst_i,
    /// Random stall of the bench: no beat is taken in this cycle.
    input  wire        stall_i,
    /// From the sender.
    input  tlp_beat_t  in_i,
    input  wire        in_valid_i,
    output logic       in_ready_o,
    /// To the receiver.
    output tlp_beat_t  out_o,
    output logic       out_valid_o,
    input  wire        out_ready_i
);

  tlp_beat_t   beat_q;
  logic        valid_q;
  logic        inside_q;    // between the first and the last beat of a TLP
  logic        framing_q;   // this beat is the framing of the TLP before
  logic [15:0] count_q;

  logic dllp;
  logic take;

  assign dllp        = !inside_q && !framing_q && (count_q >= 16'(AckInterval));
  assign in_ready_o  = !framing_q && !dllp && !stall_i && (!valid_q || out_ready_i);
  assign take        = in_valid_i && in_ready_o;
  assign out_o       = beat_q;
  assign out_valid_o = valid_q;

  always_ff @(posedge clk_i) begin
    if (take) begin
      beat_q    <= in_i;
      inside_q  <= !in_i.last;
      framing_q <= in_i.last;
      count_q   <= count_q + 16'd1;
    end else if (framing_q) begin
      framing_q <= 1'b0;
      count_q   <= count_q + 16'd1;
    end else if (dllp || (!inside_q && !in_valid_i)) begin
      count_q <= '0;
    end
    if (take) valid_q <= 1'b1;
    else if (out_ready_i) valid_q <= 1'b0;
    if (rst_i) begin
      valid_q   <= 1'b0;
      inside_q  <= 1'b0;
      framing_q <= 1'b0;
      count_q   <= '0;
    end
  end

endmodule
`default_nettype wire
