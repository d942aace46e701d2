`default_nettype none
/// Keys and indirection tables of receive-side scaling.
module myr_rss_table
  import myr_abi_pkg::*;
  import myr_nic_pkg::*;
(
    /// Clock.
    input  wire logic           clk_i,
    /// Synchronous reset.
    input  wire logic           rst_i,
    /// Access strobe (PeakRDL external block).
    input  wire logic           req_i,
    /// It is a write.
    input  wire logic           write_i,
    /// Byte address in the table.
    input  wire logic [12:0]    addr_i,
    /// Write data.
    input  wire logic [31:0]    data_i,
    /// Read is answered.
    output logic                rd_ack_o,
    /// Write is done.
    output logic                wr_ack_o,
    /// Read data.
    output logic [31:0]         data_o,
    /// Endpoint whose key is needed.
    input  wire logic [EpW-1:0] key_ep_i,
    /// Its key, first byte in the upper bits.
    output logic [319:0]        key_o,
    /// Endpoint whose queue is needed.
    input  wire logic [EpW-1:0] queue_ep_i,
    /// Low bits of the hash.
    input  wire logic [6:0]     hash_i,
    /// The queue.
    output logic [1:0]          queue_o
);
  localparam int unsigned KeyWords = (NicControlRssTableAddr - NicControlRssKeyAddr) / 4;  // places, 10 of them in use
  localparam int unsigned KeyUsed = 10;

  logic [319:0]   key_q[Endpoints];
  logic [255:0]   table_q[Endpoints];
  logic [EpW-1:0] ep;
  logic [4:0]     word;
  logic [3:0]     key_word;

  assign ep       = addr_i[7 +: EpW];
  assign word     = addr_i[6:2];
  assign key_word = 4'(KeyUsed - 1) - word[3:0];
  assign key_o    = key_q[key_ep_i];
  assign queue_o  = table_q[queue_ep_i][{hash_i, 1'b0} +: 2];

  always_ff @(posedge clk_i) begin
    rd_ack_o <= req_i && !write_i && !rst_i;
    wr_ack_o <= req_i && write_i && !rst_i;
    if (req_i) begin
      data_o <= '0;
      if (word < 5'(KeyUsed)) begin
        data_o <= key_q[ep][{key_word, 5'd0} +: 32];
        if (write_i) key_q[ep][{key_word, 5'd0} +: 32] <= data_i;
      end else if (word >= 5'(KeyWords) && word < 5'(KeyWords + 8)) begin
        data_o <= table_q[ep][{word[2:0], 5'd0} +: 32];
        if (write_i) table_q[ep][{word[2:0], 5'd0} +: 32] <= data_i;
      end
    end
    if (rst_i) begin
      for (int unsigned e = 0; e < Endpoints; e++) begin
        key_q[e]   <= '0;
        table_q[e] <= '0;
      end
    end
  end
endmodule
`default_nettype wire
