// SPDX-License-Identifier: GPL-2.0-or-later
//! The page, in a real browser: nothing is wrong with its script, its filters filter, and what is behind a cell opens.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// What Debian and others call it.
const BROWSERS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// Clicks and types as a person does, and writes down what is to be seen then.
const PERSON: &str = r##"<script>
addEventListener("load", async () => {
  const seen = {};
  const wait = () => new Promise((done) => setTimeout(done, 20));
  const shown = () => [...document.querySelectorAll("details.check")].filter((check) => check.offsetHeight > 0).length;
  const box = (value) => document.querySelector(`[name=result][value=${value}]`);
  seen.all = shown();
  box("fail").click();
  seen.failed = shown();
  seen.address = location.hash;
  box("fail").click();
  document.querySelector("[name=text]").value = "map-register NONCE";
  document.querySelector("[name=text]").dispatchEvent(new Event("input", { bubbles: true }));
  seen.text = shown();
  document.querySelector("[type=reset]").click();
  await wait();
  seen.reset = shown();
  const clause = document.querySelector("[name=clause]");
  const type = (text) => { clause.value = text; clause.dispatchEvent(new Event("input", { bubbles: true })); };
  type("CP-085");
  seen.clause = shown();
  seen.clauses = document.querySelector("details.check:not([hidden]) summary").innerText.match(/[CD]P-[0-9]+/g);
  seen.filtered = location.hash;
  type("dp-0");
  seen.beginning = shown();
  type("CP-041");
  seen.reading = document.querySelector("details.check:not([hidden]) .level").innerText.includes("our reading");
  seen.offered = document.querySelectorAll("#clauses option").length;
  document.querySelector("[type=reset]").click();
  await wait();
  document.querySelector("[name=change]").value = "broken";
  document.querySelector("[name=change]").dispatchEvent(new Event("input", { bubbles: true }));
  seen.broken = shown();
  const check = document.querySelector("details.check:not([hidden])");
  const dump = check.querySelector("pre");
  seen.before = dump.checkVisibility();
  check.querySelector("summary").click();
  await wait();
  seen.after = dump.checkVisibility();
  seen.wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  seen.columns = getComputedStyle(check.querySelector("summary")).gridTemplateColumns.split(" ").length;
  const note = document.createElement("pre");
  note.id = "seen";
  note.textContent = JSON.stringify(seen);
  document.body.append(note);
});
</script>"##;

struct Desk {
    folder: tempfile::TempDir,
    browser: &'static str,
}

/// What a browser makes of a page.
struct Rendered {
    document: String,
    /// What the script said, or the browser of it.
    console: Vec<String>,
}

impl Desk {
    /// None where there is no browser; CI must have one.
    fn open() -> Option<Self> {
        let runs =
            |name: &&str| Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success());
        let Some(browser) = BROWSERS.into_iter().find(|name| runs(name)) else {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "CI has no browser");
            eprintln!("SKIP: there is no {}", BROWSERS.join(" and no "));
            return None;
        };
        Some(Self { folder: tempfile::tempdir().unwrap(), browser })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn render(&self, page: &Path, fragment: &str) -> Rendered {
        let profile = format!("--user-data-dir={}", self.path("profile").display());
        let output = Command::new(self.browser)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
            .args(["--enable-logging=stderr", "--window-size=1200,900", "--virtual-time-budget=4000", "--dump-dom"])
            .arg(profile)
            .arg(format!("file://{}{fragment}", page.display()))
            .env("HOME", self.folder.path())
            .output()
            .unwrap();
        let document = String::from_utf8(output.stdout).unwrap();
        assert!(document.contains("</html>"), "{}", String::from_utf8_lossy(&output.stderr));
        let said = String::from_utf8_lossy(&output.stderr);
        let console = said.lines().filter(|line| line.contains(":CONSOLE")).map(str::to_owned).collect();
        Rendered { document, console }
    }
}

impl Rendered {
    /// Checks that are not hidden, of all.
    fn shown(&self) -> (usize, usize) {
        let tags: Vec<_> = self.document.split("<details ").skip(1).filter_map(|rest| rest.split('>').next()).collect();
        (tags.iter().filter(|tag| !tag.contains("hidden")).count(), tags.len())
    }
}

fn conformance(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_conformance")).args(arguments).output().unwrap()
}

