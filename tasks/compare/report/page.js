// Click a column's head to sort its table; again to turn it round. Numbers sort as numbers.
for (const head of document.querySelectorAll("thead th")) head.addEventListener("click", () => {
  const at = head.cellIndex, body = head.closest("table").tBodies[0], up = head.dataset.up !== "1";
  head.dataset.up = up ? "1" : "0";
  const value = (row) => row.cells[at].textContent.trim();
  const number = (text) => parseFloat(text.replace(/[\[\u202f]/g, "").replace("−", "-").replace(/^< /, ""));
  const rows = [...body.rows].sort((a, b) => {
    const x = value(a), y = value(b), i = number(x), j = number(y);
    return (isNaN(i) || isNaN(j) ? x.localeCompare(y) : i - j) * (up ? 1 : -1);
  });
  body.append(...rows);
});
