// SPDX-License-Identifier: GPL-2.0-or-later
//! What a piece of code writes to the log.

use std::cell::RefCell;
use std::fmt::{Debug, Write as _};
use std::sync::Once;
use std::thread;
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

thread_local! {
    /// The lines of this thread, while somebody listens.
    static LINES: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// The lines that `run` writes at any level: the level, the message, the fields.
pub(crate) fn logged(run: impl FnOnce()) -> Vec<String> {
    static LISTENS: Once = Once::new();
    // One that listens to all threads from the first call on: a place in the code that another thread logs at for the first time just when
    // somebody begins to listen stays unheard otherwise.
    LISTENS.call_once(|| {
        tracing::subscriber::set_global_default(Log).expect("nobody else listens");
        thread::sleep(Duration::from_millis(100));
        tracing::callsite::rebuild_interest_cache();
    });
    LINES.set(Some(Vec::new()));
    run();
    LINES.take().unwrap_or_default()
}

#[derive(Debug, Clone, Copy)]
struct Log;

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = match field.name() {
            "message" => write!(self.0, " {value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        LINES.with_borrow_mut(|lines| {
            let Some(lines) = lines else { return };
            let mut line = Line(event.metadata().level().to_string());
            event.record(&mut line);
            lines.push(line.0);
        });
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
