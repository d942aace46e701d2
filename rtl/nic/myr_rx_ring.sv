`default_nettype none
/// Receive rings of all endpoints, a small and a big one each: entries with a valid bit, and the next one to use.
module myr_rx_ring
  import myr_nic_pkg::*;
(
    /// Clock.
    input  wire logic            clk_i,
    /// Synchronous reset.
    input  wire logic            rst_i,
    /// Word of an entry (when `rx`): by PIO it is valid if bit 0 of its address is zero.
    input  wire rx_word_t        word_i,
    /// An endpoint is being enabled: its rings are wiped.
    input  wire logic            start_i,
    /// Which.
    input  wire logic [EpW-1:0]  start_ep_i,
    /// Endpoint and big ring to read, log2 of its entries.
    input  wire logic [EpW:0]    ring_i,
    /// Entries of that ring, log2.
    input  wire logic [3:0]      log2_i,
    /// Entry to read, counted from the next one to use.
    input  wire logic [2:0]      ahead_i,
    /// Next entry to use of that ring.
    output logic [15:0]          index_o,
    /// The entry read in the last cycle is valid.
    output logic                 valid_o,
    /// Its address.
    output logic [63:0]          addr_o,
    /// Use that many entries of the ring.
    input  wire logic            take_i,
    /// How many.
    input  wire logic [2:0]      take_count_i,
    /// Ring of the fetch engine.
    input  wire logic [EpW:0]    fetch_ring_i,
    /// Its next entry to use.
    output logic [15:0]          fetch_index_o,
    /// Endpoint being read back.
    input  wire logic [EpW-1:0]  status_ep_i,
    /// Its next small and big entries.
    output logic [31:0]          status_index_o
);
  localparam int unsigned Rings = 2 * Endpoints;
  localparam int unsigned EntryW = RxRingAddrW - 3;

  logic [63:0]        mem_q[1 << EntryW];
  logic [RxSlots-1:0] valid_q[Rings];
  logic [15:0]        index_q[Rings];
  logic [63:0]        data_q, mask;
  logic [EntryW-1:0]  wr_entry;
  logic [EpW:0]       wr_ring;
  logic [RxSlotIdxW-1:0] wrap, slot;

  assign wr_entry = word_i.addr[3 +: EntryW];
  assign wr_ring  = wr_entry[RxSlotIdxW +: EpW + 1];
  assign wrap     = RxSlotIdxW'((16'd1 << log2_i) - 16'd1);
  assign slot     = (index_q[ring_i][RxSlotIdxW-1:0] + RxSlotIdxW'(ahead_i)) & wrap;
  assign index_o  = index_q[ring_i];
  assign fetch_index_o  = index_q[fetch_ring_i];
  assign status_index_o = {index_q[{status_ep_i, 1'b1}], index_q[{status_ep_i, 1'b0}]};

  always_comb for (int unsigned b = 0; b < 8; b++) mask[8*b +: 8] = {8{word_i.be[b]}};

  // entries are big-endian
  always_comb for (int unsigned b = 0; b < 8; b++) addr_o[8*(7-b) +: 8] = data_q[8*b +: 8];

  always_ff @(posedge clk_i) begin
    data_q  <= mem_q[{ring_i, slot}];
    valid_o <= valid_q[ring_i][slot];
    if (word_i.rx) mem_q[wr_entry] <= (mem_q[wr_entry] & ~mask) | (word_i.data & mask);
    if (take_i) begin
      index_q[ring_i] <= index_q[ring_i] + 16'(take_count_i);
      for (int unsigned n = 0; n < 7; n++)
        if (3'(n) < take_count_i) valid_q[ring_i][(index_q[ring_i][RxSlotIdxW-1:0] + RxSlotIdxW'(n)) & wrap] <= 1'b0;
    end
    if (word_i.rx && word_i.be[7]) valid_q[wr_ring][wr_entry[RxSlotIdxW-1:0]] <= !word_i.pio || !word_i.data[56];
    if (start_i) begin
      for (int unsigned g = 0; g < 2; g++) begin
        valid_q[{start_ep_i, 1'(g)}] <= '0;
        index_q[{start_ep_i, 1'(g)}] <= '0;
      end
    end
    if (rst_i) begin
      for (int unsigned r = 0; r < Rings; r++) begin
        valid_q[r] <= '0;
        index_q[r] <= '0;
      end
    end
  end

`ifndef SYNTHESIS
  always_ff @(posedge clk_i)
    if (!rst_i && take_i) assert (take_count_i != 3'd0 && valid_q[ring_i][index_q[ring_i][RxSlotIdxW-1:0] & wrap])
      else $error("myr_rx_ring: an entry was used that is not valid");
`endif
endmodule
`default_nettype wire
