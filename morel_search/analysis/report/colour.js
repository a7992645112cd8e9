"use strict";
// Colours the points of the search's front by a value of their trials: an accuracy, the time, or a parameter.
(() => {
  const all = JSON.parse(document.getElementById("figures").textContent).trials;
  const choice = document.getElementById("colour-by");
  const key = document.getElementById("colour-key");
  if (!all || !choice) return;
  const CLASSES = 8; // colours --run0 to --run7
  const byNumber = new Map(all.rows.map((row) => [row[0], row]));
  const token = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  let place = null, original = []; // the figure, and the colour of each of its traces

  // A number, or null: 8/255 is a number, and a text is none.
  function numeric(value) {
    if (typeof value !== "string") return value;
    const [, over, under] = /^(-?[\d.]+)\/(\d+)$/.exec(value) ?? [];
    const number = under ? over / under : value === "" ? NaN : Number(value);
    return Number.isFinite(number) ? number : null;
  }

  // How a column is coloured: values to shares from 0 to 1, or values to the colours of classes.
  // On a logarithmic scale, values that are not positive have the colour of the smallest positive one.
  function scaleOf(column, logarithmic) {
    const known = all.rows.map((row) => row[column]).filter((value) => value !== null && value !== "");
    const numbers = known.map(numeric), gaps = known.length < all.rows.length;
    if (numbers.length && !numbers.includes(null)) {
      const positive = numbers.filter((value) => value > 0);
      const log = logarithmic && positive.length > 0;
      const [low, high] = [Math.min(...(log ? positive : numbers)), Math.max(...numbers)];
      const at = (value) => (log ? Math.log(Math.max(value, low)) : value);
      const span = at(high) - at(low);
      const below = positive.length < numbers.length;
      return { low, high, log, below, gaps, colour: (value) => (span ? (at(numeric(value)) - at(low)) / span : 0.5) };
    }
    const names = [...new Set(known.map(String))].sort();
    const colour = (value) => {
      const index = names.indexOf(String(value));
      return token(index < CLASSES ? `run${index}` : "dot");
    };
    return { names, gaps, colour };
  }

  function draw() {
    if (!place) return;
    const column = choice.value === "" ? null : Number(choice.value);
    const scale = column === null ? null : scaleOf(column, choice.selectedOptions[0].dataset.log === "yes");
    const indices = [], colours = [];
    place.data.forEach((trace, index) => {
      if (!Array.isArray(trace.customdata) || trace.name === "selected") return;
      indices.push(index);
      colours.push(scale === null ? original[index] : trace.customdata.map((number) => {
        const value = byNumber.get(number)?.[column] ?? "";
        return value === "" ? token("rule") : scale.colour(value); // the middle of the scale is near grey
      }));
    });
    const ends = [[0, token("low")], [1, token("high")]];
    if (indices.length) Plotly.restyle(place, { "marker.color": colours, "marker.colorscale": [ends], "marker.cmin": 0, "marker.cmax": 1 }, indices);
    describe(scale);
  }

  function describe(scale) {
    key.replaceChildren();
    if (scale === null) return;
    const add = (name, parent, text = "") => parent.appendChild(Object.assign(document.createElement(name), { textContent: text }));
    const short = (value) => String(Number(value.toPrecision(3)));
    if (scale.names) {
      scale.names.slice(0, CLASSES).forEach((name) => {
        const entry = add("span", key);
        add("i", entry).style.background = scale.colour(name);
        entry.append(name);
      });
      if (scale.names.length > CLASSES) add("span", key, `and ${scale.names.length - CLASSES} more in grey`);
    } else {
      add("span", key, `${short(scale.low)}${scale.log && scale.below ? " or less" : ""}`);
      add("i", key).className = "scale";
      add("span", key, `${short(scale.high)}${scale.log ? " (logarithmic scale)" : ""}`);
    }
    if (scale.gaps) add("span", key, "pale: no value");
  }

  document.addEventListener("drawn", (event) => {
    if (event.detail.place.id !== "figure-front") return;
    place = event.detail.place;
    original = place.data.map((trace) => trace.marker?.color);
    if (choice.value !== "") draw();
  });
  choice.addEventListener("change", draw);
})();
