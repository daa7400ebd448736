"use strict";

/* Tables sort by the column whose title is clicked; what belongs to a row, in one tbody with it, goes with it. */
function sortable(table) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      sort(table, column, head.classList.contains("n"), up);
    });
  });
}

function sort(table, column, numbers, up) {
  const groups = table.tBodies.length > 1 ? [...table.tBodies] : [...table.tBodies[0].rows];
  const text = (group) => (group.rows ? group.rows[0] : group).cells[column].textContent.trim();
  const key = (group) => (numbers ? parseFloat(text(group).replaceAll(",", "").replaceAll("−", "-")) : text(group));
  const missing = (value) => value === "" || Number.isNaN(value);
  const compare = numbers ? (a, b) => a - b : (a, b) => a.localeCompare(b, undefined, { numeric: true });
  const order = (one, other) => {
    const [a, b] = [key(one), key(other)];
    if (missing(a) || missing(b)) return missing(a) - missing(b);
    return up ? compare(a, b) : compare(b, a);
  };
  const parent = groups[0].parentNode;
  groups.sort(order).forEach((group) => parent.append(group));
}

/* One of several panels is shown, chosen by its title; on paper all are. */
function choosable(panels) {
  const parts = [...panels.children];
  if (parts.length < 2) return;
  const select = document.createElement("select");
  parts.forEach((part, k) => select.add(new Option(part.dataset.title, k)));
  const show = () => parts.forEach((part, k) => part.classList.toggle("off", k !== Number(select.value)));
  select.addEventListener("change", show);
  select.setAttribute("aria-label", "what is shown");
  panels.before(select);
  show();
}

/* An entry of a legend shows and hides what it names. */
function toggled(button) {
  button.addEventListener("click", () => {
    const shown = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", shown);
    for (const part of button.closest("figure").querySelectorAll("svg [data-series]")) {
      if (part.dataset.series === button.dataset.series) part.classList.toggle("off", !shown);
    }
  });
}

/* What the mouse is on is told beside it. */
function tips() {
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  document.body.append(tip);
  document.addEventListener("pointermove", (event) => {
    const part = event.target.closest?.("[data-tip]");
    tip.hidden = !part;
    if (!part) return;
    tip.textContent = part.dataset.tip;
    tip.style.left = `${Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8)}px`;
    tip.style.top = `${Math.min(event.clientY + 14, innerHeight - tip.offsetHeight - 8)}px`;
  });
}

/* A point opens to its runs: on a click on its row, and where a link leads to it. */
function openable(body) {
  const button = body.querySelector("button.point");
  const open = (yes) => {
    body.rows[1].classList.toggle("off", !yes);
    button.setAttribute("aria-expanded", yes);
  };
  body.rows[0].addEventListener("click", () => open(button.getAttribute("aria-expanded") !== "true"));
  const led = () => location.hash === `#${body.id}` && open(true);
  addEventListener("hashchange", led);
  open(false);
  led();
}

document.querySelectorAll("table.sortable").forEach(sortable);
document.querySelectorAll(".panels").forEach(choosable);
document.querySelectorAll(".legend button").forEach(toggled);
document.querySelectorAll("tbody[id]").forEach(openable);
tips();
