"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const packets = data.packets;
  const total = packets.start.length;
  const NS = data.cycle_ns;
  const GAP = { name: "not in a stage", colour: "#ffffff" };
  const ROW_PX = 26;
  const WAIT_MS = 120; // of typing, before the page follows
  const LINES = ["#2f6fb7", "#e8743b", "#19a979", "#945ecf", "#13a4b4", "#c9a227", "#b3261e", "#667386"];
  const FONT = { family: "system-ui, DejaVu Sans, sans-serif", size: 12, color: "#1d2733" };
  const PLOT = { displayModeBar: false, responsive: true };

  const $ = (id) => document.getElementById(id);
  const whole = (value) => value.toLocaleString("en-US", { maximumFractionDigits: 0 });
  const stageOf = (number) => (number < 0 ? GAP : data.stages[number]);
  const path = (packet) => data.paths[packets.path[packet]];
  const label = (stage) => {
    const twice = data.stages.some((s) => s.name === stage.name && s.direction !== stage.direction);
    return twice ? `${stage.name}, ${data.directions[stage.direction]}` : stage.name;
  };

  function element(tag, text = "", kind = "") {
    const made = document.createElement(tag);
    made.textContent = text;
    if (kind) made.className = kind;
    return made;
  }

  function swatch(stage) {
    const made = element("i");
    made.style.background = stage.colour;
    return made;
  }

  /** The stage that took longest, as [stage, cycles]. */
  function slowest(packet) {
    let best = [GAP, -1];
    packets.cycles[packet].forEach((cycles, k) => {
      if (cycles > best[1] && path(packet)[k] >= 0) best = [stageOf(path(packet)[k]), cycles];
    });
    return best;
  }

  // --- filters ------------------------------------------------------------------------------------

  const NONE = "none";
  const ANY = "any";

  function options(id, names, more = []) {
    $(id).append(new Option("all", ""), ...more.map((text) => new Option(text)), ...names.map((n, k) => new Option(n, k)));
  }

  /** What stands in a field, null for nothing. */
  function value(id) {
    return $(id).value === "" ? null : Number($(id).value);
  }

  /** Packets that pass the filters, in the order of time. */
  function chosen() {
    const [guest, direction, form, stage] = ["guest", "direction", "form", "stage"].map(value);
    const [low, high, slower] = ["low", "high", "slower"].map(value);
    const error = $("error").value;
    const wrong = error === ANY || error === NONE ? null : value("error");
    const passed = [];
    for (let p = 0; p < total; p++) {
      if (guest !== null && packets.guest[p] !== guest) continue;
      if (direction !== null && packets.direction[p] !== direction) continue;
      if (form !== null && packets.form[p] !== form) continue;
      if (low !== null && packets.bytes[p] < low) continue;
      if (high !== null && packets.bytes[p] > high) continue;
      if (error === NONE && packets.error[p] !== 0) continue;
      if (error === ANY && packets.error[p] === 0) continue;
      if (wrong !== null && packets.error[p] !== wrong) continue;
      if ((stage !== null || slower !== null) && !slow(p, stage, slower === null ? -1 : slower)) continue;
      passed.push(p);
    }
    return passed;
  }

  /** Whether a stage (null: any one) of the packet took more than so many ns. */
  function slow(packet, stage, ns) {
    const stages = path(packet);
    return packets.cycles[packet].some(
      (cycles, k) => stages[k] >= 0 && (stage === null || stages[k] === stage) && cycles * NS > ns,
    );
  }

  // --- charts -------------------------------------------------------------------------------------

  /** Of the packets without error: cycles by stage, in the stages' order. */
  function samples(shown) {
    const found = data.stages.map(() => []);
    for (const p of shown) {
      if (packets.error[p] === 0) path(p).forEach((s, k) => found[s].push(packets.cycles[p][k]));
    }
    return found;
  }

  function breakdown(shown) {
    const groups = new Map();
    for (const p of shown) {
      if (packets.error[p] !== 0) continue;
      const key = `${data.guests[packets.guest[p]]}, ${data.forms[packets.form[p]]}`;
      if (!groups.has(key)) groups.set(key, { packets: 0, total: 0, cycles: data.stages.map(() => 0) });
      const group = groups.get(key);
      group.packets++;
      group.total += packets.total[p];
      path(p).forEach((s, k) => (group.cycles[s] += packets.cycles[p][k]));
    }
    const names = [...groups.keys()].sort().reverse();
    const bars = data.stages.map((stage, s) => ({
      type: "bar",
      orientation: "h",
      name: label(stage),
      y: names,
      x: names.map((name) => (groups.get(name).cycles[s] * NS) / groups.get(name).packets),
      customdata: names.map((name) => (100 * groups.get(name).cycles[s]) / (groups.get(name).total || 1)),
      hovertemplate: `${label(stage)}: %{x:,.1f} ns, %{customdata:.1f} %<extra></extra>`,
      marker: { color: stage.colour },
    }));
    const used = bars.filter((bar) => bar.x.some((ns) => ns > 0));
    const totals = names.map((name) => {
      const group = groups.get(name);
      return {
        x: (group.total * NS) / group.packets, y: name, xanchor: "left", showarrow: false, font: FONT,
        text: ` ${whole((group.total * NS) / group.packets)} ns, ${whole(group.packets)} packets`,
      };
    });
    const longest = Math.max(1, ...totals.map((t) => t.x));
    Plotly.react($("breakdown"), used, {
      barmode: "stack", showlegend: false, font: FONT, bargap: 0.3, annotations: totals, hovermode: "closest",
      height: 50 + 30 * Math.max(1, names.length), margin: { l: 10, r: 10, t: 4, b: 32 },
      xaxis: { range: [0, longest * 1.22], gridcolor: "#edf0f4", zeroline: false, tickformat: ",d" },
      yaxis: { automargin: true, ticksuffix: "  " },
    }, PLOT);
    $("legend").replaceChildren(...data.stages.filter((s, k) => used.some((bar) => bar === bars[k])).map((stage) => {
      const item = element("li");
      item.append(swatch(stage), label(stage));
      return item;
    }));
  }

  /** The least sample that so many per cent do not exceed. */
  function percentile(sorted, percent) {
    return sorted[Math.max(0, Math.ceil((sorted.length * percent) / 100) - 1)];
  }

  /** Two bins an octave, from 1, 1.5, 2, 3, 4, 6 ... cycles on; what takes no time stands left of them. */
  function binOf(cycles) {
    const octave = 31 - Math.clz32(cycles);
    return octave < 0 ? -1 : 2 * octave + (cycles >= 1.5 * 2 ** octave ? 1 : 0);
  }

  /** Where a bin begins, ns. */
  function edge(bin) {
    const octave = Math.floor(bin / 2);
    return NS * 2 ** octave * (bin - 2 * octave ? 1.5 : 1);
  }

  function histograms(shown) {
    const found = samples(shown);
    const used = data.stages.map((_, s) => s).filter((s) => found[s].length);
    const bars = [], notes = [];
    const layout = {
      showlegend: false, font: FONT, bargap: 0.06, annotations: notes, height: 60 + 44 * Math.max(1, used.length),
      margin: { l: 176, r: 132, t: 22, b: 32 }, hovermode: "closest",
      xaxis: { type: "log", gridcolor: "#edf0f4", zeroline: false, dtick: 1, tickformat: ",d" },
    };
    const note = (text, y, more) => notes.push({ text, y, xref: "paper", yref: "paper", showarrow: false, font: FONT, ...more });
    const right = { x: 1, xanchor: "left", align: "left", font: { ...FONT, size: 11, color: "#667386" } };
    if (used.length) note("  median / p99", 1, { ...right, yanchor: "bottom" });
    used.forEach((s, k) => {
      const sorted = Float64Array.from(found[s]).sort();
      const counts = new Map();
      for (const cycles of sorted) {
        const bin = binOf(cycles);
        counts.set(bin, (counts.get(bin) || 0) + 1);
      }
      const bins = [...counts.keys()];
      const top = 1 - k / used.length, bottom = 1 - (k + 0.86) / used.length;
      layout[`yaxis${k ? k + 1 : ""}`] = { domain: [bottom, top], showticklabels: false, showgrid: false, zeroline: true, zerolinecolor: "#dde3ea", fixedrange: true };
      bars.push({
        type: "bar", name: label(data.stages[s]), xaxis: "x", yaxis: `y${k ? k + 1 : ""}`,
        x: bins.map((bin) => Math.sqrt(edge(bin) * edge(bin + 1))), y: bins.map((bin) => counts.get(bin)),
        width: bins.map((bin) => (edge(bin + 1) - edge(bin)) * 0.94), marker: { color: data.stages[s].colour },
        customdata: bins.map((bin) => (bin < 0 ? "0 ns" : `${whole(edge(bin))} to ${whole(edge(bin + 1))} ns`)),
        hovertemplate: "%{customdata}: %{y:,} packets<extra></extra>",
      });
      const middle = (top + bottom) / 2;
      note(label(data.stages[s]), middle, { x: 0, xanchor: "right", yanchor: "middle" });
      note(`  ${whole(percentile(sorted, 50) * NS)} / ${whole(percentile(sorted, 99) * NS)}`, middle, { ...right, yanchor: "middle", font: FONT });
    });
    if (used.length > 1) layout.xaxis.anchor = `y${used.length}`;
    Plotly.react($("histograms"), bars, layout, PLOT);
  }

  function throughput() {
    const { start_ns, bin_ns, curves } = data.rates;
    const [guest, direction] = [value("guest"), value("direction")];
    const shown = curves.filter((c) => (guest === null || c.guest === guest) && (direction === null || c.direction === direction));
    const received = data.directions.indexOf("receive");
    const areas = shown.map((curve) => {
      const down = curve.direction === received;
      const colour = LINES[curve.guest % LINES.length];
      const gbps = [...curve.gbps, 0]; // steps: the last one ends where the next would begin
      return {
        type: "scatter", mode: "lines", stackgroup: data.directions[curve.direction],
        name: `${data.guests[curve.guest]}, ${data.directions[curve.direction]}`,
        x: gbps.map((_, k) => (start_ns + k * bin_ns) / 1000), y: gbps.map((rate) => (down ? -rate : rate)),
        customdata: gbps, hovertemplate: "%{customdata:.2f} Gb/s",
        line: { color: colour, width: 0.6, shape: "hv" }, fillcolor: `${colour}${down ? "88" : "cc"}`,
      };
    });
    const ways = shown.some((c) => c.direction === received) ? "; send up, receive down" : "";
    $("bin").textContent = `Gb/s over us, stacked, in bins of ${bin_ns / 1000} us${ways}`;
    Plotly.react($("throughput"), areas, {
      font: FONT, height: $("histograms").layout.height, margin: { l: 44, r: 10, t: 8, b: 36 }, hovermode: "x unified", showlegend: true,
      legend: { orientation: "h", y: -0.1, x: 0 },
      xaxis: { gridcolor: "#edf0f4", zeroline: false, tickformat: ",d" },
      yaxis: { gridcolor: "#edf0f4", zerolinecolor: "#8791a1" },
    }, PLOT);
  }

  // --- the list -----------------------------------------------------------------------------------

  const text = (names, column) => ({ value: (p) => names[packets[column][p]], show: (p) => names[packets[column][p]] });
  const ns = (column) => ({ number: true, value: (p) => packets[column][p], show: (p) => whole(packets[column][p] * NS) });
  const columns = [
    { name: "guest", ...text(data.guests, "guest") },
    { name: "direction", ...text(data.directions, "direction") },
    { name: "number", number: true, value: (p) => packets.number[p], show: (p) => String(packets.number[p]) },
    { name: "form", ...text(data.forms, "form") },
    { name: "bytes", number: true, value: (p) => packets.bytes[p], show: (p) => (packets.bytes[p] ? whole(packets.bytes[p]) : "") },
    { name: "start", ...ns("start") },
    { name: "total", ...ns("total") },
    { name: "NIC share", ...ns("nic") },
    { name: "slowest stage", value: (p) => slowest(p)[1], show: (p) => (slowest(p)[1] < 0 ? "" : label(slowest(p)[0])) },
    { name: "stages", value: null, show: null },
    { name: "error", ...text(data.errors, "error") },
  ];
  let shown = [];
  let order = { column: columns[5], down: false };
  let open = null;

  function bar(packet) {
    const made = element("span", "", "bar");
    packets.cycles[packet].forEach((cycles, k) => {
      const part = element("b");
      part.style.width = `${(100 * cycles) / (packets.total[packet] || 1)}%`;
      part.style.background = stageOf(path(packet)[k]).colour;
      made.append(part);
    });
    return made;
  }

  function row(packet) {
    const made = element("div", "", packet === open ? "row chosen" : "row");
    made.dataset.packet = packet;
    made.setAttribute("role", "row");
    for (const column of columns) {
      const cell = column.show ? element("span", column.show(packet), column.number ? "number" : "") : bar(packet);
      if (column.name === "error") cell.classList.add("bad");
      made.append(cell);
    }
    return made;
  }

  /** Only the rows in sight exist. */
  function draw() {
    const first = Math.max(0, Math.floor($("scroll").scrollTop / ROW_PX) - 5);
    const last = Math.min(shown.length, first + Math.ceil($("scroll").clientHeight / ROW_PX) + 10);
    $("rows").style.transform = `translateY(${first * ROW_PX}px)`;
    $("rows").replaceChildren(...shown.slice(first, last).map(row));
  }

  function sort() {
    const { column, down } = order;
    const keys = new Map(shown.map((p) => [p, column.value(p)]));
    const sign = down ? -1 : 1;
    shown.sort((a, b) => {
      const [x, y] = [keys.get(a), keys.get(b)];
      return x < y ? -sign : x > y ? sign : a - b;
    });
    [...$("heads").children].forEach((head, k) => {
      if (columns[k] === column) head.setAttribute("aria-sort", down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
      head.textContent = columns[k].name + (columns[k] === column ? (down ? " ▾" : " ▴") : "");
    });
    $("space").style.height = `${shown.length * ROW_PX}px`;
    $("scroll").scrollTop = 0;
    draw();
  }

  function heads() {
    $("heads").append(...columns.map((column) => {
      const head = element("button", column.name, column.number ? "number" : "");
      head.type = "button";
      head.disabled = !column.value;
      head.addEventListener("click", () => {
        // times: longest first
        order = { column, down: order.column === column ? !order.down : Boolean(column.number) || column.name === "slowest stage" };
        sort();
      });
      return head;
    }));
  }

  // --- one packet ---------------------------------------------------------------------------------

  function detail() {
    if (open === null) {
      $("detail").replaceChildren(element("p", "Click a packet: its stages, in ns and cycles."));
      return;
    }
    const p = open;
    const title = element("h3", `${data.guests[packets.guest[p]]}, ${data.directions[packets.direction[p]]} ${packets.number[p]}`);
    const size = packets.bytes[p] ? `, ${whole(packets.bytes[p])} bytes` : "";
    const parts = [title, element("p", `${data.forms[packets.form[p]]}${size}`)];
    if (packets.error[p]) parts.push(element("p", `${data.errors[packets.error[p]]} at cycle ${whole(packets.error_at[p])}`, "bad"));
    const table = element("table");
    const line = (kind, tag, ...cells) => {
      const made = element("tr", "", kind);
      made.append(...cells.map((cell, k) => (cell instanceof Node ? cell : element(tag, cell, k ? "number" : ""))));
      table.append(made);
    };
    line("", "th", "stage", "ns", "cycles", "from cycle");
    let at = packets.start[p];
    packets.cycles[p].forEach((cycles, k) => {
      const stage = stageOf(path(p)[k]);
      const name = element("td");
      name.append(swatch(stage), stage.name);
      line("stage", "td", name, whole(cycles * NS), whole(cycles), whole(at));
      const place = element("td"), track = element("div"), mark = element("b");
      place.colSpan = 4;
      mark.style.left = `${(100 * (at - packets.start[p])) / (packets.total[p] || 1)}%`;
      mark.style.width = `${(100 * cycles) / (packets.total[p] || 1)}%`;
      mark.style.background = stage.colour;
      track.append(mark);
      place.append(track);
      line("lane", "td", place);
      at += cycles;
    });
    line("total", "td", "total", whole(packets.total[p] * NS), whole(packets.total[p]), `to ${whole(at)}`);
    line("share", "td", "of it the NIC's share", whole(packets.nic[p] * NS), whole(packets.nic[p]), "");
    $("detail").replaceChildren(...parts, table);
  }

  // --- all of it ----------------------------------------------------------------------------------

  function follow() {
    shown = chosen();
    $("count").textContent = `${whole(shown.length)} of ${whole(total)} packets`;
    breakdown(shown);
    histograms(shown);
    throughput();
    sort();
    $("all").setAttribute("aria-busy", "false");
  }

  function facts() {
    const wrong = packets.error.filter((e) => e !== 0).length;
    let first = Infinity, last = 0;
    for (let p = 0; p < total; p++) {
      first = Math.min(first, packets.start[p]);
      last = Math.max(last, packets.start[p] + packets.total[p]);
    }
    const span = total ? `, ${whole(((last - first) * NS) / 1000)} us simulated` : "";
    $("facts").textContent = `${whole(total)} packets of ${data.guests.join(", ")}; ${whole(wrong)} with errors${span}`;
  }

  options("guest", data.guests);
  options("direction", data.directions);
  options("form", data.forms);
  options("stage", data.stages.map(label));
  options("error", [], [NONE, ANY]);
  data.errors.forEach((error, k) => k && $("error").append(new Option(error, k)));
  let timer = 0;
  const soon = () => {
    $("all").setAttribute("aria-busy", "true");
    clearTimeout(timer);
    timer = setTimeout(follow, WAIT_MS);
  };
  for (const event of ["input", "change"]) $("filters").addEventListener(event, soon);
  $("filters").addEventListener("reset", soon);
  $("filters").addEventListener("submit", (event) => event.preventDefault());
  $("scroll").addEventListener("scroll", draw);
  $("rows").addEventListener("click", (event) => {
    const target = event.target.closest(".row");
    if (target) {
      open = Number(target.dataset.packet);
      detail();
      draw();
    }
  });
  facts();
  heads();
  follow();
  detail();
})();
