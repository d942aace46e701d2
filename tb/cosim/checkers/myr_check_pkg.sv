`default_nettype none
/// What the protocol checkers share: TLP headers, the device's configuration, the report at the end of a run.
package myr_check_pkg;
  import myr_pkg::*;
  import myr_rules_pkg::*;

  /// A TLP's header has passed, in the cycle before; `dw[3]` is payload or nothing with 3 DW.
  typedef struct packed {
    logic             valid;
    logic [3:0][31:0] dw;
  } head_t;

  /// What software has configured: limits in bytes.
  typedef struct packed {
    logic [7:0]  bus;
    logic [12:0] mps;
    logic [12:0] mrrs;
  } limits_t;

  /// How often each rule was applied.
  typedef longint unsigned counts_t[Rules];

  /// A memory request.
  function automatic logic is_memory(input logic [31:0] dw0);
    return dw0[31:24] inside {TlpMRd32, TlpMRd64, TlpMWr32, TlpMWr64};
  endfunction

  /// A memory write.
  function automatic logic is_write(input logic [31:0] dw0);
    return dw0[31:24] inside {TlpMWr32, TlpMWr64};
  endfunction

  /// A memory read.
  function automatic logic is_read(input logic [31:0] dw0);
    return dw0[31:24] inside {TlpMRd32, TlpMRd64};
  endfunction

  /// A configuration request.
  function automatic logic is_config(input logic [31:0] dw0);
    return dw0[31:24] inside {TlpCfgRd0, TlpCfgWr0};
  endfunction

  /// A completion.
  function automatic logic is_completion(input logic [31:0] dw0);
    return dw0[31:24] inside {TlpCpl, TlpCplD};
  endfunction

  /// Length in DW, 1 to 1024.
  function automatic logic [10:0] length(input logic [31:0] dw0);
    return {dw0[9:0] == 10'd0, dw0[9:0]};
  endfunction

  /// Payload in DW.
  function automatic logic [10:0] payload(input logic [31:0] dw0);
    return dw0[30] ? length(dw0) : 11'd0;
  endfunction

  /// The DW with the address, or its low half.
  function automatic logic [31:0] low_address(input head_t head);
    return head.dw[0][29] ? head.dw[3] : head.dw[2];
  endfunction

  /// Bytes before the first enabled one; 0 when none is.
  function automatic logic [12:0] bytes_before(input logic [3:0] first_be);
    return first_be[0] ? 13'd0 : first_be[1] ? 13'd1 : first_be[2] ? 13'd2 : first_be[3] ? 13'd3 : 13'd0;
  endfunction

  /// Bytes of a memory request from the first enabled one to the last (PCIe 2.0, table 2-21).
  function automatic logic [12:0] byte_count(input logic [31:0] dw0, input logic [31:0] dw1);
    logic [3:0]  last;
    logic [12:0] behind;
    last   = (length(dw0) == 11'd1) ? dw1[3:0] : dw1[7:4];
    behind = last[3] ? 13'd0 : last[2] ? 13'd1 : last[1] ? 13'd2 : 13'd3;
    if (length(dw0) == 11'd1 && dw1[3:0] == 4'd0) return 13'd1;
    return {length(dw0), 2'b00} - bytes_before(dw1[3:0]) - behind;
  endfunction

  /// How often each rule of a checker was applied on a stream, one line each, 0 included.
  function automatic void report(input string name, input string stream, input counts_t counts);
    for (int unsigned r = 0; r < Rules; r++)
      if (rule_checker(rule_e'(r)) == name)
        $display("[myr_check_%s] %s: %s checked %0d times", name, stream, rule_id(rule_e'(r)), counts[r]);
  endfunction
endpackage
`default_nettype wire
