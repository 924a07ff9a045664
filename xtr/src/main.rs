// SPDX-License-Identifier: GPL-2.0-or-later
//! `lisp-xtr`: a LISP border node.

use std::process::ExitCode;
use std::time::SystemTime;

use clap::{CommandFactory as _, Parser as _};
use program::{Json, JsonTo};
use serde_json::json;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use xtr::config::{Command, CommandLine, Config, Flags, MANUAL, Table, TraceFlags, Within, explain};
use xtr::shell::interfaces::no_interface;
use xtr::shell::trace::TraceRequest;
use xtr::shell::{self, Failure};

fn main() -> ExitCode {
    let command_line = CommandLine::parse();
    match execute(command_line) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            program::log::last_words("lisp-xtr", &failure);
            ExitCode::from(failure.status())
        }
    }
}

fn execute(command_line: CommandLine) -> Result<(), Failure> {
    let CommandLine { command, flags, json } = command_line;
    match command {
        None => run(&flags, json.as_ref()),
        Some(Command::Check) => check(&flags, json),
        Some(Command::Show { what, within }) => show(&flags, what, within, json),
        Some(Command::Reload) => reload(&flags, json),
        Some(Command::Trace(packet)) => trace(&flags, &packet, json),
        Some(Command::Completions(_) | Command::Man(_)) if json.is_some() => {
            Err(Failure::key("json", "this verb has no report"))
        }
        Some(Command::Completions(completions)) => Ok(completions.run(CommandLine::command())?),
        Some(Command::Man(man)) => Ok(man.run(CommandLine::command(), &MANUAL)?),
    }
}

fn run(flags: &Flags, json: Option<&JsonTo>) -> Result<(), Failure> {
    if let Some(JsonTo::File(path)) = json {
        let advice = "a run has no report for a file; --json alone has it log in JSON, to standard error";
        return Err(Failure::key("json", format!("{}: {advice}", path.display())));
    }
    let config = Config::load(flags)?;
    start_logging(&config.log, json.is_some())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Machine(format!("starting the runtime: {error}")))?;
    let outcome = runtime.block_on(shell::run(config, flags.clone()));
    // A disk that hangs keeps nobody from ending.
    runtime.shutdown_background();
    outcome
}

fn check(flags: &Flags, json: Option<JsonTo>) -> Result<(), Failure> {
    let config = Config::load(flags)?;
    let mut lines = explain(&config);
    let (key_files, _) = shell::check_map_system(&config)?;
    shell::control_socket::check(&config)?;
    lines.extend(shell::metrics::check(&config)?.map(|warning| format!("Warning: {warning}")));
    let is_missing = |name: &str| nix::net::if_::if_nametoindex(name).is_err();
    for interface in config.rloc_interfaces.iter().filter(|interface| is_missing(&interface.name)) {
        lines.push(format!("Warning: {}", no_interface(&interface.name)));
    }
    lines.extend(key_files.explain(SystemTime::now()).iter().map(|sentence| capital(sentence)));
    lines.push("This configuration can be run.".into());
    Ok(Json { to: json }.show(&json!({ "ok": true, "means": lines }), lines.join("\n") + "\n")?)
}

/// A sentence of its own.
fn capital(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).chain(['.']).collect()
}

fn show(flags: &Flags, what: Table, within: Option<Within>, json: Option<JsonTo>) -> Result<(), Failure> {
    if within.is_some() && !what.is_long() {
        return Err(Failure::key("within", format!("is of map-cache and peers; {} is shown whole", what.name())));
    }
    let answer = shell::ask_within(&Config::control_socket(flags)?, what, within.map(|within| within.0))?;
    Ok(Json { to: json }.show(&answer, shell::table(what, &answer) + "\n")?)
}

fn trace(flags: &Flags, packet: &TraceFlags, json: Option<JsonTo>) -> Result<(), Failure> {
    let config = Config::control_socket(flags)?;
    let answer = TraceRequest::new(packet, flags.iid).ask(&config)?;
    Json { to: json }.show(&answer, shell::trace::text(&answer) + "\n")?;
    shell::trace::leaves(&answer)
}

fn reload(flags: &Flags, json: Option<JsonTo>) -> Result<(), Failure> {
    let answer = shell::reload::ask_to_reload(&Config::control_socket(flags)?)?;
    Ok(Json { to: json }.show(&answer, shell::reload::text(&answer) + "\n")?)
}

fn start_logging(filter: &str, json: bool) -> Result<(), Failure> {
    // In front, so that what the operator says about the same parts wins.
    let filter = format!("{},{filter}", dht::shell::LIBP2P_LOG).parse::<Targets>();
    let filter = filter.map_err(|error| Failure::key("log", error))?;
    let logging = program::log::to_stderr().with_target(false);
    if json {
        logging.json().finish().with(filter).init();
    } else {
        logging.finish().with(filter).init();
    }
    Ok(())
}
