"use strict";
// The filters are in the address behind "#" (result=fail&suite=lisp), so that a link shows what its sender sees.
// A name alone is that of a check, of a document or of a clause.
(() => {
  const form = document.getElementById("filters");
  const shown = document.getElementById("shown");
  const nothing = document.getElementById("nothing");
  const checks = [...document.querySelectorAll("details.check")];
  const sections = [...document.querySelectorAll("section.part, section.document")];
  const texts = new Map();

  // What is searched: all but the octets.
  const textOf = (check) => {
    if (!texts.has(check)) {
      const parts = check.querySelectorAll("summary, .rests, dl, .exchange p");
      texts.set(check, [...parts].map((part) => part.textContent).join(" ").toLowerCase());
    }
    return texts.get(check);
  };

  const clausesOf = (check) => check.dataset.clauses.toLowerCase().split(" ");
  const known = new Set(checks.flatMap(clausesOf));
  // A beginning stands for all that begin so, a whole name for itself.
  const proves = (check, clause) =>
    clausesOf(check).some((one) => (known.has(clause) ? one === clause : one.startsWith(clause)));

  const wanted = () => {
    const data = new FormData(form);
    const words = (data.get("text") || "").toLowerCase().split(/\s+/).filter(Boolean);
    return {
      suite: data.get("suite"), level: data.get("level"), change: data.get("change"),
      results: data.getAll("result"), words, clause: (data.get("clause") || "").trim().toLowerCase(),
    };
  };

  const fits = (check, want) =>
    (!want.suite || check.dataset.suite === want.suite) &&
    (!want.level || check.dataset.level === want.level) &&
    (!want.clause || proves(check, want.clause)) &&
    (!want.change || check.dataset.change === want.change) &&
    (!want.results.length || check.dataset.result.split(" ").some((one) => want.results.includes(one))) &&
    want.words.every((word) => textOf(check).includes(word));

  const filter = () => {
    const want = wanted();
    let count = 0;
    for (const check of checks) {
      check.hidden = !fits(check, want);
      count += check.hidden ? 0 : 1;
    }
    for (const section of sections) {
      section.hidden = !section.querySelector("details.check:not([hidden])");
    }
    nothing.hidden = count > 0;
    shown.textContent = count === checks.length ? `${count} checks` : `${count} of ${checks.length} checks`;
  };

  const remember = () => {
    const data = [...new FormData(form)].filter(([, value]) => value);
    history.replaceState(null, "", data.length ? `#${new URLSearchParams(data)}` : location.pathname + location.search);
  };

  const follow = () => {
    const hash = location.hash.slice(1);
    if (hash && !hash.includes("=")) {
      const target = document.getElementById(hash);
      const check = target && target.closest("details");
      if (check) {
        if (check.hidden) { form.reset(); filter(); }
        check.open = true;
        check.scrollIntoView();
      } else if (!target && form.elements.clause) {
        form.reset();
        form.elements.clause.value = hash;
        filter();
      }
      return;
    }
    const asked = new URLSearchParams(hash);
    for (const name of ["text", "clause", "suite", "level", "change"]) {
      if (form.elements[name]) { form.elements[name].value = asked.get(name) || ""; }
    }
    const results = asked.getAll("result").flatMap((value) => value.split(","));
    for (const box of form.querySelectorAll("[name=result]")) { box.checked = results.includes(box.value); }
    filter();
  };

  form.hidden = false;
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", () => { filter(); remember(); });
  // The fields are empty only behind the event.
  form.addEventListener("reset", () => setTimeout(() => { filter(); remember(); }));
  document.getElementById("open").addEventListener("click", (event) => {
    const open = event.target.textContent === "Open";
    for (const check of checks) { if (!check.hidden) { check.open = open; } }
    event.target.textContent = open ? "Close" : "Open";
  });
  window.addEventListener("hashchange", follow);
  filter();
  follow();
})();
