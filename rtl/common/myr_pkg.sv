`default_nettype none
/// Types shared by the NIC, the IOMMU and the simulation top: TLP streams, flow control, trace.
package myr_pkg;

  /// One beat of a TLP stream, 64 bit.
  ///
  /// `data[31:0]` is the first DW, `data[63:32]` the second. Header DWs hold header byte 0 in bits 31:24, as
  /// the specification draws them; payload DWs hold the lowest address in bits 7:0. A 3-DW header is followed
  /// by payload in the upper half of its second beat. `half`: only `data[31:0]` counts (with `last` only).
  typedef struct packed {
    logic        last;
    logic        half;
    logic [63:0] data;
  } tlp_beat_t;

  /// PCIe Fmt[2:0],Type[4:0] of the TLPs in use (PCIe 3.0, table 2-3).
  localparam logic [7:0] TlpMRd32 = 8'h00;
  localparam logic [7:0] TlpMRd64 = 8'h20;
  localparam logic [7:0] TlpMWr32 = 8'h40;
  localparam logic [7:0] TlpMWr64 = 8'h60;
  localparam logic [7:0] TlpCfgRd0 = 8'h04;
  localparam logic [7:0] TlpCfgWr0 = 8'h44;
  localparam logic [7:0] TlpCpl = 8'h0A;
  localparam logic [7:0] TlpCplD = 8'h4A;

  /// Completion status (PCIe 3.0, table 2-33).
  localparam logic [2:0] CplSc = 3'b000;
  localparam logic [2:0] CplUr = 3'b001;
  localparam logic [2:0] CplCa = 3'b100;

  /// Cumulative flow-control limits, as in UpdateFC DLLPs: headers modulo 2^8, data (16-byte units)
  /// modulo 2^12. Completion credits are advertised as infinite by both ends.
  typedef struct packed {
    logic [7:0]  ph;
    logic [11:0] pd;
    logic [7:0]  nph;
    logic [11:0] npd;
  } fc_t;

  /// One lane of the trace port: an event of a fixed kind (`trace_kind_e`), at most one a cycle. The event happened
  /// `age` cycles before the lane fires: what a TLP means is known only after its last beat has passed.
  typedef struct packed {
    logic        valid;
    logic [3:0]  age;
    logic [5:0]  endpoint;
    logic [15:0] index;
    logic [31:0] info;
  } trace_lane_t;

endpackage
`default_nettype wire
