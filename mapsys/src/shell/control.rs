// SPDX-License-Identifier: GPL-2.0-or-later
//! The local control socket: one line of JSON asks (`{"show": "sites"}`, `{"reload": true}`), one
//! line answers.

use std::os::unix::net::UnixStream as BlockingStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use dht::shell::control::Control;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::time::timeout;

use super::reload::Reloads;
use super::service::Status;

/// Longest request, in octets.
const REQUEST: u64 = 4096;
/// How long a client may take to ask, and to take each part of an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a client waits for what `reload` comes to: files are read, sockets opened, and what is registered is judged anew.
const RELOAD_PATIENCE: Duration = Duration::from_secs(60);

/// Answers clients for ever, one at a time: they are operators, not traffic.
pub async fn serve(control: Control, status: Status, reloads: Reloads) {
    loop {
        if let Err(error) = answer(control.accept().await, &status, &reloads).await {
            tracing::debug!(%error, "control client");
        }
    }
}

async fn answer(stream: UnixStream, status: &Status, reloads: &Reloads) -> anyhow::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    timeout(PATIENCE, BufReader::new(reader.take(REQUEST)).read_line(&mut line)).await.context("too slow")??;
    let refused = match serde_json::from_str::<Value>(&line) {
        Ok(request) => match request.get("show").and_then(Value::as_str) {
            Some(what) if tell(&mut writer, status, what).await? => return Ok(()),
            Some(what) => format!("nothing to show as {what:?}"),
            None if request.get("reload") == Some(&Value::Bool(true)) => {
                return write(&mut writer, &format!("{}\n", reloads.reload().await)).await;
            }
            None => "ask with {\"show\": \"sites\"} or {\"reload\": true}".to_owned(),
        },
        Err(error) => error.to_string(),
    };
    write(&mut writer, &format!("{}\n", json!({ "error": refused }))).await
}

/// Writes what there is to show, part by part, as one line of JSON; `false` if there is nothing of that name.
async fn tell(writer: &mut OwnedWriteHalf, status: &Status, what: &str) -> anyhow::Result<bool> {
    let mut parts = status.parts(what);
    let Some(first) = parts.next().await else { return Ok(false) };
    let mut text = first.to_string();
    let mut is_empty = true;
    while parts.goes_on() {
        let next = parts.next().await.context("the service has ended")?;
        // A list goes on where its closing bracket is.
        text.pop();
        is_empty &= text.len() <= 1;
        write(writer, &text).await?;
        text = next.to_string();
        text.replace_range(..1, if is_empty || text.len() <= 2 { "" } else { "," });
    }
    write(writer, &(text + "\n")).await?;
    Ok(true)
}

async fn write(writer: &mut OwnedWriteHalf, text: &str) -> anyhow::Result<()> {
    Ok(timeout(PATIENCE, writer.write_all(text.as_bytes())).await.context("too slow")??)
}

/// Asks the running process.
///
/// # Errors
/// When nobody answers at `path`, or with an error.
pub fn ask(path: &Path, request: &Value) -> anyhow::Result<Value> {
    use std::io::{BufRead as _, Write as _};
    let mut stream = BlockingStream::connect(path).with_context(|| {
        format!("nobody answers at {}: is lisp-mapsys running with this --state-dir?", path.display())
    })?;
    let patience = if request.get("reload").is_some() { RELOAD_PATIENCE } else { PATIENCE };
    stream.set_read_timeout(Some(patience))?;
    writeln!(stream, "{request}")?;
    let mut line = String::new();
    std::io::BufReader::new(stream).read_line(&mut line).map_err(|error| match error.kind() {
        // What a read that takes too long ends with, by system.
        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut => {
            anyhow::anyhow!("no answer at {} within {} s", path.display(), patience.as_secs())
        }
        _ => error.into(),
    })?;
    let value: Value = serde_json::from_str(&line).context("the answer is not JSON")?;
    if let Some(error) = value.get("error").and_then(Value::as_str) {
        bail!("{error}");
    }
    Ok(value)
}
