`default_nettype none
/// Receive-side scaling: finds the addresses and ports of a frame and hashes them, 8 bytes a cycle.
///
/// Behind one optional 802.1Q tag. Ports count in unfragmented IPv4 and in IPv6 without extension headers.
module myr_toeplitz
  import myr_nic_pkg::*;
#(
    /// 8-byte words of the frame that are given.
    parameter int unsigned HeaderWords = 11,
    /// Bytes of the key.
    localparam int unsigned KeyBytes = 40
) (
    /// Clock.
    input  wire logic                      clk_i,
    /// Synchronous reset.
    input  wire logic                      rst_i,
    /// A frame's header is here.
    input  wire logic                      start_i,
    /// First bytes of the frame, lowest address in bits 7:0.
    input  wire logic [64*HeaderWords-1:0] header_i,
    /// Bytes of the frame.
    input  wire logic [LenW-1:0]           len_i,
    /// Key of its receiver, first byte in the upper bits.
    input  wire logic [8*KeyBytes-1:0]     key_i,
    /// A hash is being made.
    output logic                           busy_o,
    /// The hash is made, in this cycle.
    output logic                           done_o,
    /// It; 0 where there is none.
    output logic [31:0]                    hash_o,
    /// What was hashed.
    output logic [2:0]                     kind_o
);
  localparam int unsigned FlowBytes = 36;
  localparam logic [2:0] Ipv4Steps = 3'd2;
  localparam logic [2:0] Ipv6Steps = 3'd5;
  localparam logic [7:0] Tcp = 8'd6;
  localparam logic [7:0] Udp = 8'd17;

  typedef logic [7:0] byte_t;

  logic [8*FlowBytes-1:0] flow;
  logic [2:0]             kind, steps;
  logic [319:0]           flow_q, key_q;
  logic [2:0]             left_q, kind_q;
  logic                   busy_q;
  logic [31:0]            hash_q, add;

  logic [64*HeaderWords-1:0] packet;   // from the EtherType's last byte on: behind the tag
  logic [15:0]               ethertype;
  logic [LenW-1:0]           len;      // of the IP packet and what follows
  logic [5:0]                ip_len;
  logic                      has_tag;

  function automatic byte_t at(input logic [64*HeaderWords-1:0] bytes, input int unsigned n);
    return bytes[8*n +: 8];
  endfunction

  always_comb begin
    flow      = '0;
    kind      = '0;
    steps     = '0;
    has_tag    = 1'b0;
    packet    = '0;
    ethertype = '0;
    len       = '0;
    ip_len    = '0;
    if (start_i) begin
      has_tag    = {at(header_i, 12), at(header_i, 13)} == 16'h8100;
      packet    = has_tag ? header_i >> (18 * 8) : header_i >> (14 * 8);
      ethertype = has_tag ? {at(header_i, 16), at(header_i, 17)} : {at(header_i, 12), at(header_i, 13)};
      len       = len_i - (has_tag ? LenW'(18) : LenW'(14));
      if (len_i < (has_tag ? LenW'(18) : LenW'(14))) len = '0;
      if (ethertype == 16'h0800 && len >= LenW'(20) && packet[7:4] == 4'd4 && packet[3:0] >= 4'd5) begin
        kind   = 3'd1;
        steps  = Ipv4Steps;
        ip_len = {packet[3:0], 2'b00};
        for (int unsigned n = 0; n < 8; n++) flow[8*(FlowBytes-1-n) +: 8] = at(packet, 12 + n);
        if ((at(packet, 9) == Tcp || at(packet, 9) == Udp) && (at(packet, 6) & 8'h3F) == 8'd0 && at(packet, 7) == 8'd0
            && len >= LenW'(ip_len) + LenW'(4)) begin
          kind = 3'd2;
          for (int unsigned n = 0; n < 4; n++) flow[8*(FlowBytes-9-n) +: 8] = packet[8*(32'(ip_len) + n) +: 8];
        end
      end else if (ethertype == 16'h86DD && len >= LenW'(40) && packet[7:4] == 4'd6) begin
        kind  = 3'd3;
        steps = Ipv6Steps;
        for (int unsigned n = 0; n < 32; n++) flow[8*(FlowBytes-1-n) +: 8] = at(packet, 8 + n);
        if ((at(packet, 6) == Tcp || at(packet, 6) == Udp) && len >= LenW'(44)) begin
          kind = 3'd4;
          for (int unsigned n = 0; n < 4; n++) flow[8*(FlowBytes-33-n) +: 8] = at(packet, 40 + n);
        end
      end
    end
  end

  // each set bit adds the 32 key bits from its own position on
  always_comb begin
    add = '0;
    if (busy_q && left_q != 3'd0) begin
      for (int unsigned n = 0; n < 64; n++) if (flow_q[319-n]) add = add ^ key_q[319-n -: 32];
    end
  end

  assign busy_o = busy_q || start_i;
  assign done_o = busy_q && left_q == 3'd0;
  assign hash_o = hash_q;
  assign kind_o = kind_q;

  always_ff @(posedge clk_i) begin
    if (busy_q) begin
      if (left_q == 3'd0) busy_q <= 1'b0;
      else begin
        left_q <= left_q - 3'd1;
        hash_q <= hash_q ^ add;
        flow_q <= flow_q << 64;
        key_q  <= key_q << 64;
      end
    end
    if (start_i) begin
      busy_q <= 1'b1;
      left_q <= steps;
      kind_q <= kind;
      hash_q <= '0;
      flow_q <= {flow, 32'd0};
      key_q  <= key_i;
    end
    if (rst_i) busy_q <= 1'b0;
  end

`ifndef SYNTHESIS
  always_ff @(posedge clk_i)
    if (!rst_i && start_i) assert (!busy_q || done_o) else $error("myr_toeplitz: a header came while a hash was being made");
`endif
endmodule
`default_nettype wire
