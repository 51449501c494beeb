// The page of a new batch: a file is chosen, checked, mended, and only then uploaded.

import * as csv from "./csv.js";
import { check, mended } from "./jsonl.js";
import { BadLines } from "./mend.js";
import { upload } from "./upload.js";

const at = (id) => document.getElementById(id);
const form = at("start");
const limits = {
  lines: Number(form.dataset.lines),
  lineBytes: Number(form.dataset.lineBytes),
  uploadBytes: Number(form.dataset.uploadBytes),
  endpoints: form.dataset.endpoints.split(","),
};
const badLines = new BadLines(at("bad-lines"), limits, report);
let blob = null; // JSONL, as chosen or as made of a CSV
let name = "";
let found = null; // what the check found in it
let table = null; // {file, delimiter, columns, rows} of a CSV

const plural = (number, word) => `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`;
const size = (bytes) => (bytes < 1e6 ? `${Math.max(1, Math.round(bytes / 1e3))} KB` : `${(bytes / 1e6).toFixed(1)} MB`);

async function choose(file) {
  at("drop").hidden = true;
  for (const id of ["csv", "report", "start"]) at(id).hidden = true;
  at("chosen").hidden = false;
  at("chosen-name").textContent = file.name;
  at("chosen-size").textContent = size(file.size);
  name = file.name;
  if (/\.(csv|tsv)$/i.test(file.name)) await askAboutTable(file);
  else await checkBlob(file);
}

async function checkBlob(chosen) {
  blob = chosen;
  at("report").hidden = false;
  at("report-title").textContent = "Checking…";
  at("report-text").textContent = "";
  found = await check(blob, limits, async (share) => {
    at("report-text").textContent = `${Math.round(share * 100)} %`;
    await new Promise((resolve) => setTimeout(resolve)); // lets the page breathe
  });
  badLines.show(found);
  report();
}

function fault() {
  if (!found.lines) return "The file has no lines.";
  if (found.lines > limits.lines) return `${plural(found.lines, "line")} are too many: a batch takes ${plural(limits.lines, "line")}.`;
  if (blob.size > limits.uploadBytes) return `${size(blob.size)} are too much: an upload takes ${size(limits.uploadBytes)}.`;
  if (found.lines === badLines.leftOut) return "No line is left.";
  return null;
}

function report() {
  const wrong = fault();
  const kept = found.lines - badLines.leftOut;
  at("leave-out").hidden = badLines.left < 2;
  if (wrong) at("report-title").textContent = wrong;
  else if (badLines.left) at("report-title").textContent = `${plural(badLines.left, "line")} of ${found.lines.toLocaleString("en")} ${badLines.left === 1 ? "needs" : "need"} mending`;
  else at("report-title").textContent = `${plural(kept, "line")}, all of them right`;
  at("report-text").textContent = badLines.left
    ? "Mend them here, or leave them out. Your file is not changed."
    : `${badLines.leftOut ? `${plural(badLines.leftOut, "line")} left out. ` : ""}${wrong ? "" : "The server checks them once more when you start."}`;
  form.hidden = Boolean(wrong);
  at("go").disabled = badLines.left > 0;
  at("go").textContent = `Start the batch of ${plural(kept, "line")}`;
}

async function start(event) {
  event.preventDefault();
  const whole = badLines.bad.length ? mended(blob, badLines.bad, badLines.texts) : blob;
  at("go").disabled = true;
  at("start-error").hidden = true;
  at("sending").hidden = false;
  try {
    const filename = name.replace(/\.(csv|tsv)$/i, ".jsonl");
    const token = form.elements.csrfmiddlewaretoken.value;
    const file = await upload(form.dataset.upload, token, whole, filename, (share) => {
      at("sent").value = share;
      if (share === 1) at("sending-text").textContent = "The server checks it…";
    });
    form.elements.input_file_id.value = file.id;
    form.elements.endpoint.value = found.url ?? limits.endpoints[0];
    form.submit();
  } catch (error) {
    at("start-error").textContent = error.message;
    at("start-error").hidden = false;
    at("sending").hidden = true;
    at("go").disabled = false;
  }
}

async function askAboutTable(file) {
  table = { file, ...(await csv.head(file)) };
  at("csv").hidden = false;
  at("csv-columns").replaceChildren(...table.columns.map(columnButton));
  const choices = [["", "its row number"], ...table.columns.map((column) => [column, column])];
  at("csv-id").replaceChildren(...choices.map(([value, label]) => new Option(label, value)));
  if (!at("prompt").value && table.columns.length) at("prompt").value = `{{${table.columns.at(-1)}}}`;
  preview();
}

function columnButton(column) {
  const button = Object.assign(document.createElement("button"), { type: "button", textContent: column });
  button.addEventListener("click", () => {
    const prompt = at("prompt");
    prompt.setRangeText(`{{${column}}}`, prompt.selectionStart, prompt.selectionEnd, "end");
    prompt.focus();
    preview();
  });
  return button;
}

function wish() {
  return {
    prompt: at("prompt").value,
    system: at("system").value.trim(),
    model: at("model").value.trim(),
    idColumn: at("csv-id").value,
    maxTokens: Number(at("max-tokens").value) || null,
    url: limits.endpoints[0],
  };
}

function preview() {
  const { prompt, system, model } = wish();
  const unknown = csv.unknownPlaces(`${prompt} ${system}`, table.columns);
  const missing = [!prompt.trim() && "The prompt is empty.", !model && "The model is missing.", unknown.length && `There is no column ${unknown.join(", ")}.`];
  const wrong = missing.find(Boolean) || (table.rows.length ? "" : "The file has no rows under its header.");
  at("csv-error").textContent = wrong;
  at("csv-error").hidden = !wrong;
  at("csv-make").disabled = Boolean(wrong);
  const shown = table.rows.map((row) => Object.assign(document.createElement("li"), { textContent: csv.fill(prompt, table.columns, row) }));
  at("csv-preview").replaceChildren(...shown);
}

async function makeRequests() {
  at("csv-make").disabled = true;
  await checkBlob(await csv.toJsonl(table.file, table, wish()));
  at("csv-make").disabled = false;
  at("report").scrollIntoView({ block: "nearest" });
}

function startOver() {
  for (const id of ["chosen", "csv", "report", "start"]) at(id).hidden = true;
  at("drop").hidden = false;
  at("file").value = "";
  at("file").focus();
}

at("file").addEventListener("change", (event) => event.target.files[0] && choose(event.target.files[0]));
at("other").addEventListener("click", startOver);
at("leave-out").addEventListener("click", () => badLines.leaveAllOut());
at("csv").addEventListener("input", preview);
at("csv-make").addEventListener("click", makeRequests);
form.addEventListener("submit", start);
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  at("drop").classList.add("over");
});
document.addEventListener("dragleave", () => at("drop").classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  at("drop").classList.remove("over");
  if (event.dataTransfer.files[0]) choose(event.dataTransfer.files[0]);
});
