// Keys and an outbox for the pages; without it every button is a form and works the same.
"use strict";
(() => {
  const csrf = document.querySelector('meta[name="csrf"]').content;
  const caller = document.querySelector('meta[name="caller"]').content;
  const told = document.getElementById("told");
  const why = document.getElementById("why");
  const one = document.querySelector(".one");
  const pair = document.querySelector(".pair");
  const cards = [...document.querySelectorAll(".card")];
  const side = document.querySelector(".side");
  if (side && matchMedia("(max-width: 760px)").matches) side.open = false;

  // ---- a line that says what happened
  let timer = 0;
  function tell(words, wrong = false, stays = false) {
    told.textContent = words;
    told.classList.toggle("wrong", wrong);
    told.hidden = false;
    clearTimeout(timer);
    if (!stays) timer = setTimeout(() => { told.hidden = true; }, wrong ? 9000 : 2200);
  }

  // ---- the outbox: a decision stays in it until the server has said that it is recorded; every one carries a token,
  // so that one sent twice, because the answer was lost, is recorded once
  const KEY = `adloom-outbox:${caller}`;
  const read = () => { try { return JSON.parse(localStorage.getItem(KEY) || "[]"); } catch { return []; } };
  const write = (items) => localStorage.setItem(KEY, JSON.stringify(items));
  const token = () => [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, "0")).join("");
  let sending = false;
  let pause = 500;

  function send(url, fields) {
    const request = token();
    write([...read(), { url, request, body: new URLSearchParams({ ...fields, request }).toString() }]);
    flush();
  }

  async function flush() {
    if (sending) return;
    sending = true;
    try {
      for (let items = read(); items.length; items = read()) {
        const item = items[0];
        let answer;
        try {
          answer = await fetch(item.url, {
            method: "POST", keepalive: true, redirect: "error",
            headers: { accept: "application/json", "content-type": "application/x-www-form-urlencoded" },
            body: `${item.body}&csrf=${encodeURIComponent(csrf)}`,
          });
        } catch { later("No connection"); return; }
        if (answer.status >= 500) { later("The server is busy"); return; }
        if (answer.status === 401 || answer.status === 403) {
          const why = await answer.json().catch(() => ({}));
          tell(`${items.length} decisions wait: ${why.what || "sign in again"}. Load the page again.`, true, true);
          return;
        }
        write(read().filter((other) => other.request !== item.request));
        pause = 500;
        const said = await answer.json().catch(() => ({}));
        if (answer.ok) recorded(item, said); else { tell(`${said.where}: ${said.what}. ${said.fix}`, true); refused(item); }
      }
      if (told.dataset.waiting) { delete told.dataset.waiting; tell("All decisions are recorded"); }
    } finally { sending = false; }
  }

  function later(what) {
    const count = read().length;
    told.dataset.waiting = "1";
    tell(`${what}: ${count} ${count === 1 ? "decision waits" : "decisions wait"} here and will be sent`, true, true);
    setTimeout(flush, pause);
    pause = Math.min(pause * 2, 8000);
  }

  function recorded(item, said) {
    const fields = new URLSearchParams(item.body);
    if (said.undone) {
      const last = said.undone[said.undone.length - 1];
      said.undone.forEach((row) => { const card = find(row.of, row.id); if (card) paint(card, row.status); });
      tell(said.undone.length === 1 ? "Taken back" : `${said.undone.length} decisions taken back`);
      if (last && one && one.dataset.id !== last.id) go(`${one.dataset.open}&of=${encodeURIComponent(last.of)}&id=${encodeURIComponent(last.id)}`);
      else if (last && one) location.reload();
      else if (last && cards.length) { const card = find(last.of, last.id); if (card) focus(card); }
      return;
    }
    const card = find(fields.get("of"), fields.get("id"));
    if (card && said.status) paint(card, said.status);
    if (said.status === "waiting") tell(said.meaning);
  }

  function refused(item) {
    const fields = new URLSearchParams(item.body);
    const card = find(fields.get("of"), fields.get("id"));
    if (card) paint(card, card.dataset.held || "pending");
  }

  // ---- the gallery
  const find = (of, id) => cards.find((card) => card.dataset.of === of && card.dataset.id === id);
  const link = (card) => card.querySelector(".picture");
  const at = () => cards.find((card) => card.classList.contains("at"));
  const OPEN = ["pending", "waiting", "stale"];

  function focus(card) {
    cards.forEach((other) => other.classList.toggle("at", other === card));
    link(card).focus({ preventScroll: true });
    card.scrollIntoView({ block: "nearest" });
  }

  function paint(card, status) {
    const old = card.dataset.status;
    if (old === status) return;
    card.dataset.held = card.dataset.held || old;
    card.dataset.status = status;
    card.classList.replace(old, status);
    const label = card.querySelector(".status");
    label.className = `status ${status}`;
    label.textContent = status;
    count(old, -1); count(status, 1);
    count("undecided", (OPEN.includes(status) ? 1 : 0) - (OPEN.includes(old) ? 1 : 0));
  }

  function count(name, by) {
    const place = document.querySelector(`[data-count="${name}"]`);
    if (place && by) place.textContent = (parseInt(place.textContent.replace(/\D/g, ""), 10) + by).toLocaleString("en");
  }

  function step(by) {
    if (one) { const to = document.querySelector(by > 0 ? ".walk [rel=next]" : ".walk [rel=prev]"); if (to) go(to.href); else tell(by > 0 ? "This is the last one" : "This is the first one"); return; }
    if (!cards.length) return;
    const index = cards.indexOf(at());
    const next = index < 0 ? 0 : index + by;
    if (cards[next]) { focus(cards[next]); return; }
    const turn = document.querySelector(next < 0 ? ".pages [rel=prev]" : ".pages [rel=next]");
    const gone = by > 0 && new URLSearchParams(location.search).get("status") !== "" ? cards.filter((card) => card.dataset.held).length : 0;
    if (gone) turnAfterSending(cards.length - gone);
    else if (turn) go(turn.href + (next < 0 ? "#last" : "#first"));
    else tell(next < 0 ? "This is the first one" : "This is the last one");
  }

  // what was decided leaves the filter, and what follows moves up into this page, behind what was passed over
  async function turnAfterSending(behind) {
    leaving = true;
    tell("Next page…", false, true);
    for (let tries = 0; read().length && tries < 100; tries += 1) await new Promise((done) => setTimeout(done, 50));
    leaving = false;
    if (read().length) return;
    leaving = true;
    history.replaceState(null, "", `#at-${behind}`);
    location.reload();
  }

  let leaving = false;
  function go(address) { leaving = true; location.assign(address); }

  // ---- decisions
  function decide(fields, onward) {
    const on = one || at();
    if (!on) { tell("Choose a picture first: J"); return; }
    if (!document.getElementById("batch") && !document.querySelector(".decide")) { tell("Your role is to look", true); return; }
    if (!on.dataset.hash) { tell("Its picture is missing: nothing was recorded", true); return; }
    send("/act", { of: on.dataset.of, id: on.dataset.id, hash: on.dataset.hash, ...fields });
    if (on !== one && fields.kind === "approve") paint(on, "approved");
    if (on !== one && fields.kind === "reject") paint(on, "rejected");
    if (!onward) { tell(fields.kind === "rating" ? `Rated ${fields.rating}` : "Comment sent"); return; }
    if (one) go(one.dataset.next); else step(1);
  }

  let asking = false;
  function ask(on) {
    asking = on;
    const inline = document.querySelector(".decide .reasons");
    if (inline) inline.classList.toggle("asked", on);
    if (why && !inline) { why.hidden = !on; if (on) why.querySelector("button").focus(); else if (at()) link(at()).focus(); }
    if (on && inline) tell("Reject: press the key of a reason, or Esc");
  }

  const reasons = Object.fromEntries([...document.querySelectorAll("#why [data-key]")].map((b) => [b.dataset.key, b.dataset.reason]));
  if (why) why.addEventListener("click", (event) => {
    const button = event.target.closest("[data-reason]");
    if (button) { ask(false); decide({ kind: "reject", reason: button.dataset.reason }, true); }
  });

  // ---- selection
  const batch = document.getElementById("batch");
  function scope() {
    if (!batch) return;
    const picked = cards.filter((card) => card.querySelector("input:checked")).length;
    const number = batch.querySelector("[data-scope]");
    number.textContent = (picked || Number(number.dataset.all)).toLocaleString("en");
    batch.querySelector("[data-scope-words]").textContent = picked ? "selected" : "in this filter";
  }
  document.addEventListener("change", scope);
  scope();

  // ---- keys
  const help = document.getElementById("help");
  function showHelp(on) { help.classList.toggle("open", on); if (on) help.querySelector(".close").focus(); else if (location.hash === "#help") history.replaceState(null, "", "#main"); }
  help.querySelector(".close").addEventListener("click", (event) => { event.preventDefault(); showHelp(false); });
  const press = (selector) => { const button = document.querySelector(selector); if (button) button.click(); return Boolean(button); };

  const keys = {
    j: () => step(1), k: () => step(-1), "?": () => showHelp(true),
    a: () => decide({ kind: "approve" }, true),
    r: () => { if (one || at()) ask(true); else tell("Choose a picture first: J"); },
    u: () => send("/undo", {}),
    x: () => { const card = at(); if (card) { card.querySelector("input").click(); scope(); } },
    c: () => { const box = document.getElementById("comment"); if (box) box.focus(); else if (at()) go(`${link(at()).href}#comment`); },
    g: () => { const back = document.getElementById("back"); if (back) go(back.href); },
    A: () => press('#batch [value="approve"]'), R: () => press('#batch [value="reject"]'),
    "/": () => { const box = document.getElementById("search"); if (box) { side.open = true; box.focus(); } else go("/"); },
    s: () => press("#skip"),
    ArrowLeft: () => press('[data-side="left"] button'), ArrowRight: () => press('[data-side="right"] button'),
  };
  for (const number of "12345") keys[number] = () => decide({ kind: "rating", rating: number }, false);

  document.addEventListener("keydown", (event) => {
    const typing = event.target.matches("input:not([type=checkbox]), textarea, select");
    if (event.key === "Escape") { if (asking) ask(false); else if (help.classList.contains("open") || location.hash === "#help") showHelp(false); else if (typing) event.target.blur(); return; }
    if (typing) {
      if (event.key === "Enter" && event.ctrlKey && event.target.id === "comment") { event.preventDefault(); event.target.form.requestSubmit(); }
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey || leaving) return;
    if (asking) {
      const reason = reasons[event.key.toLowerCase()];
      if (reason) { event.preventDefault(); ask(false); decide({ kind: "reject", reason }, true); }
      return;
    }
    const arrow = event.key.startsWith("Arrow");
    if (arrow && !pair) return;
    const run = keys[event.key];
    if (run) { event.preventDefault(); run(); }
  });

  // ---- forms of the page go through the outbox too
  document.addEventListener("submit", (event) => {
    const form = event.target;
    const kind = form.dataset.kind;
    if (!kind) return;
    event.preventDefault();
    if (kind === "undo") { send("/undo", {}); return; }
    const button = event.submitter;
    if (kind === "approve") decide({ kind }, true);
    else if (kind === "reject") decide({ kind, reason: button.value }, true);
    else if (kind === "rating") decide({ kind, rating: button.value }, false);
    else if (form.comment.value.trim()) { decide({ kind, comment: form.comment.value }, false); form.comment.value = ""; form.comment.blur(); }
  });

  document.addEventListener("focusin", (event) => {
    const card = event.target.closest(".card");
    if (card) cards.forEach((other) => other.classList.toggle("at", other === card));
  });

  // ---- what comes next is fetched ahead
  const ahead = document.querySelector("[data-preload]");
  if (ahead) new Image().src = ahead.dataset.preload;
  if (location.hash === "#last" && cards.length) focus(cards[cards.length - 1]);
  if (location.hash === "#first" && cards.length) focus(cards[0]);
  const behind = location.hash.match(/^#at-(\d+)$/);
  if (behind && cards[behind[1]]) focus(cards[behind[1]]);
  else if (behind && cards.length) tell("That was the last one");
  if (location.hash === "#comment" && document.getElementById("comment")) document.getElementById("comment").focus();
  if (document.querySelector('.redraw[data-state="waiting"], .redraw[data-state="drawing"]')) setTimeout(() => location.reload(), 4000);
  addEventListener("online", flush);
  addEventListener("pageshow", () => { leaving = false; flush(); });
  flush();
  document.documentElement.dataset.ready = "1";
})();
