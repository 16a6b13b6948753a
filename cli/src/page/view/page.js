"use strict";
// Without this, the last picture of a series and all tabs are shown.
document.querySelectorAll("[data-frames]").forEach(function (box) {
  var frames = box.querySelectorAll("[data-frame]");
  var slider = box.querySelector("input[type=range]");
  if (!slider || frames.length < 2) { return; }
  box.querySelector(".control").hidden = false;
  function show() {
    frames.forEach(function (frame, at) { frame.hidden = at !== Number(slider.value); });
    var said = frames[slider.value].dataset.frame;
    slider.setAttribute("aria-valuetext", said);
    box.querySelector("output").textContent = said;
  }
  slider.addEventListener("input", show);
  show();
});
document.querySelectorAll("[data-tabs]").forEach(function (box) {
  var panels = box.querySelectorAll("[data-tab]");
  if (panels.length < 2) { return; }
  var bar = document.createElement("div");
  bar.className = "tabs";
  bar.setAttribute("role", "tablist");
  function show(chosen) {
    panels.forEach(function (panel, at) {
      panel.hidden = at !== chosen;
      bar.children[at].setAttribute("aria-selected", String(at === chosen));
      bar.children[at].tabIndex = at === chosen ? 0 : -1;
    });
  }
  panels.forEach(function (panel, at) {
    var button = document.createElement("button");
    button.type = "button";
    button.setAttribute("role", "tab");
    button.textContent = panel.dataset.tab;
    button.addEventListener("click", function () { show(at); });
    bar.appendChild(button);
    panel.setAttribute("role", "tabpanel");
  });
  bar.addEventListener("keydown", function (event) {
    var step = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
    var now = Array.prototype.indexOf.call(bar.children, document.activeElement);
    if (!step || now < 0) { return; }
    var next = (now + step + panels.length) % panels.length;
    show(next);
    bar.children[next].focus();
  });
  box.insertBefore(bar, box.firstChild);
  show(0);
});
