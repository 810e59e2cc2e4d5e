// Makes elements. Text goes in as text, never as markup: models write what they like.

export const $ = (id) => document.getElementById(id);

export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role") made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children);
  return made;
}

// A row of a bar chart: the token, its bar, its probability.
export function bar(text, shown) {
  const fill = element("span", { className: "fill" });
  const number = element("span", { className: "number" });
  const row = element("span", { className: "bar" },
    element("bdi", { className: "text", textContent: text }),
    element("span", { className: "track", "aria-hidden": "true" }, fill),
    number);
  const set = (probability, words) => {
    fill.style.width = `${Math.max(0, Math.min(1, probability)) * 100}%`;
    number.textContent = words;
  };
  set(...shown);
  return { row, set };
}
