// The tokens of a reply: coloured by probability, walked through with the arrow keys.

import { level, percent } from "./chances.js";
import { element } from "./elements.js";

const HALF = "▫"; // of a character of several tokens
const ENDS = { end: "■ end", length: "… cut here" };
const STOPPED = "… stopped";

export function tokenSpan(token) {
  const { text, logprob } = token;
  const said = text.trim() || (text ? "white space" : "part of a character");
  const [space, word] = text.trim() ? [text.match(/^\s*/)[0], text.trimStart()] : ["", text || HALF];
  const span = element("span", {
    className: "token",
    role: "button",
    tabIndex: -1,
    "aria-label": `${said}, ${percent(Math.exp(logprob))}`,
    "aria-haspopup": "dialog",
  }, space, element("span", { className: `ink level${level(logprob)}`, textContent: word }));
  span.classList.toggle("newline", text.includes("\n") && !text.trim());
  return span;
}

// Stands behind the last token: what could have come there is asked for when it is opened.
export function endSpan(reason) {
  return element("span", {
    className: "token end",
    role: "button",
    tabIndex: -1,
    "aria-haspopup": "dialog",
  }, element("span", { className: "ink", textContent: ENDS[reason] ?? STOPPED }));
}

// One stop for Tab, arrows from token to token, Enter or Space opens. onOpen and onFocus get span and index.
export function walk(list, onOpen, onFocus) {
  const spans = () => [...list.querySelectorAll(".token")];
  const find = (target) => [target.closest(".token"), spans().indexOf(target.closest(".token"))];

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
    const [span, at] = find(target);
    if (span) onOpen(span, at, true);
  });
  // Not pointerover: a layout that moves below a mouse at rest points at nothing.
  list.addEventListener("pointermove", ({ target, pointerType }) => {
    const [span, at] = find(target);
    if (span && pointerType === "mouse") onOpen(span, at, false);
  });
}
