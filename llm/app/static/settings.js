// How replies are drawn. null: each model's own, or the server's; kept over a reload.

import { $ } from "./elements.js";
import { read, write } from "./storage.js";

const KEY = "tandem-settings";
const FIELDS = ["top_p", "seed", "max_tokens"];
const SEEDS = 2 ** 32;
const settings = { temperature: null, top_p: null, seed: 1, max_tokens: null };
const listeners = [];

export function startSettings() {
  const kept = read("localStorage", KEY, {});
  for (const name of Object.keys(settings)) {
    if (kept[name] === null || Number.isFinite(kept[name])) settings[name] = kept[name];
  }
  for (const name of FIELDS) {
    const input = $(name);
    input.value = settings[name] ?? "";
    input.addEventListener("change", () => {
      if (input.reportValidity()) change(name, input.value === "" ? null : Number(input.value));
    });
  }
  onSettings(summarise);
  summarise();
}

export function onSettings(listener) {
  listeners.push(listener);
}

export function change(name, value) {
  settings[name] = value;
  write("localStorage", KEY, settings);
  listeners.forEach((listener) => listener());
}

export function ownTemperature() {
  return settings.temperature === null;
}

// What a request for a reply of the model says of drawing.
export function decoding(model) {
  const asked = {
    temperature: settings.temperature ?? model.temperature,
    top_p: settings.top_p ?? model.top_p,
    seed: settings.seed ?? Math.floor(Math.random() * SEEDS),
  };
  return settings.max_tokens === null ? asked : { ...asked, max_tokens: settings.max_tokens };
}

function summarise() {
  const parts = [
    settings.temperature === null ? "each model’s own temperature" : `temperature ${settings.temperature}`,
    settings.top_p === null ? "own top-p" : `top-p ${settings.top_p}`,
    settings.seed === null ? "a new seed each time" : `seed ${settings.seed}`,
  ];
  if (settings.max_tokens !== null) parts.push(`at most ${settings.max_tokens} tokens`);
  $("summary").textContent = parts.join(", ");
}
