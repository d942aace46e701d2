`default_nettype none
/// Knows when what left before a snapshot has ended: reads by their last completion (tags of the whole device are
/// unique), writes by the root complex's count of those visible in memory.
///
/// A tag that is used again while its read is out (its completion was lost) counts as the newer read.
module myr_iommu_drain
  import myr_pkg::*;
(
    /// Clock, 250 MHz.
    input  wire         clk_i,
    /// Synchronous reset, of control only.
    input  wire         rst_i,
    /// Upstream, as it leaves: a beat moved.
    input  tlp_beat_t   up_i,
    input  wire         up_moved_i,
    /// Downstream, before refusals are merged in: a beat moved.
    input  tlp_beat_t   dn_i,
    input  wire         dn_moved_i,
    /// Running count of MWr TLPs visible in memory.
    input  wire  [31:0] landed_i,
    /// Pulse: everything that left before this cycle is to be waited for.
    input  wire         start_i,
    /// With it: the reads are waited for before the next start.
    input  wire         start_reads_i,
    /// Its reads are complete.
    output logic        reads_done_o,
    /// Its writes are visible.
    output logic        writes_done_o
);

  logic [255:0] out_q, epoch_of_q;  // by tag
  logic epoch_q;
  logic [8:0] count_q[2];  // reads out, by epoch
  logic [31:0] sent_q, target_q;

  // ------------------------------------------------------------------ upstream
  logic up_first_q;
  wire is_read = up_i.data[31:24] == TlpMRd32 || up_i.data[31:24] == TlpMRd64;
  wire is_write = up_i.data[31:24] == TlpMWr32 || up_i.data[31:24] == TlpMWr64;
  wire sent_read = up_moved_i && up_first_q && is_read;
  wire sent_write = up_moved_i && up_first_q && is_write;
  wire [7:0] sent_tag = up_i.data[47:40];

  // ------------------------------------------------------------------ downstream
  logic dn_first_q, dn_second_q, dn_cpl_q, dn_final_q;
  logic [7:0] dn_tag_q;
  logic [11:0] dn_bytes_q;
  logic [9:0] dn_length_q;
  logic dn_data_q;
  // it is the last one if it carries all remaining bytes (0 means 4096), or none at all
  wire [12:0] remaining = {dn_bytes_q == 12'd0, dn_bytes_q};
  wire [12:0] carried = {dn_length_q == 10'd0, dn_length_q, 2'b00} - {11'd0, dn_i.data[1:0]};
  wire final_now = dn_cpl_q && (!dn_data_q || remaining <= carried);
  wire dn_final = dn_second_q ? final_now : dn_final_q;
  wire [7:0] dn_tag = dn_second_q ? dn_i.data[15:8] : dn_tag_q;
  wire ended = dn_moved_i && dn_i.last && !dn_first_q && dn_final && out_q[dn_tag];

  logic [8:0] count_d[2];
  always_comb begin
    count_d = count_q;
    if (ended) count_d[epoch_of_q[dn_tag]] = count_d[epoch_of_q[dn_tag]] - 9'd1;
    if (sent_read) begin
      if (out_q[sent_tag] && !(ended && dn_tag == sent_tag)) begin
        count_d[epoch_of_q[sent_tag]] = count_d[epoch_of_q[sent_tag]] - 9'd1;
      end
      count_d[epoch_q] = count_d[epoch_q] + 9'd1;
    end
    reads_done_o = count_q[!epoch_q] == 9'd0;
    // a difference modulo 2^32
    writes_done_o = !(32'(landed_i - target_q) >> 31 == 32'd1);
  end

  always_ff @(posedge clk_i) begin
    count_q <= count_d;
    if (ended) out_q[dn_tag] <= 1'b0;
    if (sent_read) begin
      out_q[sent_tag] <= 1'b1;
      epoch_of_q[sent_tag] <= epoch_q;
    end
    if (sent_write) sent_q <= sent_q + 32'd1;
    if (up_moved_i) up_first_q <= up_i.last;
    if (dn_moved_i) begin
      dn_first_q <= dn_i.last;
      dn_second_q <= dn_first_q;
      if (dn_first_q) begin
        dn_cpl_q <= dn_i.data[31:24] == TlpCpl || dn_i.data[31:24] == TlpCplD;
        dn_data_q <= dn_i.data[30];
        dn_length_q <= dn_i.data[9:0];
        dn_bytes_q <= dn_i.data[43:32];
      end
      if (dn_second_q) begin
        dn_final_q <= final_now;
        dn_tag_q <= dn_i.data[15:8];
      end
    end
    if (start_i) begin
      target_q <= sent_q;
      // two epochs suffice because the older one is waited for until it is empty
      if (start_reads_i) epoch_q <= !epoch_q;
    end
    if (rst_i) begin
      out_q <= '0;
      epoch_q <= 1'b0;
      count_q <= '{default: '0};
      sent_q <= '0;
      up_first_q <= 1'b1;
      dn_first_q <= 1'b1;
      dn_second_q <= 1'b0;
    end
  end

  wire unused_ok = &{1'b0, up_i.half, dn_i.half};

`ifndef SYNTHESIS
  always_ff @(posedge clk_i) begin
    if (!rst_i) begin
      assert (!(start_i && start_reads_i) || count_q[!epoch_q] == 9'd0)
      else $error("A read drain starts while an earlier one is not over.");
      assert (!(sent_write && start_i))
      else $error("A write left in the cycle of a drain snapshot: it may have been translated before.");
    end
  end
`endif

endmodule
`default_nettype wire
