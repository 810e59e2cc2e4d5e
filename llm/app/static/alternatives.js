// The small window at a token: what the model nearly said, and a way to let it go on from there.

import { percent, visible } from "./chances.js";
import { $, bar, element } from "./elements.js";

const OPEN_AFTER_MS = 120; // a mouse on its way elsewhere opens nothing
const CLOSE_AFTER_MS = 250; // the way from the token into the window
const GAP_PX = 6;

const dialog = $("alternatives");
let anchor = null;
let pinned = false; // opened by click or key, not by a mouse that is above it
let timer = 0;

// place: {title, chosen, chosenBy, alternatives (gives a promise), choose (or null), why, look}
export function openAlternatives(at, place, focus) {
  clearTimeout(timer);
  if (focus) show(at, place, true);
  else if (!pinned && at !== anchor) timer = setTimeout(() => show(at, place, false), OPEN_AFTER_MS);
}

export function closeAlternatives(returnFocus = false) {
  clearTimeout(timer);
  anchor?.removeAttribute("aria-expanded");
  if (returnFocus) anchor?.focus();
  dialog.hidden = true;
  anchor = null;
  pinned = false;
}

async function show(at, place, focus) {
  closeAlternatives();
  anchor = at;
  pinned = focus;
  anchor.setAttribute("aria-expanded", "true");
  if (focus) mark(anchor);
  dialog.replaceChildren(heading(place), element("p", { className: "note", textContent: "…" }));
  dialog.hidden = false;
  let alternatives;
  try {
    alternatives = await place.alternatives();
  } catch (error) {
    dialog.lastChild.textContent = error.message;
    return;
  }
  if (anchor !== at) return;
  dialog.replaceChildren(heading(place), rows(place, alternatives), foot(place));
  position();
  if (focus) dialog.querySelector("[tabindex='0'], .look").focus();
}

// The token whose position the panel of the next token shows.
export function mark(token) {
  document.querySelectorAll(".looked").forEach((one) => one.classList.remove("looked"));
  token?.classList.add("looked");
}

function heading({ title }) {
  return element("h3", { id: "alternatives-heading", textContent: title });
}

function rows({ chosen, chosenBy, choose }, alternatives) {
  const all = [...alternatives];
  if (chosen && !all.some(({ token }) => token === chosen.token)) all.push(chosen);
  const list = element("ol", { className: "bars" });
  for (const [i, one] of all.entries()) {
    const probability = Math.exp(one.logprob);
    const { row } = bar(visible(one.text), [probability, percent(probability)]);
    const taken = one.token === chosen?.token;
    const button = element("button", { type: "button", tabIndex: i ? -1 : 0 }, row);
    if (taken) button.append(element("span", { className: "taken", textContent: chosenBy }));
    button.setAttribute("aria-disabled", String(taken || !choose));
    button.addEventListener("click", () => {
      if (taken || !choose) return;
      closeAlternatives();
      choose(one);
    });
    list.append(element("li", {}, button));
  }
  return list;
}

function foot({ why, look }) {
  const button = element("button", { type: "button", className: "look quiet", textContent: "At other temperatures" });
  button.addEventListener("click", () => {
    closeAlternatives();
    look();
  });
  return element("div", { className: "under" }, element("p", { className: "note", textContent: why }), button);
}

function position() {
  if (getComputedStyle(dialog).position === "fixed") { // a phone: the window covers the lower half
    if (anchor.getBoundingClientRect().bottom > dialog.offsetTop) anchor.scrollIntoView({ block: "start" });
    return;
  }
  const { left, top, bottom } = anchor.querySelector(".ink").getBoundingClientRect();
  const { offsetWidth, offsetHeight } = dialog;
  const room = document.documentElement.clientWidth - offsetWidth - GAP_PX;
  const above = bottom + offsetHeight + GAP_PX > window.innerHeight && top > offsetHeight + GAP_PX;
  dialog.style.left = `${Math.max(GAP_PX, Math.min(left, room)) + window.scrollX}px`;
  dialog.style.top = `${(above ? top - offsetHeight - GAP_PX : bottom + GAP_PX) + window.scrollY}px`;
}

function move(event) {
  const buttons = [...dialog.querySelectorAll(".bars button")];
  const at = buttons.indexOf(document.activeElement);
  const steps = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: buttons.length - 1 };
  if (!(event.key in steps) || at < 0) return;
  event.preventDefault();
  const to = buttons[steps[event.key]];
  if (!to) return;
  buttons[at].tabIndex = -1;
  to.tabIndex = 0;
  to.focus();
}

function leaveLater() {
  clearTimeout(timer);
  if (!pinned) timer = setTimeout(() => closeAlternatives(), CLOSE_AFTER_MS);
}

dialog.addEventListener("keydown", move);
dialog.addEventListener("pointerenter", () => clearTimeout(timer));
dialog.addEventListener("pointerleave", leaveLater);
dialog.addEventListener("focusout", ({ relatedTarget }) => {
  if (pinned && relatedTarget && !dialog.contains(relatedTarget)) closeAlternatives();
});
document.addEventListener("pointerout", ({ target }) => {
  if (target.closest?.(".token")) leaveLater();
});
document.addEventListener("keydown", ({ key }) => {
  if (key === "Escape" && !dialog.hidden) closeAlternatives(pinned);
});
document.addEventListener("pointerdown", ({ target }) => {
  if (!dialog.hidden && !dialog.contains(target)) closeAlternatives();
});
