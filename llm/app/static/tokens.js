// The tokens of a reply: coloured by probability, walked through with the arrow keys.

import { level, percent } from "./chances.js";
import { element } from "./elements.js";

const HALF = "▫"; // of a character of several tokens
const ENDS = { end: "■ end", length: "… cut here", stopped: "… stopped" };

export function tokenSpan(token) {
  const { text, logprob } = token;
  const said = text.trim() || (text ? "white space" : "part of a character");
  const span = element("span", {
    className: `token level${level(logprob)}`,
    role: "button",
    tabIndex: -1,
    textContent: text || HALF,
    "aria-label": `${said}, ${percent(Math.exp(logprob))}`,
    "aria-haspopup": "dialog",
  });
  span.classList.toggle("newline", text.includes("\n") && !text.trim());
  return span;
}

// Stands behind the last token: what could have come there is asked for when it is opened.
export function endSpan(reason) {
  return element("span", {
    className: "token end",
    role: "button",
    tabIndex: -1,
    textContent: ENDS[reason] ?? ENDS.stopped,
    "aria-haspopup": "dialog",
  });
}

// One stop for Tab, arrows from token to token, Enter or Space opens. onOpen and onFocus get span and index.
export function walk(list, onOpen, onFocus) {
  const spans = () => [...list.querySelectorAll(".token")];

  list.addEventListener("keydown", (event) => {
    const all = spans();
    const at = all.indexOf(event.target);
    if (at < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      onOpen(event.target, at, true);
      return;
    }
    const forward = getComputedStyle(list).direction === "rtl" ? -1 : 1;
    const steps = { ArrowRight: at + forward, ArrowLeft: at - forward, Home: 0, End: all.length - 1 };
    const to = all[steps[event.key]];
    if (event.key in steps) event.preventDefault();
    if (to) to.focus();
  });
  list.addEventListener("focusin", ({ target }) => {
    const all = spans();
    for (const span of all) span.tabIndex = span === target ? 0 : -1;
    onFocus(target, all.indexOf(target));
  });
  list.addEventListener("click", ({ target }) => {
    const at = spans().indexOf(target);
    if (at >= 0) onOpen(target, at, true);
  });
  list.addEventListener("pointerover", ({ target, pointerType }) => {
    const at = pointerType === "mouse" ? spans().indexOf(target) : -1;
    if (at >= 0) onOpen(target, at, false);
  });
}
