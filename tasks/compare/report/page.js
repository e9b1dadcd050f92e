// A column's head is a button that sorts its table; once more turns it round. Numbers sort as numbers.
const number = (text) => parseFloat(text.replace(/[\[\u202f]/g, "").replace("−", "-").replace(/^[<≤] /, ""));
const sort = (head) => {
  const at = head.cellIndex, body = head.closest("table").tBodies[0], up = head.getAttribute("aria-sort") !== "ascending";
  for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  const value = (row) => row.cells[at].textContent.trim();
  const rows = [...body.rows].sort((a, b) => {
    const x = value(a), y = value(b), i = number(x), j = number(y);
    return (isNaN(i) || isNaN(j) ? x.localeCompare(y) : i - j) * (up ? 1 : -1);
  });
  body.append(...rows);
};
for (const head of document.querySelectorAll("table.sorted thead th")) {
  const button = document.createElement("button");
  button.append(...head.childNodes);
  button.addEventListener("click", () => sort(head));
  head.append(button);
}
// A link into a folded part opens it.
const reveal = () => {
  const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  for (let fold = target && target.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
};
addEventListener("hashchange", reveal);
reveal();
