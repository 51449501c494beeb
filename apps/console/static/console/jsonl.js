// Checks a JSONL file as the server will (the cheap rules only, in the same words), in memory that does not grow with it.

const NEWLINE = 10;
const decoder = new TextDecoder("utf-8", { fatal: true });

/** The lines of a Blob as {number, start, end, bytes}: [start, end) without the newline; bytes null if over `most`. */
async function* linesOf(blob, most) {
  let number = 0;
  let start = 0;
  let held = [];
  let size = 0;
  const line = (rest) => {
    number += 1;
    const whole = size + rest.length;
    const found = { number, start, end: start + whole, bytes: whole > most + 4 ? null : joined(held, rest, whole) };
    start += whole + 1;
    held = [];
    size = 0;
    return found;
  };
  for await (const piece of piecesOf(blob)) {
    let from = 0;
    for (let to = piece.indexOf(NEWLINE); to !== -1; to = piece.indexOf(NEWLINE, from)) {
      yield line(piece.subarray(from, to));
      from = to + 1;
    }
    size += piece.length - from;
    if (size <= most + 4) held.push(piece.slice(from));
  }
  if (size) yield line(new Uint8Array());
}

const PIECE = 1024 * 1024;

async function* piecesOf(blob) {
  for (let at = 0; at < blob.size; at += PIECE) yield new Uint8Array(await blob.slice(at, at + PIECE).arrayBuffer());
}

function joined(held, rest, size) {
  const whole = new Uint8Array(size);
  let at = 0;
  for (const piece of [...held, rest]) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}

/** What is wrong with one line, or null; `isTaken(custom_id)` tells of ids that other lines have. */
export function problemOf(line, limits, isTaken) {
  if (line === null || typeof line !== "object" || Array.isArray(line)) return "must be a JSON object";
  const { custom_id: id, method, url, body } = line;
  if (typeof id !== "string" || !id) return "is missing custom_id";
  if (isTaken(id)) return `duplicates custom_id "${id}"`;
  if (typeof method !== "string" || method.toUpperCase() !== "POST") return 'method must be "POST"';
  if (typeof url !== "string" || !url) return "is missing url";
  if (!limits.endpoints.includes(url)) return `url "${url}" is not an allowed batch endpoint`;
  if (body === null || typeof body !== "object" || Array.isArray(body) || !Object.keys(body).length) return "is missing body";
  if (body.stream === true) return "has stream=true; streaming is not supported in batch mode";
  return null;
}

export function parse(text) {
  try {
    return { value: JSON.parse(text) };
  } catch (error) {
    return { problem: "is not valid JSON", why: error.message };
  }
}

/** {lines, ids, url, bad: [{number, start, end, text, problem, why}]} of a whole file. */
export async function check(blob, limits, onProgress) {
  const found = { lines: 0, ids: new Set(), url: null, bad: [] };
  for await (const line of linesOf(blob, limits.lineBytes)) {
    if (line.number % 2000 === 0) await onProgress(line.end / blob.size);
    const judged = judge(line, limits, found);
    if (judged === "blank") continue;
    found.lines += 1;
    if (judged) found.bad.push({ ...line, bytes: undefined, ...judged });
  }
  return found;
}

function judge(line, limits, found) {
  if (line.bytes === null) return { text: null, problem: `exceeds maximum size of ${limits.lineBytes} bytes` };
  let text;
  try {
    text = decoder.decode(line.bytes);
  } catch {
    return { text: new TextDecoder().decode(line.bytes), problem: "is not valid JSON", why: "it is not UTF-8" };
  }
  if (!text.trim()) return "blank";
  if (line.bytes.length > limits.lineBytes + 1) return { text: null, problem: `exceeds maximum size of ${limits.lineBytes} bytes` };
  const { value, problem, why } = parse(text);
  const wrong = problem ?? problemOf(value, limits, (id) => found.ids.has(id)) ?? differs(value.url, found);
  if (wrong) return { text, problem: wrong, why };
  found.ids.add(value.custom_id);
  found.url ??= value.url;
  return null;
}

function differs(url, found) {
  return found.url && url !== found.url ? `url "${url}" does not match the batch endpoint "${found.url}"` : null;
}

/** The file with its bad lines replaced, or left out where `texts` has null. */
export function mended(blob, bad, texts) {
  const pieces = [];
  let at = 0;
  for (const line of bad) {
    const text = texts.get(line.number);
    pieces.push(blob.slice(at, line.start), text === null ? "" : text.replace(/[\r\n]+/g, " "));
    at = text === null ? line.end + 1 : line.end;
  }
  return new Blob([...pieces, blob.slice(at)]);
}
