`default_nettype none
/// Small blocks side by side in one model: each test has one to itself and drives its ports from Python.
module small_blocks;
  tlp_rx_bench u_tlp_rx ();
  myr_tlp_tx u_tlp_tx ();
  myr_dma_read u_dma_read ();
  fetch_bench u_fetch ();
  fetch_bench #(.PerEp(2), .BytesLog2(3), .Batch(myr_nic_pkg::RxFetchBatch), .IdxW(myr_nic_pkg::RxSlotIdxW)) u_rx_fetch ();
  send_ring_bench u_send_ring ();
endmodule
`default_nettype wire
