`default_nettype none
/// What may not overtake what: TLPs of the device on their way through the IOMMU; of an endpoint payload, completion
/// entry and interrupt at the NIC's pins.
module myr_check_order
  import myr_pkg::*;
  import myr_nic_pkg::*;
  import myr_rules_pkg::*;
  import myr_check_pkg::*;
#(
    /// Its name in messages.
    parameter string Stream = "",
    /// TLPs of the device that are remembered; more than link and IOMMU hold.
    parameter int unsigned Depth = 256
) (
    /// Clock.
    input  wire logic           clk_i,
    /// Synchronous reset.
    input  wire logic           rst_i,
    /// The checker is on.
    input  wire logic           enable_i,
    /// Cycle counter, for messages.
    input  wire logic [63:0]    cycle_i,
    /// Headers that leave the NIC.
    input  wire head_t          sent_i,
    /// Beat that leaves the NIC.
    input  wire tlp_beat_t      beat_i,
    /// It moves.
    input  wire logic           moved_i,
    /// Headers that leave the IOMMU upstream.
    input  wire head_t          passed_i,
    /// Entries that the NIC counts as visible: send, receive.
    input  wire posted_t        posted_i[2],
    /// They were refused: nothing is written.
    input  wire logic [1:0]     refused_i,
    /// A guest arms a ring.
    input  wire arm_t           arm_i,
    /// An endpoint is being enabled.
    input  wire logic           start_i,
    /// Which.
    input  wire logic [EpW-1:0] start_ep_i,
    /// An interrupt's last beat leaves.
    input  wire logic           interrupt_i,
    /// Its endpoint.
    input  wire logic [EpW-1:0] interrupt_ep_i
);
  // kinds of a write in its tag, bits 7:6 (mwr_t)
  localparam logic [1:0] KindPayload = 2'd0;
  localparam logic [1:0] KindReceive = 2'd2;
  localparam int unsigned EntryDws = 4;
  localparam int unsigned LengthDw = 2;          // of a receive completion entry
  localparam int unsigned Rings = RxQueues + 1;
  // one message on offer and one pending are the most that an endpoint can have
  localparam int unsigned MostMessages = 2;
  localparam int unsigned PlaceW = $clog2(Depth);

  typedef struct packed {
    logic [31:0] dw0;
    logic [31:0] dw1;
    logic [11:0] low;  // of the address, or tag and lower address: what translation keeps
  } name_t;

  counts_t counts;

  // ---- through the IOMMU -------------------------------------------------------------------------
  name_t             names[Depth];
  logic [Depth-1:0]  there;  // on its way, or dropped
  logic [Depth-1:0]  late;   // something that may not has passed it
  logic [PlaceW-1:0] oldest, next;
  name_t             name;

  // ---- at the NIC's pins -------------------------------------------------------------------------
  longint unsigned   written[256];  // payload bytes by function
  longint unsigned   told[256];     // bytes of the frames that receive entries tell of
  logic [1:0]        beats;  // of the TLP at the pins
  logic [3:0][31:0]  dw;
  int unsigned       at;            // DW of its payload
  int unsigned       entries;       // whole entries of the write whose last beat moves in this cycle
  logic [1:0]        kind;
  logic [7:0]        who;
  logic [15:0]       visible[Endpoints*8];   // index behind the visible entries, by endpoint and ring
  logic [Endpoints*8-1:0] armed;
  int unsigned       due[Endpoints];         // messages that may leave

  function automatic name_t named(input head_t head);
    logic [31:0] address;
    address = low_address(head);
    return '{dw0: head.dw[0], dw1: head.dw[1], low: is_completion(head.dw[0]) ? head.dw[2][11:0] : address[11:0]};
  endfunction

  task automatic check_name(input rule_e rule, input logic ok);
    counts[rule] += 1;
    if (!ok)
      $error("[myr_check_order] cycle %0d %s: %s: header %08x %08x, low address %03x", cycle_i - 64'd1, Stream,
             rule_line(rule), name.dw0, name.dw1, name.low);
  endtask

  task automatic check_bytes(input logic ok);
    counts[RuleOrdPayload] += 1;
    if (!ok)
      $error("[myr_check_order] cycle %0d %s: %s: function %0d has written %0d bytes, its entries tell of %0d", cycle_i, Stream,
             rule_line(RuleOrdPayload), who, written[who], told[who]);
  endtask

  task automatic check_endpoint(input rule_e rule, input logic ok, input logic [EpW-1:0] ep, input int unsigned value);
    counts[rule] += 1;
    if (!ok)
      $error("[myr_check_order] cycle %0d %s: %s: endpoint %0d, %0d entries visible, the write that leaves has %0d", cycle_i,
             Stream, rule_line(rule), ep, value, entries);
  endtask

  task automatic leave();
    name = named(sent_i);
    names[next] = name;
    there[next] = 1'b1;
    late[next]  = 1'b0;
    next = next + 1'b1;
    if (next == oldest) begin
      there[oldest] = 1'b0;
      oldest = oldest + 1'b1;
    end
  endtask

  task automatic pass();
    automatic logic              found = 1'b0;
    automatic logic [PlaceW-1:0] place = '0;
    name = named(passed_i);
    // one like it that was not passed is the one, if there is any
    for (logic [PlaceW-1:0] i = oldest; i != next; i++)
      if (there[i] && names[i] == name && (!found || (late[place] && !late[i]))) begin
        found = 1'b1;
        place = i;
      end
    check_name(RuleOrdOrigin, found);
    if (found) begin
      check_name(RuleOrdPosted, !late[place]);
      there[place] = 1'b0;
      for (logic [PlaceW-1:0] i = oldest; i != place; i++)
        if (there[i] && is_write(names[i].dw0) && (is_completion(name.dw0) || names[i].dw1[31:16] == name.dw1[31:16]))
          late[i] = 1'b1;
    end
    while (oldest != next && !there[oldest]) oldest = oldest + 1'b1;
  endtask

  // a DW of the payload, lowest address in bits 7:0; entries are big-endian
  task automatic take_dw(input logic [31:0] value);
    if (kind == KindReceive && at % EntryDws == LengthDw) told[who] += {48'd0, value[23:16], value[31:24]};
    at = at + 1;
  endtask

  task automatic pins();
    if (beats == 2'd0) dw = {64'd0, beat_i.data};
    kind = dw[1][15:14];
    who  = dw[1][23:16];
    if (is_write(dw[0])) begin
      if (beats == 2'd1) begin
        at = 0;
        if (kind == KindPayload)
          written[who] += 64'({length(dw[0]), 2'b00}) - 64'($countones(~dw[1][3:0]))
                          - ((length(dw[0]) == 11'd1) ? 64'd0 : 64'($countones(~dw[1][7:4])));
        if (!dw[0][29]) take_dw(beat_i.data[63:32]);
      end
      if (beats == 2'd2) begin
        take_dw(beat_i.data[31:0]);
        if (!beat_i.half) take_dw(beat_i.data[63:32]);
      end
      if (beat_i.last && kind inside {2'd1, KindReceive}) entries = at / EntryDws;
      if (beat_i.last && kind == KindReceive) check_bytes(told[who] <= written[who]);
    end
    if (beats != 2'd2) beats = beats + 2'd1;
    if (beat_i.last) beats = 2'd0;
  endtask

  function automatic logic [EpW+2:0] ring(input logic [EpW-1:0] ep, input logic [QueueW-1:0] cq);
    return {ep, cq};
  endfunction

  task automatic event_of(input logic [EpW-1:0] ep, input logic [QueueW-1:0] cq);
    armed[ring(ep, cq)] = 1'b0;
    if (due[ep] < MostMessages) due[ep] += 1;
  endtask

  task automatic interrupts();
    for (int unsigned p = 0; p < 2; p++)
      if (posted_i[p].valid) begin
        if (!refused_i[p])
          check_endpoint(RuleOrdVisible, entries == 32'(posted_i[p].count) && kind == 2'(p + 1), posted_i[p].ep,
                         32'(posted_i[p].count));
        visible[ring(posted_i[p].ep, posted_i[p].cq)] = posted_i[p].index;
        if (armed[ring(posted_i[p].ep, posted_i[p].cq)]) event_of(posted_i[p].ep, posted_i[p].cq);
      end
    if (arm_i.valid && arm_i.cq < QueueW'(Rings)) begin
      armed[ring(arm_i.ep, arm_i.cq)] = 1'b1;
      if (visible[ring(arm_i.ep, arm_i.cq)] != arm_i.index) event_of(arm_i.ep, arm_i.cq);
    end
    if (interrupt_i) begin
      check_endpoint(RuleOrdInterrupt, due[interrupt_ep_i] != 0, interrupt_ep_i, 0);
      if (due[interrupt_ep_i] != 0) due[interrupt_ep_i] -= 1;
    end
    if (start_i)
      for (int unsigned q = 0; q < Rings; q++) begin
        visible[ring(start_ep_i, QueueW'(q))] = 16'd0;
        armed[ring(start_ep_i, QueueW'(q))] = 1'b0;
      end
  endtask

  task automatic restart();
    there  = '0;
    oldest = '0;
    next   = '0;
    beats  = 2'd0;
    armed  = '0;
    for (int unsigned f = 0; f < 256; f++) begin
      written[f] = 0;
      told[f]    = 0;
    end
    for (int unsigned r = 0; r < Endpoints * 8; r++) visible[r] = 16'd0;
    for (int unsigned e = 0; e < Endpoints; e++) due[e] = 0;
  endtask

  always @(posedge clk_i)
    if (enable_i) begin
      if (rst_i) restart();
      else begin
        entries = 0;
        if (sent_i.valid) leave();
        if (passed_i.valid) pass();
        if (moved_i) pins();
        if (posted_i[0].valid || posted_i[1].valid || arm_i.valid || interrupt_i || start_i) interrupts();
      end
    end

  final if (enable_i) report("order", Stream, counts);
endmodule
`default_nettype wire
