"use strict";
// Finds, filters and sorts the rows of a table of hosts. A row that is open has its details in the row below it.
(() => {
  const table = document.getElementById("hosts");
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const find = document.getElementById("find");
  const choices = [...document.querySelectorAll("[data-show]")];
  // Who looks for a release wants the hosts that serve it, not all that once did.
  const words = rows.map((row) => row.textContent.replace(row.querySelector(".history")?.textContent ?? "", "").toLowerCase());
  let choice = "all";

  const details = (row) => (row.nextElementSibling?.classList.contains("open") ? row.nextElementSibling : null);
  const isOpen = (row) => row.querySelector(".fold")?.getAttribute("aria-expanded") === "true";

  function filter() {
    const wanted = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    rows.forEach((row, place) => {
      const kinds = row.dataset.kinds.split(" ");
      row.hidden = !((choice === "all" || kinds.includes(choice)) && wanted.every((word) => words[place].includes(word)));
      const under = details(row);
      if (under) under.hidden = row.hidden || !isOpen(row);
      count += row.hidden ? 0 : 1;
    });
    const all = rows.length.toLocaleString("en");
    document.getElementById("shown").textContent = count === rows.length ? `${all} shown` : `${count.toLocaleString("en")} of ${all} shown`;
    document.getElementById("none").hidden = count > 0;
  }

  function show(name) {
    choice = name;
    for (const button of choices) button.setAttribute("aria-pressed", String(button.dataset.show === name));
    filter();
  }
  for (const button of choices) button.addEventListener("click", () => show(button.dataset.show));
  find.addEventListener("input", filter);
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !(event.target instanceof HTMLInputElement)) {
      event.preventDefault();
      find.focus();
    }
  });

  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    head.firstElementChild.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const key = (row) => row.cells[column].dataset.sort ?? (row.cells[column].querySelector(".name") ?? row.cells[column]).textContent;
      const keys = new Map(rows.map((row) => [row, key(row)]));
      const order = new Intl.Collator("en", { numeric: true }).compare;
      const numbers = rows.every((row) => row.cells[column].dataset.sort !== undefined);
      const compare = numbers ? (a, b) => Number(keys.get(a)) - Number(keys.get(b)) : (a, b) => order(keys.get(a), keys.get(b));
      const sorted = [...rows].sort((a, b) => (down ? -1 : 1) * compare(a, b));
      body.append(...sorted.flatMap((row) => [row, details(row)].filter(Boolean)));
    });
  });

  // A link leads to a host, whatever the filter hides.
  function follow() {
    const row = document.getElementById(location.hash.slice(1));
    if (!row || row.parentElement !== body || !row.hidden) return;
    find.value = "";
    show("all");
    row.scrollIntoView({ block: "start" });
  }
  addEventListener("hashchange", follow);

  filter();
})();
