// Answers side by side: unpacked when they are first wanted, filtered here. Whatever a model wrote is set as text, never as markup.
{
const PAGE = 20;
const fold = document.getElementById("answers");
const at = (name) => document.getElementById(`answers-${name}`);

const make = (name, text, parent, attributes = {}) => {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== "") node.textContent = text;
  parent?.append(node);
  return node;
};
// Text of a model or a prompt file: isolated, in its own direction.
const said = (name, text, parent, kind) => make(name, text, parent, {dir: "auto", class: kind});
const signed = (value, kind) => {
  const size = kind === "rate" ? (100 * Math.abs(value)).toFixed(1) : Math.abs(value).toFixed(Math.abs(value) < 1 ? 3 : 2);
  return (Number(size) === 0 ? "±" : value < 0 ? "−" : "+") + size + (kind === "rate" ? " points" : "");
};

const unpack = async () => {
  const bytes = Uint8Array.from(atob(at("data").textContent), (letter) => letter.charCodeAt(0));
  const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(plain).text());
};

const choice = (words, options, parent, changed) => {
  const label = make("label", "", parent);
  make("span", words, label);
  const select = make("select", "", label);
  options.forEach(([value, text]) => make("option", text, select, {value}));
  select.addEventListener("change", changed);
  return select;
};

const card = (all, suite, size, prompt, shown) => {
  const [id, group, kind, text, more] = suite.prompts[prompt], item = make("li", "", null);
  said("h3", text + (more ? ` … (${more.toLocaleString("en")} more characters)` : ""), item, "");
  const about = make("p", "", item, {class: "answer-about"});
  for (const word of [group, kind, id].filter(Boolean)) make("bdi", word, about);
  for (const contrast of shown) {
    const value = difference(suite, size, contrast, prompt);
    if (value !== null) make("span", `${contrast.words}: ${signed(value, suite.kind)}`, about);
  }
  const list = make("dl", "", item);
  all.arms.forEach((arm, index) => {
    const answer = suite.answers[size][index][prompt], pair = make("div", "", list);
    pair.style.setProperty("--arm", `var(${arm.colour})`);
    make("dt", arm.words, pair);
    const told = make("dd", "", pair);
    if (!answer) return make("div", "not sampled", told, {class: "answer-text none"});
    const [number, cut, labels, scores, , mean] = answer;
    if (all.texts[number] === "") make("div", "an empty answer", told, {class: "answer-text none"});
    else {
      const box = said("div", all.texts[number] + (cut ? " …" : ""), told, "answer-text");
      if (box.textContent.length > 600) {  // it scrolls, by the keyboard too
        box.tabIndex = 0;
        box.setAttribute("role", "group");
        box.setAttribute("aria-label", `the answer of ${arm.words}`);
      }
    }
    if (cut) make("div", `${cut.toLocaleString("en")} more characters`, told, {class: "answer-cut"});
    const marks = make("div", "", told, {class: "answer-marks"});
    for (const label of all.texts[labels].split("\n").filter(Boolean)) make("span", label, marks, {class: "answer-label"});
    marks.append(all.texts[scores]);
    if (mean) make("div", `${mean} ${suite.words}, over ${suite.draws}`, told, {class: "answer-marks"});
  });
  return item;
};

const difference = (suite, size, contrast, prompt) => {
  const [first, second] = contrast.arms.map((arm) => suite.answers[size][arm][prompt]?.[4] ?? null);
  return first === null || second === null ? null : first - second;
};

// Which prompts are shown, in which order, and what is said of them. Prompts that differ alike keep the order of the suite.
const chosen = (suite, size, contrast, category, order) => {
  let found = suite.prompts.map((_, index) => index).filter((index) => !category || suite.prompts[index][1] === category);
  if (order === "suite" || !contrast) return found;
  const moved = (index) => difference(suite, size, contrast, index);
  found = found.filter((index) => moved(index) !== null);
  if (order === "against") {
    const overall = suite.overall[size][suite.contrasts.indexOf(contrast)] ?? 0;
    found = found.filter((index) => moved(index) * overall < 0);
  }
  const turn = order === "least" ? 1 : -1;
  return found.sort((a, b) => turn * (Math.abs(moved(a)) - Math.abs(moved(b))));
};

const start = (all) => {
  const form = at("filters"), list = at("list"), more = at("more");
  let size = null, left = [];
  for (const suite of all.suites) suite.contrasts = all.contrasts;
  const suites = choice("prompts", all.suites.map((suite, index) => [index, suite.name]), form, () => refill());
  const sizes = make("fieldset", "", form);
  make("legend", "model size", sizes);
  const pills = make("div", "", sizes, {class: "answer-sizes"});
  const categories = choice("category", [], form, () => show());
  const orders = choice("order", [], form, () => show());
  const contrasts = choice("moved, by", all.contrasts.map((one, index) => [index, one.words]), form, () => show());
  suites.parentElement.hidden = all.suites.length < 2;

  const refill = () => {
    const suite = all.suites[suites.value], kept = suite.sizes.includes(size) ? size : suite.sizes[suite.sizes.length - 1];
    const groups = [...new Set(suite.prompts.map((prompt) => prompt[1]))], measured = suite.words && all.contrasts.length;
    pills.replaceChildren();
    for (const name of suite.sizes) {
      const label = make("label", "", pills), radio = make("input", "", label, {type: "radio", name: "answers-size", value: name});
      make("span", name, label);
      radio.checked = name === kept;
      radio.addEventListener("change", () => { size = name; show(); });
    }
    size = kept;
    categories.replaceChildren(new Option("all", ""), ...groups.map((group) => new Option(group, group)));
    const moved = [["most", "moved most first"], ["least", "moved least first"], ["against", "moved the wrong way"]];
    orders.replaceChildren(...[["suite", "as in the suite"], ...(measured ? moved : [])].map(([value, text]) => new Option(text, value)));
    contrasts.parentElement.hidden = !measured || all.contrasts.length < 2;
    at("note").textContent = measured
      ? `How far a prompt moved: the difference of two arms in ${suite.words}, over ${suite.draws} an arm. The wrong way: against the `
        + "difference of the whole suite. One prompt's difference is noisy: those that moved most did so partly by chance."
      : "Nothing was measured of these prompts one by one, so they are not ordered by how far they moved.";
    show();
  };

  const show = () => {
    const suite = all.suites[suites.value], index = suite.sizes.indexOf(size), contrast = all.contrasts[contrasts.value || 0];
    left = chosen(suite, index, contrast, categories.value, orders.value);
    const overall = contrast && suite.words ? suite.overall[index][contrasts.value || 0] : null;
    const whole = overall === null || overall === undefined ? "" : ` The whole suite, ${contrast.words}: ${signed(overall, suite.kind)}.`;
    at("count").textContent = `${left.length} of ${suite.prompts.length} prompts at ${size}.${whole}`;
    list.replaceChildren();
    further(suite, index);
  };

  const further = (suite, index) => {
    const cards = left.splice(0, PAGE).map((prompt) => card(all, suite, index, prompt, suite.words ? all.contrasts : []));
    list.append(...cards);
    more.hidden = !left.length;
    more.textContent = `Show more (${left.length} left)`;
    more.onclick = () => further(suite, index);
  };

  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  refill();
};

if (fold) {
  let begun = false;
  const open = () => {
    if (!fold.open || begun) return;
    begun = true;
    unpack().then(start).catch((error) => { at("count").textContent = `This browser cannot unpack the answers: ${error.message}`; });
  };
  fold.addEventListener("toggle", open);
  open();
}
}
