"use strict";
// The table of all trials, and the selected trial: it is marked in every figure, and shown at the lower edge.
(() => {
  const all = JSON.parse(document.getElementById("figures").textContent).trials;
  if (!all) return;
  const byNumber = new Map(all.rows.map((row) => [row[0], row]));
  const table = document.getElementById("trials-table");
  const filter = document.getElementById("trials-state");
  let chosen = null, sorting = [0, false];

  const make = (name, parent, text, attributes = {}) => {
    const node = parent.appendChild(document.createElement(name));
    if (text !== undefined) node.textContent = text;
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    return node;
  };
  const shown = (value, column) =>
    value === null ? "" : column === 1 ? all.states[value] ?? value : column >= 4 && column <= 7 ? `${value.toFixed(1)}%` : String(value);

  // The value by which a cell is sorted; 8/255 is a number.
  function sortable(value) {
    if (typeof value !== "string") return value;
    const [, over, under] = /^(-?[\d.]+)\/(\d+)$/.exec(value) ?? [];
    const number = under ? over / under : value === "" ? null : Number(value);
    return Number.isNaN(number) ? value : number;
  }

  function kept(row) {
    const state = filter.value;
    return state === "" || (state === "front" ? row[0] in all.members : row[1] === Number(state));
  }

  let heads, body;
  function makeTable() {
    const whole = make("table", table, undefined, { class: "sortable trials" });
    const head = make("tr", make("thead", whole));
    body = make("tbody", whole);
    heads = all.heads.map((title, index) => {
      const cell = make("th", head, undefined, { scope: "col" });
      make("button", cell, title, { type: "button" }).addEventListener("click", () => {
        sorting = [index, cell.getAttribute("aria-sort") !== "descending"];
        drawRows();
      });
      return cell;
    });
    drawRows();
  }

  function drawRows() {
    const [column, down] = sorting;
    const rows = all.rows.filter(kept).sort((one, other) => {
      const [a, b] = [sortable(one[column]), sortable(other[column])];
      if (a === null || a === "" || b === null || b === "") return (a === null || a === "") - (b === null || b === "") || one[0] - other[0];
      const order = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
      return (down ? -order : order) || one[0] - other[0];
    });
    heads.forEach((cell, index) => {
      if (index === column) cell.setAttribute("aria-sort", down ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    });
    body.replaceChildren();
    for (const row of rows) {
      const line = make("tr", body, undefined, { "data-number": row[0] });
      row.forEach((value, index) => {
        const number = sortable(value);
        const order = index && typeof number === "number" && index !== 1 ? { "data-value": number } : {};
        if (index) make("td", line, shown(value, index), order);
        else make("button", make("th", line, undefined, { scope: "row" }), String(value), { type: "button", tabindex: -1, "aria-pressed": "false" });
      });
    }
    const first = body.querySelector("button");
    if (first) first.tabIndex = 0;
    document.getElementById("trials-count").textContent = `${rows.length} of ${all.rows.length} trials`;
    markRow();
  }

  function markRow() {
    for (const row of table.querySelectorAll("tbody tr")) {
      const is = Number(row.dataset.number) === chosen;
      row.classList.toggle("chosen", is);
      row.querySelector("button").setAttribute("aria-pressed", String(is));
    }
  }

  // Figures: points have the number of their trial in customdata, curves in meta.
  const numberAt = (trace, index) => (Array.isArray(trace.customdata) ? trace.customdata[index] : trace.meta);

  function ring(place) {
    const data = place.data.filter((trace) => trace.name !== "selected");
    const axes = [...new Set(data.filter((trace) => Array.isArray(trace.customdata)).map((trace) => trace.yaxis ?? "y"))];
    const colour = getComputedStyle(document.documentElement).getPropertyValue("--chosen").trim();
    const rings = chosen === null ? [] : axes.map((axis) => {
      const points = data.filter((trace) => (trace.yaxis ?? "y") === axis && Array.isArray(trace.customdata))
        .flatMap((trace) => trace.customdata.flatMap((number, index) => (number === chosen ? [[trace.x[index], trace.y[index]]] : [])));
      return {
        type: "scatter", mode: "markers", name: "selected", x: points.map((point) => point[0]), y: points.map((point) => point[1]), yaxis: axis,
        marker: { symbol: "circle-open", size: 17, color: colour, line: { width: 2.6 } }, showlegend: false, hoverinfo: "skip",
      };
    });
    data.filter((trace) => typeof trace.meta === "number" && trace.meta === chosen).forEach((trace) => rings.push({
      type: "scatter", mode: "lines", name: "selected", x: trace.x, y: trace.y, line: { color: colour, width: 3.4 }, showlegend: false, hoverinfo: "skip",
    }));
    if (rings.length || data.length !== place.data.length) Plotly.react(place, [...data, ...rings], place.layout, { ...place.chosenConfig });
  }

  function onDrawn(event) {
    const { place, config } = event.detail;
    if (place.id === "parallel") return markParallel(place);
    if (!place.data.some((trace) => trace.customdata || typeof trace.meta === "number")) return;
    place.chosenConfig = config;
    if (chosen !== null) ring(place);
    if (place.dataset.selects) return;
    place.dataset.selects = "yes";
    place.on("plotly_click", ({ points }) => {
      const number = numberAt(points[0].data, points[0].pointNumber);
      if (typeof number === "number") select(number);
    });
  }

  function markParallel(root) {
    for (const path of root.querySelectorAll("path")) {
      const is = Number(path.dataset.number) === chosen;
      path.classList.toggle("chosen", is);
      if (is) path.parentNode.insertBefore(path, path.parentNode.querySelector("line")); // drawn over the others
    }
  }

  // What is known of the selected trial.
  const panel = make("aside", document.querySelector("main"), undefined, { id: "chosen", "aria-label": "Selected trial", "aria-live": "polite", hidden: "" });

  function describe() {
    panel.replaceChildren();
    panel.hidden = chosen === null;
    if (chosen === null) return;
    const row = byNumber.get(chosen);
    const head = make("div", panel, undefined, { class: "head" });
    make("strong", head, `Trial ${chosen}: ${shown(row[1], 1)}${chosen in all.members ? ", on the front" : ""}${row[2] === "search" ? "" : `, ${row[2]}`}`);
    make("button", head, "End selection", { type: "button" }).addEventListener("click", () => select(null));
    const accuracies = (at) => `${shown(row[at], 4)} clean, ${shown(row[at + 1], 5)} robust`;
    if (row[4] !== null && row[5] !== null) make("p", panel, `validation images, epoch ${row[3] ?? "?"}: ${accuracies(4)}`);
    else if (row[6] !== null && row[7] !== null) make("p", panel, `last epoch, quick attack, validation images: ${accuracies(6)}`);
    for (const note of all.notes[chosen] ?? []) make("p", panel, note);
    const values = row.slice(all.parameters).flatMap((value, index) => (value === "" ? [] : [`${all.heads[all.parameters + index]} ${value}`]));
    if (values.length) make("p", panel, values.join("  ·  "), { class: "values" });
    for (const name of all.members[chosen] ?? []) make("code", panel, `${all.pick} ${name}`);
    if (!(chosen in all.members)) make("p", panel, "Not on the front: pick does not take it.", { class: "values" });
  }

  function select(number) {
    chosen = number !== null && (number === chosen || !byNumber.has(number)) ? null : number;
    describe();
    markRow();
    const parallel = document.getElementById("parallel");
    if (parallel) markParallel(parallel);
    document.querySelectorAll(".figure[data-selects]").forEach(ring);
  }

  document.addEventListener("drawn", onDrawn);
  document.getElementById("parallel")?.addEventListener("click", (event) => {
    const near = event.currentTarget.dataset.near;
    if (near) select(Number(near));
  });
  addEventListener("keydown", (event) => {
    if (event.key === "Escape" && chosen !== null) select(null);
  });
  table.addEventListener("click", (event) => {
    const row = event.target.closest("tbody tr");
    if (row) select(Number(row.dataset.number));
  });
  table.addEventListener("keydown", (event) => {
    const row = event.target.closest("tbody tr");
    const next = row && { ArrowDown: row.nextElementSibling, ArrowUp: row.previousElementSibling }[event.key];
    if (!next) return;
    event.preventDefault();
    event.target.tabIndex = -1;
    const button = next.querySelector("button");
    button.tabIndex = 0;
    button.focus();
  });
  filter.addEventListener("change", drawRows);
  const part = table.closest("details");
  const open = () => {
    if (!part || part.open) table.firstChild ?? makeTable();
  };
  part?.addEventListener("toggle", open);
  queueMicrotask(open); // after the script of the page, which sorts the other tables
})();
