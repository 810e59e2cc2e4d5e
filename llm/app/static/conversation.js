// The turns: each a question and the reply of every model, which reads its own earlier replies.

import { $, element } from "./elements.js";
import { replyCard, textOf } from "./reply.js";
import { read, write } from "./storage.js";

const KEY = "tandem-conversation";
const turns = []; // {question, replies by model's name}
const cards = []; // of the turns, each a list
let models = [];
let page = null;

// page: {look(places, name, move), changed(), say(text)}
export function startConversation(served, callbacks) {
  models = served;
  page = callbacks;
  for (const turn of read("sessionStorage", KEY, [])) {
    for (const reply of Object.values(turn.replies)) {
      for (const version of reply.versions) version.end ??= version.error ? null : "you";
    }
    addTurn(turn);
  }
}

export function isEmpty() {
  return turns.length === 0;
}

export function lastQuestion() {
  return turns.at(-1)?.question;
}

export function isRunning() {
  return cards.flat().some((card) => card.running());
}

export async function ask(question) {
  const replies = Object.fromEntries(models.map(({ name }) => [name, { versions: [], shown: 0 }]));
  const { made, node } = addTurn({ question, replies });
  const answered = Promise.all(made.map((card) => card.ask()));
  node.scrollIntoView({ block: "start" });
  page.look(places(turns.length - 1), models[0].name);
  await answered;
}

export function stop() {
  cards.flat().forEach((card) => card.stop());
}

export function clear() {
  stop();
  turns.length = 0;
  cards.length = 0;
  $("turns").replaceChildren();
  save();
}

// Of a conversation too long for the browser's store, about ten turns, the latest are kept.
export function save() {
  let from = 0;
  while (!write("sessionStorage", KEY, turns.slice(from)) && from < turns.length) from += 1;
}

// What the model reads: its own conversation up to the question. A turn it has no words in is left out, roles alternate.
export function messagesTo(name, question, before = turns.length) {
  const earlier = turns.slice(0, before).filter(({ replies }) => textOf(replies[name]));
  const spoken = earlier.flatMap((turn) => [
    { role: "user", content: turn.question },
    { role: "assistant", content: textOf(turn.replies[name]) },
  ]);
  return [...spoken, { role: "user", content: question }];
}

// Where a reply to the turn begins, of any model, but at `place` in its model's reply.
function places(i, place) {
  return (name) => (place?.model === name ? place : { messages: messagesTo(name, turns[i].question, i), tokens: [] });
}

function addTurn(turn) {
  const i = turns.push(turn) - 1;
  const served = models.filter(({ name }) => turn.replies[name]);
  const made = served.map((model) => replyCard(model, turn.replies[model.name], {
    messages: () => messagesTo(model.name, turn.question, i),
    newest: () => i === turns.length - 1,
    look: (place, move) => page.look(places(i, place), model.name, move),
    changed: () => { save(); page.changed(); },
    say: page.say,
  }));
  cards.push(made);
  const node = element("li", { className: "turn" },
    element("h2", { className: "question", dir: "auto", textContent: turn.question }),
    element("div", { className: "replies" }, ...made.map((card) => card.node)));
  $("turns").append(node);
  return { made, node };
}
