`default_nettype none
/// CRC-32 of IEEE 802.3 (polynomial 0x04C11DB7, reflected), over up to eight bytes at once.
package myr_crc32_pkg;
  /// Register value before the first byte.
  localparam logic [31:0] CrcInit = 32'hFFFF_FFFF;

  /// The register after the lowest `count` bytes of `data`, lane 0 first.
  function automatic logic [31:0] crc32_next(input logic [31:0] crc, input logic [63:0] data, input logic [3:0] count);
    logic [31:0] c;
    c = crc;
    for (int unsigned i = 0; i < 8; i++) begin
      if (4'(i) < count) begin
        c = c ^ {24'd0, data[8*i +: 8]};
        for (int unsigned b = 0; b < 8; b++) c = {1'b0, c[31:1]} ^ (c[0] ? 32'hEDB8_8320 : 32'd0);
      end
    end
    return c;
  endfunction
endpackage
`default_nettype wire
