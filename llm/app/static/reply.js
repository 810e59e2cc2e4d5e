// One model's reply to one question: it streams in, and may branch at any of its tokens.

import { closeAlternatives, openAlternatives } from "./alternatives.js";
import { percent, visible } from "./chances.js";
import { element } from "./elements.js";
import { getNext, streamReply } from "./server.js";
import { decoding } from "./settings.js";
import { endSpan, tokenSpan, walk } from "./tokens.js";

const REASONS = { end: "ended by itself", length: "cut at the length", stopped: "its time was up", you: "stopped by you" };
const N_ALTERNATIVES = 10;
const HALF = "\ufffd"; // of a character: its text comes with the token that makes it whole

export function textOf(reply) {
  const version = reply?.versions[reply.shown];
  return version ? version.tokens.map(({ text }) => text).join("").trim() : "";
}

// reply: {versions: [{tokens, fork, seed, end, error}], shown}; fork: {index} of a branch's first token, null of the first reply.
// page: {messages(), newest(), look(place), changed(), say(text)}
export function replyCard(model, reply, page) {
  const words = element("p", { className: "words", dir: "auto", role: "group",
    "aria-label": `Tokens of ${model.name}: arrow keys move, Enter shows what it nearly said` });
  const branches = element("div", { className: "branches", role: "group", "aria-label": `Branches of ${model.name}` });
  const trouble = element("p", { className: "error", hidden: true });
  const foot = element("p", { className: "foot", title: "The average is the geometric mean of the tokens’ probabilities" });
  const node = element("article", { className: "card", "aria-label": `Reply of ${model.name}` },
    element("h3", { textContent: model.name }), element("p", { className: "note", textContent: model.title.split(";")[0], title: model.title }), branches, words, trouble, foot);
  let controller = null;

  const shown = () => reply.versions[reply.shown];
  const running = () => controller !== null;

  function append(version, index) {
    const span = tokenSpan(version.tokens[index]);
    if (!index) span.tabIndex = 0;
    span.classList.toggle("fork", index === version.fork?.index);
    words.append(span);
  }

  function draw() {
    const version = shown();
    words.replaceChildren();
    version.tokens.forEach((_, index) => append(version, index));
    branches.replaceChildren(...(reply.versions.length > 1 ? reply.versions.map(branchButton) : []));
    finish(version);
  }

  function branchButton(version, k) {
    const fork = version.fork && version.tokens[version.fork.index];
    const name = version.fork ? `↳ ${fork ? visible(fork.text) : "end"}` : "first reply";
    const button = element("button", { type: "button", "aria-pressed": String(k === reply.shown) },
      element("bdi", { textContent: name }), version.fork ? ` at ${version.fork.index + 1}` : "");
    button.addEventListener("click", () => {
      reply.shown = k;
      draw();
      branches.children[k].focus();
      page.changed();
    });
    return button;
  }

  function finish(version) {
    const { tokens, end, error } = version;
    const active = running() && !end && !error;
    node.setAttribute("aria-busy", String(active));
    trouble.hidden = !error;
    trouble.textContent = error ?? "";
    if (end) words.append(endSpan(end));
    if (end && !tokens.length) words.lastChild.tabIndex = 0;
    foot.textContent = active ? progress(tokens) : summary(version);
  }

  function progress(tokens) {
    return tokens.length ? `${tokens.length} tokens …` : "waiting for the first token …";
  }

  function summary({ tokens, end, seed }) {
    if (!tokens.length) return end ? REASONS[end] : "";
    const mean = tokens.reduce((sum, { logprob }) => sum + logprob, 0) / tokens.length;
    const parts = [`${tokens.length} tokens`, REASONS[end], `${percent(Math.exp(mean))} a token on average`, `seed ${seed}`];
    return parts.filter(Boolean).join(" · ");
  }

  async function run(version) {
    const mine = new AbortController();
    controller = mine;
    draw();
    const { seed, ...how } = decoding(model);
    version.seed ??= seed;
    const body = { model: model.name, messages: page.messages(), prefix: version.tokens.map(({ token }) => token), seed: version.seed, ...how };
    try {
      await streamReply(body, mine.signal, (event) => receive(version, event));
    } catch (error) {
      if (error.name === "AbortError") version.end = "you";
      else version.error = error.message;
    }
    if (controller === mine) controller = null;
    if (shown() === version) finish(version);
    page.say(`${model.name}: ${version.error ?? (textOf({ versions: [version], shown: 0 }) || "no text")}`);
    page.changed();
  }

  function receive(version, event) {
    if (event.done) {
      version.end = event.reason;
      return;
    }
    version.tokens.push(event);
    if (shown() !== version) return;
    append(version, version.tokens.length - 1);
    foot.textContent = progress(version.tokens);
  }

  async function branch(index, alternative) {
    controller?.abort();
    const before = shown().tokens.slice(0, index);
    const token = { ...alternative, text: alternative.text.replaceAll(HALF, ""), alternatives: shown().tokens[index]?.alternatives };
    const over = alternative.ends; // the server goes on from text alone
    const tokens = over ? before : [...before, token];
    reply.versions.push({ tokens, fork: { index }, seed: shown().seed, end: over ? "end" : null, error: null });
    reply.shown = reply.versions.length - 1;
    if (over) page.changed();
    const finished = over ? draw() : run(shown());
    words.children[index].focus();
    await finished;
  }

  // The position in front of a token: where the model chose it.
  function place(index) {
    return { model: model.name, messages: page.messages(), tokens: shown().tokens.slice(0, index) };
  }

  function alternativesAt(index) {
    const kept = shown().tokens[index]?.alternatives;
    const { messages, tokens } = place(index);
    const prefix = tokens.map(({ token }) => token);
    return kept ?? getNext({ model: model.name, messages, prefix, n: N_ALTERNATIVES }).then((next) => next.alternatives);
  }

  function open(span, index, focus) {
    const token = shown().tokens[index];
    const free = page.newest();
    if (focus) page.look(place(index));
    openAlternatives(span, {
      title: token ? `“${visible(token.text)}” ${percent(Math.exp(token.logprob))}, token ${index + 1} of ${model.name}` : "Instead of the end",
      chosen: token,
      chosenBy: shown().fork?.index === index ? "chosen" : "drawn",
      alternatives: async () => alternativesAt(index),
      choose: free ? (alternative) => branch(index, alternative) : null,
      why: free ? "At temperature 1. Choose one: the reply goes on from there." : "At temperature 1. Only the newest replies can go on another way.",
      look: () => page.look(place(index), true),
    }, focus);
  }

  walk(words, open, (_, index) => {
    const token = shown().tokens[index];
    if (token && !running()) foot.textContent = `token ${index + 1}: ${visible(token.text)} ${percent(Math.exp(token.logprob))}, Enter for more`;
  });
  words.addEventListener("focusout", () => {
    if (!running()) foot.textContent = summary(shown());
  });

  function ask() {
    reply.versions.push({ tokens: [], fork: null, seed: null, end: null, error: null });
    return run(shown());
  }

  function stop() {
    controller?.abort();
    closeAlternatives();
  }

  if (reply.versions.length) draw();
  return { node, ask, stop, running };
}
