`default_nettype none
/// Frame buffer: FrameSlots frames being assembled in any order. Whole frames are looked up in the switch in the order
/// of their endpoint's chains, handed to the MAC, to the receive side or to both, and end in that order again, whoever
/// is through first; different endpoints never wait for each other. A frame starts on the wire only when its last
/// byte is here, so that an underrun cannot happen.
module myr_frame_buffer
  import myr_pkg::*;
  import myr_abi_pkg::*;
  import myr_nic_pkg::*;
(
    /// Clock.
    input  wire logic                  clk_i,
    /// Synchronous reset.
    input  wire logic                  rst_i,
    /// Cycle counter.
    input  wire logic [63:0]           cycle_i,
    /// A slot is free.
    output logic                       free_o,
    /// Its number.
    output logic [FrameW-1:0]          free_slot_o,
    /// Take it.
    input  wire logic                  alloc_i,
    /// For this endpoint.
    input  wire logic [EpW-1:0]        alloc_ep_i,
    /// An endpoint is being enabled: it has no chain half done.
    input  wire logic                  start_i,
    /// Which.
    input  wire logic [EpW-1:0]        start_ep_i,
    /// A piece of this slot was taken by the read engine.
    input  wire logic                  piece_i,
    /// The slot.
    input  wire logic [FrameW-1:0]     piece_slot_i,
    /// The read engine made one more MRd for this slot.
    input  wire logic                  extra_i,
    /// The slot.
    input  wire logic [FrameW-1:0]     extra_slot_i,
    /// A read has ended (when not `fetch`).
    input  wire read_done_t            done_i,
    /// All pieces are asked for.
    input  wire logic                  close_i,
    /// Of this slot.
    input  wire logic [FrameW-1:0]     close_slot_i,
    /// Chain head.
    input  wire logic [15:0]           close_head_i,
    /// Index after the chain.
    input  wire logic [15:0]           close_next_i,
    /// Frame bytes.
    input  wire logic [LenW-1:0]       close_len_i,
    /// Error found so far.
    input  wire status_e               close_status_i,
    /// The chain goes on in another slot: no completion for this one. Its error, if any, becomes the chain's.
    input  wire logic                  close_silent_i,
    /// Complete slots that must not leave yet: set in the cycle after the slot's close at the latest, until the cycle
    /// after its last edit.
    input  wire logic [FrameSlots-1:0] hold_i,
    /// Slots with all their bytes that have not left yet.
    output logic [FrameSlots-1:0]      complete_o,
    /// Word from the receive side (when `frame`); it always goes first.
    input  wire rx_word_t              word_i,
    /// Word of an inline frame.
    input  wire logic                  inline_valid_i,
    /// Its word address.
    input  wire logic [FrameAddrW-4:0] inline_addr_i,
    /// Its data.
    input  wire logic [63:0]           inline_data_i,
    /// It is stored.
    output logic                       inline_ready_o,
    /// Edit of a held frame; goes behind the other two.
    input  wire logic                  edit_valid_i,
    /// Its word address.
    input  wire logic [FrameAddrW-4:0] edit_addr_i,
    /// Its data.
    input  wire logic [63:0]           edit_data_i,
    /// Bytes of it that are written.
    input  wire logic [7:0]            edit_be_i,
    /// It is stored.
    output logic                       edit_ready_o,
    /// A held frame cannot be edited: it fails with BAD_OFFLOAD, unless it has failed before.
    input  wire logic                  edit_fail_i,
    /// Its slot.
    input  wire logic [FrameW-1:0]     edit_fail_slot_i,
    /// Word to read for an edit; data come in the next cycle.
    input  wire logic [FrameAddrW-4:0] edit_read_addr_i,
    /// The word.
    output logic [63:0]                edit_read_data_o,
    /// A frame's last byte has come in (trace).
    output trace_lane_t                data_in_o,
    /// The switch is asked about a frame; it answers in the next cycle.
    output logic                       look_valid_o,
    /// The frame's header; bytes past its end count as zero, as they do on the wire.
    output frame_header_t              look_header_o,
    /// Its sender.
    output logic [EpW-1:0]             look_ep_o,
    /// Siblings that get it.
    input  wire logic [Endpoints-1:0]  look_dest_i,
    /// It goes to the wire.
    input  wire logic                  look_to_wire_i,
    /// It goes nowhere.
    input  wire logic                  look_spoofed_i,
    /// A forged frame has been stopped (counter).
    output logic                       spoofed_o,
    /// The MAC may take a frame.
    output logic                       tx_valid_o,
    /// Its slot.
    output logic [FrameW-1:0]          tx_slot_o,
    /// Its bytes.
    output logic [LenW-1:0]            tx_len_o,
    /// Its endpoint.
    output logic [EpW-1:0]             tx_ep_o,
    /// Its chain head.
    output logic [15:0]                tx_head_o,
    /// Index after its chain.
    output logic [15:0]                tx_next_o,
    /// The MAC is through with it.
    input  wire logic                  tx_done_i,
    /// Cycle of its last beat.
    input  wire logic [63:0]           tx_stamp_i,
    /// Word to read for the MAC; data come in the next cycle.
    input  wire logic [FrameAddrW-4:0] read_addr_i,
    /// The word.
    output logic [63:0]                read_data_o,
    /// The receive side may take a frame.
    output logic                       job_valid_o,
    /// It, with the number that stands at `number_i`.
    output rx_job_t                    job_o,
    /// It is taken.
    input  wire logic                  job_ready_i,
    /// Next frame number of the receive side.
    input  wire logic [15:0]           number_i,
    /// That number is used.
    output logic                       number_take_o,
    /// A frame is handed to the receive side (trace).
    output trace_lane_t                job_lane_o,
    /// All copies of a frame are delivered, or dropped.
    input  wire logic                  job_done_i,
    /// Its slot.
    input  wire logic [FrameW-1:0]     job_done_slot_i,
    /// Word to read for the receive side; data come in the next cycle.
    input  wire logic [FrameAddrW-4:0] job_read_addr_i,
    /// The word.
    output logic [63:0]                job_read_data_o,
    /// A chain has ended. When it is not taken, another endpoint's may stand here in the next cycle.
    output chain_end_t                 end_o,
    /// It is offered.
    output logic                       end_valid_o,
    /// It is taken.
    input  wire logic                  end_ready_i,
    /// Its head (trace).
    output logic [15:0]                end_head_o,
    /// A frame has ended that has no completion of its own.
    output logic                       silent_o,
    /// Its endpoint.
    output logic [EpW-1:0]             silent_ep_o
);
  // ---- memory --------------------------------------------------------------------------------
  localparam int unsigned HeaderBytes = 18;

  logic [63:0]           mem_q[FrameSlots*FrameWords];
  logic [127:0]          start_q[FrameSlots];  // bytes 0 to 15 of each frame, so that a look-up reads no memory
  logic [15:0]           tag_q[FrameSlots];    // bytes 16 and 17
  logic                  wr;
  logic [FrameAddrW-4:0] wr_addr;
  logic [63:0]           wr_data, wr_mask;
  logic [7:0]            wr_be;
  logic [FrameW-1:0]     wr_slot;

  assign inline_ready_o = !word_i.frame;
  assign edit_ready_o   = !word_i.frame && !inline_valid_i;
  assign wr             = word_i.frame || inline_valid_i || edit_valid_i;
  assign wr_slot        = wr_addr[FrameWordW +: FrameW];

  always_comb begin
    wr_addr = edit_addr_i;
    wr_data = edit_data_i;
    wr_be   = edit_be_i;
    if (word_i.frame) begin
      wr_addr = word_i.addr[FrameAddrW-1:3];
      wr_data = word_i.data;
      wr_be   = word_i.be;
    end else if (inline_valid_i) begin
      wr_addr = inline_addr_i;
      wr_data = inline_data_i;
      wr_be   = '1;
    end
    for (int unsigned b = 0; b < 8; b++) wr_mask[8*b +: 8] = {8{wr_be[b]}};
  end

  always_ff @(posedge clk_i) begin
    if (wr) begin
      mem_q[wr_addr] <= (mem_q[wr_addr] & ~wr_mask) | (wr_data & wr_mask);
      if (wr_addr[FrameWordW-1:0] == FrameWordW'(0))
        start_q[wr_slot][63:0] <= (start_q[wr_slot][63:0] & ~wr_mask) | (wr_data & wr_mask);
      if (wr_addr[FrameWordW-1:0] == FrameWordW'(1))
        start_q[wr_slot][127:64] <= (start_q[wr_slot][127:64] & ~wr_mask) | (wr_data & wr_mask);
      if (wr_addr[FrameWordW-1:0] == FrameWordW'(2))
        tag_q[wr_slot] <= (tag_q[wr_slot] & ~wr_mask[15:0]) | (wr_data[15:0] & wr_mask[15:0]);
    end
    read_data_o      <= mem_q[read_addr_i];
    job_read_data_o  <= mem_q[job_read_addr_i];
    edit_read_data_o <= mem_q[edit_read_addr_i];
  end

  // ---- slots ---------------------------------------------------------------------------------
  logic [FrameSlots-1:0] busy_q, closed_q, silent_q, complete;
  logic [FrameSlots-1:0] looked_q;              // offered to the switch
  logic [FrameSlots-1:0] decided_q;             // where it goes is known
  logic [FrameSlots-1:0] at_wire_q, at_job_q;   // a server is not through with it
  logic [FrameSlots-1:0] first_look, first_end, waiting, ended;
  logic [4:0]            reads_q[FrameSlots];   // pieces and reads outstanding
  logic [EpW-1:0]        ep_q[FrameSlots];
  logic [15:0]           head_q[FrameSlots];
  logic [15:0]           next_q[FrameSlots];
  logic [LenW-1:0]       len_q[FrameSlots];
  status_e               status_q[FrameSlots];
  logic [63:0]           stamp_q[FrameSlots];
  logic [Endpoints-1:0]  dest_q[FrameSlots];
  logic [Endpoints-1:0]  broken_q;              // a frame of the endpoint's current chain has failed
  status_e               chain_status_q[Endpoints];

  logic                  go;
  logic [FrameW-1:0]     go_slot;
  logic                  read_end;

  assign free_o   = busy_q != '1;
  assign read_end = done_i.valid && !done_i.fetch;

  always_comb begin
    free_slot_o = '0;
    for (int unsigned s = FrameSlots; s > 0; s--) if (!busy_q[s-1]) free_slot_o = FrameW'(s - 1);
    complete = '0;
    if (|(closed_q & ~looked_q)) begin
      for (int unsigned s = 0; s < FrameSlots; s++)
        complete[s] = closed_q[s] && !looked_q[s] && reads_q[s] == 5'd0;
    end
  end
  assign complete_o = complete;

  // the last byte comes with the last read, or was here before the chain was closed; where both happen at once,
  // for two frames, the second is told one cycle later
  logic        in_read, in_close, held_q;
  trace_lane_t held_lane_q, close_lane;

  assign in_read  = read_end && done_i.status == StatusOk && closed_q[done_i.slot] && reads_q[done_i.slot] == 5'd1
                    && !(piece_i && piece_slot_i == done_i.slot) && !(extra_i && extra_slot_i == done_i.slot);
  assign in_close = close_i && close_status_i == StatusOk && !(piece_i && piece_slot_i == close_slot_i)
                    && (reads_q[close_slot_i] == 5'd0
                        || (reads_q[close_slot_i] == 5'd1 && read_end && done_i.slot == close_slot_i));

  always_comb begin
    close_lane = '{valid: in_close, age: 4'd0, endpoint: ep_q[close_slot_i], index: close_head_i, info: '0};
    if (close_i && alloc_i) close_lane.endpoint = alloc_ep_i;
    data_in_o = close_lane;
    if (in_read) data_in_o = '{valid: 1'b1, age: 4'd2 + 4'(done_i.late), endpoint: ep_q[done_i.slot],
                               index: head_q[done_i.slot], info: '0};
    else if (held_q) data_in_o = held_lane_q;
  end

  always_ff @(posedge clk_i) begin
    held_q      <= !rst_i && in_close && (in_read || held_q);
    held_lane_q <= close_lane;
    held_lane_q.age <= 4'd1;
  end

  // ---- look-up: one frame a cycle, the answer is used in the next ---------------------------------
  logic              asked_q, answer_q;
  logic [FrameW-1:0] answer_slot_q;
  logic [EpW-1:0]    answer_ep;
  logic [143:0]      go_bytes;
  status_e           answer_status;
  logic              to_wire, to_job, wire_ready, job_room;

  myr_slot_order u_look_order (
      .clk_i, .rst_i, .add_i(alloc_i), .add_slot_i(free_slot_o), .add_ep_i(alloc_ep_i), .pass_i(answer_q),
      .pass_slot_i(answer_slot_q), .pass_ep_i(answer_ep), .first_o(first_look)
  );

  assign waiting = complete & first_look & ~hold_i;

  myr_rr_arb #(.N(FrameSlots)) u_go (
      .clk_i, .rst_i, .req_i(waiting), .take_i(1'b1), .valid_o(go), .id_o(go_slot)
  );

  // what has failed, or belongs to a chain that has, is not for the switch to judge
  assign look_valid_o = go && status_q[go_slot] == StatusOk && !broken_q[ep_q[go_slot]];
  assign look_ep_o    = ep_q[go_slot];

  always_comb begin
    go_bytes = '0;
    if (look_valid_o) begin
      for (int unsigned b = 0; b < HeaderBytes; b++)
        if (LenW'(b) < len_q[go_slot])
          go_bytes[8*b +: 8] = (b < 16) ? start_q[go_slot][8*(b % 16) +: 8] : tag_q[go_slot][8*(b % 2) +: 8];
    end
    look_header_o = parse_header(go_bytes);
  end

  assign answer_ep = ep_q[answer_slot_q];

  always_comb begin
    answer_status = status_q[answer_slot_q];
    if (broken_q[answer_ep]) answer_status = chain_status_q[answer_ep];
    else if (asked_q && look_spoofed_i) answer_status = StatusSpoofed;
    to_wire = answer_q && answer_status == StatusOk && look_to_wire_i;
    to_job  = answer_q && answer_status == StatusOk && (|look_dest_i);
  end
  assign spoofed_o = answer_q && asked_q && look_spoofed_i;

  // ---- servers: each queue has a place for every slot -------------------------------------------
  logic [FrameW-1:0] job_slot;
  logic              job_take;

  myr_fifo #(.Width(FrameW), .Depth(FrameSlots)) u_wire_queue (
      .clk_i, .rst_i, .in_i(answer_slot_q), .in_valid_i(to_wire), .in_ready_o(wire_ready),
      .out_o(tx_slot_o), .out_valid_o(tx_valid_o), .out_ready_i(tx_done_i)
  );
  assign tx_len_o  = len_q[tx_slot_o];
  assign tx_ep_o   = ep_q[tx_slot_o];
  assign tx_head_o = head_q[tx_slot_o];
  assign tx_next_o = next_q[tx_slot_o];

  myr_fifo #(.Width(FrameW), .Depth(FrameSlots)) u_job_queue (
      .clk_i, .rst_i, .in_i(answer_slot_q), .in_valid_i(to_job), .in_ready_o(job_room),
      .out_o(job_slot), .out_valid_o(job_valid_o), .out_ready_i(job_ready_i)
  );
  assign job_take      = job_valid_o && job_ready_i;
  assign number_take_o = job_take;
  assign job_o         = '{sibling: 1'b1, slot: job_slot, base: '0, len: len_q[job_slot], number: number_i,
                           dest: dest_q[job_slot]};
  assign job_lane_o    = '{valid: job_take, age: '0, endpoint: ep_q[job_slot], index: head_q[job_slot],
                           info: 32'(number_i)};

  // ---- end: in the order of the endpoint's chains, again -----------------------------------------
  logic              pick, finish;
  logic [FrameSlots-1:0] wired_q;  // the wire's stamp counts
  logic [FrameW-1:0] pick_slot;

  myr_slot_order u_end_order (
      .clk_i, .rst_i, .add_i(alloc_i), .add_slot_i(free_slot_o), .add_ep_i(alloc_ep_i), .pass_i(finish),
      .pass_slot_i(pick_slot), .pass_ep_i(ep_q[pick_slot]), .first_o(first_end)
  );

  assign ended = decided_q & ~at_wire_q & ~at_job_q & first_end;

  // the turn moves on whether or not the end is taken: an endpoint whose completions wait holds up nobody else's
  myr_rr_arb #(.N(FrameSlots)) u_pick (
      .clk_i, .rst_i, .req_i(ended), .take_i(1'b1), .valid_o(pick), .id_o(pick_slot)
  );
  assign end_valid_o = pick && !silent_q[pick_slot];
  assign silent_o    = pick && silent_q[pick_slot];
  assign silent_ep_o = ep_q[pick_slot];
  assign finish      = silent_o || (end_valid_o && end_ready_i);
  assign end_head_o  = head_q[pick_slot];
  assign end_o = '{ep: ep_q[pick_slot], next_index: next_q[pick_slot],
                   len: (status_q[pick_slot] == StatusOk) ? len_q[pick_slot] : '0, status: status_q[pick_slot],
                   stamp: stamp_q[pick_slot]};

  always_ff @(posedge clk_i) begin
    answer_q      <= go && !rst_i;
    asked_q       <= look_valid_o;
    answer_slot_q <= go_slot;
    if (piece_i || extra_i || read_end) begin
      for (int unsigned s = 0; s < FrameSlots; s++)
        reads_q[s] <= reads_q[s] + 5'(piece_i && piece_slot_i == FrameW'(s))
                      + 5'(extra_i && extra_slot_i == FrameW'(s)) - 5'(read_end && done_i.slot == FrameW'(s));
    end
    if (go) looked_q[go_slot] <= 1'b1;
    if (answer_q) begin
      decided_q[answer_slot_q] <= 1'b1;
      at_wire_q[answer_slot_q] <= to_wire;
      at_job_q[answer_slot_q]  <= to_job;
      dest_q[answer_slot_q]    <= look_dest_i;
      status_q[answer_slot_q]  <= answer_status;
      stamp_q[answer_slot_q]   <= cycle_i;  // stands when no server gets the frame
      broken_q[answer_ep]      <= silent_q[answer_slot_q] && answer_status != StatusOk;
      chain_status_q[answer_ep] <= answer_status;
    end
    if (tx_done_i) at_wire_q[tx_slot_o] <= 1'b0;
    if (job_done_i) begin
      at_job_q[job_done_slot_i] <= 1'b0;
      // a frame that is on the wire, too, keeps that stamp
      if (!wired_q[job_done_slot_i]) stamp_q[job_done_slot_i] <= cycle_i;
    end
    if (tx_done_i) stamp_q[tx_slot_o] <= tx_stamp_i;
    if (answer_q) wired_q[answer_slot_q] <= to_wire;
    if (finish) begin
      busy_q[pick_slot]    <= 1'b0;
      closed_q[pick_slot]  <= 1'b0;
      looked_q[pick_slot]  <= 1'b0;
      decided_q[pick_slot] <= 1'b0;
    end
    if (alloc_i) begin
      busy_q[free_slot_o]   <= 1'b1;
      ep_q[free_slot_o]     <= alloc_ep_i;
      status_q[free_slot_o] <= StatusOk;
    end
    if (read_end && done_i.status != StatusOk && status_q[done_i.slot] == StatusOk) status_q[done_i.slot] <= done_i.status;
    if (edit_fail_i && status_q[edit_fail_slot_i] == StatusOk) status_q[edit_fail_slot_i] <= StatusBadOffload;
    if (start_i) broken_q[start_ep_i] <= 1'b0;
    if (close_i) begin
      closed_q[close_slot_i] <= 1'b1;
      silent_q[close_slot_i] <= close_silent_i;
      head_q[close_slot_i]   <= close_head_i;
      next_q[close_slot_i]   <= close_next_i;
      len_q[close_slot_i]    <= close_len_i;
      if (close_status_i != StatusOk) status_q[close_slot_i] <= close_status_i;
    end
    if (rst_i) begin
      busy_q    <= '0;
      closed_q  <= '0;
      looked_q  <= '0;
      decided_q <= '0;
      at_wire_q <= '0;
      at_job_q  <= '0;
      broken_q  <= '0;
      for (int unsigned s = 0; s < FrameSlots; s++) reads_q[s] <= '0;
    end
  end

`ifndef SYNTHESIS
  always_ff @(posedge clk_i)
    if (!rst_i) begin
      if (to_wire) assert (wire_ready) else $error("myr_frame_buffer: the wire's queue has no place for a slot");
      if (to_job) assert (job_room) else $error("myr_frame_buffer: the receive side's queue has no place for a slot");
      if (read_end) assert (reads_q[done_i.slot] != 5'd0)
        else $error("myr_frame_buffer: more reads ended than were made");
      if (tx_done_i) assert (tx_valid_o && at_wire_q[tx_slot_o])
        else $error("myr_frame_buffer: a frame was sent that was not offered");
      if (job_done_i) assert (at_job_q[job_done_slot_i])
        else $error("myr_frame_buffer: a frame was delivered that was not handed over");
      if (wr) assert (!looked_q[wr_slot] && !(go && go_slot == wr_slot)) else $error("myr_frame_buffer: a frame was changed after its look-up");
    end
`endif
endmodule
`default_nettype wire
