// Sorting, filtering: what a page without scripts has all of, in the order of the list.
"use strict";
const order = (a, b) => a !== "" && b !== "" && Number.isFinite(+a) && Number.isFinite(+b) ? a - b : a.localeCompare(b, "en");
for (const table of document.querySelectorAll("table[data-sortable]")) {
  const rows = () => [...table.tBodies[0].rows];
  const heads = [...table.tHead.rows[0].cells];
  const value = (row, column) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach(one => one.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const sorted = rows().sort((a, b) => order(value(a, column), value(b, column)));
      table.tBodies[0].append(...(down ? sorted.reverse() : sorted));
    });
  });
  if (rows().length < 8) continue;
  const label = document.createElement("label");
  const input = document.createElement("input");
  input.type = "search";
  label.className = "filter";
  label.append("Show rows with ", input);
  input.addEventListener("input", () => {
    const wanted = input.value.toLowerCase();
    for (const row of rows()) row.hidden = !row.textContent.toLowerCase().includes(wanted);
  });
  table.parentNode.before(label);
}
// A page that lies on a server is shown anew when it has changed there; what was typed or opened stays as it is.
if (location.protocol.startsWith("http")) {
  const version = async () => {
    const answer = await fetch(location.href, {method: "HEAD", cache: "no-cache"});
    return answer.ok ? answer.headers.get("etag") ?? answer.headers.get("last-modified") : null;
  };
  const busy = () => document.hidden || document.querySelector("details[open], th[aria-sort]") ||
    [...document.querySelectorAll("input")].some(input => input.value) || String(getSelection());
  (async () => {
    let seen = null;
    for (;;) {
      const found = await version().catch(() => null);
      if (seen && found && found !== seen && !busy()) location.reload();
      seen ??= found;
      await new Promise(done => setTimeout(done, 10_000));
    }
  })();
}
