// A divider that is dragged over two pictures of the same frame. Markup:
//   <div class="compare" data-compare>
//     …before…, …after (class "compare-after")…
//     <input type="range" min="0" max="100" step="0.1">   what the keyboard and screen readers hold
//   </div>
// The style property --at of the element is where the divider stands.
"use strict";

for (const view of document.querySelectorAll("[data-compare]")) {
  const range = view.querySelector("input[type=range]");

  const place = (percent) => {
    range.value = percent;
    range.setAttribute("aria-valuetext", `${Math.round(range.value)} % decoded, the rest filtered`);
    view.style.setProperty("--at", `${range.value}%`);
  };
  const follow = (event) => {
    const box = view.getBoundingClientRect();
    place((100 * (event.clientX - box.left)) / box.width);
  };

  view.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    view.setPointerCapture(event.pointerId);
    follow(event);
    range.focus({ preventScroll: true });
    event.preventDefault();
  });
  view.addEventListener("pointermove", (event) => {
    if (view.hasPointerCapture(event.pointerId)) follow(event);
  });
  range.addEventListener("input", () => place(range.value));
  range.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -2, ArrowDown: -2, ArrowRight: 2, ArrowUp: 2, PageDown: -10, PageUp: 10 }[event.key];
    if (step === undefined) return;
    place(Number(range.value) + step);
    event.preventDefault();
  });
  place(range.value);
}
