"use strict";
// The page can be read without this: it sorts tables, filters lines and examples, and for printing opens what is folded, but
// for long texts.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, at) => {
    if ("fixed" in head.dataset || body.rows.length < 2) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down > 0 ? "ascending" : "descending");
      const key = (row) => row.cells[at].dataset.sort ?? row.cells[at].textContent;
      const order = (a, b) => {
        const [x, y] = [key(a), key(b)], [m, n] = [Number(x), Number(y)];
        if (x === "nan" || y === "nan") return (x === "nan") - (y === "nan"); // last, both ways
        return down * (Number.isNaN(m) || Number.isNaN(n) ? x.localeCompare(y) : m - n);
      };
      body.append(...[...body.rows].sort(order));
    });
  });
}

function control(before, kind, text, act) {
  const box = document.createElement("p"), label = document.createElement("label"), input = document.createElement("input");
  const count = document.createElement("span");
  box.className = "tools";
  count.setAttribute("role", "status");
  input.type = kind;
  label.append(...(kind === "search" ? [text + " ", input] : [input, " " + text]));
  box.append(label, count);
  before.after(box);
  input.addEventListener("input", () => { count.textContent = act(input) ?? ""; });
}

const measures = document.querySelector("#measures");
if (measures?.querySelector("tr.seen")) {
  control(measures.querySelector("h2"), "checkbox", "only differences that are seen", (input) => {
    for (const row of measures.querySelectorAll(".forest tbody tr")) row.hidden = input.checked && !row.matches(".seen");
    for (const one of measures.querySelectorAll(".measure")) one.hidden = input.checked && !one.querySelector("tr.seen");
  });
}

for (const part of document.querySelectorAll(".filtered")) {
  const found = [...part.querySelectorAll(".example")];
  const texts = found.map((one) => one.textContent.toLowerCase());
  control(part.querySelector("h2"), "search", "Show those that hold", (input) => {
    const words = input.value.toLowerCase().split(/\s+/);
    found.forEach((one, at) => { one.hidden = !words.every((word) => texts[at].includes(word)); });
    return `${found.filter((one) => !one.hidden).length} of ${found.length}`;
  });
}

const folded = new Set();
addEventListener("beforeprint", () => {
  for (const one of document.querySelectorAll("details:not([open], .long)")) { folded.add(one); one.open = true; }
});
addEventListener("afterprint", () => { folded.forEach((one) => { one.open = false; }); folded.clear(); });
