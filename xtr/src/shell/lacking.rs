// SPDX-License-Identifier: GPL-2.0-or-later
//! What the operator has named and the machine lacks, and what of it is news: an interface that comes and goes fills no log.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::limits::LOG_PAUSE;

/// What is lacking, a sentence each, and what was lately. Each sentence is about something that the configuration names.
#[derive(Debug, Default)]
pub struct Lacking {
    now: Vec<String>,
    /// When it was so last.
    lately: BTreeMap<String, Instant>,
}

impl Lacking {
    /// Of this the operator has heard.
    pub fn told(now: Vec<String>) -> Self {
        Self { now, ..Self::default() }
    }

    /// What is lacking now.
    pub fn now(&self) -> &[String] {
        &self.now
    }

    /// Takes what is lacking now; of that, what was not within [`LOG_PAUSE`].
    pub fn take(&mut self, at: Instant, lacking: Vec<String>) -> Vec<String> {
        self.lately.extend(std::mem::take(&mut self.now).into_iter().map(|lack| (lack, at)));
        self.lately.retain(|_, last| at.saturating_duration_since(*last) < LOG_PAUSE);
        let news = lacking.iter().filter(|lack| !self.lately.contains_key(*lack)).cloned().collect();
        self.now = lacking;
        news
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_lacking_is_news_once_and_again_when_it_was_there_for_a_while() {
        let (start, mut lacking) = (Instant::now(), Lacking::told(vec!["a".into()]));
        let mut news = |seconds, all: &[&str]| {
            let all = all.iter().map(|lack| (*lack).to_owned()).collect();
            lacking.take(start + Duration::from_secs(seconds), all).join(" ")
        };
        assert_eq!([news(0, &["a"]), news(3600, &["a", "b"]), news(7200, &["b"])], ["", "b", ""]);
        // It comes and goes: no line for each time.
        assert!((0..1000).all(|second| news(7201 + second, if second % 2 == 0 { &[] } else { &["b"] }).is_empty()));
        assert_eq!(news(8201, &["c"]), "c", "others do not wait for that");
        assert_eq!([news(8202, &[]), news(8210, &[]), news(8211, &["b"])], ["", "", "b"]);
        assert_eq!((lacking.now(), lacking.lately.len()), (&["b".to_owned()][..], 1), "no more is kept");
    }
}
