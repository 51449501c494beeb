// Buttons that copy: [data-copy="text"], or [data-copy-from="id"] for the text of another element. Also closes menus.

async function copy(button) {
  const text = button.dataset.copy ?? document.getElementById(button.dataset.copyFrom).textContent;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    select(text); // plain http on another host than localhost: no clipboard for scripts
  }
  const label = button.textContent;
  button.textContent = "Copied";
  setTimeout(() => (button.textContent = label), 1500);
}

function select(text) {
  const area = document.createElement("textarea");
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

const copies = "[data-copy], [data-copy-from]";
const menus = "details.menu[open], details.ask[open]";

document.addEventListener("click", (event) => {
  const button = event.target.closest(copies);
  if (button) copy(button);
  document.querySelectorAll(menus).forEach((menu) => menu.contains(event.target) || (menu.open = false));
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  document.querySelectorAll(menus).forEach((menu) => {
    menu.open = false;
    menu.querySelector("summary").focus();
  });
});
