`default_nettype none
/// What `myr_top` and the C++ host exchange in each cycle.
///
/// The C++ structs `HostIn` and `HostOut` (tb/cosim/host.h) hold the same words: the last field here is word 0.
package myr_host_pkg;

  /// Sampled at the clock edge, from the hardware to the host.
  typedef struct packed {
    bit [31:0] tx_watch;    // NIC tx, moving beat: {fmt/type[7:0], 12'b0, last, first, length[9:0]}
    bit [31:0] reg_rdata;
    bit [17:0] spare;
    bit        timed;       // something in the NIC happens at a time of its own
    bit [4:0]  walk_id;
    bit        reg_rvalid;
    bit        reg_ready;
    bit        walk_write;
    bit        walk_valid;
    bit        dn_ready;
    bit        up_half;
    bit        up_last;
    bit        up_valid;
    bit [31:0] walk_wdata;
    bit [63:0] walk_addr;
    bit [63:0] up_data;
    bit [63:0] rx_fc;       // fc_t in bits 39:0
    bit [63:0] cycle;
  } host_in_t;

  /// Registered at the same edge, from the host to the hardware.
  typedef struct packed {
    bit [31:0]  reg_wdata;
    bit [31:0]  reg_addr;
    bit [6:0]   spare;
    bit [3:0]   wire_bytes;
    bit         wire_error;
    bit         wire_last;
    bit         wire_first;
    bit         wire_valid;
    bit [4:0]   walk_rsp_id;
    bit         wake;
    bit         stall_dn;
    bit         stall_up;
    bit         reg_write;
    bit         reg_valid;
    bit         walk_rsp_error;
    bit         walk_rsp_valid;
    bit         walk_ready;
    bit         dn_half;
    bit         dn_last;
    bit         dn_valid;
    bit         up_ready;
    bit [31:0]  posted_landed;
    bit [63:0]  wire_data;  // line towards the NIC
    bit [127:0] walk_data;
    bit [63:0]  tx_fc;      // fc_t in bits 39:0
    bit [63:0]  dn_data;
  } host_out_t;

endpackage
`default_nettype wire
