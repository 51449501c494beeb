// Reads CSV (RFC 4180: quotes, doubled quotes, newlines in quotes) and makes a request of each row.

export class CsvReader {
  constructor(delimiter) {
    this.delimiter = delimiter;
    this.row = [];
    this.cell = "";
    this.quoted = false;
    this.closed = false; // a quote has just ended, or doubles itself
  }

  /** The rows that are complete with this piece of text; `last` ends the file. */
  push(text, last = false) {
    const rows = [];
    for (const char of text) this.take(char, rows);
    if (last && (this.cell || this.row.length)) this.endRow(rows);
    return rows;
  }

  take(char, rows) {
    if (this.quoted) {
      if (char === '"') [this.quoted, this.closed] = [false, true];
      else this.cell += char;
    } else if (char === '"' && (this.closed || !this.cell)) {
      if (this.closed) this.cell += '"';
      [this.quoted, this.closed] = [true, false];
    } else if (char === this.delimiter) this.endCell();
    else if (char === "\n") this.endRow(rows);
    else if (char !== "\r") this.cell += char;
  }

  endCell() {
    this.row.push(this.cell);
    this.cell = "";
    this.closed = false;
  }

  endRow(rows) {
    this.endCell();
    if (this.row.length > 1 || this.row[0].trim()) rows.push(this.row);
    this.row = [];
  }
}

const SLICE = 1024 * 1024;

/** Rows of a Blob, a slice's worth at a time. */
export async function* rowsOf(blob, delimiter) {
  const reader = new CsvReader(delimiter);
  const decoder = new TextDecoder();
  for (let at = 0; at < blob.size; at += SLICE) {
    const bytes = await blob.slice(at, at + SLICE).arrayBuffer();
    const last = at + SLICE >= blob.size;
    yield reader.push(decoder.decode(bytes, { stream: !last }), last);
  }
}

/** {delimiter, columns, rows} of the beginning, to ask about and to preview. */
export async function head(blob) {
  const text = await blob.slice(0, 64 * 1024).text();
  const firstLine = text.split("\n", 1)[0];
  const counts = [",", ";", "\t"].map((char) => [firstLine.split(char).length, char]);
  const delimiter = counts.sort((a, b) => b[0] - a[0])[0][1];
  const [columns = [], ...rows] = new CsvReader(delimiter).push(text, blob.size <= 64 * 1024);
  return { delimiter, columns: columns.map((name) => name.replace(/^\uFEFF/, "").trim()), rows: rows.slice(0, 3) };
}

const PLACE = /\{\{\s*([^{}]+?)\s*\}\}/g;

/** Names in the template that are no columns. */
export function unknownPlaces(template, columns) {
  return [...template.matchAll(PLACE)].map((found) => found[1]).filter((name) => !columns.includes(name));
}

export function fill(template, columns, row) {
  return template.replace(PLACE, (_, name) => row[columns.indexOf(name)] ?? "");
}

/** One JSONL line; `number` counts rows from 1. */
export function lineOf(row, number, columns, wish) {
  const messages = [{ role: "user", content: fill(wish.prompt, columns, row) }];
  if (wish.system) messages.unshift({ role: "system", content: fill(wish.system, columns, row) });
  const body = { model: wish.model, messages };
  if (wish.maxTokens) body.max_tokens = wish.maxTokens;
  const custom_id = wish.idColumn ? (row[columns.indexOf(wish.idColumn)] ?? "") : `row-${number}`;
  return JSON.stringify({ custom_id, method: "POST", url: wish.url, body });
}

/** The whole file as a JSONL Blob. */
export async function toJsonl(blob, { delimiter, columns }, wish) {
  const pieces = [];
  let number = 0;
  let header = true;
  for await (const rows of rowsOf(blob, delimiter)) {
    const data = header ? rows.slice(1) : rows;
    header &&= !rows.length;
    pieces.push(new Blob([data.map((row) => lineOf(row, (number += 1), columns, wish) + "\n").join("")]));
  }
  return new Blob(pieces);
}
