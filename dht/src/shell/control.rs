// SPDX-License-Identifier: GPL-2.0-or-later
//! The local control socket: one line of JSON asks (`{"show": "stats"}`, `{"resolve": "2001:db8::1"}`), one line answers.

use std::io::{BufRead as _, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};

/// Octets of a request.
const REQUEST: u64 = 4096;
/// How long a client may take to ask and to read; longer than the longest resolution.
const PATIENCE: Duration = Duration::from_secs(30);

/// Octets of an answer: the figures of a node with a few thousand peers.
const ANSWER: u64 = 16 * 1024 * 1024;

/// Pause after an error of the listening socket.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// What was answered in place of what was asked for.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

/// A control socket; its file goes with it.
#[derive(Debug)]
pub struct Control {
    listener: UnixListener,
    path: PathBuf,
}

impl Control {
    /// Listens at `path`; what a dead process left there is removed.
    ///
    /// # Errors
    /// When the path cannot be had, or another process answers there.
    pub fn listen(path: &Path) -> anyhow::Result<Self> {
        if BlockingStream::connect(path).is_ok() {
            bail!("another process answers at the control socket {}", path.display());
        }
        if let Ok(found) = std::fs::symlink_metadata(path) {
            if !found.file_type().is_socket() {
                bail!("{} is in the way of the control socket; give another --control", path.display());
            }
            std::fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
        let listener = UnixListener::bind(path).with_context(|| format!("cannot listen at {}", path.display()))?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// The next client. While none can be had, it is tried once a second.
    pub async fn accept(&self) -> UnixStream {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => return stream,
                Err(error) => {
                    // Such as too many open files: it stays so for a while.
                    tracing::warn!(%error, "control socket");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Answers clients for ever, one at a time: they are operators, not traffic.
    pub async fn serve(&self, mut answer: impl AsyncFnMut(Value) -> Value) {
        loop {
            let stream = self.accept().await;
            match tokio::time::timeout(PATIENCE, serve_one(stream, &mut answer)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "control client"),
                Err(_) => tracing::debug!("control client too slow"),
            }
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // Whoever starts next removes it as well.
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn serve_one(stream: UnixStream, answer: &mut impl AsyncFnMut(Value) -> Value) -> anyhow::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    BufReader::new(reader.take(REQUEST)).read_line(&mut line).await?;
    let reply = match serde_json::from_str::<Value>(&line) {
        Ok(request) => answer(request).await,
        Err(error) => json!({ "error": error.to_string() }),
    };
    writer.write_all(format!("{reply}\n").as_bytes()).await?;
    Ok(())
}

/// Asks the process that listens at `path`.
///
/// # Errors
/// When nobody answers there, or the answer is an error, then [`Refused`].
pub fn ask(path: &Path, request: &Value) -> anyhow::Result<Value> {
    let mut stream = BlockingStream::connect(path).with_context(|| {
        format!("nobody answers at {}: is `lisp-dht node` running with this --state-dir?", path.display())
    })?;
    stream.set_read_timeout(Some(PATIENCE))?;
    writeln!(stream, "{request}")?;
    let mut line = String::new();
    std::io::BufReader::new(stream.take(ANSWER)).read_line(&mut line).map_err(|error| match error.kind() {
        ErrorKind::WouldBlock => anyhow!("{} has not answered for {} s", path.display(), PATIENCE.as_secs()),
        _ => anyhow!("no answer from {}: {error}", path.display()),
    })?;
    if line.is_empty() {
        bail!("the process at {} hung up without an answer", path.display());
    }
    let value: Value = serde_json::from_str(&line).context("the answer is not JSON")?;
    match value.get("error").and_then(Value::as_str) {
        Some(error) if value.get("result").is_none() => Err(Refused(error.to_owned()).into()),
        _ => Ok(value),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_a_dead_socket_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        std::fs::write(&path, "precious").unwrap();
        assert!(Control::listen(&path).unwrap_err().to_string().contains("in the way"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
        std::fs::remove_file(&path).unwrap();
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let control = Control::listen(&path).unwrap();
        assert!(Control::listen(&path).unwrap_err().to_string().contains("another process"));
        drop(control);
        assert!(!path.exists());
    }
}
