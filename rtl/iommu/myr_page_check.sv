`default_nettype none
/// Decodes one second-level entry: leaf, next table, or fault. Combinational.
module myr_page_check
  import myr_iommu_pkg::*;
(
    /// 4 to 1; a leaf may be at 3 (1 GiB), 2 (2 MiB) and 1 (4 KiB).
    input  wire  [2:0]   level_i,
    /// The entry.
    input  wire  [63:0]  entry_i,
    /// The table could not be read.
    input  wire          error_i,
    /// The request writes.
    input  wire          write_i,
    /// All levels above allow reading.
    input  wire          read_above_i,
    /// All levels above allow writing.
    input  wire          write_above_i,
    /// The entry ends the walk with a fault.
    output logic         fault_o,
    /// Why.
    output logic [7:0]   reason_o,
    /// The entry is a leaf.
    output logic         is_leaf_o,
    /// The leaf; its permissions and, otherwise, its `page` as the next table hold for every entry.
    output leaf_t        leaf_o
);

  wire is_leaf = level_i == 3'd1 || (entry_i[7] && level_i != 3'd4);
  // snoop control and device TLB are not provided, so bits 11 and 62 are reserved
  wire reserved = entry_i[11] || entry_i[62] || (level_i == 3'd4 && entry_i[7])
      || (level_i == 3'd3 && entry_i[7] && entry_i[29:12] != 18'd0)
      || (level_i == 3'd2 && entry_i[7] && entry_i[20:12] != 9'd0);
  wire may_read = read_above_i && entry_i[0];
  wire may_write = write_above_i && entry_i[1];

  always_comb begin
    fault_o = 1'b1;
    reason_o = write_i ? FaultWrite : FaultRead;
    is_leaf_o = is_leaf;
    leaf_o = '{size: 2'd0, read: may_read, write: may_write, page: entry_i[51:12]};
    if (level_i == 3'd2) leaf_o.size = 2'd1;
    if (level_i == 3'd3) leaf_o.size = 2'd2;
    if (error_i) reason_o = FaultPageUnreadable;
    else if (entry_i[1:0] == 2'b00) reason_o = write_i ? FaultWrite : FaultRead;
    else if (reserved) reason_o = FaultPageReserved;
    else if (write_i ? may_write : may_read) fault_o = 1'b0;
  end

  // bits for software, and memory types that legacy mode ignores
  wire unused_ok = &{1'b0, entry_i[63], entry_i[61:52], entry_i[10:8], entry_i[6:2]};

endmodule
`default_nettype wire
