// The panel of the next token: its likeliest candidates, reweighed as the temperature moves.

import { keptByTopP, logSumAt, percent, tempered, visible } from "./chances.js";
import { $, bar, element } from "./elements.js";
import { getNext } from "./server.js";
import { change, decoding, onSettings, ownTemperature } from "./settings.js";

const N = 20;
const SHOWN_CHARS = 70; // of the text in front of the position

const slider = $("temperature");
let models = [];
let placeOf = null; // the position to look at, of the model by that name
let next = null;
let bars = [];
let controller = null;

export function startPanel(served) {
  models = served;
  $("next-model").replaceChildren(...served.map(({ name }) => element("option", { value: name, textContent: name })));
  $("next-model").addEventListener("change", () => placeOf && ask());
  slider.addEventListener("input", () => change("temperature", Number(slider.value)));
  $("own-temperature").addEventListener("click", () => change("temperature", null));
  onSettings(draw);
  draw();
}

export function chosenModel() {
  return models.find(({ name }) => name === $("next-model").value) ?? models[0];
}

// places: a function from a model's name to {messages, tokens}, the tokens of the reply so far; null: nothing to look at.
export function look(places, name) {
  placeOf = places;
  if (name) $("next-model").value = name;
  ask();
}

async function ask() {
  controller?.abort();
  controller = new AbortController();
  const { signal } = controller;
  const model = chosenModel();
  const { messages, tokens } = placeOf(model.name);
  showWhere(messages, tokens);
  $("bars").setAttribute("aria-busy", "true");
  try {
    const prefix = tokens.map(({ token }) => token);
    next = await getNext({ model: model.name, messages, prefix, n: N }, signal);
    $("next-note").textContent = "";
  } catch (error) {
    if (error.name === "AbortError") return;
    next = null;
    $("next-note").textContent = error.message;
  }
  $("bars").setAttribute("aria-busy", "false");
  bars = (next?.alternatives ?? []).map(({ text }) => bar(visible(text), [0, ""]));
  if (next) bars.push(bar("all others", [0, ""]));
  $("bars").replaceChildren(...bars.map(({ row }) => element("li", {}, row)));
  bars.at(-1)?.row.classList.add("others");
  draw();
}

function showWhere(messages, tokens) {
  const question = messages.at(-1).content;
  const before = tokens.map(({ text }) => text).join("");
  const text = before.trim() ? before : question;
  const cut = text.length > SHOWN_CHARS ? `…${text.slice(-SHOWN_CHARS)}` : text;
  $("next-where").replaceChildren(
    element("span", { className: "unseen", textContent: before.trim() ? "After the reply’s beginning: " : "The reply’s first token, after the question: " }),
    element("bdi", { textContent: before.trim() ? cut : `“${cut}”` }), element("span", { className: "caret", "aria-hidden": "true" }));
}

function draw() {
  const model = chosenModel();
  if (!model) return;
  const { temperature, top_p } = decoding(model);
  slider.value = temperature;
  slider.setAttribute("aria-valuetext", `${temperature}${ownTemperature() ? `, ${model.name}’s own` : ""}`);
  $("temperature-value").textContent = `${temperature}${ownTemperature() ? ` (${model.name}’s own)` : ""}`;
  $("own-temperature").hidden = ownTemperature();
  if (next) drawBars(temperature, top_p);
}

function drawBars(temperature, topP) {
  const logSum = logSumAt(next, temperature);
  const probabilities = next.alternatives.map(({ logprob }) => tempered(logprob, logSum, temperature));
  probabilities.push(Math.max(0, 1 - probabilities.reduce((sum, one) => sum + one, 0))); // of all the others
  const kept = keptByTopP(probabilities, topP);
  probabilities.forEach((probability, i) => {
    const cut = i >= kept;
    bars[i].set(probability, percent(probability));
    bars[i].row.classList.toggle("cut", cut);
    bars[i].row.title = cut ? "cut off by top-p" : "";
  });
  const first = kept === 1 ? "the first alone" : `the first ${kept}`;
  $("next-note").textContent = kept < probabilities.length
    ? `Top-p ${topP} keeps ${first}: the others are never drawn.`
    : `Top-p ${topP} keeps all of these.`;
}
