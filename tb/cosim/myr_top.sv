`timescale 1ns / 1ps
`default_nettype none
/// The machine around the hardware: clock, link, IOMMU, NIC, and one call into the C++ host per cycle.
///
/// Register stages between the NIC's pins and the host's functions (a cycle is named by `cycle_q` at its end):
/// * NIC tx -> link (1 register) -> IOMMU (its own latency) -> `myr_host_cycle` (samples in the cycle of the transfer).
/// * `myr_host_cycle` in cycle c sets `out_q`, seen by the IOMMU in cycle c + 1 -> link (1 register) -> NIC rx.
/// * `myr_host_cycle` in cycle c sets the beat of the line towards the NIC that is on its pins in cycle c + 1.
/// * Wire and trace beats are handed over in the cycle in which they are valid, with that cycle's number.
module myr_top
  import myr_pkg::*;
  import myr_host_pkg::*;
  import myr_abi_pkg::TraceKinds;
#(
    /// Which host instance of this process is this machine's.
    parameter int unsigned HostId      = 0,
    /// See myr_link.
    parameter int unsigned AckInterval = 32
) (
    /// 250 MHz, from main.cpp.
    input  wire  clk_i,
    /// Time stands still: an edge of the clock shows whether anything changes by itself (stillness.cpp).
    input  wire  hold_i,
    /// Toggles when the host has events for Python.
    output logic wake_o
);

  localparam logic [63:0] ResetCycles = 64'd16;

  import "DPI-C" function chandle myr_host_attach(input int unsigned id);
  import "DPI-C" function int unsigned myr_host_checks(input chandle host);
  import "DPI-C" function int unsigned myr_host_cycle(
      input chandle host, input bit [$bits(host_in_t)-1:0] in, output bit [$bits(host_out_t)-1:0] out);
  import "DPI-C" function void myr_host_wire(
      input chandle host, input longint unsigned cycle, input longint unsigned data, input int unsigned bytes,
      input bit first, input bit last);
  import "DPI-C" function void myr_host_trace(
      input chandle host, input longint unsigned cycle, input int unsigned kind, input int unsigned endpoint,
      input int unsigned index, input int unsigned info);

  /// The one signal Python waits for.
  logic        wake /*verilator public_flat_rw*/ = 1'b0;
  assign wake_o = wake;

  logic [63:0] cycle_q = '0;
  logic        rst_q = 1'b1;
  chandle      host;
  logic [ 1:0] checks;  // of tb/cosim/checkers: they are on, credits come back promptly

  initial begin
    host = myr_host_attach(HostId);
    if (host == null) $fatal(1, "myr_top: no host %0d; create RtlPlatform before the simulation starts", HostId);
    checks = 2'(myr_host_checks(host));
  end

  host_in_t  in;
  host_out_t out_q;

  tlp_beat_t nic_tx, up, mem_up, mem_dn, dn, nic_rx;
  logic nic_tx_valid, nic_tx_ready, up_valid, up_ready, mem_up_valid;
  logic mem_dn_ready, dn_valid, dn_ready, nic_rx_valid, nic_rx_ready;
  fc_t         tx_fc;
  fc_t         rx_fc;
  logic        wire_valid, wire_first, wire_last;
  logic [ 3:0] wire_bytes;
  logic [63:0] wire_data;
  trace_lane_t [TraceKinds-1:0] trace;
  logic        nic_tx_inside_q;

  assign tx_fc  = out_q.tx_fc[39:0];
  assign mem_dn = '{last: out_q.dn_last, half: out_q.dn_half, data: out_q.dn_data};

  always_comb begin
    in            = '0;
    in.cycle      = cycle_q;
    in.rx_fc      = {24'd0, rx_fc};
    in.up_valid   = mem_up_valid;
    in.up_data    = mem_up.data;
    in.up_last    = mem_up.last;
    in.up_half    = mem_up.half;
    in.dn_ready   = mem_dn_ready;
    in.walk_valid = walk_req_valid;
    in.walk_write = walk_req_write;
    in.walk_id    = walk_req_id;
    in.walk_addr  = walk_req_addr;
    in.walk_wdata = walk_req_wdata;
    in.reg_ready  = reg_ready;
    in.reg_rvalid = reg_rvalid;
    in.reg_rdata  = reg_rdata;
    // moderated interrupts; every other wait of the hardware counts its cycles
    in.timed      = |u_nic.u_interrupt.waiting;
    if (nic_tx_valid && nic_tx_ready)
      in.tx_watch = {nic_tx.data[31:24], 12'd0, nic_tx.last, !nic_tx_inside_q, nic_tx.data[9:0]};
  end

  always_ff @(posedge clk_i) if (!hold_i) begin
    cycle_q <= cycle_q + 64'd1;
    rst_q   <= cycle_q < ResetCycles - 64'd1;
    if (rst_q) begin
      out_q           <= '0;
      nic_tx_inside_q <= 1'b0;
    end else begin
      automatic host_out_t out;
      automatic int unsigned told;
      if (wire_valid) myr_host_wire(host, cycle_q, wire_data, 32'(wire_bytes), wire_first, wire_last);
      if (trace_any) begin
        for (int unsigned k = 0; k < TraceKinds; k++) begin
          if (trace[k].valid)
            myr_host_trace(host, cycle_q - 64'(trace[k].age), k, 32'(trace[k].endpoint), 32'(trace[k].index), 32'(trace[k].info));
        end
      end
      if (nic_tx_valid && nic_tx_ready) nic_tx_inside_q <= !nic_tx.last;
      told = myr_host_cycle(host, in, out);
      cycle_q <= cycle_q + 64'd1 + 64'(told[31:1]);
      // most cycles change no output
      if (told[0]) begin
        out_q <= out;
        wake  <= out.wake;
      end
    end
  end

  logic trace_any;
  always_comb begin
    trace_any = 1'b0;
    for (int unsigned k = 0; k < TraceKinds; k++) trace_any |= trace[k].valid;
  end

  myr_nic u_nic (
      .clk_i       (clk_i),
      .rst_i       (rst_q),
      .rx_i        (nic_rx),
      .rx_valid_i  (nic_rx_valid),
      .rx_ready_o  (nic_rx_ready),
      .tx_o        (nic_tx),
      .tx_valid_o  (nic_tx_valid),
      .tx_ready_i  (nic_tx_ready),
      .tx_fc_i     (tx_fc),
      .rx_fc_o     (rx_fc),
      .wire_valid_o(wire_valid),
      .wire_first_o(wire_first),
      .wire_last_o (wire_last),
      .wire_bytes_o(wire_bytes),
      .wire_data_o (wire_data),
      .wire_rx_valid_i(out_q.wire_valid),
      .wire_rx_first_i(out_q.wire_first),
      .wire_rx_last_i (out_q.wire_last),
      .wire_rx_bytes_i(out_q.wire_bytes),
      .wire_rx_error_i(out_q.wire_error),
      .wire_rx_data_i (out_q.wire_data),
      .cycle_i     (cycle_q),
      .trace_o     (trace)
  );

  myr_link #(
      .AckInterval(AckInterval)
  ) u_link_up (
      .clk_i      (clk_i),
      .rst_i      (rst_q),
      .stall_i    (out_q.stall_up),
      .in_i       (nic_tx),
      .in_valid_i (nic_tx_valid),
      .in_ready_o (nic_tx_ready),
      .out_o      (up),
      .out_valid_o(up_valid),
      .out_ready_i(up_ready)
  );

  myr_link #(
      .AckInterval(AckInterval)
  ) u_link_dn (
      .clk_i      (clk_i),
      .rst_i      (rst_q),
      .stall_i    (out_q.stall_dn),
      .in_i       (dn),
      .in_valid_i (dn_valid),
      .in_ready_o (dn_ready),
      .out_o      (nic_rx),
      .out_valid_o(nic_rx_valid),
      .out_ready_i(nic_rx_ready)
  );

  logic        walk_req_valid, walk_req_write;
  logic [ 4:0] walk_req_id;
  logic [63:0] walk_req_addr;
  logic [31:0] walk_req_wdata;
  logic        reg_ready, reg_rvalid;
  logic [31:0] reg_rdata;

  myr_iommu u_iommu (
      .clk_i           (clk_i),
      .rst_i           (rst_q),
      .dev_up_i        (up),
      .dev_up_valid_i  (up_valid),
      .dev_up_ready_o  (up_ready),
      .mem_up_o        (mem_up),
      .mem_up_valid_o  (mem_up_valid),
      .mem_up_ready_i  (out_q.up_ready),
      .mem_dn_i        (mem_dn),
      .mem_dn_valid_i  (out_q.dn_valid),
      .mem_dn_ready_o  (mem_dn_ready),
      .dev_dn_o        (dn),
      .dev_dn_valid_o  (dn_valid),
      .dev_dn_ready_i  (dn_ready),
      .walk_req_valid_o(walk_req_valid),
      .walk_req_ready_i(out_q.walk_ready),
      .walk_req_write_o(walk_req_write),
      .walk_req_id_o   (walk_req_id),
      .walk_req_addr_o (walk_req_addr),
      .walk_req_wdata_o(walk_req_wdata),
      .walk_rsp_valid_i(out_q.walk_rsp_valid),
      .walk_rsp_id_i   (out_q.walk_rsp_id),
      .walk_rsp_data_i (out_q.walk_data),
      .walk_rsp_error_i(out_q.walk_rsp_error),
      .posted_landed_i (out_q.posted_landed),
      .reg_valid_i     (out_q.reg_valid),
      .reg_write_i     (out_q.reg_write),
      .reg_addr_i      (out_q.reg_addr[11:0]),
      .reg_wdata_i     (out_q.reg_wdata),
      .reg_ready_o     (reg_ready),
      .reg_rvalid_o    (reg_rvalid),
      .reg_rdata_o     (reg_rdata),
      .fault_irq_o     ()
  );

  // back doors for verification: functions that Python calls, no logic
  myr_regs_peek u_regs_peek ();
  myr_tables_peek u_tables_peek ();

endmodule
`default_nettype wire
