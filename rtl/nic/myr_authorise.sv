`default_nettype none
/// Decides, before any TLP is built, whether an endpoint may access a range, and under which requester ID
/// (contract C4). Pure logic, one job, so that it can be proved.
///
/// Modes `iommu` and `native` name bus addresses: what is left to check here is that the range lies in the
/// 48-bit bus space without wrapping and that the function may issue requests. Other modes are refused.
module myr_authorise
  import myr_abi_pkg::*;
  import myr_nic_pkg::*;
(
    /// Endpoint.
    input  wire logic [EpW-1:0]  ep_i,
    /// Its protection mode.
    input  wire mode_e           mode_i,
    /// First byte.
    input  wire logic [63:0]     addr_i,
    /// Bytes, at least 1.
    input  wire logic [LenW-1:0] len_i,
    /// It is a write: one into the range of message-signalled interrupts would be an interrupt.
    input  wire logic            write_i,
    /// Captured bus number.
    input  wire logic [7:0]      bus_i,
    /// Bus master enable.
    input  wire logic            bus_master_i,
    /// Endpoint functions are enabled.
    input  wire logic            vf_enable_i,
    /// The access is allowed.
    output logic                 ok_o,
    /// Requester ID to use.
    output logic [15:0]          rid_o
);
  logic [48:0] last;
  logic        in_space;

  always_comb begin
    last     = {1'b0, addr_i[47:0]} + 49'(len_i) - 49'd1;
    in_space = addr_i[63:48] == 16'd0 && !last[48] && len_i != '0
               && !(write_i && (addr_i[47:20] == 28'h000_0FEE || last[47:20] == 28'h000_0FEE));
    ok_o     = 1'b0;
    rid_o    = {bus_i, 8'd0};
    unique case (mode_i)
      ModeNative: ok_o = bus_master_i && in_space;
      ModeIommu: begin
        ok_o  = bus_master_i && vf_enable_i && in_space;
        rid_o = {bus_i, 8'(ep_i) + 8'd1};
      end
      default: ok_o = 1'b0;
    endcase
  end
endmodule
`default_nettype wire