/// A run of suite wire, and one in which R03 and M43 fail and C01 could not be judged.
fn runs(desk: &Desk) -> [PathBuf; 2] {
    let first = conformance(&["run", "--suite", "wire", "--json"]).stdout;
    let mut report: Value = serde_json::from_slice(&first).unwrap();
    for check in report["checks"].as_array_mut().unwrap() {
        let result = match check["id"].as_str().unwrap() {
            "R03" | "M43" => "fail",
            "C01" => "skip",
            _ => continue,
        };
        check["result"] = result.into();
        check["came"] = "<script>console.error('injected')</script>&<b>".into();
    }
    (report["target"], report["passed"], report["failed"], report["skipped"]) =
        ("another".into(), 96.into(), 2.into(), 1.into());
    let paths = [desk.path("one.json"), desk.path("two.json")];
    std::fs::write(&paths[0], first).unwrap();
    std::fs::write(&paths[1], report.to_string()).unwrap();
    paths
}

/// The page of both.
fn page(desk: &Desk) -> PathBuf {
    let runs = runs(desk);
    let page = desk.path("page.html");
    let [one, two, to] = [&runs[0], &runs[1], &page].map(|path| path.to_str().unwrap());
    assert_eq!(conformance(&["diff", one, two, "--format", "html", "-o", to]).status.code(), Some(1));
    page
}

#[test]
fn an_address_filters_and_opens_without_a_word_on_the_console() {
    let Some(desk) = Desk::open() else { return };
    let page = page(&desk);
    let all = desk.render(&page, "");
    assert_eq!((all.shown(), all.console), ((99, 99), Vec::<String>::new()));
    let failed = desk.render(&page, "#result=fail");
    assert_eq!((failed.shown(), failed.console), ((2, 99), Vec::<String>::new()));
    let one = desk.render(&page, "#R03");
    let open: Vec<_> =
        one.document.split("<details ").filter(|rest| rest.split('>').next().unwrap().contains(" open")).collect();
    assert_eq!((open.len(), open[0].contains("id=\"R03\"")), (1, true));
    for clause in ["#clause=CP-085", "#CP-085"] {
        let of_clause = desk.render(&page, clause);
        assert_eq!((of_clause.shown(), of_clause.console), ((1, 99), Vec::<String>::new()), "{clause}");
    }
}

#[test]
fn a_person_filters_and_looks_behind_a_cell() {
    let Some(desk) = Desk::open() else { return };
    let page = page(&desk);
    let text = std::fs::read_to_string(&page).unwrap();
    let with_person = desk.path("person.html");
    std::fs::write(&with_person, text.replace("</body>", &format!("{PERSON}</body>"))).unwrap();
    let rendered = desk.render(&with_person, "");
    assert_eq!(rendered.console, Vec::<String>::new());
    let seen = rendered.document.split("<pre id=\"seen\">").nth(1).and_then(|rest| rest.split("</pre>").next());
    let seen: Value = serde_json::from_str(seen.expect("the script of the person ends")).unwrap();
    for (what, expected) in [("all", 99), ("failed", 2), ("reset", 99), ("broken", 2), ("columns", 5), ("wide", 0)] {
        assert_eq!(seen[what], expected, "{what}: {seen}");
    }
    // R03 alone proves CP-085, and CP-089 too; D10 and others stand under names that begin with DP-0.
    assert_eq!((&seen["clause"], &seen["clauses"]), (&1.into(), &serde_json::json!(["CP-085", "CP-089"])), "{seen}");
    assert_eq!((&seen["filtered"], &seen["reading"]), (&"#clause=CP-085".into(), &true.into()), "{seen}");
    assert!(seen["beginning"].as_u64().unwrap() > 5 && seen["offered"].as_u64().unwrap() > 80, "{seen}");
    let text = seen["text"].as_u64().unwrap();
    assert!(text > 0 && text < 40, "{seen}");
    assert_eq!(
        (&seen["address"], &seen["before"], &seen["after"]),
        (&"#result=fail".into(), &false.into(), &true.into())
    );
}

#[test]
fn what_is_wrong_with_a_script_would_be_heard() {
    let Some(desk) = Desk::open() else { return };
    let page = desk.path("wrong.html");
    std::fs::write(&page, "<!doctype html><html><body><script>nobody.is.here()</script></body></html>").unwrap();
    assert_eq!(desk.render(&page, "").console.len(), 1);
}

#[test]
fn the_page_loads_nothing_and_says_the_same_for_the_same_runs() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run.json");
    std::fs::write(&run, conformance(&["run", "--suite", "wire", "--json"]).stdout).unwrap();
    let run = run.to_str().unwrap();
    let page = || String::from_utf8(conformance(&["diff", run, run, "--format", "html"]).stdout).unwrap();
    let (one, two) = (page(), page());
    assert_eq!(one, two);
    for word in ["src=", "http://", "https://", "url(", "@import", "<link"] {
        assert!(!one.contains(word), "{word}");
    }
    assert_eq!(one.matches("<details ").count(), 99);
}
