// SPDX-License-Identifier: GPL-2.0-or-later
//! The control socket: a Unix stream, one line of JSON in, one line of JSON out.

use std::io::{self, BufRead as _, Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use wire::address::EidPrefix;

use super::Failure;
use super::listing::{self, Portion};
use super::look::LONGEST_LOOK;
use super::state::make_private_directory;
use super::trace::TraceRequest;
use crate::config::{Config, Table};

/// Longest request line, octets.
const LONGEST_REQUEST: u64 = 1024;
/// Longest answer that the client takes, octets: a map-cache of a hundred thousand entries of two locators fits.
const LONGEST_ANSWER: u64 = 64 << 20;
/// Clients served at once.
const CLIENTS: usize = 8;
/// How long a client may take to ask, and to take each part of its answer, and the node to say one.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a reload may take: it waits for the kernel to say what interfaces and routes there are.
const PATIENCE_TO_RELOAD: Duration = LONGEST_LOOK.saturating_add(PATIENCE);
/// How much longer the client waits, so that it hears from the node what has taken too long.
const GRACE: Duration = Duration::from_secs(1);

/// Before the next try when a client cannot be taken, for want of descriptors for instance.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// A line of the protocol: an object with one of these keys, "metrics" or "reload".
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
enum Request {
    Show(String),
    ShowWithin { table: String, within: IpNet },
    Trace(TraceRequest),
    Metrics,
    Reload,
}

/// What a node can be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// A table; one that may be long is asked for in portions.
    Show(Table),
    /// A part of a long one.
    Portion(Portion),
    /// What is measured of this node.
    Metrics,
    /// How many mappings there are, of some behind this one, or of the first.
    Count(Option<EidPrefix>),
    /// The way of a packet.
    Trace(TraceRequest),
    /// To read the settings again.
    Reload,
}

impl Ask {
    /// How long the answer may take.
    fn patience(&self) -> Duration {
        if matches!(self, Self::Reload) { PATIENCE_TO_RELOAD } else { PATIENCE }
    }

    /// What is said when it takes longer.
    fn late(&self) -> String {
        let late = format!("lisp-xtr has not answered within {} s", self.patience().as_secs());
        if matches!(self, Self::Reload) { format!("{late}; the reload may still be carried out") } else { late }
    }
}

/// A question to the node, and where its answer goes.
#[derive(Debug)]
pub struct Question {
    /// What is asked.
    pub ask: Ask,
    /// Takes the answer.
    pub answer: oneshot::Sender<Value>,
}

/// The socket's file, removed when this is dropped.
#[derive(Debug)]
struct Place {
    path: PathBuf,
}

/// A socket at which nobody is answered yet: who asks waits.
#[derive(Debug)]
pub struct Bound {
    listener: UnixListener,
    place: Place,
}

/// The socket, removed when this is dropped.
#[derive(Debug)]
pub struct ControlSocket {
    task: tokio::task::JoinHandle<()>,
    _place: Place,
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "control socket not removed");
        }
    }
}

/// Whether a node of this configuration could have its socket there, as far as that can be told without making it. One at which a node
/// listens already is fine. Makes and writes nothing.
///
/// # Errors
/// Names the flag that the path comes from, and what is wrong with it.
pub fn check(config: &Config) -> Result<(), Failure> {
    let path = &config.control;
    let look = || {
        // Longer than a socket's address has room for, for instance.
        std::os::unix::net::SocketAddr::from_pathname(path)?;
        is_stale(path)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        match folder {
            // That is made.
            Some(folder) if folder == config.state_dir && !folder.exists() => io::Result::Ok(()),
            Some(folder) if !std::fs::metadata(folder)?.is_dir() => Err(io::ErrorKind::NotADirectory.into()),
            _ => Ok(()),
        }
    };
    match look() {
        // Who asks may see less than who runs the node.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        looked => looked.map_err(|error| refused(config.control_flag(), path, &error)),
    }
}

fn refused(flag: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::Machine(format!("--{flag}: {}: {error}", path.display()))
}

impl Bound {
    /// Takes the place that the configuration names, for the owner only; what a killed run left there is replaced. If that is in the state
    /// directory, it is made.
    ///
    /// # Errors
    /// If another node listens there, or the socket cannot be made.
    pub fn of(config: &Config) -> Result<Self, Failure> {
        check(config)?;
        if config.control.parent() == Some(&config.state_dir) {
            make_private_directory(&config.state_dir)?;
        }
        Self::at(&config.control, config.control_flag())
    }

    fn at(path: &Path, flag: &str) -> Result<Self, Failure> {
        if BlockingStream::connect(path).is_ok() {
            return Err(Failure::Machine(format!("{}: another lisp-xtr listens there", path.display())));
        }
        let listen = || {
            if is_stale(path)? {
                std::fs::remove_file(path)?;
            }
            let listener = UnixListener::bind(path)?;
            let place = Place { path: path.to_owned() };
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
            io::Result::Ok(Self { listener, place })
        };
        listen().map_err(|error| refused(flag, path, &error))
    }

