// Puts fresh figures in the place of the old ones, while somebody looks.
"use strict";
const board = document.getElementById("board");
const EVERY = 5000;

async function refresh() {
  if (document.hidden || board.contains(document.activeElement)) return;
  try {
    const answer = await fetch(board.dataset.url, { credentials: "same-origin", redirect: "error" });
    if (answer.ok) board.innerHTML = await answer.text();
    board.classList.toggle("stale", !answer.ok);
  } catch {
    board.classList.add("stale");
  }
}

if (board) setInterval(refresh, EVERY);
