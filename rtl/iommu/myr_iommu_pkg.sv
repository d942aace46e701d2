`default_nettype none
/// Types of the IOMMU: a parsed request, a cached context, a leaf translation, fault reasons.
package myr_iommu_pkg;

  /// What an upstream TLP is to the IOMMU.
  typedef enum logic [1:0] {
    KindRead,
    KindWrite,
    KindCompletion,
    KindOther
  } kind_e;

  /// Header of an upstream TLP. For a completion only `kind` and `sid` (the completer) mean anything.
  typedef struct packed {
    kind_e       kind;
    logic        bypass;        // not translated: leaves with the address it came with
    logic        short_header;  // 3 DW: only a 32-bit address fits
    logic        crosses;       // runs past the end of its 4 KiB page
    logic [1:0]  at;            // address type; anything but 0 is refused
    logic [2:0]  tc;
    logic [2:0]  attr;
    logic [15:0] sid;
    logic [7:0]  tag;
    logic [3:0]  last_be;
    logic [3:0]  first_be;
    logic [9:0]  length;
    logic [63:2] addr;
  } req_t;

  /// What a walk or a permission check needs of a request.
  typedef struct packed {
    logic         bypass;
    logic         write;
    logic         short_header;
    logic         blocked;  // crosses a page, or carries an address type that is not untranslated
    logic [15:0]  sid;
    logic [63:12] page;
  } access_t;

  /// A valid context entry.
  typedef struct packed {
    logic         fpd;   // faults are not recorded
    logic         pass;  // pass-through
    logic [15:0]  did;
    logic [51:12] root;
  } ctx_t;

  /// A leaf with the permissions of all levels ANDed. Size 0: 4 KiB, 1: 2 MiB, 2: 1 GiB.
  typedef struct packed {
    logic [1:0]   size;
    logic         read;
    logic         write;
    logic [51:12] page;
  } leaf_t;

  /// What `myr_access_check` says.
  typedef enum logic [1:0] {
    VerdictPass,
    VerdictFault,
    VerdictNeedContext,
    VerdictNeedLeaf
  } verdict_e;

  /// One fault, as it is recorded.
  typedef struct packed {
    logic         quiet;  // fault processing is disabled: count it, record nothing
    logic         read;
    logic [7:0]   reason;
    logic [15:0]  sid;
    logic [63:12] page;
  } fault_t;

  /// Invalidation of both caches, one cycle with `valid`.
  typedef struct packed {
    logic         valid;
    logic         context_cache;  // else the IOTLB
    logic [1:0]   granularity;    // 1: global, 2: domain, 3: device or page
    logic [15:0]  did;
    logic [15:0]  sid;
    logic [1:0]   function_mask;
    logic [47:12] page;
    logic [5:0]   address_mask;
  } inval_t;

  /// Fault reasons (VT-d legacy mode).
  localparam logic [7:0] FaultRootAbsent = 8'd1;
  localparam logic [7:0] FaultContextAbsent = 8'd2;
  localparam logic [7:0] FaultContextInvalid = 8'd3;
  localparam logic [7:0] FaultWidth = 8'd4;
  localparam logic [7:0] FaultWrite = 8'd5;
  localparam logic [7:0] FaultRead = 8'd6;
  localparam logic [7:0] FaultPageUnreadable = 8'd7;
  localparam logic [7:0] FaultRootUnreadable = 8'd8;
  localparam logic [7:0] FaultContextUnreadable = 8'd9;
  localparam logic [7:0] FaultRootReserved = 8'd10;
  localparam logic [7:0] FaultContextReserved = 8'd11;
  localparam logic [7:0] FaultPageReserved = 8'd12;
  localparam logic [7:0] FaultBlocked = 8'd13;

  /// Machine page of `page` under a leaf: the address bits below a superpage's size come from the request.
  function automatic logic [51:12] leaf_page(logic [1:0] size, logic [51:12] leaf, logic [29:12] page);
    unique case (size)
      2'd0: return leaf;
      2'd1: return {leaf[51:21], page[20:12]};
      default: return {leaf[51:30], page};
    endcase
  endfunction

  /// Second beat of a request with its page replaced; the header keeps its size.
  function automatic myr_pkg::tlp_beat_t patch(myr_pkg::tlp_beat_t beat, logic short_header, logic [51:12] page);
    myr_pkg::tlp_beat_t patched;
    patched = beat;
    if (short_header) patched.data[31:12] = page[31:12];
    else begin
      patched.data[31:0] = {12'd0, page[51:32]};
      patched.data[63:44] = page[31:12];
    end
    return patched;
  endfunction

  /// Round robin: the first set bit after `last`, else the first set bit. Call it only with a bit set.
  function automatic logic [4:0] pick(logic [31:0] requests, logic [4:0] last);
    logic [31:0] after, one;
    after = requests & ~((32'd2 << last) - 32'd1);
    if (after == 32'd0) after = requests;
    one = after & (~after + 32'd1);
    return {
      (one & 32'hFFFF0000) != 32'd0,
      (one & 32'hFF00FF00) != 32'd0,
      (one & 32'hF0F0F0F0) != 32'd0,
      (one & 32'hCCCCCCCC) != 32'd0,
      (one & 32'hAAAAAAAA) != 32'd0
    };
  endfunction

endpackage
`default_nettype wire
