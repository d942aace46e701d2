`default_nettype none
/// Small blocks side by side in one model: each test has one to itself and drives its ports from Python.
module small_blocks;
  tlp_rx_bench u_tlp_rx ();
  myr_tlp_tx u_tlp_tx ();
  myr_dma_read u_dma_read ();
endmodule
`default_nettype wire
