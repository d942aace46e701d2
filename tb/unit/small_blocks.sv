`default_nettype none
/// Small blocks side by side in one model: each test has one to itself and drives its ports from Python.
module small_blocks;
  tlp_rx_bench u_tlp_rx ();
  myr_tlp_tx u_tlp_tx ();
  myr_dma_read u_dma_read ();
  fetch_bench u_fetch ();
  fetch_bench #(.PerEp(2), .BytesLog2(3), .Batch(myr_nic_pkg::RxFetchBatch), .IdxW(myr_nic_pkg::RxSlotIdxW)) u_rx_fetch ();
  send_ring_bench u_send_ring ();
  completion_bench u_completion ();
  myr_rr_arb #(.N(5)) u_rr_arb ();
  mwr_arb_bench u_mwr_arb ();
  myr_tlp_merge u_tlp_merge ();
  myr_fifo #(.Width(16), .Depth(4)) u_fifo ();
  myr_fifo #(.Width(16), .Depth(1)) u_fifo_one ();
  myr_link #(.AckInterval(8)) u_link_short ();
  myr_link #(.AckInterval(32)) u_link ();
endmodule
`default_nettype wire