    /// Answers who asks, from now on.
    pub fn serve(self, questions: mpsc::Sender<Question>) -> ControlSocket {
        ControlSocket { task: tokio::spawn(serve(self.listener, questions)), _place: self.place }
    }
}

/// Whether there is a socket, which may be replaced if nobody listens at it, and nothing else: the path is the operator's, who may have
/// mistyped it.
fn is_stale(path: &Path) -> io::Result<bool> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => Ok(true),
        Ok(_) => Err(io::Error::other("exists, and is no socket")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
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
            let served = converse(stream, &questions).await;
            tracing::trace!(?served, "control client gone");
            drop(place);
        });
    }
}

async fn converse(stream: UnixStream, questions: &mpsc::Sender<Question>) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    in_time(BufReader::new(reader.take(LONGEST_REQUEST)).read_line(&mut line)).await?;
    match read(&line) {
        Ok(Ask::Portion(first)) => listing::list(first, questions, &mut writer).await,
        Ok(ask) => write(&mut writer, &format!("{}\n", answer(ask, questions).await)).await,
        Err(problem) => write(&mut writer, &format!("{}\n", error(&problem))).await,
    }
}

async fn in_time<T>(io: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(PATIENCE, io).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Writes a part of an answer, if the client takes it.
pub(super) async fn write(writer: &mut (impl AsyncWrite + Unpin), text: &str) -> io::Result<()> {
    in_time(writer.write_all(text.as_bytes())).await
}

fn error(problem: &str) -> Value {
    serde_json::json!({ "error": problem })
}

/// What a line of the protocol asks, or what is wrong with it.
fn read(line: &str) -> Result<Ask, String> {
    let request = serde_json::from_str(line).map_err(|problem| format!("not understood: {problem}"))?;
    let named = |name: &str| Table::named(name).ok_or_else(|| format!("no table {name}"));
    Ok(match request {
        Request::Show(name) => match named(&name)? {
            table if table.is_long() => Ask::Portion(Portion::first(table, None)),
            table => Ask::Show(table),
        },
        Request::ShowWithin { table, within } => match named(&table)? {
            long if long.is_long() => Ask::Portion(Portion::first(long, Some(within.trunc()))),
            _ => return Err(format!("{table} is shown whole")),
        },
        Request::Trace(request) => Ask::Trace(request),
        Request::Metrics => Ask::Metrics,
        Request::Reload => Ask::Reload,
    })
}

/// What the node says, or `{"error"}` when it goes away or takes too long.
pub(super) async fn answer(ask: Ask, questions: &mpsc::Sender<Question>) -> Value {
    answer_within(ask.patience(), ask, questions).await
}

async fn answer_within(patience: Duration, ask: Ask, questions: &mpsc::Sender<Question>) -> Value {
    let late = ask.late();
    let (sender, receiver) = oneshot::channel();
    let answered = async {
        questions.send(Question { ask, answer: sender }).await.ok()?;
        receiver.await.ok()
    };
    match tokio::time::timeout(patience, answered).await {
        Ok(answer) => answer.unwrap_or_else(|| error("going away")),
        Err(_) => error(&late),
    }
}

/// Asks a running node for a table.
///
/// # Errors
/// If none answers at `path`, or it cannot.
pub fn ask(path: &Path, table: Table) -> Result<Value, Failure> {
    ask_for(path, &Ask::Show(table))
}

/// The same; of a table that may be long only what is of mappings round this EID-prefix or inside it, if one is given.
///
/// # Errors
/// As [`ask`].
pub fn ask_within(path: &Path, table: Table, within: Option<IpNet>) -> Result<Value, Failure> {
    match within {
        Some(_) => ask_for(path, &Ask::Portion(Portion::first(table, within))),
        None => ask(path, table),
    }
}

/// Asks a running node.
///
/// # Errors
/// If none answers at `path`, or it cannot, or not in time.
pub fn ask_for(path: &Path, ask: &Ask) -> Result<Value, Failure> {
    let silent = |error: io::Error| {
        Failure::NotHeld(match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => format!("{}: {}", path.display(), ask.late()),
            _ => {
                format!("no lisp-xtr answers at {}: {error} (--control or --state-dir name the socket)", path.display())
            }
        })
    };
    let mut stream = BlockingStream::connect(path).map_err(silent)?;
    stream.set_read_timeout(Some(ask.patience() + GRACE)).map_err(silent)?;
    let request = match ask {
        Ask::Show(table) | Ask::Portion(Portion { table, within: None, .. }) => {
            serde_json::json!({ "show": table.name() })
        }
        Ask::Portion(Portion { table, within, .. }) => {
            serde_json::json!({ "show-within": { "table": table.name(), "within": within } })
        }
        // What the node asks itself is no question of a client's.
        Ask::Metrics | Ask::Count(_) => "metrics".into(),
        Ask::Trace(request) => serde_json::json!({ "trace": request }),
        Ask::Reload => "reload".into(),
    };
    writeln!(stream, "{request}").map_err(silent)?;
    let mut line = String::new();
    io::BufReader::new(stream.take(LONGEST_ANSWER)).read_line(&mut line).map_err(silent)?;
    let answer = whole(&line).map_err(|problem| Failure::NotHeld(format!("{}: {problem}", path.display())))?;
    match answer.get("error").and_then(Value::as_str) {
        Some(error) => Err(Failure::NotHeld(error.to_owned())),
        None => Ok(answer),
    }
}

