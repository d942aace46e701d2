`default_nettype none
/// Upstream TLPs: answers to MMIO reads first, then writes and read requests in turn, each as its credits
/// allow. A class without credits never holds another.
module myr_tlp_tx
  import myr_pkg::*;
  import myr_nic_pkg::*;
(
    /// Clock.
    input  wire logic        clk_i,
    /// Synchronous reset.
    input  wire logic        rst_i,
    /// Upstream beat.
    output tlp_beat_t        tx_o,
    /// It is offered.
    output logic             tx_valid_o,
    /// It is taken.
    input  wire logic        tx_ready_i,
    /// Limits granted to us.
    input  wire fc_t         fc_i,
    /// Our completer ID.
    input  wire logic [7:0]  bus_i,
    /// Completion to send.
    input  wire cpl_t        cpl_i,
    /// It is offered.
    input  wire logic        cpl_valid_i,
    /// Its last beat has left.
    output logic             cpl_ready_o,
    /// Write offered.
    input  wire logic        mwr_valid_i,
    /// The write.
    input  wire mwr_t        mwr_i,
    /// Payload, 8 bytes.
    input  wire logic [63:0] mwr_data_i,
    /// These 8 bytes are taken.
    output logic             mwr_next_o,
    /// Last beat has left.
    output logic             mwr_done_o,
    /// Read request.
    input  wire mrd_t        mrd_i,
    /// It is offered.
    input  wire logic        mrd_valid_i,
    /// It is taken.
    output logic             mrd_ready_o,
    /// The last beat of a read request has left (trace); `mrd_sent_*` hold.
    output logic             mrd_sent_o,
    /// It was a descriptor fetch.
    output logic             mrd_sent_fetch_o,
    /// ... of a receive ring.
    output logic             mrd_sent_rx_o,
    /// It was the first of its chain.
    output logic             mrd_sent_first_o,
    /// Endpoint.
    output logic [EpW-1:0]   mrd_sent_ep_o,
    /// Chain head, or first descriptor.
    output logic [15:0]      mrd_sent_index_o,
    /// Bytes asked for.
    output logic [12:0]      mrd_sent_len_o
);
  typedef enum logic [1:0] {StIdle, StHead0, StHead1, StData} state_e;
  typedef enum logic [1:0] {SrcCpl, SrcMwr, SrcMrd} src_e;

  state_e      state_q;
  src_e        src_q;
  logic [31:0] dw_q[4];
  logic        long_q;
  logic [9:0]  left_q;        // payload DWs not yet offered
  logic [31:0] hold_q;        // upper half of the last 8 bytes, for 3-DW headers
  logic [7:0]  ph_q, nph_q;   // credits consumed
  logic [11:0] pd_q;
  logic        turn_q;        // a write went last
  mrd_t        mrd_q;

  logic        ok_mwr, ok_mrd, sel_cpl, sel_mwr, sel_mrd;
  logic [11:0] mwr_units, pd_room;
  logic [7:0]  ph_room, nph_room;
  logic [10:0] mrd_dws;
  logic [3:0]  fbe, lbe;
  logic        take;
  logic        mwr_long, mrd_long;
  logic [1:0]  end_lsb;

  // limit - consumed - needed, modulo the field: in the lower half means enough (PCIe 3.0, 2.6.1.2)
  always_comb begin
    mwr_units = (12'(mwr_i.dws) + 12'd3) >> 2;
    ph_room   = fc_i.ph - ph_q - 8'd1;
    pd_room   = fc_i.pd - pd_q - mwr_units;
    nph_room  = fc_i.nph - nph_q - 8'd1;
    ok_mwr    = !ph_room[7] && !pd_room[11];
    ok_mrd    = !nph_room[7];
    sel_cpl   = cpl_valid_i;
    // writes and reads in turn: a full receive side must not starve the reads that feed it and the send side
    sel_mwr   = !sel_cpl && mwr_valid_i && ok_mwr && !(turn_q && mrd_valid_i && ok_mrd);
    sel_mrd   = !sel_cpl && !sel_mwr && mrd_valid_i && ok_mrd;
    mwr_long  = mwr_i.addr[63:32] != 32'd0;
    mrd_long  = mrd_i.addr[63:32] != 32'd0;
    mrd_dws   = 11'((14'(mrd_i.len) + 14'(mrd_i.addr[1:0]) + 14'd3) >> 2);
    end_lsb   = mrd_i.addr[1:0] + mrd_i.len[1:0];  // first byte after the range
    fbe       = 4'hF << mrd_i.addr[1:0];
    lbe       = (end_lsb == 2'd0) ? 4'hF : ~(4'hF << end_lsb);
    if (mrd_dws == 11'd1) begin
      fbe = fbe & lbe;
      lbe = 4'h0;
    end
  end

  assign take        = tx_valid_o && tx_ready_i;
  assign mrd_ready_o = state_q == StIdle && sel_mrd;
  assign tx_valid_o  = state_q != StIdle;
  assign cpl_ready_o = take && tx_o.last && src_q == SrcCpl;
  assign mwr_done_o  = take && tx_o.last && src_q == SrcMwr;
  // with a 3-DW header the first 8 bytes are taken with the second header beat
  assign mwr_next_o  = take && src_q == SrcMwr && ((state_q == StHead1 && !long_q) || (state_q == StData && (long_q || left_q > 10'd1)));
  assign mrd_sent_o       = take && tx_o.last && src_q == SrcMrd;
  assign mrd_sent_fetch_o = mrd_q.fetch;
  assign mrd_sent_rx_o    = mrd_q.rx;
  assign mrd_sent_first_o = mrd_q.first;
  assign mrd_sent_ep_o    = mrd_q.ep;
  assign mrd_sent_index_o = mrd_q.index;
  assign mrd_sent_len_o   = mrd_q.len;

  always_comb begin
    tx_o = '{last: 1'b0, half: 1'b0, data: {dw_q[1], dw_q[0]}};
    unique case (state_q)
      StHead1: begin
        tx_o.data = {long_q ? dw_q[3] : (src_q == SrcMwr) ? mwr_data_i[31:0] : dw_q[3], dw_q[2]};
        tx_o.last = src_q == SrcMrd || src_q == SrcCpl || (!long_q && left_q == 10'd1);
        tx_o.half = (src_q == SrcMrd && !long_q) || (src_q == SrcCpl && left_q == 10'd0);
      end
      StData: begin
        // the source may have moved on when only the held half is left
        tx_o.data = long_q ? mwr_data_i : {(left_q == 10'd1) ? 32'd0 : mwr_data_i[31:0], hold_q};
        tx_o.last = left_q <= 10'd2;
        tx_o.half = left_q == 10'd1;
      end
      default: ;
    endcase
  end

  always_ff @(posedge clk_i) begin
    unique case (state_q)
      StIdle: begin
        if (sel_cpl) begin
          src_q   <= SrcCpl;
          long_q  <= 1'b0;
          left_q  <= {9'd0, cpl_i.has_data};
          dw_q[0] <= {cpl_i.has_data ? TlpCplD : TlpCpl, 14'd0, 9'd0, cpl_i.has_data};
          dw_q[1] <= {bus_i, 8'd0, cpl_i.status, 1'b0, cpl_i.bytes};
          dw_q[2] <= {cpl_i.requester, cpl_i.tag, 1'b0, cpl_i.lower};
          dw_q[3] <= cpl_i.data;
          state_q <= StHead0;
        end else if (sel_mwr) begin
          src_q   <= SrcMwr;
          turn_q  <= 1'b1;
          long_q  <= mwr_long;
          left_q  <= mwr_i.dws;
          dw_q[0] <= {mwr_long ? TlpMWr64 : TlpMWr32, 14'd0, mwr_i.dws};
          dw_q[1] <= {mwr_i.rid, mwr_i.tag, mwr_i.last_be, mwr_i.first_be};
          dw_q[2] <= mwr_long ? mwr_i.addr[63:32] : mwr_i.addr[31:0];
          dw_q[3] <= mwr_i.addr[31:0];
          ph_q    <= ph_q + 8'd1;
          pd_q    <= pd_q + mwr_units;
          state_q <= StHead0;
        end else if (sel_mrd) begin
          src_q   <= SrcMrd;
          turn_q  <= 1'b0;
          mrd_q   <= mrd_i;
          long_q  <= mrd_long;
          left_q  <= '0;
          dw_q[0] <= {mrd_long ? TlpMRd64 : TlpMRd32, 14'd0, mrd_dws[9:0]};
          dw_q[1] <= {mrd_i.rid, mrd_i.tag, lbe, fbe};
          dw_q[2] <= mrd_long ? mrd_i.addr[63:32] : {mrd_i.addr[31:2], 2'b00};
          dw_q[3] <= {mrd_i.addr[31:2], 2'b00};
          nph_q   <= nph_q + 8'd1;
          state_q <= StHead0;
        end
      end
      StHead0: if (tx_ready_i) state_q <= StHead1;
      StHead1: if (tx_ready_i) begin
        state_q <= tx_o.last ? StIdle : StData;
        if (src_q == SrcMwr && !long_q) begin
          hold_q <= mwr_data_i[63:32];
          left_q <= left_q - 10'd1;
        end
      end
      StData: if (tx_ready_i) begin
        hold_q <= mwr_data_i[63:32];
        left_q <= left_q - 10'd2;
        if (tx_o.last) state_q <= StIdle;
      end
      default: state_q <= StIdle;
    endcase
    if (rst_i) begin
      state_q <= StIdle;
      turn_q  <= 1'b0;
      ph_q    <= '0;
      nph_q   <= '0;
      pd_q    <= '0;
    end
  end

`ifndef SYNTHESIS
  tlp_beat_t last_q;
  logic      stalled_q;
  always_ff @(posedge clk_i) begin
    last_q    <= tx_o;
    stalled_q <= !rst_i && tx_valid_o && !tx_ready_i;
    if (stalled_q) assert (tx_valid_o && tx_o == last_q) else $error("myr_tlp_tx: an offered beat changed before it was taken");
  end
`endif
endmodule
`default_nettype wire
