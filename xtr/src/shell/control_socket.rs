// SPDX-License-Identifier: GPL-2.0-or-later
//! The control socket: a Unix stream, one line of JSON in, one line of JSON out.

use std::io::{BufRead as _, Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::Failure;
use super::trace::TraceRequest;
use crate::config::Table;

/// Longest request line, octets.
const LONGEST_REQUEST: u64 = 1024;
/// Longest answer that the client takes, octets: a map-cache of a hundred thousand entries fits.
const LONGEST_ANSWER: u64 = 64 << 20;
/// Clients served at once.
const CLIENTS: usize = 8;
/// How long a client may take to ask, and the node to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Before the next try when a client cannot be taken, for want of descriptors for instance.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// A line of the protocol: an object with one of these keys, "metrics" or "reload".
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
enum Request {
    Show(String),
    Trace(TraceRequest),
    Metrics,
    Reload,
}

/// What a node can be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// A table.
    Show(Table),
    /// What is measured of this node.
    Metrics,
    /// The way of a packet.
    Trace(TraceRequest),
    /// To read the settings again.
    Reload,
}

/// A question to the node, and where its answer goes.
#[derive(Debug)]
pub struct Question {
    /// What is asked.
    pub ask: Ask,
    /// Takes the answer.
    pub answer: oneshot::Sender<Value>,
}

/// The socket, removed when this is dropped.
#[derive(Debug)]
pub struct ControlSocket {
    path: PathBuf,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        self.task.abort();
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "control socket not removed");
        }
    }
}

impl ControlSocket {
    /// Listens at `path`, for the owner only; what a killed run left there is replaced.
    ///
    /// # Errors
    /// If another node listens there, or the socket cannot be made.
    pub fn listen(path: &Path, questions: mpsc::Sender<Question>) -> Result<Self, Failure> {
        if BlockingStream::connect(path).is_ok() {
            return Err(Failure::Machine(format!("{}: another lisp-xtr listens there", path.display())));
        }
        let listen = || {
            remove_stale(path)?;
            let listener = UnixListener::bind(path)?;
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
            std::io::Result::Ok(listener)
        };
        let listener = listen().map_err(|error| Failure::Machine(format!("--control {}: {error}", path.display())))?;
        Ok(Self { path: path.to_owned(), task: tokio::spawn(serve(listener, questions)) })
    }
}

/// Removes a socket that nobody listens at, and nothing else: the path is the operator's, who may have mistyped it.
fn remove_stale(path: &Path) -> std::io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => std::fs::remove_file(path),
        Ok(_) => Err(std::io::Error::other("exists, and is no socket")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

async fn serve(listener: UnixListener, questions: mpsc::Sender<Question>) {
    let places = std::sync::Arc::new(Semaphore::new(CLIENTS));
    while let Ok(place) = places.clone().acquire_owned().await {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "control socket");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let questions = questions.clone();
        tokio::spawn(async move {
            let served = tokio::time::timeout(PATIENCE, converse(stream, questions)).await;
            tracing::trace!(?served, "control client gone");
            drop(place);
        });
    }
}

async fn converse(stream: UnixStream, questions: mpsc::Sender<Question>) -> std::io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    BufReader::new(reader.take(LONGEST_REQUEST)).read_line(&mut line).await?;
    let answer = answer(&line, &questions).await;
    let mut text = answer.to_string();
    text.push('\n');
    writer.write_all(text.as_bytes()).await
}

async fn answer(line: &str, questions: &mpsc::Sender<Question>) -> Value {
    let error = |text: String| serde_json::json!({ "error": text });
    let request: Request = match serde_json::from_str(line) {
        Ok(request) => request,
        Err(problem) => return error(format!("not understood: {problem}")),
    };
    let ask = match request {
        Request::Show(name) => match Table::named(&name) {
            Some(table) => Ask::Show(table),
            None => return error(format!("no table {name}")),
        },
        Request::Trace(request) => Ask::Trace(request),
        Request::Metrics => Ask::Metrics,
        Request::Reload => Ask::Reload,
    };
    let (sender, receiver) = oneshot::channel();
    if questions.send(Question { ask, answer: sender }).await.is_err() {
        return error("going away".into());
    }
    receiver.await.unwrap_or_else(|_| error("going away".into()))
}

/// Asks a running node for a table.
///
/// # Errors
/// If none answers at `path`, or it cannot.
pub fn ask(path: &Path, table: Table) -> Result<Value, Failure> {
    ask_for(path, &Ask::Show(table))
}

/// Asks a running node.
///
/// # Errors
/// If none answers at `path`, or it cannot.
pub fn ask_for(path: &Path, ask: &Ask) -> Result<Value, Failure> {
    let silent = |error: std::io::Error| {
        Failure::NotHeld(format!(
            "no lisp-xtr answers at {}: {error} (--control or --state-dir name the socket)",
            path.display()
        ))
    };
    let mut stream = BlockingStream::connect(path).map_err(silent)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(silent)?;
    let request = match ask {
        Ask::Show(table) => serde_json::json!({ "show": table.name() }),
        Ask::Metrics => "metrics".into(),
        Ask::Trace(request) => serde_json::json!({ "trace": request }),
        Ask::Reload => "reload".into(),
    };
    writeln!(stream, "{request}").map_err(silent)?;
    let mut line = String::new();
    std::io::BufReader::new(stream.take(LONGEST_ANSWER)).read_line(&mut line).map_err(silent)?;
    let answer: Value =
        serde_json::from_str(&line).map_err(|error| Failure::NotHeld(format!("{}: {error}", path.display())))?;
    match answer.get("error").and_then(Value::as_str) {
        Some(error) => Err(Failure::NotHeld(error.to_owned())),
        None => Ok(answer),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    #[tokio::test]
    async fn questions_are_answered_and_nonsense_is_told_so() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        let (sender, mut receiver) = mpsc::channel::<Question>(1);
        let socket = ControlSocket::listen(&path, sender).unwrap();
        tokio::spawn(async move {
            while let Some(question) = receiver.recv().await {
                let Ask::Show(table) = question.ask else { panic!("{:?}", question.ask) };
                question.answer.send(serde_json::json!({ "table": table.name() })).unwrap();
            }
        });
        let asked = path.clone();
        let answer = tokio::task::spawn_blocking(move || ask(&asked, Table::Peers)).await.unwrap().unwrap();
        assert_eq!(answer, serde_json::json!({ "table": "peers" }));
        for nonsense in
            ["show peers\n", "{\"show\":\"secrets\"}\n", "{\"show\":\"peers\",\"x\":1}\n", "{\"trace\":{}}\n", "\n"]
        {
            let mut stream = UnixStream::connect(&path).await.unwrap();
            stream.write_all(nonsense.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.contains("\"error\""), "{nonsense:?}: {answer:?}");
        }
        assert!(matches!(ControlSocket::listen(&path, mpsc::channel(1).0), Err(Failure::Machine(_))));
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_any_other_file_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let stale = directory.path().join("stale.sock");
        drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
        let socket = ControlSocket::listen(&stale, mpsc::channel(1).0).unwrap();
        let mode = std::fs::metadata(&stale).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        drop(socket);
        let precious = directory.path().join("precious");
        std::fs::write(&precious, "kept").unwrap();
        let error = ControlSocket::listen(&precious, mpsc::channel(1).0).unwrap_err();
        assert!(error.to_string().contains("--control"), "{error}");
        assert_eq!(std::fs::read(&precious).unwrap(), b"kept");
    }
}
