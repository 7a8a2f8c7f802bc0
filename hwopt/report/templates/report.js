// Sorting, filtering and copying. Without this script everything is there, in the order of the file.
"use strict";

const empty = (key) => key === "" || Number.isNaN(key);

function keyOf(row, column) {
  const cell = row.cells[column];
  if (!cell) return "";
  const text = cell.dataset.v ?? cell.textContent.trim();
  const number = Number(text);
  return text !== "" && !Number.isNaN(number) ? number : text.toLowerCase();
}

function compare(one, two) {
  if (typeof one === "number" && typeof two === "number") return one - two;
  return String(one).localeCompare(String(two), "en", { numeric: true });
}

// A table of one body is sorted by its rows, one of many bodies (a decision and its values) by its bodies.
function sortBy(table, column, down) {
  const many = table.tBodies.length > 1;
  const items = many ? [...table.tBodies] : [...(table.tBodies[0]?.rows ?? [])];
  const keyed = items.map((item, place) => [keyOf(many ? item.rows[0] : item, column), place, item]);
  keyed.sort(([a, i], [b, j]) => {
    if (empty(a) || empty(b)) return empty(a) - empty(b) || i - j;
    return (down ? compare(b, a) : compare(a, b)) || i - j;
  });
  const home = many ? table : table.tBodies[0];
  home.append(...keyed.map(([, , item]) => item));
}

for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const numbers = [...table.tBodies].some((body) => typeof keyOf(body.rows[0], column) === "number");
      const now = head.getAttribute("aria-sort");
      const down = now ? now === "ascending" : numbers;
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      sortBy(table, column, down);
    });
  });
}

const tools = document.querySelector(".tools");
if (tools) {
  const bodies = [...document.getElementById("decision-table").tBodies];
  const texts = bodies.map((body) => body.textContent.toLowerCase());
  const find = document.getElementById("find");
  const changed = document.getElementById("changed-only");
  const filter = () => {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    bodies.forEach((body, place) => {
      const fits = words.every((word) => texts[place].includes(word));
      body.hidden = !fits || (changed.checked && !body.classList.contains("changed"));
      shown += !body.hidden;
    });
    document.getElementById("count").textContent = `${shown} of ${bodies.length} shown`;
  };
  find.addEventListener("input", filter);
  changed.addEventListener("change", filter);
  tools.hidden = false;
  filter();
}

const copy = document.getElementById("copy");
const command = document.getElementById("command");
function copyByHand() {
  const range = document.createRange();
  range.selectNodeContents(command);
  getSelection().removeAllRanges();
  getSelection().addRange(range);
  return document.execCommand("copy");
}
copy.hidden = false;
copy.addEventListener("click", async () => {
  let done = false;
  try {
    await navigator.clipboard.writeText(command.textContent);
    done = true;
  } catch {
    done = copyByHand();
  }
  document.getElementById("copied").textContent = done
    ? "Copied."
    : "The browser does not allow it: the command is selected, press Ctrl+C.";
});
