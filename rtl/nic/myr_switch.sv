`default_nettype none
/// The switch inside the NIC: which endpoints get a frame, whether it goes to the wire, and whether its sender forged
/// it. Its tables are written by the control BAR only: nothing is learned from frames, so that no flood of addresses
/// changes where anybody's frames go.
///
/// A port whose POLICY.enable is 0 is outside: it receives nothing, and what it sends goes to the wire as it is.
module myr_switch
  import myr_abi_pkg::*;
  import myr_nic_pkg::*;
(
    /// Clock.
    input  wire logic                 clk_i,
    /// Synchronous reset: takes all ports out of the switch and all groups out of the table.
    input  wire logic                 rst_i,
    /// Access to the port table (PeakRDL external block).
    input  wire logic                 port_req_i,
    /// It is a write.
    input  wire logic                 port_write_i,
    /// Byte address in the table.
    input  wire logic [9:0]           port_addr_i,
    /// Write data.
    input  wire logic [31:0]          port_data_i,
    /// Read is answered.
    output logic                      port_rd_ack_o,
    /// Write is done.
    output logic                      port_wr_ack_o,
    /// Read data.
    output logic [31:0]               port_data_o,
    /// Access to the group table.
    input  wire logic                 group_req_i,
    /// It is a write.
    input  wire logic                 group_write_i,
    /// Byte address in the table.
    input  wire logic [8:0]           group_addr_i,
    /// Write data.
    input  wire logic [31:0]          group_data_i,
    /// Read is answered.
    output logic                      group_rd_ack_o,
    /// Write is done.
    output logic                      group_wr_ack_o,
    /// Read data.
    output logic [31:0]               group_data_o,
    /// SWITCH_CTRL.policy.
    input  wire logic [1:0]           policy_i,
    /// Look up a frame from the wire; the answer comes in the next cycle.
    input  wire logic                 wire_valid_i,
    /// Its header.
    input  wire frame_header_t        wire_header_i,
    /// Endpoints that get it; with none the frame is filtered.
    output logic [Endpoints-1:0]      wire_dest_o,
    /// Its destination is a group or broadcast (which of the two filter counters counts it).
    output logic                      wire_group_o,
    /// Look up a frame that an endpoint sends; the answer comes in the next cycle.
    input  wire logic                 send_valid_i,
    /// Its header.
    input  wire frame_header_t        send_header_i,
    /// Its sender.
    input  wire logic [EpW-1:0]       send_ep_i,
    /// Siblings that get it, never the sender.
    output logic [Endpoints-1:0]      send_dest_o,
    /// It goes to the wire.
    output logic                      send_to_wire_o,
    /// It is not what this sender may send: it goes nowhere, and is counted.
    output logic                      send_spoofed_o
);
  localparam int unsigned PortBase = NicControlPortBase;
  localparam int unsigned GroupBase = NicControlGroupBase;
  localparam int unsigned Groups = NicControlGroupCount;
  localparam int unsigned GroupW = $clog2(Groups);
  localparam logic [3:0] OffMacHi = 4'(NicControlPortMacHiAddr - PortBase);
  localparam logic [3:0] OffMacLo = 4'(NicControlPortMacLoAddr - PortBase);
  localparam logic [3:0] OffPolicy = 4'(NicControlPortPolicyAddr - PortBase);
  localparam logic [3:0] OffSpoofed = 4'(NicControlPortSpoofedAddr - PortBase);
  localparam logic [3:0] OffGroupHi = 4'(NicControlGroupMacHiAddr - GroupBase);
  localparam logic [3:0] OffGroupLo = 4'(NicControlGroupMacLoAddr - GroupBase);
  localparam logic [3:0] OffMembersLo = 4'(NicControlGroupMembersLoAddr - GroupBase);
  localparam logic [3:0] OffMembersHi = 4'(NicControlGroupMembersHiAddr - GroupBase);
  localparam logic [47:0] Broadcast = 48'hFFFF_FFFF_FFFF;
  localparam logic [43:0] Reserved = 44'h0180_C200_000;  // bridges' own addresses, 01:80:C2:00:00:00 to 0F
  localparam logic [15:0] MacControl = 16'h8808;
  localparam int unsigned GroupBit = 40;                 // the lowest bit of an address's first byte

  // ---- tables --------------------------------------------------------------------------------
  logic [47:0]          mac_q[Endpoints];
  logic [11:0]          vlan_q[Endpoints];
  logic [31:0]          spoofed_q[Endpoints];
  logic [Endpoints-1:0] enable_q, check_mac_q, check_vlan_q, promiscuous_q, all_multicast_q, broadcast_q;
  logic [47:0]          group_q[Groups];
  logic [Groups-1:0]    group_valid_q;
  logic [Endpoints-1:0] members_q[Groups];

  logic           spoof_q;    // the frame of the last look-up is forged
  logic [EpW-1:0] send_ep_q;  // its sender

  logic [EpW-1:0]    port;
  logic [GroupW-1:0] group;

  assign port  = port_addr_i[4 +: EpW];
  assign group = group_addr_i[4 +: GroupW];

  always_ff @(posedge clk_i) begin
    port_rd_ack_o <= port_req_i && !port_write_i;
    port_wr_ack_o <= port_req_i && port_write_i;
    if (port_req_i) begin
      unique case (port_addr_i[3:0])
        OffMacHi: port_data_o <= mac_q[port][47:16];
        OffMacLo: port_data_o <= 32'(mac_q[port][15:0]);
        OffPolicy: port_data_o <= (32'(vlan_q[port]) << NicControlPortPolicyVlanLsb)
            | (32'(enable_q[port]) << NicControlPortPolicyEnableLsb)
            | (32'(check_mac_q[port]) << NicControlPortPolicyCheckMacLsb)
            | (32'(check_vlan_q[port]) << NicControlPortPolicyCheckVlanLsb)
            | (32'(promiscuous_q[port]) << NicControlPortPolicyPromiscuousLsb)
            | (32'(all_multicast_q[port]) << NicControlPortPolicyAllMulticastLsb)
            | (32'(broadcast_q[port]) << NicControlPortPolicyBroadcastLsb);
        OffSpoofed: port_data_o <= spoofed_q[port];
        default: port_data_o <= '0;
      endcase
      if (port_write_i) begin
        unique case (port_addr_i[3:0])
          OffMacHi: mac_q[port][47:16] <= port_data_i;
          OffMacLo: mac_q[port][15:0] <= port_data_i[15:0];
          OffPolicy: begin
            vlan_q[port]          <= port_data_i[NicControlPortPolicyVlanLsb +: 12];
            enable_q[port]        <= port_data_i[NicControlPortPolicyEnableLsb];
            check_mac_q[port]     <= port_data_i[NicControlPortPolicyCheckMacLsb];
            check_vlan_q[port]    <= port_data_i[NicControlPortPolicyCheckVlanLsb];
            promiscuous_q[port]   <= port_data_i[NicControlPortPolicyPromiscuousLsb];
            all_multicast_q[port] <= port_data_i[NicControlPortPolicyAllMulticastLsb];
            broadcast_q[port]     <= port_data_i[NicControlPortPolicyBroadcastLsb];
          end
          default: ;
        endcase
      end
    end
    if (spoof_q) spoofed_q[send_ep_q] <= spoofed_q[send_ep_q] + 32'd1;
    if (rst_i) begin
      port_rd_ack_o   <= 1'b0;
      port_wr_ack_o   <= 1'b0;
      enable_q        <= '0;
      check_mac_q     <= '0;
      check_vlan_q    <= '0;
      promiscuous_q   <= '0;
      all_multicast_q <= '0;
      broadcast_q     <= '0;
      for (int unsigned e = 0; e < Endpoints; e++) begin
        mac_q[e]     <= '0;
        vlan_q[e]    <= '0;
        spoofed_q[e] <= '0;
      end
    end
  end

  always_ff @(posedge clk_i) begin
    group_rd_ack_o <= group_req_i && !group_write_i;
    group_wr_ack_o <= group_req_i && group_write_i;
    if (group_req_i) begin
      unique case (group_addr_i[3:0])
        OffGroupHi: group_data_o <= group_q[group][47:16];
        OffGroupLo: group_data_o <= 32'(group_q[group][15:0])
            | (32'(group_valid_q[group]) << NicControlGroupMacLoValidLsb);
        OffMembersLo: group_data_o <= members_q[group][31:0];
        OffMembersHi: group_data_o <= members_q[group][63:32];
        default: group_data_o <= '0;
      endcase
      if (group_write_i) begin
        unique case (group_addr_i[3:0])
          OffGroupHi: group_q[group][47:16] <= group_data_i;
          OffGroupLo: begin
            group_q[group][15:0] <= group_data_i[15:0];
            group_valid_q[group] <= group_data_i[NicControlGroupMacLoValidLsb];
          end
          OffMembersLo: members_q[group][31:0] <= group_data_i;
          OffMembersHi: members_q[group][63:32] <= group_data_i;
          default: ;
        endcase
      end
    end
    if (rst_i) begin
      group_rd_ack_o <= 1'b0;
      group_wr_ack_o <= 1'b0;
      group_valid_q  <= '0;
      for (int unsigned g = 0; g < Groups; g++) begin
        group_q[g]   <= '0;
        members_q[g] <= '0;
      end
    end
  end

  // ---- matching ------------------------------------------------------------------------------
  // ports of the switch that take this address and VLAN; promiscuous ones are not in it for that alone
  function automatic logic [Endpoints-1:0] takers(input frame_header_t header);
    logic [Endpoints-1:0] addressed;
    addressed = '0;
    if (header.dst == Broadcast) addressed = broadcast_q;
    else if (header.dst[GroupBit]) begin
      if (header.dst[47:4] != Reserved) addressed = all_multicast_q;
      for (int unsigned g = 0; g < Groups; g++)
        if (group_valid_q[g] && group_q[g] == header.dst) addressed |= members_q[g];
    end else begin
      for (int unsigned e = 0; e < Endpoints; e++) addressed[e] = mac_q[e] == header.dst;
    end
    addressed &= enable_q;
    takers = '0;
    if (|addressed) begin
      for (int unsigned e = 0; e < Endpoints; e++)
        takers[e] = addressed[e] && (!check_vlan_q[e] || vlan_q[e] == header.vid);
    end
  endfunction

  // ---- look-ups: idle cycles evaluate nothing ----------------------------------------------------
  logic [Endpoints-1:0] send_takers, wire_takers;
  logic                 member, spoof, known;

  always_comb begin
    wire_takers = '0;
    if (wire_valid_i) wire_takers = takers(wire_header_i) | (promiscuous_q & enable_q);
  end

  always_comb begin
    send_takers = '0;
    member      = 1'b0;
    spoof       = 1'b0;
    known       = 1'b0;
    if (send_valid_i) begin
      member = enable_q[send_ep_i];
      spoof  = member && ((check_mac_q[send_ep_i] && send_header_i.src != mac_q[send_ep_i])
                          || (check_vlan_q[send_ep_i] && send_header_i.vid != vlan_q[send_ep_i])
                          || (send_header_i.ethertype == MacControl && !promiscuous_q[send_ep_i]));
      if (member && !spoof && policy_i != SwitchVepa) begin
        send_takers = takers(send_header_i);
        known       = |send_takers && !send_header_i.dst[GroupBit];
        send_takers = (send_takers | (promiscuous_q & enable_q)) & ~(Endpoints'(1) << send_ep_i);
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (wire_valid_i) begin
      wire_dest_o  <= wire_takers;
      wire_group_o <= wire_header_i.dst[GroupBit];
    end
    spoof_q <= spoof && !rst_i;
    if (send_valid_i) begin
      send_ep_q      <= send_ep_i;
      send_dest_o    <= send_takers;
      send_to_wire_o <= !spoof && (!known || policy_i != SwitchVeb);
    end
  end
  assign send_spoofed_o = spoof_q;

`ifndef SYNTHESIS
  logic sent_q;
  always_ff @(posedge clk_i) begin
    sent_q <= send_valid_i && !rst_i;
    if (!rst_i && sent_q) begin
      assert (!send_dest_o[send_ep_q]) else $error("myr_switch: a frame comes back to its sender");
      assert (!spoof_q || (!send_to_wire_o && send_dest_o == '0)) else $error("myr_switch: a forged frame goes out");
    end
  end
`endif
endmodule
`default_nettype wire