/// The answer in a line, if that is whole.
fn whole(line: &str) -> Result<Value, String> {
    if !line.ends_with('\n') {
        return Err(if line.len() as u64 >= LONGEST_ANSWER {
            format!("the answer is longer than {} MiB: name an EID-prefix (--within)", LONGEST_ANSWER >> 20)
        } else {
            "lisp-xtr has ended, or given up, before its answer was whole".into()
        });
    }
    serde_json::from_str(line).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use super::*;

    #[tokio::test]
    async fn questions_are_answered_and_nonsense_is_told_so() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        let (sender, mut receiver) = mpsc::channel::<Question>(1);
        let socket = Bound::at(&path, "control").unwrap().serve(sender);
        tokio::spawn(async move {
            while let Some(question) = receiver.recv().await {
                let Ask::Show(table) = question.ask else { panic!("{:?}", question.ask) };
                question.answer.send(serde_json::json!({ "table": table.name() })).unwrap();
            }
        });
        let asked = path.clone();
        let answer = tokio::task::spawn_blocking(move || ask(&asked, Table::Counters)).await.unwrap().unwrap();
        assert_eq!(answer, serde_json::json!({ "table": "counters" }));
        for nonsense in [
            "show peers\n",
            "{\"show\":\"secrets\"}\n",
            "{\"show\":\"peers\",\"x\":1}\n",
            "{\"show-within\":{\"table\":\"counters\",\"within\":\"10.0.0.0/8\"}}\n",
            "{\"trace\":{}}\n",
            "\n",
        ] {
            let mut stream = UnixStream::connect(&path).await.unwrap();
            stream.write_all(nonsense.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.contains("\"error\""), "{nonsense:?}: {answer:?}");
        }
        assert!(matches!(Bound::at(&path, "control"), Err(Failure::Machine(_))));
        drop(socket);
        assert!(!path.exists());
    }

    /// What a client hears of a node that does this with each question.
    async fn heard(ask: Ask, mut node: impl FnMut(Question) + Send + 'static) -> Result<Value, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        let (sender, mut receiver) = mpsc::channel::<Question>(1);
        let _socket = Bound::at(&path, "control").unwrap().serve(sender);
        tokio::spawn(async move {
            while let Some(question) = receiver.recv().await {
                node(question);
            }
        });
        let heard = tokio::task::spawn_blocking(move || ask_for(&path, &ask)).await.unwrap();
        heard.map_err(|failure| failure.to_string())
    }

    /// A node with so many mappings, each of 10.0.0.0/8 a host, behind two locators, as it answers a portion.
    fn portion_of(all: u32, question: Question, asked: &AtomicUsize) {
        let Ask::Portion(portion) = question.ask else { panic!("{:?}", question.ask) };
        asked.fetch_add(1, Relaxed);
        let number = |prefix: wire::address::EidPrefix| match prefix.net.addr() {
            std::net::IpAddr::V4(address) => u32::from(address) & 0x00ff_ffff,
            std::net::IpAddr::V6(_) => panic!("{prefix}"),
        };
        let from = portion.after.map_or(0, |after| number(after) + 1);
        let to = all.min(from + u32::try_from(portion.size).unwrap());
        let eid = |number: u32| format!("{}/32", std::net::Ipv4Addr::from(0x0a00_0000 + number));
        let rows = (from..to).flat_map(|number| match portion.table {
            Table::Peers => ["192.0.2.9", "192.0.2.10"]
                .map(|address| serde_json::json!({ "address": address, "prefix": eid(number) }))
                .to_vec(),
            _ => vec![serde_json::json!({ "prefix": eid(number) })],
        });
        let mut answer = serde_json::json!({
            "rows": rows.collect::<Vec<_>>(), "after": (to < all).then(|| (0, eid(to - 1))),
        });
        if portion.table == Table::Peers && portion.after.is_none() {
            answer["dht"] = serde_json::json!([{ "id": "x" }]);
        }
        question.answer.send(answer).unwrap();
    }

    #[tokio::test]
    async fn a_long_table_comes_in_portions_and_is_whole() {
        const ALL: u32 = 12_345;
        let asked = Arc::new(AtomicUsize::new(0));
        for table in [Table::MapCache, Table::Peers] {
            asked.store(0, Relaxed);
            let count = asked.clone();
            let answer = heard(Ask::Show(table), move |question| portion_of(ALL, question, &count)).await.unwrap();
            assert!(asked.load(Relaxed) > 10, "no portion keeps the node for long");
            let rows = answer[table.name()].as_array().unwrap();
            match table {
                Table::MapCache => {
                    assert_eq!((rows.len(), &rows[12_344]["prefix"]), (12_345, &"10.0.48.56/32".into()));
                }
                _ => {
                    let address = |index: usize| rows[index]["address"].as_str().unwrap();
                    assert_eq!((rows.len(), address(0), address(1)), (2, "192.0.2.9", "192.0.2.10"));
                    assert!(rows.iter().all(|row| row["prefixes"].as_array().unwrap().len() == 12_345));
                    assert_eq!(answer["dht"][0]["id"], "x");
                }
            }
            let none = heard(Ask::Show(table), move |question| portion_of(0, question, &AtomicUsize::new(0))).await;
            assert_eq!(none.unwrap()[table.name()], serde_json::json!([]));
        }
    }

    /// A node with many mappings answers some of them at a time, as late as it may: the client gives up when it hears nothing for so long.
    #[tokio::test]
    async fn a_client_hears_something_of_each_portion() {
        for table in [Table::MapCache, Table::Peers] {
            let (sender, mut receiver) = mpsc::channel::<Question>(1);
            let (mut writer, mut client) = tokio::io::duplex(1 << 20);
            let listed = tokio::spawn(async move {
                let listed = listing::list(Portion::first(table, None), &sender, &mut writer).await;
                listed.map(|()| drop(writer))
            });
            let (mut said, mut portions) = (Vec::new(), 0);
            while let Some(question) = receiver.recv().await {
                if portions > 0 {
                    let heard = in_time(client.read_buf(&mut said)).await;
                    assert!(heard.is_ok_and(|octets| octets > 0), "{}: nothing of portion {portions}", table.name());
                }
                portions += 1;
                portion_of(2_000, question, &AtomicUsize::new(0));
            }
            listed.await.unwrap().unwrap();
            client.read_to_end(&mut said).await.unwrap();
            assert!(portions > 3 && whole(&String::from_utf8(said).unwrap()).is_ok());
        }
    }

    #[tokio::test]
    async fn a_table_that_is_too_long_is_refused_with_what_to_do() {
        let node = |question| portion_of(100_001, question, &AtomicUsize::new(0));
        for table in [Table::MapCache, Table::Peers] {
            let error = heard(Ask::Show(table), node).await.map(drop).unwrap_err();
            assert!(error.contains("more than 100000 rows") && error.contains("--within"), "{error}");
        }
    }

    #[test]
    fn an_answer_that_is_cut_off_says_so() {
        assert!(whole("{\"peers\":[]}\n").is_ok());
        for cut in ["", "{\"peers\":[", "{\"peers\":[]}"] {
            assert!(whole(cut).unwrap_err().contains("before its answer was whole"), "{cut:?}");
        }
        let long = "[".repeat(usize::try_from(LONGEST_ANSWER).unwrap());
        assert!(whole(&long).unwrap_err().contains("longer than 64 MiB: name an EID-prefix"));
    }

    #[tokio::test]
    async fn an_answer_that_does_not_come_in_time_says_how_long_was_waited_and_what_may_still_happen() {
        for (ask, said) in [
            (Ask::Show(Table::Counters), "lisp-xtr has not answered within 5 s"),
            (Ask::Reload, "lisp-xtr has not answered within 65 s; the reload may still be carried out"),
        ] {
            let (sender, _never) = mpsc::channel::<Question>(1);
            assert_eq!(answer_within(Duration::from_millis(20), ask, &sender).await["error"], said);
        }
        assert!(Ask::Reload.patience() > LONGEST_LOOK, "a look that takes its time is no error");
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_any_other_file_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let stale = directory.path().join("stale.sock");
        drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
        let socket = Bound::at(&stale, "control").unwrap();
        let mode = std::fs::metadata(&stale).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        drop(socket);
        let precious = directory.path().join("precious");
        std::fs::write(&precious, "kept").unwrap();
        let error = Bound::at(&precious, "control").unwrap_err();
        assert!(error.to_string().contains("--control"), "{error}");
        assert_eq!(std::fs::read(&precious).unwrap(), b"kept");
    }
}
