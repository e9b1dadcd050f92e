// A rater's page: shows what is held in it, takes what is said, and keeps it. Texts of models are set as text, never as markup.
"use strict";
{
const held = JSON.parse(document.getElementById("held").textContent);
const at = (id) => document.getElementById(id);
const ranking = held.mode === "rank";
const ids = held.items.map((item) => item.id), known = new Set(ids);
const KEY = `palms ratings ${JSON.stringify([held.project, held.rater])}`;

// ---- what is said ------------------------------------------------------------------------------------------------------------

const records = new Map();  // item → what is said of it, as it is saved; what was taken back stays, saying nothing, so that it stays taken back
const undoable = [];
let group = "", signedOff = null;

const of = (id) => records.get(id) ?? {item: id, rating: null, is_answer: null, rank: null, skipped: "", comment: "", seconds: null, at: ""};
const isDone = ({id}) => Boolean(of(id).skipped) || (ranking ? of(id).rank !== null : of(id).rating !== null && of(id).is_answer !== null);
const saysSomething = (one) => Boolean(one.rating !== null || one.is_answer !== null || one.rank !== null || one.skipped || one.comment);
const time = (one) => Date.parse(one.at) || 0;
const newer = (one, other) => time(one) - time(other) || (JSON.stringify(one) > JSON.stringify(other) ? 1 : -1);

// A sign-off holds for what was said before it.
const written = (wanted = ids) => ({
  project: held.project, rater: held.rater, mode: held.mode, group,
  signed_off: signedOff && [...records.values()].every((one) => time(one) <= Date.parse(signedOff)) ? signedOff : null,
  ratings: wanted.filter((id) => records.has(id)).map(of),
});

const whole = (value, most) => value === null || (Number.isInteger(value) && value >= 1 && value <= most);
const fits = (one) => one && known.has(one.item) && Date.parse(one.at) && whole(one.rating, 5) && whole(one.rank, Infinity)
  && [null, true, false].includes(one.is_answer) && typeof one.skipped === "string" && typeof one.comment === "string"
  && (one.seconds === null || one.seconds >= 0);

// Takes what another tab or a file says, by item what is later. Returns the items that were taken; null for what is of another page.
const merge = (saved) => {
  if (saved?.project !== held.project || saved.rater !== held.rater || !Array.isArray(saved.ratings)) return null;
  const taken = saved.ratings.filter((one) => fits(one) && newer(one, of(one.item)) > 0 && JSON.stringify(one) !== JSON.stringify(of(one.item)));
  for (const one of taken) records.set(one.item, Object.fromEntries(Object.keys(of("")).map((name) => [name, one[name]])));
  if ((Date.parse(saved.signed_off) || 0) > (Date.parse(signedOff) || 0)) signedOff = saved.signed_off;
  return taken.map((one) => one.item);
};

const put = (one) => {
  const last = time(of(one.item));
  records.set(one.item, {...one, at: new Date(Math.max(Date.now(), last + 1)).toISOString()});
  keep(one.item);
  send(one.item);
};

const say = (item, change) => {
  const before = of(item.id);
  undoable.push(before);
  put({...before, ...change, seconds: spent(item)});
};

const undo = () => {
  const before = undoable.pop();
  if (!before) return go(screen - 1, "There is nothing to take back");
  put({...before, comment: of(before.item).comment});
  const where = screens.findIndex((one) => one.some((item) => item.id === before.item));
  marked = screens[where].findIndex((item) => item.id === before.item);
  return go(where, `Taken back: ${named(where, marked)}`, marked);
};

// ---- where it is kept --------------------------------------------------------------------------------------------------------

// Each item has a place of its own: a tab that does not know yet what another said, or a browser that after a reload shows for a moment what
// was there before, writes over nothing but that item.
const unkept = new Set();  // what this browser has no room for: items; "" is for what is said of the whole
let isSaved = true;  // as a file, since anything was said

const parsed = (text) => { try { return JSON.parse(text); } catch { return null; } };
const place = (what) => (what ? `${KEY} ${what}` : KEY);
const keep = (...what) => {
  isSaved = false;
  for (const one of new Set([...unkept, ...what])) {
    try {
      localStorage.setItem(place(one), JSON.stringify(one ? of(one) : {group, signed_off: signedOff}));
      unkept.delete(one);
    } catch { unkept.add(one); }
  }
  at("not-kept").hidden = !unkept.size;
};
const hear = (whole, ratings) => {
  if (typeof whole?.group === "string") at("group").value = group = whole.group;
  return merge({project: held.project, rater: held.rater, signed_off: whole?.signed_off, ratings});
};
const recall = () => {
  const read = (what) => { try { return parsed(localStorage.getItem(place(what))); } catch { return null; } };
  hear(unkept.has("") ? null : read(""), ids.map(read));
};
addEventListener("storage", (event) => {
  if (event.key === null) return keep("", ...records.keys());  // emptied, by whoever
  if (!event.key.startsWith(KEY)) return undefined;
  const id = event.key.slice(KEY.length + 1), told = parsed(event.newValue);
  if (!id) hear(told, []);
  else if (!hear(null, [told]).length && records.has(id) && event.newValue !== JSON.stringify(of(id))) keep(id);  // here is something later
  return show();
});
addEventListener("beforeunload", (event) => { if (unkept.size && !isSaved) event.preventDefault(); });

const save = () => {
  recall();
  const copy = {...written(), ratings: written().ratings.filter(saysSomething)};
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([JSON.stringify(copy, null, 1) + "\n"], {type: "application/json"}));
  link.download = `${held.project}-${held.rater}${copy.signed_off ? "" : "-unfinished"}.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  isSaved = true;
  return link.download;
};

const load = async (file) => {
  let saved = null;
  try { saved = JSON.parse((await file.text()).replace(/^\ufeff/, "")); } catch { /* told below */ }
  const taken = merge(saved);
  if (taken === null) return `${file.name} was not saved by this page of yours: nothing was loaded.`;
  if (!group && typeof saved.group === "string") at("group").value = group = saved.group;
  const unread = saved.ratings.filter((one) => !fits(one)).length;
  keep("", ...taken);
  send("", ...taken);
  progress();
  return `${taken.length} loaded from ${file.name}; of the rest the same or something later is here.` + (unread ? ` ${unread} could not be read.` : "");
};

// A page that came from a server posts what is said there too, until it is taken.
const saveTo = document.querySelector('meta[name="save-to"]')?.content;
const unsent = new Set();  // items; "" is for what is said of the whole
let isSending = false, pause = 1000;
const send = async (...what) => {
  if (!saveTo) return;
  what.forEach((one) => unsent.add(one));
  if (isSending || !unsent.size) return;
  isSending = true;
  const batch = [...unsent];
  unsent.clear();
  let failed = false;
  try {
    const body = JSON.stringify(written(ids.filter((id) => batch.includes(id))));
    failed = !(await fetch(saveTo, {method: "POST", headers: {"Content-Type": "application/json"}, body})).ok;
  } catch { failed = true; }
  isSending = false;
  if (failed) batch.forEach((one) => unsent.add(one));
  pause = failed ? Math.min(2 * pause, 30_000) : 1000;
  progress();
  if (unsent.size) setTimeout(send, failed ? pause : 0);
};

// ---- what is shown -----------------------------------------------------------------------------------------------------------

const screens = ranking ? [] : held.items.map((item) => [item]);  // what is shown together
if (ranking) for (const item of held.items) screens.at(-1)?.[0].block === item.block ? screens.at(-1).push(item) : screens.push([item]);
let screen = -1, marked = 0;  // −1: the instructions; screens.length: the end
let since = 0, before = 0, earlier = {};  // when this screen was shown, for how long it was already, and what its items had taken

const running = () => Math.max(0, performance.now() - since);
const watch = () => { [before, since] = [before + running(), document.hidden ? Infinity : performance.now()]; };
const spent = (item) => Math.round(10 * (earlier[item.id] ?? 0) + (before + running()) / 100) / 10;
const letter = (index) => String.fromCharCode(65 + index);
const named = (where, index) => `${ranking ? "prompt" : "text"} ${where + 1}${ranking ? `, text ${letter(index)}` : ""}`;
const firstOpen = () => { const found = screens.findIndex((one) => !one.every(isDone)); return found < 0 ? screens.length : found; };

const make = (name, text, parent, attributes = {}) => {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.textContent = text;
  parent.append(node);
  return node;
};
const fill = (node, text) => {
  node.textContent = text.trim() ? text : "(nothing)";
  node.classList.toggle("none", !text.trim());
};

const go = (where, words = "", mark = 0) => {
  const aim = Math.max(0, Math.min(where, screens.length)), isNew = aim !== screen;
  screen = aim;
  marked = mark;
  if (isNew) {
    [since, before] = [document.hidden ? Infinity : performance.now(), 0];
    earlier = Object.fromEntries((screens[screen] ?? []).map((item) => [item.id, of(item.id).seconds ?? 0]));
    build();
  }
  show();
  at("told").textContent = words;
  if (isNew) {
    at(screen === screens.length ? "end-words" : "which").focus({preventScroll: true});
    scrollTo(0, 0);
  }
};

// The texts of a screen, anew.
const build = () => {
  at("texts").replaceChildren();
  if (screen === screens.length) return;
  at("comment").value = of(screens[screen][marked].id).comment;
  const [first] = screens[screen], [statement, ...claims] = (held.positions[first.category] ?? "").split("\n");
  at("category").textContent = first.category.replaceAll("_", " ");
  at("statement").textContent = statement;
  at("claims").replaceChildren();
  for (const claim of claims) make("li", claim.replace(/^- /, ""), at("claims"));
  at("claims").parentElement.hidden = !claims.length;
  fill(at("prompt"), first.prompt);
  screens[screen].forEach((item, index) => {
    const article = make("article", "", at("texts"));
    make("h2", ranking ? `Text ${letter(index)}` : "Text", article);
    fill(make("div", "", article, {class: "text said", dir: "auto", lang: "", translate: "no"}), item.completion);
    if (!ranking) return;
    article.addEventListener("focusin", () => mark(index));
    article.addEventListener("click", () => mark(index));
    const ranks = make("fieldset", "", article, {class: "ranks"});
    make("legend", `Rank of text ${letter(index)}`, ranks);
    screens[screen].forEach((_, place) => {
      const button = make("button", String(place + 1), ranks, {type: "button", "data-rank": place + 1});
      button.addEventListener("click", () => { mark(index); rank(place + 1); });
    });
    make("p", "", article, {class: "skipped"});
  });
};

const mark = (index) => {
  if (index === marked || index < 0 || index >= screens[screen].length) return;
  marked = index;
  show();
};

const press = (button, isPressed) => button.setAttribute("aria-pressed", isPressed);
const why = (one) => one.skipped && `Skipped: ${at("reasons").querySelector(`[data-reason="${CSS.escape(one.skipped)}"]`)?.lastChild.data ?? one.skipped}`;

// The state of what stands there.
const show = () => {
  at("start").hidden = screen >= 0;
  at("bar").hidden = screen < 0;
  at("rate").hidden = screen < 0 || screen === screens.length;
  at("end").hidden = screen < screens.length;
  progress();
  if (screen === screens.length) return ending();
  if (screen < 0) return undefined;
  const items = screens[screen], now = of(items[marked].id);
  at("which").textContent = ranking ? `Prompt ${screen + 1} of ${screens.length}` : `Text ${screen + 1} of ${screens.length}`;
  if (!ranking && now.skipped) make("small", why(now), at("which"));
  if (document.activeElement !== at("comment")) at("comment").value = now.comment;  // what is being typed stays
  at("comment-of").textContent = ranking ? `Comment on text ${letter(marked)}, if you like` : "Comment, if you like";
  if (ranking) at("skip").lastChild.data = `Skip ${letter(marked)} …`;
  at("on").classList.toggle("main", items.every(isDone));
  document.querySelectorAll("[data-answer]").forEach((button) => press(button, now.is_answer === (button.dataset.answer === "1")));
  at("answers")?.classList.toggle("asked", now.rating !== null && now.is_answer === null);
  at("scale")?.classList.toggle("asked", now.rating === null && now.is_answer !== null);
  document.querySelectorAll("[data-rating]").forEach((button) => press(button, now.rating === Number(button.dataset.rating)));
  if (ranking) document.querySelectorAll("article").forEach((article, index) => {
    const one = of(items[index].id);
    article.classList.toggle("marked", index === marked);
    article.querySelectorAll("[data-rank]").forEach((button) => press(button, one.rank === Number(button.dataset.rank)));
    article.querySelector(".skipped").textContent = why(one);
  });
  return undefined;
};

const progress = () => {
  const done = held.items.filter(isDone).length, whole = screens.filter((one) => one.every(isDone));
  const took = whole.map((one) => Math.max(...one.map((item) => of(item.id).seconds ?? 0))).filter(Boolean).sort((a, b) => a - b);
  const minutes = Math.round(((took[took.length >> 1] ?? 0) * (screens.length - whole.length)) / 60);
  const left = took.length < 3 || done === ids.length ? "" : minutes < 1 ? "about a minute left" : `about ${minutes} minute${minutes === 1 ? "" : "s"} left`;
  const sent = saveTo && (unsent.size || isSending ? "not saved on the server yet" : "saved");
  at("done").max = ids.length || 1;
  at("done").value = done;
  const words = [`${done} of ${ids.length} done`, left, sent].filter(Boolean).join(" · ");
  if (at("done-words").textContent !== words) at("done-words").textContent = words;
  at("begin").textContent = screen < 0 && records.size ? `I have read the warning and want to go on: ${done} of ${ids.length} are done` : at("begin").textContent;
};

const ending = () => {
  const open = held.items.filter((item) => !isDone(item)).length, skipped = ids.filter((id) => of(id).skipped).length;
  at("end-words").textContent = open ? "Not all is done yet" : "That was the last one. Thank you.";
  at("end-counts").textContent = `${ids.length - open - skipped} ${ranking ? "ranked" : "rated"}, ${skipped} skipped, ${open} open.`;
  at("open").hidden = !open;
  at("signed").textContent = written().signed_off ? `Signed off on ${new Date(signedOff).toLocaleString("en-GB")}.` : "";
};

// ---- what a rater does -------------------------------------------------------------------------------------------------------

const current = () => screens[screen][marked];
const stay = (words) => { show(); at("told").textContent = words; };

// Goes on with the second of the two answers; of a text that had both, with its rating.
const rate = (rating) => {
  say(current(), {rating, skipped: ""});
  if (isDone(current())) go(screen + 1, `Text ${screen + 1}: ${rating}`);
  else stay("And is it an answer at all?");
};
const answer = (isAnswer) => {
  const was = of(current().id);
  say(current(), {is_answer: isAnswer, skipped: ""});
  if (was.is_answer === null && was.rating !== null) go(screen + 1, `Text ${screen + 1}: ${was.rating}`);
  else stay(`${isAnswer ? "An answer." : "No answer."} ${was.rating === null ? "And how well does it match?" : `Its rating is ${was.rating}.`}`);
};
const nextText = (words) => {
  const items = screens[screen], open = [...items.keys()].map((step) => (marked + step) % items.length).find((index) => !isDone(items[index]));
  if (open !== undefined) marked = open;
  show();
  document.querySelector("article.marked").scrollIntoView({block: "nearest"});
  at("told").textContent = words + (open === undefined ? ". All of this prompt are done" : "");
};
const rank = (place) => {
  const name = letter(marked);
  say(current(), {rank: place, skipped: ""});
  nextText(`Text ${name}: rank ${place}`);
};
const skip = (reason) => {
  const words = named(screen, marked);
  at("reasons").close();
  say(current(), {skipped: reason, rating: null, is_answer: null, rank: null});
  if (ranking) nextText(`Skipped: ${words}`);
  else go(screen + 1, `Skipped: ${words}`);
};
const signOff = () => {
  const last = Math.max(0, ...[...records.values()].map(time));
  signedOff = new Date(Math.max(Date.now(), last)).toISOString();
  keep("");
  send("");
  const name = save();
  show();
  at("signed").textContent += ` Please send ${name} to whoever gave you this page.`;
};

const isRating = () => screen >= 0 && screen < screens.length;
const KEYS = {
  ArrowLeft: () => go(screen - 1), ArrowRight: () => go(screen + 1), u: undo, Backspace: undo,
  s: () => isRating() && at("reasons").showModal(),
  c: () => isRating() && at("comment").focus(),
  ...(ranking ? {ArrowUp: () => mark(marked - 1), ArrowDown: () => mark(marked + 1)} : {y: () => isRating() && answer(true), n: () => isRating() && answer(false)}),
};
addEventListener("keydown", (event) => {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (event.ctrlKey || event.altKey || event.metaKey || event.repeat || screen < 0 || !at("by-keys").checked) return;
  if (at("reasons").open) return void at("reasons").querySelectorAll("[data-reason]")[Number(key) - 1]?.click();
  if (at("unfinished").open) return;
  if (event.target.matches("input, textarea")) return void (key === "Escape" && at("which").focus());
  const number = isRating() && Number(key), act = KEYS[key];
  if (number && ranking && number <= screens[screen].length) rank(number);
  else if (number && !ranking && number <= 5) rate(number);
  else if (act) act();
  else return;
  event.preventDefault();
});
document.addEventListener("visibilitychange", watch);

const onClick = (id, act) => at(id).addEventListener("click", act);
let left = null;  // the screen from which the instructions were called
onClick("begin", () => go(left ?? firstOpen()));
onClick("instructions", () => { left = screen; screen = -1; show(); at("main").focus(); scrollTo(0, 0); });
onClick("finish", () => go(screens.length));
onClick("open", () => go(firstOpen()));
onClick("back", KEYS.ArrowLeft);
onClick("on", KEYS.ArrowRight);
onClick("undo", undo);
onClick("skip", KEYS.s);
onClick("sign-off", () => {
  const open = held.items.filter((item) => !isDone(item)).length;
  if (!open) return signOff();
  at("unfinished-words").textContent = `${open} of ${ids.length} ${open === 1 ? "is" : "are"} still open`;
  return at("unfinished").showModal();
});
onClick("sign-anyway", () => { at("unfinished").close(); signOff(); });
for (const button of document.querySelectorAll(".save")) button.addEventListener("click", () => { at("told").textContent = `Saved as ${save()}`; });
for (const button of document.querySelectorAll(".cancel")) button.addEventListener("click", () => button.closest("dialog").close());
for (const button of document.querySelectorAll("[data-reason]")) button.addEventListener("click", () => skip(button.dataset.reason));
for (const button of document.querySelectorAll("[data-answer]")) button.addEventListener("click", () => answer(button.dataset.answer === "1"));
for (const button of document.querySelectorAll("[data-rating]")) button.addEventListener("click", () => rate(Number(button.dataset.rating)));
at("comment").addEventListener("input", () => put({...of(current().id), comment: at("comment").value}));
at("group").addEventListener("input", () => { group = at("group").value.trim(); keep(""); send(""); });
at("load").addEventListener("change", async () => { if (at("load").files.length) at("loaded").textContent = await load(at("load").files[0]); at("load").value = ""; });

recall();
keep("tried");  // no item: whether anything can be kept
isSaved = true;
send(...records.keys());
show();
// What the server keeps counts by the rules of a file that is loaded: of a text, what was said last.
const kept = at("saved")?.textContent;
if (kept && (JSON.parse(kept).ratings.length || JSON.parse(kept).group)) {
  load(new File([kept], "the server")).then((said) => { at("loaded").textContent = said; show(); });
}
}
