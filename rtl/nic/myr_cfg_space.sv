`default_nettype none
/// Configuration space of the physical function: type 0 header, MSI-X, PCI Express and SR-IOV capabilities.
///
/// BAR2 is 4 MiB (endpoint apertures), BAR4 1 MiB (control), both 64-bit; BAR0 is left for the card's own map and
/// reads as not implemented. One read or write takes one cycle. Functions other than 0 do not answer.
module myr_cfg_space
  import myr_abi_pkg::*;
  import myr_nic_pkg::*;
(
    /// Clock.
    input  wire logic         clk_i,
    /// Synchronous reset.
    input  wire logic         rst_i,
    /// Write the DW at `addr_i`.
    input  wire logic         write_i,
    /// Byte address of a DW.
    input  wire logic [11:0]  addr_i,
    /// Byte enables.
    input  wire logic [3:0]   be_i,
    /// Write data.
    input  wire logic [31:0]  data_i,
    /// Bus number of the request (captured by a write, PCIe 3.0, 2.2.6.2).
    input  wire logic [7:0]   bus_i,
    /// Read data.
    output logic [31:0]       data_o,
    /// Base of BAR2.
    output logic [63:22]      bar2_o,
    /// Base of BAR4.
    output logic [63:ControlW] bar4_o,
    /// Memory space enable.
    output logic              mem_enable_o,
    /// Bus master enable.
    output logic              bus_master_o,
    /// Max_Read_Request_Size, log2 of bytes / 128.
    output logic [2:0]        mrrs_o,
    /// Max_Payload_Size is 256 bytes, otherwise 128.
    output logic              mps_256_o,
    /// Captured bus number.
    output logic [7:0]        bus_o,
    /// Endpoint functions may issue requests.
    output logic              vf_enable_o,
    /// MSI-X enable.
    output logic              msix_enable_o,
    /// All vectors are masked.
    output logic              msix_mask_o
);
  localparam logic [15:0] VendorId = 16'h14C1;
  localparam logic [15:0] DeviceId = 16'h0008;
  localparam logic [7:0] MsixCap = 8'h50;
  localparam logic [2:0] MsixBar = 3'd4;
  localparam logic [7:0] PcieCap = 8'h5C;   // where the real card has it
  localparam logic [11:0] SriovCap = 12'h100;

  logic [63:22] bar2_q;
  logic [63:ControlW] bar4_q;
  logic         mem_q, master_q, vf_q, msix_q, msix_mask_q;
  logic [2:0]   mps_q, mrrs_q;
  logic [7:0]   bus_q;
  logic [15:0]  num_vfs_q;
  logic [31:0]  now, next;

  always_comb begin
    now = '0;
    unique case (addr_i)
      12'h000: now = {DeviceId, VendorId};
      12'h004: now = {16'h0010, 13'd0, master_q, mem_q, 1'b0};
      12'h008: now = 32'h0200_0000;
      12'h018: now = {bar2_q[31:22], 18'd0, 4'hC};
      12'h01C: now = bar2_q[63:32];
      12'h020: now = {bar4_q[31:ControlW], 16'd0, 4'hC};
      12'h024: now = bar4_q[63:32];
      12'h02C: now = {16'h000A, VendorId};
      12'h034: now = {24'd0, PcieCap};
      12'(PcieCap) + 12'h0: now = {16'h0002, MsixCap, 8'h10};          // endpoint, version 2
      12'(PcieCap) + 12'h4: now = 32'h0000_8001;                       // MPS up to 256
      12'(PcieCap) + 12'h8: now = {17'd0, mrrs_q, 4'd0, mps_q, 5'd0};
      12'(PcieCap) + 12'hC: now = 32'h0000_0081;                       // 2.5 GT/s, x8
      12'(PcieCap) + 12'h10: now = 32'h0081_0000;
      12'(MsixCap) + 12'h0: now = {msix_q, msix_mask_q, 3'd0, 11'(Endpoints - 1), 8'h00, 8'h11};  // last in the list
      12'(MsixCap) + 12'h4: now = NicControlMsixBase | 32'(MsixBar);
      12'(MsixCap) + 12'h8: now = NicControlPbaLoAddr | 32'(MsixBar);
      SriovCap: now = 32'h0001_0010;                                   // SR-IOV, version 1, last
      SriovCap + 12'h4: now = 32'd0;
      SriovCap + 12'h8: now = {31'd0, vf_q};
      SriovCap + 12'hC: now = {16'(Endpoints), 16'(Endpoints)};        // TotalVFs, InitialVFs
      SriovCap + 12'h10: now = {16'd0, num_vfs_q};
      SriovCap + 12'h14: now = 32'h0001_0001;                          // stride 1, first VF offset 1
      SriovCap + 12'h18: now = {DeviceId, 16'd0};
      SriovCap + 12'h1C: now = 32'h0000_0001;                          // page sizes: 4 KiB
      SriovCap + 12'h20: now = 32'h0000_0001;
      default: now = '0;
    endcase
    for (int unsigned b = 0; b < 4; b++) next[8*b +: 8] = be_i[b] ? data_i[8*b +: 8] : now[8*b +: 8];
  end

  assign data_o       = now;
  assign bar2_o       = bar2_q;
  assign bar4_o       = bar4_q;
  assign mem_enable_o = mem_q;
  assign bus_master_o = master_q;
  assign mrrs_o       = mrrs_q;
  assign mps_256_o    = mps_q == 3'd1;
  assign bus_o        = bus_q;
  assign msix_enable_o = msix_q;
  assign msix_mask_o   = msix_mask_q;
  assign vf_enable_o  = vf_q && num_vfs_q == 16'(Endpoints);

  always_ff @(posedge clk_i) begin
    if (write_i) begin
      bus_q <= bus_i;
      unique case (addr_i)
        12'h004: {master_q, mem_q} <= next[2:1];
        12'h018: bar2_q[31:22] <= next[31:22];
        12'h01C: bar2_q[63:32] <= next;
        12'h020: bar4_q[31:ControlW] <= next[31:ControlW];
        12'h024: bar4_q[63:32] <= next;
        12'(PcieCap) + 12'h8: begin
          mps_q  <= (next[7:5] > 3'd1) ? 3'd1 : next[7:5];
          mrrs_q <= (next[14:12] > 3'd5) ? 3'd5 : next[14:12];
        end
        12'(MsixCap): {msix_q, msix_mask_q} <= next[31:30];
        SriovCap + 12'h8: vf_q <= next[0];
        SriovCap + 12'h10: num_vfs_q <= next[15:0];
        default: ;
      endcase
    end
    if (rst_i) begin
      bar2_q    <= '0;
      bar4_q    <= '0;
      mem_q     <= 1'b0;
      master_q  <= 1'b0;
      vf_q      <= 1'b0;
      msix_q    <= 1'b0;
      msix_mask_q <= 1'b0;
      mps_q     <= 3'd0;
      mrrs_q    <= 3'd2;
      bus_q     <= '0;
      num_vfs_q <= '0;
    end
  end
endmodule
`default_nettype wire
