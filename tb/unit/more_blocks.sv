`default_nettype none
/// Blocks of the send offloads, of control and of dispatch side by side in one model.
module more_blocks;
  offload_bench u_offload ();
  tso_bench u_tso ();
  myr_cfg_space u_cfg_space ();
  control_bench u_control ();
  myr_rx_dispatch u_rx_dispatch ();
  myr_rx_statistics u_rx_statistics ();
endmodule
`default_nettype wire
