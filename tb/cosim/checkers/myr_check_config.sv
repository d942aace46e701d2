`default_nettype none
/// What software configures, read off its configuration requests to the device: Device Control and the bus number.
module myr_check_config
  import myr_pkg::*;
  import myr_check_pkg::*;
#(
    /// Byte address of Device Control in the configuration space of function 0.
    parameter logic [11:0] DeviceControl = 12'h064
) (
    /// Clock.
    input  wire logic    clk_i,
    /// Synchronous reset.
    input  wire logic    rst_i,
    /// Headers of what the device receives.
    input  wire head_t   head_i,
    /// Limits and bus number.
    output limits_t      limits_o
);
  // 128 and 512 bytes after reset (PCIe 2.0, 7.8.4); a configuration write has its data in the fourth DW
  localparam limits_t AfterReset = '{bus: 8'd0, mps: 13'd128, mrrs: 13'd512};
  // what the device can at most
  localparam logic [2:0] MpsMost = 3'd1;
  localparam logic [2:0] MrrsMost = 3'd5;

  logic [15:0] value;

  function automatic logic [2:0] least(input logic [2:0] a, input logic [2:0] b);
    return (a < b) ? a : b;
  endfunction

  // payload has its lowest address in bits 7:0
  assign value = head_i.dw[3][15:0];

  always_ff @(posedge clk_i) begin
    if (head_i.valid && head_i.dw[0][31:24] == TlpCfgWr0) begin
      limits_o.bus <= head_i.dw[2][31:24];
      if (head_i.dw[2][23:16] == 8'd0 && {head_i.dw[2][11:2], 2'b00} == DeviceControl) begin
        if (head_i.dw[1][0]) limits_o.mps <= 13'd128 << least(value[7:5], MpsMost);
        if (head_i.dw[1][1]) limits_o.mrrs <= 13'd128 << least(value[14:12], MrrsMost);
      end
    end
    if (rst_i) limits_o <= AfterReset;
  end
endmodule
`default_nettype wire
