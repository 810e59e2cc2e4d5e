// What the page asks of the server. Every failure is an Error whose message a person can read.

const SILENT = "The server does not answer. Is `python -m llm serve` still running?";

async function request(path, body, signal) {
  const options = body === undefined ? {} : {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  };
  let response;
  try {
    response = await fetch(path, { ...options, signal });
  } catch (error) {
    throw error.name === "AbortError" ? error : new Error(SILENT);
  }
  if (!response.ok) throw new Error(await inWords(response));
  return response;
}

async function inWords(response) {
  const text = await response.text();
  try {
    const { error, detail } = JSON.parse(text);
    const words = error?.message ?? error ?? detail;
    return typeof words === "string" ? words : JSON.stringify(words);
  } catch {
    return `The server answered ${response.status}: ${text.slice(0, 200) || response.statusText}`;
  }
}

export async function getModels() {
  return (await request("/api/models")).json();
}

export async function getNext(body, signal) {
  return (await request("/api/next", body, signal)).json();
}

// Calls onEvent with each event of the reply; returns when the stream has ended.
export async function streamReply(body, signal, onEvent) {
  const response = await request("/api/reply", body, signal);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let done = false;
  for (;;) {
    const part = await reader.read();
    if (part.done) break;
    const blocks = (rest + part.value).split(/\r?\n\r?\n/);
    rest = blocks.pop();
    for (const block of blocks) {
      const data = block.split(/\r?\n/).filter((line) => line.startsWith("data:")).map((line) => line.slice(5)).join("\n");
      if (!data) continue;
      const event = JSON.parse(data);
      if (event.error) throw new Error(event.error?.message ?? event.error);
      done ||= Boolean(event.done);
      onEvent(event);
    }
  }
  if (!done) throw new Error("The reply broke off: the server closed the connection.");
}
