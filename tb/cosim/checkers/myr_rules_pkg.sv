`default_nettype none
/// The rules of the protocol checkers. Generated from tb/cosim/checkers/rules.toml by tb/cosim/checkers/generate.py; do not edit.
package myr_rules_pkg;
  /// Rules.
  localparam int unsigned Rules = 42;

  /// A rule.
  typedef enum int unsigned {
    RuleStrValid,
    RuleStrData,
    RuleTlpType,
    RuleTlpSize,
    RuleTlpHalf,
    RuleTlpFields,
    RuleTlpEp,
    RuleTlpBe,
    RuleTlp4k,
    RuleTlpMps,
    RuleTlpMrrs,
    RuleTlpAddress,
    RuleTlpId,
    RuleTlpCpl,
    RuleTlpCfg,
    RuleTlpMsi,
    RuleCplTag,
    RuleCplRequest,
    RuleCplKind,
    RuleCplOrder,
    RuleCplCount,
    RuleCplLower,
    RuleCplData,
    RuleCplRcb,
    RuleFcLimit,
    RuleFcGrant,
    RuleFcLeak,
    RuleOrdOrigin,
    RuleOrdPosted,
    RuleOrdPayload,
    RuleOrdVisible,
    RuleOrdInterrupt,
    RuleEthFraming,
    RuleEthPreamble,
    RuleEthMin,
    RuleEthMax,
    RuleEthFcs,
    RuleEthGap,
    RuleEthRate,
    RuleEthHole,
    RuleEthPause,
    RuleEthVerdict
  } rule_e;

  /// Id, sentence and source of a rule.
  function automatic string rule_line(input rule_e rule);
    case (rule)
      RuleStrValid: return "STR-VALID What is offered stays offered until it is taken. (docs/interfaces.md, Data path)";
      RuleStrData: return "STR-DATA What is offered does not change until it is taken. (docs/interfaces.md, Data path)";
      RuleTlpType: return "TLP-TYPE Fmt and Type are those of MRd, MWr, Cpl or CplD, towards the device also of CfgRd0 or CfgWr0. (PCIe 2.0, 2.2.1, table 2-3)";
      RuleTlpSize: return "TLP-SIZE A TLP is as long as its header and its Length field say. (PCIe 2.0, 2.2.2)";
      RuleTlpHalf: return "TLP-HALF Only the last beat of a TLP is a half one. (docs/interfaces.md, Data path)";
      RuleTlpFields: return "TLP-FIELDS Traffic class, digest, attributes and all reserved bits of DW 0 are 0. (PCIe 2.0, 2.2.1, 2.2.3, 2.2.6; docs/interfaces.md)";
      RuleTlpEp: return "TLP-EP Only data can be poisoned, and the device poisons nothing. (PCIe 2.0, 2.7.2)";
      RuleTlpBe: return "TLP-BE Byte enables fit the length: with 1 DW the last ones are 0; with more the first and last DW are touched and nothing between is left out. (PCIe 2.0, 2.2.5)";
      RuleTlp4k: return "TLP-4K A memory request does not cross a 4 KiB boundary. (PCIe 2.0, 2.2.7)";
      RuleTlpMps: return "TLP-MPS No payload is longer than Max_Payload_Size. (PCIe 2.0, 2.2.2)";
      RuleTlpMrrs: return "TLP-MRRS No read asks for more than Max_Read_Request_Size. (PCIe 2.0, 2.2.7)";
      RuleTlpAddress: return "TLP-ADDRESS Bits 1:0 of an address are 0, and below 4 GiB the header has 3 DW. (PCIe 2.0, 2.2.4.1)";
      RuleTlpId: return "TLP-ID The requester (or completer) ID is one of the sender's: the captured bus with function 0 or, of a request, an endpoint's; 0 for the root complex. (PCIe 2.0, 2.2.6.2, 2.2.9; docs/interfaces.md)";
      RuleTlpCpl: return "TLP-CPL A completion has a known status; with data it is a successful one; without, its Length is 0; BCM and reserved bits are 0. (PCIe 2.0, 2.2.9)";
      RuleTlpCfg: return "TLP-CFG A configuration request has 1 DW, no last byte enables, and reserved bits of 0. (PCIe 2.0, 2.2.7)";
      RuleTlpMsi: return "TLP-MSI An interrupt is a write of 1 whole DW. (PCI 3.0, 6.8.3.4; PCIe 2.0, 6.1.4)";
      RuleCplTag: return "CPL-TAG A request that wants an answer has a tag that is not outstanding, or was given up. (PCIe 2.0, 2.2.6.2, 2.8)";
      RuleCplRequest: return "CPL-REQUEST A completion answers an outstanding request: its tag and its requester ID. (PCIe 2.0, 2.3.2)";
      RuleCplKind: return "CPL-KIND A successful read is answered with data, a configuration write without. (PCIe 2.0, 2.2.9, 2.3.1)";
      RuleCplOrder: return "CPL-ORDER The completions of one request come in the order of their addresses. (PCIe 2.0, 2.4.1, 2.3.1.1)";
      RuleCplCount: return "CPL-COUNT Byte Count is what is left of the request, and 4 for configuration. (PCIe 2.0, 2.2.9)";
      RuleCplLower: return "CPL-LOWER Lower Address is that of the first byte returned, and 0 for configuration. (PCIe 2.0, 2.2.9)";
      RuleCplData: return "CPL-DATA No more is returned than was asked for. (PCIe 2.0, 2.3.1.1)";
      RuleCplRcb: return "CPL-RCB A completion that is not the last of its request ends at a multiple of 64 bytes. (PCIe 2.0, 2.3.1.1)";
      RuleFcLimit: return "FC-LIMIT A TLP starts only with credits for its header and its data. (PCIe 2.0, 2.6.1.2)";
      RuleFcGrant: return "FC-GRANT A receiver returns no more credits than were used. (PCIe 2.0, 2.6.1.2)";
      RuleFcLeak: return "FC-LEAK On an idle link all credits have come back. (PCIe 2.0, 2.6.1.2)";
      RuleOrdOrigin: return "ORD-ORIGIN What leaves the IOMMU upstream is what the device sent, once. (docs/interfaces.md, Data path)";
      RuleOrdPosted: return "ORD-POSTED Nothing passes a write of the same requester, and no completion passes any write. (PCIe 2.0, 2.4.1, table 2-23; between requesters as with ID-based ordering)";
      RuleOrdPayload: return "ORD-PAYLOAD A receive completion entry leaves after all bytes of its frame. (docs/hardware.md, Order)";
      RuleOrdVisible: return "ORD-VISIBLE The NIC counts entries as visible when their write has left. (docs/hardware.md, Order)";
      RuleOrdInterrupt: return "ORD-INTERRUPT An endpoint's interrupt leaves after a completion entry that its guest has armed for. (docs/hardware.md, Order)";
      RuleEthFraming: return "ETH-FRAMING A frame is one first beat, then beats of 8 bytes, the last of 1 to 8. (docs/interfaces.md, myr_nic)";
      RuleEthPreamble: return "ETH-PREAMBLE A frame begins with seven bytes of preamble and the start frame delimiter. (IEEE 802.3, 3.2.1, 3.2.2)";
      RuleEthMin: return "ETH-MIN A frame has 64 bytes at least, FCS included. (IEEE 802.3, 4.4.2)";
      RuleEthMax: return "ETH-MAX A frame has 9018 bytes at most without FCS. (docs/hardware.md, A packet's life)";
      RuleEthFcs: return "ETH-FCS The frame check sequence fits the frame. (IEEE 802.3, 3.2.9)";
      RuleEthGap: return "ETH-GAP Between two frames the line is idle for 12 byte times at least, to the byte. (IEEE 802.3, 4.4.2; docs/interfaces.md, myr_nic)";
      RuleEthRate: return "ETH-RATE Within a frame no more than 5 bytes a cycle pass. (docs/interfaces.md, myr_nic)";
      RuleEthHole: return "ETH-HOLE Within a frame the line is never idle. (IEEE 802.3, 4.2.8; docs/interfaces.md, myr_nic)";
      RuleEthPause: return "ETH-PAUSE A pause frame goes to the group address, has 64 bytes with FCS, and zeros behind its time. (IEEE 802.3, 31B.3, annex 31A)";
      RuleEthVerdict: return "ETH-VERDICT The receiver drops exactly the frames whose framing, length or FCS is wrong, one cycle after the last beat. (docs/hardware.md, A received frame's life)";
      default: return "";
    endcase
  endfunction

  /// Its id.
  function automatic string rule_id(input rule_e rule);
    case (rule)
      RuleStrValid: return "STR-VALID";
      RuleStrData: return "STR-DATA";
      RuleTlpType: return "TLP-TYPE";
      RuleTlpSize: return "TLP-SIZE";
      RuleTlpHalf: return "TLP-HALF";
      RuleTlpFields: return "TLP-FIELDS";
      RuleTlpEp: return "TLP-EP";
      RuleTlpBe: return "TLP-BE";
      RuleTlp4k: return "TLP-4K";
      RuleTlpMps: return "TLP-MPS";
      RuleTlpMrrs: return "TLP-MRRS";
      RuleTlpAddress: return "TLP-ADDRESS";
      RuleTlpId: return "TLP-ID";
      RuleTlpCpl: return "TLP-CPL";
      RuleTlpCfg: return "TLP-CFG";
      RuleTlpMsi: return "TLP-MSI";
      RuleCplTag: return "CPL-TAG";
      RuleCplRequest: return "CPL-REQUEST";
      RuleCplKind: return "CPL-KIND";
      RuleCplOrder: return "CPL-ORDER";
      RuleCplCount: return "CPL-COUNT";
      RuleCplLower: return "CPL-LOWER";
      RuleCplData: return "CPL-DATA";
      RuleCplRcb: return "CPL-RCB";
      RuleFcLimit: return "FC-LIMIT";
      RuleFcGrant: return "FC-GRANT";
      RuleFcLeak: return "FC-LEAK";
      RuleOrdOrigin: return "ORD-ORIGIN";
      RuleOrdPosted: return "ORD-POSTED";
      RuleOrdPayload: return "ORD-PAYLOAD";
      RuleOrdVisible: return "ORD-VISIBLE";
      RuleOrdInterrupt: return "ORD-INTERRUPT";
      RuleEthFraming: return "ETH-FRAMING";
      RuleEthPreamble: return "ETH-PREAMBLE";
      RuleEthMin: return "ETH-MIN";
      RuleEthMax: return "ETH-MAX";
      RuleEthFcs: return "ETH-FCS";
      RuleEthGap: return "ETH-GAP";
      RuleEthRate: return "ETH-RATE";
      RuleEthHole: return "ETH-HOLE";
      RuleEthPause: return "ETH-PAUSE";
      RuleEthVerdict: return "ETH-VERDICT";
      default: return "";
    endcase
  endfunction

  /// The checker that applies it.
  function automatic string rule_checker(input rule_e rule);
    case (rule)
      RuleStrValid: return "stream";
      RuleStrData: return "stream";
      RuleTlpType: return "tlp";
      RuleTlpSize: return "tlp";
      RuleTlpHalf: return "tlp";
      RuleTlpFields: return "tlp";
      RuleTlpEp: return "tlp";
      RuleTlpBe: return "tlp";
      RuleTlp4k: return "tlp";
      RuleTlpMps: return "tlp";
      RuleTlpMrrs: return "tlp";
      RuleTlpAddress: return "tlp";
      RuleTlpId: return "tlp";
      RuleTlpCpl: return "tlp";
      RuleTlpCfg: return "tlp";
      RuleTlpMsi: return "tlp";
      RuleCplTag: return "completion";
      RuleCplRequest: return "completion";
      RuleCplKind: return "completion";
      RuleCplOrder: return "completion";
      RuleCplCount: return "completion";
      RuleCplLower: return "completion";
      RuleCplData: return "completion";
      RuleCplRcb: return "completion";
      RuleFcLimit: return "credit";
      RuleFcGrant: return "credit";
      RuleFcLeak: return "credit";
      RuleOrdOrigin: return "order";
      RuleOrdPosted: return "order";
      RuleOrdPayload: return "order";
      RuleOrdVisible: return "order";
      RuleOrdInterrupt: return "order";
      RuleEthFraming: return "ethernet";
      RuleEthPreamble: return "ethernet";
      RuleEthMin: return "ethernet";
      RuleEthMax: return "ethernet";
      RuleEthFcs: return "ethernet";
      RuleEthGap: return "ethernet";
      RuleEthRate: return "ethernet";
      RuleEthHole: return "ethernet";
      RuleEthPause: return "ethernet";
      RuleEthVerdict: return "ethernet";
      default: return "";
    endcase
  endfunction
endpackage
`default_nettype wire
