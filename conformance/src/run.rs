// SPDX-License-Identifier: GPL-2.0-or-later
//! `conformance run`: judges, and writes down what came of it.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use conformance::check::Check;
use conformance::lanes::Plan;
use conformance::report::{Format, Report};
use conformance::suite::{SUITES, Suite};
use conformance::target::{self, Stance, Target};
use conformance::wanted::Wanted;
use conformance::{descendants, ledger, progress};
use program::Json;

use super::{INTERRUPTED, put};

#[derive(Clone, clap::Args)]
pub(super) struct Run {
    /// All suites: side by side, as far as they do not disturb each other.
    #[arg(long, conflicts_with = "suite")]
    all: bool,
    /// Suites to run, separated by commas.
    #[arg(long, value_delimiter = ',')]
    suite: Vec<String>,
    /// Only these checks, separated by commas; LI-085 stands for LI-085.1 and all others that begin so.
    #[arg(long, value_delimiter = ',')]
    id: Vec<String>,
    /// Tell on standard error how far it is, also where that is no terminal.
    #[arg(long)]
    progress: bool,
    /// Begins no more checks after one that fails.
    #[arg(long)]
    stop_at_first_failure: bool,
    /// The target file of another implementation: its roles are judged, this one's are not.
    ///
    /// It says in TOML how the target is started or where it runs, with which sites, and what it claims to support (`conformance claims`
    /// has the list); those that ship are in conformance/targets, of which example.toml explains itself, to be copied. Without --suite, all suites of its roles run.
    #[arg(long, value_name = "FILE")]
    target: Option<PathBuf>,
    /// How the run is written down.
    #[arg(long, value_enum, default_value = "text", conflicts_with = "json")]
    format: Format,
    #[command(flatten)]
    json: Json,
    /// Where it is written, instead of standard output.
    #[arg(short = 'o', long = "output")]
    output: Option<PathBuf>,
}

pub(super) fn run(arguments: &Run) -> anyhow::Result<bool> {
    arguments.json.check()?;
    if let Some(path) = &arguments.target {
        target::judge(Target::read(path)?);
    }
    let target = target::judged();
    let wanted = Wanted(&arguments.id);
    let suites = wanted.counted(&asked_for(arguments, target)?)?;
    if arguments.stop_at_first_failure {
        progress::stop_at_first_failure();
    }
    if let Some(path) = &arguments.output {
        // That it cannot be written is said before the work, not behind it.
        fs::File::options()
            .append(true)
            .create(true)
            .open(path)
            .with_context(|| format!("--output {}", path.display()))?;
    }
    let total: usize = suites.iter().map(|(_, count)| count).sum();
    let kept = arguments.clone();
    progress::begin(total, progress::Style::of(arguments.progress));
    progress::watch(move |done| end(&kept, total, done))?;
    let suites: Vec<_> = suites.into_iter().map(|(suite, _)| suite).collect();
    let judged = judged(&suites, target, wanted);
    let done = progress::end();
    match judged {
        Ok(checks) => written(arguments, total, checks),
        Err(error) => written(arguments, total, done).and(Err(error)),
    }
}

/// The suites that were asked for and have something to say about the target.
fn asked_for(arguments: &Run, target: &Target) -> anyhow::Result<Vec<&'static Suite>> {
    let named = |name: &str| arguments.all || arguments.suite.iter().any(|wanted| wanted == name);
    if let Some(unknown) = arguments.suite.iter().find(|wanted| SUITES.iter().all(|suite| suite.name != **wanted)) {
        let known: Vec<_> = SUITES.iter().map(|suite| suite.name).collect();
        bail!("--suite {unknown}: no such suite; there is {}", known.join(", "));
    }
    if !arguments.all && arguments.suite.is_empty() && arguments.id.is_empty() && arguments.target.is_none() {
        bail!("say what to run: --all, --suite NAME, --id ID or --target FILE");
    }
    let by_id_only = arguments.suite.is_empty() && !arguments.all;
    let mut suites = Vec::new();
    for suite in SUITES.iter().filter(|suite| by_id_only || named(suite.name)) {
        match target.stance(suite.name) {
            Stance::Run | Stance::Skip(_) => suites.push(suite),
            Stance::NotItsRole if arguments.suite.is_empty() => {}
            Stance::NotItsRole => bail!("--suite {}: {} has no role that it judges", suite.name, target.name),
        }
    }
    Ok(suites)
}

/// What came of the suites, in their order.
fn judged(suites: &[&'static Suite], target: &Target, wanted: Wanted<'_>) -> anyhow::Result<Vec<Check>> {
    let names: Vec<_> = suites.iter().map(|suite| suite.name).collect();
    let plan = if target.is_ours() { Plan::side_by_side(&names) } else { Plan::in_turn(suites.len()) };
    let has = |id: &str| wanted.has(id);
    let of_suites = plan.run(|number| {
        let suite = suites[number];
        progress::suite(suite.name);
        let judged = match target.stance(suite.name) {
            Stance::Skip(why) => suite.skipped(&has, &why),
            Stance::Run | Stance::NotItsRole => (suite.run)(&has),
        };
        let judged = match judged {
            // What fails while everything ends says nothing; what was judged before it does.
            Err(_) if progress::is_stopped() => Ok(progress::done_of(suite.name)),
            // The other suites have still something to say.
            Err(error) => suite.failed(&has, &format!("suite {} could not go on: {error:#}", suite.name)),
            checks => checks,
        };
        progress::suite_ended(suite.name);
        judged
    });
    let checks: anyhow::Result<Vec<_>> = of_suites.context("a thread for a lane of suites")?.into_iter().collect();
    Ok(checks?.concat())
}

/// Something still waits for what does not come any more, long after the run was interrupted.
fn end(arguments: &Run, total: usize, mut done: Vec<Check>) {
    descendants::end();
    // As they ended, those of several suites are mixed.
    done.sort_by_key(|check| SUITES.iter().position(|suite| suite.name == check.suite));
    if let Err(error) = written(arguments, total, done) {
        eprintln!("conformance: {error:#}");
    }
    std::process::exit(INTERRUPTED.into());
}

fn written(arguments: &Run, total: usize, checks: Vec<Check>) -> anyhow::Result<bool> {
    let mut report = Report::new(target::judged().name.clone(), checks);
    let documents = ledger::all()?;
    report.rest_on(&documents);
    report.interrupted = progress::is_stopped() && report.checks.len() < total;
    if report.interrupted {
        eprintln!("conformance: interrupted; {} of {total} checks have run", report.checks.len());
    }
    let format = if arguments.json.is_output() { Format::Json } else { arguments.format };
    if !arguments.json.is_output() {
        arguments.json.show_document(&report.render(Format::Json)?, "")?;
    }
    let text = report.render(format)?;
    put(arguments.output.as_deref(), &text, &report.closing_line())?;
    report.holds()
}
