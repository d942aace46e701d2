`default_nettype none
/// Decides, before any TLP is built, whether an endpoint may access a range, at which machine or bus address, and under
/// which requester ID (contract C4). Pure logic, one job, so that it can be proved.
///
/// Modes `iommu`, `native` and `validated` name addresses of the bus: what is left to check here is that the range lies
/// in the 48-bit bus space without wrapping and that the function may issue requests. In mode `windows` the range must
/// lie in the window that the address names, as the hypervisor has registered it. Other modes are refused.
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
    /// Mode `windows`: the window that `addr_i` names.
    input  wire window_t         window_i,
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
    /// Otherwise: why not.
    output refusal_e             reason_o,
    /// Address of the first byte to use.
    output logic [63:0]          addr_o,
    /// Requester ID to use.
    output logic [15:0]          rid_o
);
  localparam int unsigned OffsetW = DmaAddressLargeOffsetWidth;
  localparam logic [OffsetW:0] SmallBytes = (OffsetW + 1)'(1 << DmaAddressWindowOffsetWidth);
  localparam logic [OffsetW:0] LargeBytes = (OffsetW + 1)'(1 << DmaAddressLargeOffsetWidth);

  logic [48:0] last;
  logic        in_space, windowed, is_large, reserved, past;

  always_comb begin
    windowed = mode_i == ModeWindows;
    is_large    = addr_i[DmaAddressWindowLargeLsb];
    reserved = 1'b0;
    past     = 1'b0;
    addr_o   = addr_i;
    if (windowed) begin
      reserved = addr_i[DmaAddressWindowReserved2Lsb +: DmaAddressWindowReserved2Width] != '0
                 || (is_large ? addr_i[DmaAddressLargeReservedLsb +: DmaAddressLargeReservedWidth] != '0
                           : addr_i[DmaAddressWindowReservedLsb +: DmaAddressWindowReservedWidth] != '0);
      if (is_large) begin
        past   = (OffsetW + 1)'(addr_i[OffsetW-1:0]) + (OffsetW + 1)'(len_i) > LargeBytes;
        addr_o = {16'd0, window_i.address[47:OffsetW], addr_i[OffsetW-1:0]};
      end else begin
        past   = (OffsetW + 1)'(addr_i[11:0]) + (OffsetW + 1)'(len_i) > SmallBytes;
        addr_o = {16'd0, window_i.address, addr_i[11:0]};
      end
    end
    last     = {1'b0, addr_o[47:0]} + 49'(len_i) - 49'd1;
    in_space = addr_o[63:48] == 16'd0 && !last[48] && len_i != '0
               && !(write_i && (addr_o[47:20] == 28'h000_0FEE || last[47:20] == 28'h000_0FEE));
    ok_o     = 1'b0;
    reason_o = RefusalRange;
    if (!bus_master_i || (mode_i == ModeIommu && !vf_enable_i)
        || !(mode_i inside {ModeNative, ModeIommu, ModeWindows, ModeValidated})) reason_o = RefusalBus;
    else if (windowed && reserved) reason_o = RefusalReserved;
    else if (windowed && !window_i.valid) reason_o = RefusalInvalid;
    else if (windowed && window_i.is_large != is_large) reason_o = RefusalSize;
    else if (windowed && window_i.number != addr_i[DmaAddressWindowSequenceLsb +: 16]) reason_o = RefusalSequence;
    else if (windowed && write_i && !window_i.writable) reason_o = RefusalReadOnly;
    else if (windowed && past) reason_o = RefusalEnd;
    else ok_o = in_space;
    rid_o = {bus_i, (mode_i == ModeIommu) ? 8'(ep_i) + 8'd1 : 8'd0};
  end
endmodule
`default_nettype wire
