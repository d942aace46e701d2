`default_nettype none
/// Back door into the register blocks, for verification. Generated from rtl/regs/myrmidon.rdl by rtl/regs/generate.py; do not edit.
/// Bit 32 of what a function returns: there is such a register. A task changes what is stored, with the next clock edge's results.
module myr_regs_peek;
  export "DPI-C" function myr_peek_nic_control;
  function automatic longint unsigned myr_peek_nic_control(input int unsigned address);
    unique case (address)
      32'h0: return {31'd0, 1'b1, 32'h4D59524D};
      32'h4: return {31'd0, 1'b1, 32'h40 | (32'(u_nic.u_regs.hwif_in.CAPS.read_tags.next) << 8) | 32'h200000 | 32'h10000000};
      32'h8: return {31'd0, 1'b1, 32'hC0 | 32'h233A0000};
      32'hC: return {31'd0, 1'b1, (32'(u_nic.u_regs.field_storage.CTRL.enable.value) << 0)};
      32'h10: return {31'd0, 1'b1, (32'(u_nic.u_regs.field_storage.READ_TIMEOUT.cycles.value) << 0)};
      32'h14: return {31'd0, 1'b1, (32'(u_nic.u_regs.field_storage.SWITCH_CTRL.policy.value) << 0) | (32'(u_nic.u_regs.field_storage.SWITCH_CTRL.pause_rx.value) << 4) | (32'(u_nic.u_regs.field_storage.SWITCH_CTRL.pause_tx.value) << 5)};
      32'h18: return {31'd0, 1'b1, (32'(u_nic.u_regs.hwif_in.CYCLE_LO.lo.next) << 0)};
      32'h1C: return {31'd0, 1'b1, (32'(u_nic.u_regs.hwif_in.CYCLE_HI.hi.next) << 0)};
      32'h20: return {31'd0, 1'b1, (32'(u_nic.u_regs.field_storage.MAC_HI.address.value) << 0)};
      32'h24: return {31'd0, 1'b1, (32'(u_nic.u_regs.field_storage.MAC_LO.address.value) << 0)};
      32'h28: return {31'd0, 1'b1, (32'(u_nic.u_regs.field_storage.PAUSE_LIMITS.xoff.value) << 0) | (32'(u_nic.u_regs.field_storage.PAUSE_LIMITS.xon.value) << 16)};
      32'h2C: return {31'd0, 1'b1, 32'h100};
      32'h40: return {31'd0, 1'b1, (32'(u_nic.u_regs.field_storage.FRAMES.count.value) << 0)};
      32'h44: return {31'd0, 1'b1, (32'(u_nic.u_regs.field_storage.FAILED_CHAINS.count.value) << 0)};
      32'h48: return {31'd0, 1'b1, (32'(u_nic.u_regs.field_storage.AUTH_CHECKS.count.value) << 0)};
      32'h4C: return {31'd0, 1'b1, (32'(u_nic.u_regs.field_storage.AUTH_DENIED.count.value) << 0)};
      32'h50: return {31'd0, 1'b1, (32'(u_nic.u_regs.field_storage.READ_ERRORS.count.value) << 0)};
      32'h54: return {31'd0, 1'b1, (32'(u_nic.u_regs.field_storage.READ_TIMEOUTS.count.value) << 0)};
      32'h58: return {31'd0, 1'b1, (32'(u_nic.u_regs.field_storage.UNEXPECTED_CPL.count.value) << 0)};
      32'h5C: return {31'd0, 1'b1, (32'(u_nic.u_regs.field_storage.MMIO_DROPPED.count.value) << 0)};
      32'h60: return {31'd0, 1'b1, (32'(u_nic.u_regs.field_storage.RX_FRAMES.count.value) << 0)};
      32'h64: return {31'd0, 1'b1, (32'(u_nic.u_regs.field_storage.RX_BAD_FCS.count.value) << 0)};
      32'h68: return {31'd0, 1'b1, (32'(u_nic.u_regs.field_storage.RX_RUNT.count.value) << 0)};
      32'h6C: return {31'd0, 1'b1, (32'(u_nic.u_regs.field_storage.RX_OVERSIZE.count.value) << 0)};
      32'h70: return {31'd0, 1'b1, (32'(u_nic.u_regs.field_storage.RX_BAD_FRAMING.count.value) << 0)};
      32'h74: return {31'd0, 1'b1, (32'(u_nic.u_regs.field_storage.RX_PAUSE.count.value) << 0)};
      32'h78: return {31'd0, 1'b1, (32'(u_nic.u_regs.field_storage.RX_OVERFLOW.count.value) << 0)};
      32'h7C: return {31'd0, 1'b1, (32'(u_nic.u_regs.field_storage.RX_FILTERED_UNICAST.count.value) << 0)};
      32'h80: return {31'd0, 1'b1, (32'(u_nic.u_regs.field_storage.RX_FILTERED_MULTICAST.count.value) << 0)};
      32'h84: return {31'd0, 1'b1, (32'(u_nic.u_regs.field_storage.TX_PAUSE.count.value) << 0)};
      32'h88: return {31'd0, 1'b1, (32'(u_nic.u_regs.field_storage.LOCAL_FRAMES.count.value) << 0)};
      32'h8C: return {31'd0, 1'b1, (32'(u_nic.u_regs.field_storage.SPOOFED_FRAMES.count.value) << 0)};
      32'h90: return {31'd0, 1'b1, (32'(u_nic.u_regs.field_storage.RX_NO_BUFFER.count.value) << 0)};
      32'h94: return {31'd0, 1'b1, (32'(u_nic.u_regs.field_storage.INTERRUPTS.count.value) << 0)};
      32'h98: return {31'd0, 1'b1, (32'(u_nic.u_regs.hwif_in.RX_LAST_DROP.reason.next) << 0) | (32'(u_nic.u_regs.hwif_in.RX_LAST_DROP.endpoint.next) << 8)};
      32'hA0: return {31'd0, 1'b1, (32'(u_nic.u_regs.field_storage.REFUSAL.valid.value) << 0) | (32'(u_nic.u_regs.field_storage.REFUSAL.overflow.value) << 1) | (32'(u_nic.u_regs.field_storage.REFUSAL.write.value) << 2) | (32'(u_nic.u_regs.field_storage.REFUSAL.reason.value) << 8) | (32'(u_nic.u_regs.field_storage.REFUSAL.endpoint.value) << 16)};
      32'hA4: return {31'd0, 1'b1, (32'(u_nic.u_regs.field_storage.REFUSAL_ADDRESS_LO.address.value) << 0)};
      32'hA8: return {31'd0, 1'b1, (32'(u_nic.u_regs.field_storage.REFUSAL_ADDRESS_HI.address.value) << 0)};
      32'hAC: return {31'd0, 1'b1, (32'(u_nic.u_regs.field_storage.FENCE.start.value) << 0) | (32'(u_nic.u_regs.hwif_in.FENCE.busy.next) << 1) | (32'(u_nic.u_regs.hwif_in.FENCE.ended.next) << 16)};
      default: return '0;
    endcase
  endfunction
  export "DPI-C" task myr_poke_nic_control;
  task automatic myr_poke_nic_control(input int unsigned address, input int unsigned value);
    unique case (address)
      32'hC: begin u_nic.u_regs.field_storage.CTRL.enable.value <= value[0:0]; end
      32'h10: begin u_nic.u_regs.field_storage.READ_TIMEOUT.cycles.value <= value[19:0]; end
      32'h14: begin u_nic.u_regs.field_storage.SWITCH_CTRL.policy.value <= value[1:0]; u_nic.u_regs.field_storage.SWITCH_CTRL.pause_rx.value <= value[4:4]; u_nic.u_regs.field_storage.SWITCH_CTRL.pause_tx.value <= value[5:5]; end
      32'h20: begin u_nic.u_regs.field_storage.MAC_HI.address.value <= value[31:0]; end
      32'h24: begin u_nic.u_regs.field_storage.MAC_LO.address.value <= value[15:0]; end
      32'h28: begin u_nic.u_regs.field_storage.PAUSE_LIMITS.xoff.value <= value[15:0]; u_nic.u_regs.field_storage.PAUSE_LIMITS.xon.value <= value[31:16]; end
      32'h40: begin u_nic.u_regs.field_storage.FRAMES.count.value <= value[31:0]; end
      32'h44: begin u_nic.u_regs.field_storage.FAILED_CHAINS.count.value <= value[31:0]; end
      32'h48: begin u_nic.u_regs.field_storage.AUTH_CHECKS.count.value <= value[31:0]; end
      32'h4C: begin u_nic.u_regs.field_storage.AUTH_DENIED.count.value <= value[31:0]; end
      32'h50: begin u_nic.u_regs.field_storage.READ_ERRORS.count.value <= value[31:0]; end
      32'h54: begin u_nic.u_regs.field_storage.READ_TIMEOUTS.count.value <= value[31:0]; end
      32'h58: begin u_nic.u_regs.field_storage.UNEXPECTED_CPL.count.value <= value[31:0]; end
      32'h5C: begin u_nic.u_regs.field_storage.MMIO_DROPPED.count.value <= value[31:0]; end
      32'h60: begin u_nic.u_regs.field_storage.RX_FRAMES.count.value <= value[31:0]; end
      32'h64: begin u_nic.u_regs.field_storage.RX_BAD_FCS.count.value <= value[31:0]; end
      32'h68: begin u_nic.u_regs.field_storage.RX_RUNT.count.value <= value[31:0]; end
      32'h6C: begin u_nic.u_regs.field_storage.RX_OVERSIZE.count.value <= value[31:0]; end
      32'h70: begin u_nic.u_regs.field_storage.RX_BAD_FRAMING.count.value <= value[31:0]; end
      32'h74: begin u_nic.u_regs.field_storage.RX_PAUSE.count.value <= value[31:0]; end
      32'h78: begin u_nic.u_regs.field_storage.RX_OVERFLOW.count.value <= value[31:0]; end
      32'h7C: begin u_nic.u_regs.field_storage.RX_FILTERED_UNICAST.count.value <= value[31:0]; end
      32'h80: begin u_nic.u_regs.field_storage.RX_FILTERED_MULTICAST.count.value <= value[31:0]; end
      32'h84: begin u_nic.u_regs.field_storage.TX_PAUSE.count.value <= value[31:0]; end
      32'h88: begin u_nic.u_regs.field_storage.LOCAL_FRAMES.count.value <= value[31:0]; end
      32'h8C: begin u_nic.u_regs.field_storage.SPOOFED_FRAMES.count.value <= value[31:0]; end
      32'h90: begin u_nic.u_regs.field_storage.RX_NO_BUFFER.count.value <= value[31:0]; end
      32'h94: begin u_nic.u_regs.field_storage.INTERRUPTS.count.value <= value[31:0]; end
      32'hA0: begin u_nic.u_regs.field_storage.REFUSAL.valid.value <= value[0:0]; u_nic.u_regs.field_storage.REFUSAL.overflow.value <= value[1:1]; u_nic.u_regs.field_storage.REFUSAL.write.value <= value[2:2]; u_nic.u_regs.field_storage.REFUSAL.reason.value <= value[15:8]; u_nic.u_regs.field_storage.REFUSAL.endpoint.value <= value[21:16]; end
      32'hA4: begin u_nic.u_regs.field_storage.REFUSAL_ADDRESS_LO.address.value <= value[31:0]; end
      32'hA8: begin u_nic.u_regs.field_storage.REFUSAL_ADDRESS_HI.address.value <= value[31:0]; end
      32'hAC: begin u_nic.u_regs.field_storage.FENCE.start.value <= value[0:0]; end
      default: ;
    endcase
  endtask
  export "DPI-C" function myr_peek_iommu;
  function automatic longint unsigned myr_peek_iommu(input int unsigned address);
    unique case (address)
      32'h0: return {31'd0, 1'b1, 32'h10};
      32'h8: return {31'd0, 1'b1, 32'h6 | 32'h400 | 32'h2F0000 | 32'h20000000};
      32'hC: return {31'd0, 1'b1, 32'hC | 32'h80 | 32'h700 | 32'h120000 | 32'h400000 | 32'h800000};
      32'h10: return {31'd0, 1'b1, 32'h1 | 32'h2 | 32'h40};
      32'h14: return {31'd0, 1'b1, 32'd0};
      32'h18: return {31'd0, 1'b1, (32'(u_iommu.u_regs.field_storage.GCMD.qie.value) << 26) | (32'(u_iommu.u_regs.field_storage.GCMD.srtp.value) << 30) | (32'(u_iommu.u_regs.field_storage.GCMD.te.value) << 31)};
      32'h1C: return {31'd0, 1'b1, (32'(u_iommu.u_regs.hwif_in.GSTS.qies.next) << 26) | (32'(u_iommu.u_regs.hwif_in.GSTS.rtps.next) << 30) | (32'(u_iommu.u_regs.hwif_in.GSTS.tes.next) << 31)};
      32'h20: return {31'd0, 1'b1, (32'(u_iommu.u_regs.field_storage.RTADDR_LO.rta.value) << 12)};
      32'h24: return {31'd0, 1'b1, (32'(u_iommu.u_regs.field_storage.RTADDR_HI.rta.value) << 0)};
      32'h34: return {31'd0, 1'b1, (32'(u_iommu.u_regs.field_storage.FSTS.pfo.value) << 0) | (32'(u_iommu.u_regs.hwif_in.FSTS.ppf.next) << 1) | (32'(u_iommu.u_regs.field_storage.FSTS.iqe.value) << 4) | (32'(u_iommu.u_regs.hwif_in.FSTS.fri.next) << 8)};
      32'h38: return {31'd0, 1'b1, (32'(u_iommu.u_regs.field_storage.FECTL.im.value) << 31)};
      32'h80: return {31'd0, 1'b1, (32'(u_iommu.u_regs.hwif_in.IQH_LO.qh.next) << 4)};
      32'h84: return {31'd0, 1'b1, 32'd0};
      32'h88: return {31'd0, 1'b1, (32'(u_iommu.u_regs.field_storage.IQT_LO.qt.value) << 4)};
      32'h8C: return {31'd0, 1'b1, 32'd0};
      32'h90: return {31'd0, 1'b1, (32'(u_iommu.u_regs.field_storage.IQA_LO.qs.value) << 0) | (32'(u_iommu.u_regs.field_storage.IQA_LO.iqa.value) << 12)};
      32'h94: return {31'd0, 1'b1, (32'(u_iommu.u_regs.field_storage.IQA_HI.iqa.value) << 0)};
      32'h9C: return {31'd0, 1'b1, (32'(u_iommu.u_regs.field_storage.ICS.iwc.value) << 0)};
      32'h200: return {31'd0, 1'b1, (32'(u_iommu.u_regs.hwif_in.FRCD[0].W0.fi.next) << 12)};
      32'h204: return {31'd0, 1'b1, (32'(u_iommu.u_regs.hwif_in.FRCD[0].W1.fi.next) << 0)};
      32'h208: return {31'd0, 1'b1, (32'(u_iommu.u_regs.hwif_in.FRCD[0].W2.sid.next) << 0)};
      32'h20C: return {31'd0, 1'b1, (32'(u_iommu.u_regs.hwif_in.FRCD[0].W3.fr.next) << 0) | (32'(u_iommu.u_regs.hwif_in.FRCD[0].W3.t.next) << 30) | (32'(u_iommu.u_regs.field_storage.FRCD[0].W3.f.value) << 31)};
      32'h210: return {31'd0, 1'b1, (32'(u_iommu.u_regs.hwif_in.FRCD[1].W0.fi.next) << 12)};
      32'h214: return {31'd0, 1'b1, (32'(u_iommu.u_regs.hwif_in.FRCD[1].W1.fi.next) << 0)};
      32'h218: return {31'd0, 1'b1, (32'(u_iommu.u_regs.hwif_in.FRCD[1].W2.sid.next) << 0)};
      32'h21C: return {31'd0, 1'b1, (32'(u_iommu.u_regs.hwif_in.FRCD[1].W3.fr.next) << 0) | (32'(u_iommu.u_regs.hwif_in.FRCD[1].W3.t.next) << 30) | (32'(u_iommu.u_regs.field_storage.FRCD[1].W3.f.value) << 31)};
      32'h220: return {31'd0, 1'b1, (32'(u_iommu.u_regs.hwif_in.FRCD[2].W0.fi.next) << 12)};
      32'h224: return {31'd0, 1'b1, (32'(u_iommu.u_regs.hwif_in.FRCD[2].W1.fi.next) << 0)};
      32'h228: return {31'd0, 1'b1, (32'(u_iommu.u_regs.hwif_in.FRCD[2].W2.sid.next) << 0)};
      32'h22C: return {31'd0, 1'b1, (32'(u_iommu.u_regs.hwif_in.FRCD[2].W3.fr.next) << 0) | (32'(u_iommu.u_regs.hwif_in.FRCD[2].W3.t.next) << 30) | (32'(u_iommu.u_regs.field_storage.FRCD[2].W3.f.value) << 31)};
      32'h230: return {31'd0, 1'b1, (32'(u_iommu.u_regs.hwif_in.FRCD[3].W0.fi.next) << 12)};
      32'h234: return {31'd0, 1'b1, (32'(u_iommu.u_regs.hwif_in.FRCD[3].W1.fi.next) << 0)};
      32'h238: return {31'd0, 1'b1, (32'(u_iommu.u_regs.hwif_in.FRCD[3].W2.sid.next) << 0)};
      32'h23C: return {31'd0, 1'b1, (32'(u_iommu.u_regs.hwif_in.FRCD[3].W3.fr.next) << 0) | (32'(u_iommu.u_regs.hwif_in.FRCD[3].W3.t.next) << 30) | (32'(u_iommu.u_regs.field_storage.FRCD[3].W3.f.value) << 31)};
      32'h240: return {31'd0, 1'b1, (32'(u_iommu.u_regs.hwif_in.FRCD[4].W0.fi.next) << 12)};
      32'h244: return {31'd0, 1'b1, (32'(u_iommu.u_regs.hwif_in.FRCD[4].W1.fi.next) << 0)};
      32'h248: return {31'd0, 1'b1, (32'(u_iommu.u_regs.hwif_in.FRCD[4].W2.sid.next) << 0)};
      32'h24C: return {31'd0, 1'b1, (32'(u_iommu.u_regs.hwif_in.FRCD[4].W3.fr.next) << 0) | (32'(u_iommu.u_regs.hwif_in.FRCD[4].W3.t.next) << 30) | (32'(u_iommu.u_regs.field_storage.FRCD[4].W3.f.value) << 31)};
      32'h250: return {31'd0, 1'b1, (32'(u_iommu.u_regs.hwif_in.FRCD[5].W0.fi.next) << 12)};
      32'h254: return {31'd0, 1'b1, (32'(u_iommu.u_regs.hwif_in.FRCD[5].W1.fi.next) << 0)};
      32'h258: return {31'd0, 1'b1, (32'(u_iommu.u_regs.hwif_in.FRCD[5].W2.sid.next) << 0)};
      32'h25C: return {31'd0, 1'b1, (32'(u_iommu.u_regs.hwif_in.FRCD[5].W3.fr.next) << 0) | (32'(u_iommu.u_regs.hwif_in.FRCD[5].W3.t.next) << 30) | (32'(u_iommu.u_regs.field_storage.FRCD[5].W3.f.value) << 31)};
      32'h260: return {31'd0, 1'b1, (32'(u_iommu.u_regs.hwif_in.FRCD[6].W0.fi.next) << 12)};
      32'h264: return {31'd0, 1'b1, (32'(u_iommu.u_regs.hwif_in.FRCD[6].W1.fi.next) << 0)};
      32'h268: return {31'd0, 1'b1, (32'(u_iommu.u_regs.hwif_in.FRCD[6].W2.sid.next) << 0)};
      32'h26C: return {31'd0, 1'b1, (32'(u_iommu.u_regs.hwif_in.FRCD[6].W3.fr.next) << 0) | (32'(u_iommu.u_regs.hwif_in.FRCD[6].W3.t.next) << 30) | (32'(u_iommu.u_regs.field_storage.FRCD[6].W3.f.value) << 31)};
      32'h270: return {31'd0, 1'b1, (32'(u_iommu.u_regs.hwif_in.FRCD[7].W0.fi.next) << 12)};
      32'h274: return {31'd0, 1'b1, (32'(u_iommu.u_regs.hwif_in.FRCD[7].W1.fi.next) << 0)};
      32'h278: return {31'd0, 1'b1, (32'(u_iommu.u_regs.hwif_in.FRCD[7].W2.sid.next) << 0)};
      32'h27C: return {31'd0, 1'b1, (32'(u_iommu.u_regs.hwif_in.FRCD[7].W3.fr.next) << 0) | (32'(u_iommu.u_regs.hwif_in.FRCD[7].W3.t.next) << 30) | (32'(u_iommu.u_regs.field_storage.FRCD[7].W3.f.value) << 31)};
      32'h400: return {31'd0, 1'b1, (32'(u_iommu.u_regs.field_storage.TRANSLATIONS.count.value) << 0)};
      32'h404: return {31'd0, 1'b1, (32'(u_iommu.u_regs.field_storage.IOTLB_MISSES.count.value) << 0)};
      32'h408: return {31'd0, 1'b1, (32'(u_iommu.u_regs.field_storage.FAULTS.count.value) << 0)};
      default: return '0;
    endcase
  endfunction
  export "DPI-C" task myr_poke_iommu;
  task automatic myr_poke_iommu(input int unsigned address, input int unsigned value);
    unique case (address)
      32'h18: begin u_iommu.u_regs.field_storage.GCMD.qie.value <= value[26:26]; u_iommu.u_regs.field_storage.GCMD.srtp.value <= value[30:30]; u_iommu.u_regs.field_storage.GCMD.te.value <= value[31:31]; end
      32'h20: begin u_iommu.u_regs.field_storage.RTADDR_LO.rta.value <= value[31:12]; end
      32'h24: begin u_iommu.u_regs.field_storage.RTADDR_HI.rta.value <= value[31:0]; end
      32'h34: begin u_iommu.u_regs.field_storage.FSTS.pfo.value <= value[0:0]; u_iommu.u_regs.field_storage.FSTS.iqe.value <= value[4:4]; end
      32'h38: begin u_iommu.u_regs.field_storage.FECTL.im.value <= value[31:31]; end
      32'h88: begin u_iommu.u_regs.field_storage.IQT_LO.qt.value <= value[18:4]; end
      32'h90: begin u_iommu.u_regs.field_storage.IQA_LO.qs.value <= value[2:0]; u_iommu.u_regs.field_storage.IQA_LO.iqa.value <= value[31:12]; end
      32'h94: begin u_iommu.u_regs.field_storage.IQA_HI.iqa.value <= value[31:0]; end
      32'h9C: begin u_iommu.u_regs.field_storage.ICS.iwc.value <= value[0:0]; end
      32'h20C: begin u_iommu.u_regs.field_storage.FRCD[0].W3.f.value <= value[31:31]; end
      32'h21C: begin u_iommu.u_regs.field_storage.FRCD[1].W3.f.value <= value[31:31]; end
      32'h22C: begin u_iommu.u_regs.field_storage.FRCD[2].W3.f.value <= value[31:31]; end
      32'h23C: begin u_iommu.u_regs.field_storage.FRCD[3].W3.f.value <= value[31:31]; end
      32'h24C: begin u_iommu.u_regs.field_storage.FRCD[4].W3.f.value <= value[31:31]; end
      32'h25C: begin u_iommu.u_regs.field_storage.FRCD[5].W3.f.value <= value[31:31]; end
      32'h26C: begin u_iommu.u_regs.field_storage.FRCD[6].W3.f.value <= value[31:31]; end
      32'h27C: begin u_iommu.u_regs.field_storage.FRCD[7].W3.f.value <= value[31:31]; end
      32'h400: begin u_iommu.u_regs.field_storage.TRANSLATIONS.count.value <= value[31:0]; end
      32'h404: begin u_iommu.u_regs.field_storage.IOTLB_MISSES.count.value <= value[31:0]; end
      32'h408: begin u_iommu.u_regs.field_storage.FAULTS.count.value <= value[31:0]; end
      default: ;
    endcase
  endtask
endmodule
`default_nettype wire
