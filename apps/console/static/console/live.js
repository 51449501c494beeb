// Keeps [data-live="milliseconds"] regions fresh: fetches the page anew and changes only what differs, so that focus,
// selection and open details stay. Rests while the tab is hidden, and ends when the server sends a region without it.

const lost = document.getElementById("lost");

export function morph(old, fresh) {
  if (old.isEqualNode(fresh)) return;
  if (old.nodeName !== fresh.nodeName || (old.id || "") !== (fresh.id || "")) {
    old.replaceWith(fresh);
    return;
  }
  if (old.nodeType !== Node.ELEMENT_NODE) {
    old.data = fresh.data;
    return;
  }
  morphAttributes(old, fresh);
  morphChildren(old, fresh);
}

function morphAttributes(old, fresh) {
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value && name !== "open") old.setAttribute(name, value);
  }
}

function morphChildren(old, fresh) {
  const wanted = [...fresh.childNodes]; // as they move over, `fresh` loses them
  wanted.forEach((child, index) => {
    const here = old.childNodes[index];
    const same = child.id && [...old.children].find((other) => other.id === child.id);
    if (same) {
      if (same !== here) old.insertBefore(same, here ?? null);
      morph(same, child);
    } else if (here && !here.id) {
      morph(here, child);
    } else {
      old.insertBefore(child, here ?? null);
    }
  });
  while (old.childNodes.length > wanted.length) old.lastChild.remove();
}

async function refresh(region) {
  const answer = await fetch(location.href, { headers: { "x-console-fragment": "1" }, credentials: "same-origin" });
  if (answer.status === 401) return location.reload();
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const fresh = page.getElementById(region.id);
  if (fresh) morph(region, document.importNode(fresh, true));
}

function visible() {
  if (document.visibilityState === "visible") return Promise.resolve();
  return new Promise((resolve) => document.addEventListener("visibilitychange", resolve, { once: true }));
}

async function follow(region) {
  while (region.dataset.live) {
    await new Promise((resolve) => setTimeout(resolve, Number(region.dataset.live)));
    await visible();
    try {
      await refresh(region);
      lost.hidden = true;
    } catch {
      lost.hidden = false;
    }
  }
}

document.querySelectorAll("[data-live]").forEach(follow);
