// Probabilities: as words, as levels of the colour scale, and at another temperature.

export const LEVELS = [
  { from: 0.5, label: "50 % or more" },
  { from: 0.2, label: "20–50 %" },
  { from: 0.05, label: "5–20 %" },
  { from: 0.01, label: "1–5 %" },
  { from: 0, label: "under 1 %" },
];

export function level(logprob) {
  const probability = Math.exp(logprob);
  return LEVELS.findIndex(({ from }) => probability >= from);
}

export function percent(probability) {
  const value = 100 * probability;
  if (value >= 99.95 && value < 100) return "> 99.9 %";
  if (value < 0.1) return value > 0 ? "< 0.1 %" : "0 %";
  return `${value >= 10 ? value.toFixed(0) : value.toFixed(1)} %`;
}

// softmax(logprobs / T) of a token: the server gives log_sum, for all the tokens that are not sent too.
export function tempered(logprob, logSum, temperature) {
  return Math.exp(logprob / temperature - logSum);
}

export function logSumAt(next, temperature) {
  const distances = next.temperatures.map((one) => Math.abs(one - temperature));
  return next.log_sums[distances.indexOf(Math.min(...distances))];
}

// How many of the likeliest tokens top-p keeps: each that the ones before it do not reach it without.
export function keptByTopP(probabilities, topP) {
  let before = 0;
  const cut = probabilities.findIndex((probability) => {
    const reached = before >= topP;
    before += probability;
    return reached;
  });
  return cut < 0 ? probabilities.length : cut;
}

// What a token is, where it stands alone: spaces and line ends can be seen.
export function visible(text) {
  return text === "" ? "∅" : text.replaceAll(" ", "␣").replaceAll("\n", "↵").replaceAll("\t", "⇥");
}
