`default_nettype none
/// Back door into the tables that stand beside the NIC's register block, for verification.
///
/// Reads what is stored; a word that hardware makes on the way to the bus (STATUS, INDEX ...) is not here.
module myr_tables_peek
  import myr_abi_pkg::*;
  import myr_nic_pkg::*;
;

  export "DPI-C" function myr_peek_tables;

  function automatic logic [32:0] endpoint_word(input logic [EpW-1:0] ep, input int unsigned address);
    ep_ctrl_t ctrl = u_nic.u_table.ctrl_q[ep];
    unique case (address)
      NicControlEndpointCtrlAddr:
        return {1'b1, 32'(u_nic.u_table.enable_q[ep])
            | (32'(ctrl.form) << NicControlEndpointCtrlFormLsb)
            | (32'(ctrl.mode) << NicControlEndpointCtrlModeLsb)
            | (32'(ctrl.send_log2) << NicControlEndpointCtrlSendLog2Lsb)
            | (32'(ctrl.cq_log2) << NicControlEndpointCtrlCqLog2Lsb)};
      NicControlEndpointSendBaseLoAddr: return {1'b1, u_nic.u_table.send_base_q[ep][31:0]};
      NicControlEndpointSendBaseHiAddr: return {1'b1, u_nic.u_table.send_base_q[ep][63:32]};
      NicControlEndpointCqBaseLoAddr: return {1'b1, u_nic.u_table.cq_base_q[ep][31:0]};
      NicControlEndpointCqBaseHiAddr: return {1'b1, u_nic.u_table.cq_base_q[ep][63:32]};
      NicControlEndpointRxSmallBaseLoAddr: return {1'b1, u_nic.u_table.rx_base_q[{ep, 1'b0}][31:0]};
      NicControlEndpointRxSmallBaseHiAddr: return {1'b1, u_nic.u_table.rx_base_q[{ep, 1'b0}][63:32]};
      NicControlEndpointRxBigBaseLoAddr: return {1'b1, u_nic.u_table.rx_base_q[{ep, 1'b1}][31:0]};
      NicControlEndpointRxBigBaseHiAddr: return {1'b1, u_nic.u_table.rx_base_q[{ep, 1'b1}][63:32]};
      default: return '0;
    endcase
  endfunction

  function automatic logic [32:0] port_word(input logic [EpW-1:0] port, input int unsigned address);
    unique case (address)
      NicControlPortMacHiAddr: return {1'b1, u_nic.u_switch.mac_q[port][47:16]};
      NicControlPortMacLoAddr: return {1'b1, 32'(u_nic.u_switch.mac_q[port][15:0])};
      NicControlPortSpoofedAddr: return {1'b1, u_nic.u_switch.spoofed_q[port]};
      default: return '0;
    endcase
  endfunction

  function automatic logic [32:0] msix_word(input logic [EpW-1:0] vector, input int unsigned address);
    unique case (address)
      NicControlMsixAddressLoAddr: return {1'b1, u_nic.u_msix.address_q[vector][31:2], 2'b00};
      NicControlMsixAddressHiAddr: return {1'b1, u_nic.u_msix.address_q[vector][63:32]};
      NicControlMsixDataAddr: return {1'b1, u_nic.u_msix.message_q[vector]};
      NicControlMsixControlAddr: return {1'b1, 31'd0, u_nic.u_msix.mask_q[vector]};
      default: return '0;
    endcase
  endfunction

  /// A word of the control BAR. Bit 32 of what it returns: there is such a word here.
  function automatic longint unsigned myr_peek_tables(input int unsigned address);
    logic [32:0] word = '0;
    if (address >= NicControlEndpointBase && address < NicControlEndpointBase + NicControlEndpointCount * NicControlEndpointStride)
      word = endpoint_word(address[7 +: EpW], NicControlEndpointBase | 32'(address[6:0]));
    if (address >= NicControlPortBase && address < NicControlPortBase + NicControlPortCount * NicControlPortStride)
      word = port_word(address[4 +: EpW], NicControlPortBase | 32'(address[3:0]));
    if (address >= NicControlMsixBase && address < NicControlMsixBase + NicControlMsixCount * NicControlMsixStride)
      word = msix_word(address[4 +: EpW], NicControlMsixBase | 32'(address[3:0]));
    if (address >= NicControlStatisticsBase
        && address < NicControlStatisticsBase + NicControlStatisticsCount * NicControlStatisticsStride
        && address[4:0] <= 5'(NicControlStatisticsRefusedAddr - NicControlStatisticsBase))
      word = {1'b1, u_nic.u_statistics.count_q[address[2 +: EpW + 3]]};
    return 64'(word);
  endfunction

endmodule
`default_nettype wire
