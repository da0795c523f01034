// Before anything is drawn: the browser's own colours, for people who have not chosen any here.
"use strict";
(() => {
  const root = document.documentElement;
  if (!root.classList.contains("auto")) return;
  const prefers = matchMedia("(prefers-color-scheme: dark)");
  const follow = () => {
    if (!root.classList.contains("auto")) return;
    root.classList.toggle("dark", prefers.matches);
    root.classList.toggle("light", !prefers.matches);
    dispatchEvent(new CustomEvent("roost:theme"));
  };
  follow();
  prefers.addEventListener("change", follow);
})();
