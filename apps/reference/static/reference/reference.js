// The playgrounds: four forms that make the calls they describe, say them in curl, and fill in one another.
// The key stays in the page's memory; nothing is kept in the browser, and every call goes to this server.

const SHOWN_BYTES = 64 * 1024;
const ENDED = ["completed", "failed", "expired", "cancelled"];
const key = document.getElementById("key");
const forms = [...document.querySelectorAll(".playground")];
const byId = (id) => document.getElementById(id);

function request(form) {
  const fields = new FormData(form);
  const path = form.dataset.path.replace(/\{(\w+)\}/, (_, name) => encodeURIComponent(String(fields.get(name)).trim()));
  const wanted = { method: form.dataset.method, headers: { "x-api-key": key.value.trim() } };
  if (form.id === "upload") {
    fields.append("purpose", "batch");
    wanted.body = fields;
  } else if (wanted.method === "POST") {
    wanted.headers["content-type"] = "application/json";
    wanted.body = JSON.stringify(bodyOf(form), null, 1);
  }
  return [path, wanted];
}

function bodyOf(form) {
  const body = {};
  for (const field of form.querySelectorAll("[name]")) {
    const text = field.value.trim();
    if (text) body[field.name] = field.dataset.json === undefined ? text : JSON.parse(text);
  }
  return { ...body, completion_window: "24h" };
}

const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

function asCurl(form) {
  const [path, wanted] = request(form);
  const words = [`curl ${quoted(location.origin + path)}`, `-H "x-api-key: $ZEROBATCH_API_KEY"`];
  if (form.id === "upload") {
    words.push("-F purpose=batch", `-F file=@${quoted(byId("upload-file").files[0]?.name ?? "input.jsonl")}`);
  } else if (wanted.body) {
    words.push(`-H 'content-type: application/json'`, `-d ${quoted(JSON.stringify(JSON.parse(wanted.body)))}`);
  }
  return words.join(" \\\n  ");
}

async function send(form) {
  const [path, wanted] = request(form);
  const answer = await fetch(path, { ...wanted, credentials: "omit", cache: "no-store" });
  const whole = await answer.text();
  const head = `${answer.status} ${answer.ok ? "OK" : "refused"}`;
  show(form, answer.ok, head, answer.headers.get("x-request-id") ?? "", readable(whole));
  if (answer.ok) handOn(form, whole);
}

function readable(text) {
  const part = text.length > SHOWN_BYTES ? `${text.slice(0, SHOWN_BYTES)}\n… the rest is not shown here` : text;
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return part; // JSONL
  }
}

function show(form, isGood, head, id, text, next = "") {
  const box = form.querySelector(".answer-box");
  box.hidden = false;
  box.classList.toggle("is-refused", !isGood);
  box.querySelector(".answer-status").textContent = head;
  box.querySelector(".answer-id").textContent = id;
  box.querySelector("code").textContent = text;
  box.querySelector(".answer-next").textContent = next;
}

function handOn(form, text) {
  if (form.id === "download") return;
  const found = JSON.parse(text);
  const next = form.querySelector(".answer-next");
  if (form.id === "upload") {
    fill("create-input", found.id);
    next.textContent = "The next form has its id.";
  } else if (form.id === "create") {
    fill("retrieve-batch", found.id);
    next.textContent = "The next form has its id.";
  } else {
    const file = found.output_file_id ?? found.error_file_id;
    if (file) fill("download-file", file);
    const counts = found.request_counts;
    next.textContent = ENDED.includes(found.status)
      ? "It has ended." + (file ? " The next form has the id of its results." : "")
      : `${counts.completed + counts.failed} of ${counts.total} lines are done: retrieve it again.`;
  }
}

function fill(id, value) {
  const field = byId(id);
  field.value = value;
  field.form.dispatchEvent(new Event("input"));
}

async function useExample(button) {
  const url = new URL(button.dataset.example, location.href);
  url.searchParams.set("model", byId("upload-model").value.trim());
  const text = await (await fetch(url)).text();
  const files = new DataTransfer();
  files.items.add(new File([text], "example.jsonl", { type: "application/jsonl" }));
  byId("upload-file").files = files.files;
  byId("upload").dispatchEvent(new Event("input"));
}

function describe(form) {
  let text;
  try {
    text = asCurl(form);
  } catch {
    text = "The metadata is not JSON yet.";
  }
  form.querySelector(".as-curl code").textContent = text;
}

for (const form of forms) {
  form.addEventListener("input", () => describe(form));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = form.querySelector("button.primary");
    if (!key.value.trim()) {
      key.focus();
      return show(form, false, "No key", "", "Enter your API key at the top first.");
    }
    button.disabled = true;
    try {
      await send(form);
    } catch (error) {
      const isJson = error instanceof SyntaxError;
      show(form, false, "Not sent", "", isJson ? `The metadata is not JSON: ${error.message}` : "The server does not answer.");
    } finally {
      button.disabled = false;
    }
  });
  describe(form);
}

byId("use-example").addEventListener("click", (event) => useExample(event.target));

function openTarget() {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target?.tagName === "DETAILS") target.open = true;
}

addEventListener("hashchange", openTarget);
openTarget();
