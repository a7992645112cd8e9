"use strict";
// The live page: asks for its version, and loads again when there is a newer one. What was open stays open.
(() => {
  const SECONDS = 3;
  const kept = JSON.parse(sessionStorage.getItem("live") ?? "null");
  sessionStorage.removeItem("live");
  if (kept) {
    kept.open.forEach((ident) => {
      const part = document.getElementById(ident);
      if (part) part.open = true;
    });
    requestAnimationFrame(() => scrollTo(0, kept.top));
  }
  const state = document.getElementById("live");
  const version = state.dataset.version;
  const reload = () => {
    const open = [...document.querySelectorAll("details.part[open]")].map((part) => part.id);
    sessionStorage.setItem("live", JSON.stringify({ open, top: scrollY }));
    location.reload();
  };
  setInterval(async () => {
    try {
      const answer = await fetch("version", { cache: "no-store" });
      const newer = answer.ok && (await answer.text()) !== version;
      const reading = !(document.getElementById("chosen")?.hidden ?? true);
      if (newer && !reading) reload();
      else if (newer) state.textContent = "There are new results: end the selection to see them.";
    } catch {
      state.textContent = "The watching command has ended: this page is not redrawn any more.";
    }
  }, 1000 * SECONDS);
})();
