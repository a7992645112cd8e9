"use strict";
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const parallel = figures.parallel;
  delete figures.parallel;
  delete figures.trials; // selection.js draws them
  delete figures.radii; // radius.js reads them
  const announce = (place, config) => document.dispatchEvent(new CustomEvent("drawn", { detail: { place, config } }));

  // Colours: a figure says "@front" or "@mix0.3"; the style sheet says what that is, in light and in dark.
  function mix(low, high, share) {
    const parts = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
    const [a, b] = [parts(low), parts(high)];
    return `rgb(${a.map((from, i) => Math.round(from + (b[i] - from) * share)).join(",")})`;
  }

  function themed(value, token) {
    if (typeof value === "string" && value[0] === "@") {
      return value.startsWith("@mix") ? mix(token("low"), token("high"), Number(value.slice(4))) : token(value.slice(1));
    }
    if (Array.isArray(value)) return value.map((one) => themed(one, token));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, key.endsWith("text") ? one : themed(one, token)]));
    }
    return value;
  }

  // A figure is drawn when its section is opened: a folded element has no size.
  const folded = (place) => place.closest("details:not([open])");

  function draw(again) {
    const style = getComputedStyle(document.documentElement);
    const token = (name) => style.getPropertyValue(`--${name}`).trim();
    const narrow = window.innerWidth < 560;
    for (const name of Object.keys(figures)) {
      const place = document.getElementById(`figure-${name}`);
      if (!place || folded(place)) continue;
      if (place.dataset.drawn && !again) {
        if (place.dataset.width !== String(place.clientWidth)) Plotly.Plots.resize(place);
        place.dataset.width = place.clientWidth;
        continue;
      }
      const shown = place.dataset.figure ?? name; // a slider may show another figure at this place
      const { data, layout } = themed(figures[shown], token);
      if (narrow) {
        layout.dragmode = false;
        // Names at the edge are too long for a narrow screen with their accuracies.
        for (const note of layout.annotations ?? []) if (/^[←→↑↓]/.test(note.text)) note.text = note.text.replace(/ \([^()]*\)$/, "");
      }
      // The same configuration for every figure of a place: with another one, Plotly forgets who listens for clicks.
      const small = place.classList.contains("small");
      const config = {
        responsive: true, displaylogo: false, displayModeBar: !small && !narrow, modeBarButtons: [["toImage", "resetScale2d"]],
        toImageButtonOptions: { format: "svg", filename: name },
      };
      Plotly.react(place, data, layout, config);
      place.dataset.drawn = "yes";
      place.dataset.width = place.clientWidth;
      announce(place, config);
    }
    drawParallel();
  }

  // Parallel coordinates: one path a trial, ranges kept by dragging along an axis.
  function drawParallel() {
    const root = document.getElementById("parallel");
    if (!root || !parallel || folded(root) || root.dataset.drawn) return;
    root.dataset.drawn = "yes";
    const { axes, rows } = parallel;
    const missing = rows.some((row) => row.places.includes(null));
    const height = 330, top = 34, bottom = missing ? height - 44 : height - 14, left = 46, right = 64;
    const ranges = axes.map(() => null);
    root.style.setProperty("--faint", Math.max(0.07, Math.min(0.42, 40 / rows.length)));
    let svg, paths, brushes, width, near = -1;
    const tip = root.appendChild(Object.assign(document.createElement("div"), { className: "tip" }));
    const make = (name, attributes, parent) => {
      const node = document.createElementNS("http://www.w3.org/2000/svg", name);
      for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
      return parent.appendChild(node);
    };
    const x = (index) => left + (width - left - right) * (axes.length > 1 ? index / (axes.length - 1) : 0.5);
    const y = (place) => (place === null ? bottom + 24 : bottom - (bottom - top) * place);

    function layout() {
      width = Math.max(root.clientWidth, 84 * axes.length);
      if (svg) svg.remove();
      svg = make("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "parallel coordinates of all trials" }, root);
      paths = rows.map((row) => {
        const path = make("path", { d: "M" + row.places.map((place, i) => `${x(i).toFixed(1)},${y(place).toFixed(1)}`).join("L") }, svg);
        path.style.stroke = `color-mix(in oklab, var(--high) ${Math.round(row.share * 100)}%, var(--low))`;
        path.dataset.number = row.number;
        if (row.front) path.classList.add("front");
        return path;
      });
      brushes = axes.map((axis, i) => {
        make("line", { x1: x(i), x2: x(i), y1: top, y2: bottom }, svg);
        axis.ticks.forEach(([place, text]) => {
          make("line", { x1: x(i) - 3, x2: x(i), y1: y(place), y2: y(place) }, svg);
          make("text", { x: x(i) + 6, y: y(place) + 4 }, svg).textContent = text.length > 12 ? text.slice(0, 11) + "…" : text;
        });
        if (rows.some((row) => row.places[i] === null)) make("text", { x: x(i) + 6, y: y(null) + 4 }, svg).textContent = "not active";
        const label = axis.label.length > 16 ? axis.label.slice(0, 15) + "…" : axis.label;
        make("text", { x: x(i), y: 14, class: "label", "text-anchor": "middle" }, svg).textContent = label;
        const brush = make("rect", { class: "brush", x: x(i) - 7, width: 14, y: 0, height: 0 }, svg);
        const zone = make("rect", { class: "zone", x: x(i) - 12, width: 24, y: top - 6, height: bottom - top + 12 }, svg);
        zone.addEventListener("pointerdown", (event) => drag(event, zone, i));
        return brush;
      });
      svg.addEventListener("pointermove", hover);
      svg.addEventListener("pointerleave", () => point(-1));
      filter();
      announce(root);
    }

    const placeAt = (event) => Math.min(1, Math.max(0, (bottom - (event.clientY - svg.getBoundingClientRect().top)) / (bottom - top)));

    function drag(event, zone, index) {
      event.preventDefault();
      zone.setPointerCapture(event.pointerId);
      const from = placeAt(event);
      const move = (later) => {
        const to = placeAt(later);
        ranges[index] = Math.abs(to - from) < 0.015 ? null : [Math.min(from, to), Math.max(from, to)];
        filter();
      };
      const stop = (last) => {
        move(last);
        zone.removeEventListener("pointermove", move);
      };
      zone.addEventListener("pointermove", move);
      zone.addEventListener("pointerup", stop, { once: true });
    }

    function filter() {
      ranges.forEach((range, i) => {
        brushes[i].setAttribute("y", range ? y(range[1]) : 0);
        brushes[i].setAttribute("height", range ? y(range[0]) - y(range[1]) : 0);
      });
      const kept = (row) => ranges.every((range, i) => !range || (row.places[i] !== null && row.places[i] >= range[0] && row.places[i] <= range[1]));
      rows.forEach((row, i) => paths[i].classList.toggle("off", !kept(row)));
    }

    function hover(event) {
      const box = svg.getBoundingClientRect();
      const [px, py] = [event.clientX - box.left, event.clientY - box.top];
      const step = (width - left - right) / Math.max(1, axes.length - 1);
      const at = Math.min(axes.length - 2, Math.max(0, Math.floor((px - left) / step)));
      const share = Math.min(1, Math.max(0, (px - x(at)) / step));
      let best = -1, least = 9;
      rows.forEach((row, i) => {
        if (paths[i].classList.contains("off")) return;
        const gap = Math.abs(y(row.places[at]) * (1 - share) + y(row.places[at + 1]) * share - py);
        if (gap < least) [best, least] = [i, gap];
      });
      point(best, px, py);
    }

    function point(index, px, py) {
      if (near >= 0) paths[near].classList.remove("near");
      near = index;
      root.dataset.near = index < 0 ? "" : rows[index].number;
      tip.style.display = index < 0 ? "none" : "block";
      if (index < 0) return;
      paths[index].classList.add("near");
      const row = rows[index];
      tip.textContent = [`network ${row.number}`, ...axes.map((axis, i) => (row.texts[i] ? `${axis.label}  ${row.texts[i]}` : null)).filter(Boolean)].join("\n");
      tip.style.left = `${px > width / 2 ? px - tip.offsetWidth - 14 : px + 14}px`;
      tip.style.top = `${Math.min(py, height - tip.offsetHeight)}px`;
    }

    layout();
    new ResizeObserver(() => {
      if (Math.abs(Math.max(root.clientWidth, 84 * axes.length) - width) > 1) layout();
    }).observe(root);
  }

  // Tables: a click on a heading sorts by it, numbers by their value.
  function sortTables() {
    document.querySelectorAll("table.sortable").forEach((table) => {
      const heads = [...table.querySelectorAll("thead th")];
      heads.forEach((head, column) => {
        head.querySelector("button").addEventListener("click", () => {
          const down = head.getAttribute("aria-sort") !== "descending";
          heads.forEach((other) => other.removeAttribute("aria-sort"));
          head.setAttribute("aria-sort", down ? "descending" : "ascending");
          const value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
          const empty = (shown) => ["", "–", "nan"].includes(shown);
          const compare = (a, b) => {
            const [one, other] = [value(a), value(b)];
            if (empty(one) || empty(other)) return empty(one) - empty(other);
            const order = isNaN(one) || isNaN(other) ? String(one).localeCompare(String(other)) : one - other;
            return down ? -order : order;
          };
          table.tBodies[0].append(...[...table.tBodies[0].rows].sort(compare));
        });
      });
    });
  }

  // Wide tables: a sign above a table that is cut says on which side there is more.
  function markCut() {
    document.querySelectorAll(".cut").forEach((frame) => {
      const box = frame.firstElementChild;
      const mark = () => {
        const hidden = box.scrollWidth - box.clientWidth;
        if (hidden < 2) delete frame.dataset.more;
        else if (box.scrollLeft > hidden - 2) frame.dataset.more = "← scroll for more columns";
        else frame.dataset.more = box.scrollLeft < 2 ? "scroll for more columns →" : "← scroll for more columns →";
        box.tabIndex = hidden < 2 ? -1 : 0;
      };
      box.addEventListener("scroll", mark, { passive: true });
      new ResizeObserver(mark).observe(box);
      new ResizeObserver(mark).observe(box.firstElementChild);
    });
  }

  // Folding: links and the browser's search open the section of their target; paper shows all sections.
  const parts = [...document.querySelectorAll("details.part")];
  function fold() {
    const button = document.getElementById("fold");
    const allOpen = () => parts.every((part) => part.open);
    const name = () => (button.textContent = allOpen() ? "Fold all" : "Open all");
    button.hidden = parts.length === 0;
    button.addEventListener("click", () => {
      const open = !allOpen();
      parts.forEach((part) => (part.open = open));
      draw();
      name();
    });
    parts.forEach((part) => part.addEventListener("toggle", () => {
      draw();
      name();
    }));
    const openTarget = () => {
      const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
      const part = target && target.closest("details");
      if (part && !part.open) {
        part.open = true;
        target.scrollIntoView();
      }
    };
    addEventListener("hashchange", openTarget);
    openTarget();
  }

  // Plotly draws for the screen; on paper a figure has the width of its place there.
  const onPaper = (place) => (place.classList.contains("small") ? 210 : place.classList.contains("half") ? 335 : 700);
  const drawn = () => Object.keys(figures).map((name) => document.getElementById(`figure-${name}`)).filter((place) => place && place.dataset.drawn);
  let before = [];
  addEventListener("beforeprint", () => {
    before = parts.map((part) => part.open);
    parts.forEach((part) => (part.open = true));
    draw();
    drawn().forEach((place) => Plotly.relayout(place, { width: onPaper(place), autosize: false }));
  });
  addEventListener("afterprint", () => {
    drawn().forEach((place) => Plotly.relayout(place, { width: null, autosize: true }));
    parts.forEach((part, index) => (part.open = before[index] ?? part.open));
  });

  // The contents bar marks the group that is read.
  function follow() {
    const links = [...document.querySelectorAll("nav a")];
    const groups = links.map((link) => document.getElementById(link.hash.slice(1)));
    const mark = () => {
      const at = groups.filter((group) => group.getBoundingClientRect().top < 120).length - 1;
      links.forEach((link, index) => (index === at ? link.setAttribute("aria-current", "true") : link.removeAttribute("aria-current")));
    };
    addEventListener("scroll", mark, { passive: true });
    mark();
  }

  document.addEventListener("redraw", (event) => {
    delete event.detail.place.dataset.drawn;
    draw();
  });
  draw();
  sortTables();
  markCut();
  fold();
  follow();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw(true));
  document.documentElement.dataset.drawn = "yes";
})();
