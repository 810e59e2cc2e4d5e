// The page: what is asked of every model at once, and what each of them said and nearly said.

import { closeAlternatives, mark } from "./alternatives.js";
import { LEVELS } from "./chances.js";
import * as conversation from "./conversation.js";
import { $, element } from "./elements.js";
import { look, startPanel } from "./next_token.js";
import { getModels } from "./server.js";
import { startSettings } from "./settings.js";
import { read, write } from "./storage.js";

const DRAFT = "tandem-draft";
const TYPING_MS = 500; // without a key before the first token of an answer is asked for
let models = [];
let typing = 0;

function showLegend() {
  LEVELS.forEach(({ label }, i) => $("legend").append(element("span", { className: `sample level${i}`, textContent: label })));
}

function describe({ name, title, parameters, context_length }) {
  const size = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 }).format(parameters);
  return element("li", { className: "card" },
    element("h2", { textContent: name }),
    element("p", { textContent: title }),
    element("p", { className: "foot", textContent: `${size} parameters · reads ${context_length.toLocaleString("en")} tokens` }));
}

function showPrompts(prompts) {
  $("prompts").replaceChildren(...prompts.map((prompt) => {
    const button = element("button", { type: "button", dir: "auto", textContent: prompt });
    button.addEventListener("click", () => ask(prompt));
    return button;
  }));
}

function refresh() {
  const empty = conversation.isEmpty();
  const running = conversation.isRunning();
  $("welcome").hidden = !empty;
  $("prompts").hidden = !empty;
  $("new").hidden = empty;
  $("stop").hidden = !running;
  $("ask").hidden = running;
}

async function ask(text) {
  const question = text.trim();
  if (!question || !models.length || conversation.isRunning()) return;
  closeAlternatives();
  clearTimeout(typing);
  $("question").value = "";
  write("sessionStorage", DRAFT, "");
  mark(null);
  const answered = conversation.ask(question);
  refresh();
  await answered;
  refresh();
}

// The likeliest beginnings of an answer to what stands in the field.
function lookAtDraft() {
  const question = $("question").value.trim();
  write("sessionStorage", DRAFT, $("question").value);
  mark(null);
  if (question && models.length) look((name) => ({ messages: conversation.messagesTo(name, question), tokens: [] }));
}

function say(text) {
  $("said").append(element("p", { textContent: text, dir: "auto" }));
  while ($("said").children.length > models.length) $("said").firstChild.remove();
}

function lookFromReply(places, name, move) {
  look(places, name);
  if (!move) return;
  $("next-heading").scrollIntoView({ block: "nearest" });
  $("temperature").focus();
}

function listen() {
  $("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    ask($("question").value);
  });
  $("question").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    ask($("question").value);
  });
  $("question").addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(lookAtDraft, TYPING_MS);
  });
  $("stop").addEventListener("click", () => {
    conversation.stop();
    $("question").focus();
  });
  $("new").addEventListener("click", () => {
    conversation.clear();
    closeAlternatives();
    refresh();
    $("question").focus();
  });
  window.addEventListener("pagehide", () => {
    conversation.save();
    write("sessionStorage", DRAFT, $("question").value);
  });
}

async function start() {
  showLegend();
  startSettings();
  listen();
  let prompts = [];
  try {
    ({ models, prompts } = await getModels());
  } catch (error) {
    $("trouble").textContent = error.message;
    $("trouble").hidden = false;
    return;
  }
  $("models").replaceChildren(...models.map(describe));
  showPrompts(prompts);
  startPanel(models);
  conversation.startConversation(models, { look: lookFromReply, changed: refresh, say });
  $("question").value = read("sessionStorage", DRAFT, "");
  refresh();
  const question = $("question").value.trim() || conversation.lastQuestion() || prompts[0];
  if (question) look((name) => ({ messages: [{ role: "user", content: question }], tokens: [] }));
}

start();
