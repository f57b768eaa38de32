// Keys of the review page: each presses a button, opens a field or follows a link that is there.
"use strict";

function press(selector) {
  const found = document.querySelector(selector);
  if (found) found.click();
  return found !== null;
}

function edit() {
  const fold = document.querySelector("#edit");
  if (!fold) return false;
  fold.open = true;
  document.querySelector("#answer").focus();
  return true;
}

const KEYS = {
  a: () => press("[data-key=a]"),
  s: () => press("[data-key=s]"),
  r: () => press("[data-key=r]"),
  e: edit,
  j: () => press("a[rel=next]"),
  k: () => press("a[rel=prev]"),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (event.target.closest("input, textarea, select")) return;
  if (Object.hasOwn(KEYS, event.key) && KEYS[event.key]()) event.preventDefault();
});
