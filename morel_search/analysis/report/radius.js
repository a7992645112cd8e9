"use strict";
// The slider over the attack radius: each position shows another figure at the place of the verified front.
(() => {
  const radii = JSON.parse(document.getElementById("figures").textContent).radii;
  if (!radii) return;
  const input = document.getElementById("attack-radius");
  const place = document.getElementById("figure-verified");
  input.addEventListener("input", () => {
    const position = radii.positions[Number(input.value)];
    place.dataset.figure = position.figure;
    document.getElementById("radius-shown").textContent = position.radius;
    document.getElementById("radius-note").textContent = position.note;
    input.setAttribute("aria-valuetext", position.radius);
    document.dispatchEvent(new CustomEvent("redraw", { detail: { place } }));
  });
  document.getElementById("radius-choice").hidden = false;
})();
