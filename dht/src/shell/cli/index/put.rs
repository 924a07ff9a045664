// SPDX-License-Identifier: GPL-2.0-or-later
//! One round: pages are signed a level at a time, put so many at once, and written down when they are stored.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::Context as _;
use cgeid::{Network, OperationalKey};
use futures::StreamExt as _;
use wire::address::EidPrefix;

use super::super::Failure;
use super::state::State;
use crate::PublishError;
use crate::index::Round;
use crate::publish::{self, PageKind, Publication, Sequence};
use crate::record::Version;
use crate::shell::limits;
use crate::shell::node::{Node, NodeError, PutReport};
use crate::shell::sequence::SequenceFile;

/// What a round needs of the machine.
pub(super) struct Press<'a> {
    pub(super) node: &'a Node,
    pub(super) network: Network,
    pub(super) key: &'a OperationalKey,
    pub(super) sequence: PathBuf,
    pub(super) state: &'a State,
}

/// What became of the PUTs of a round.
#[derive(Debug, Default)]
pub(super) struct Puts {
    /// Of each page that was put.
    pub(super) pages: BTreeMap<EidPrefix, PutReport>,
    /// Pages that were withdrawn.
    pub(super) withdrawn: Vec<EidPrefix>,
}

impl Press<'_> {
    /// Puts all of a round that can be put.
    ///
    /// # Errors
    /// When something cannot be signed or written down. What the network does not take is in the round.
    pub(super) async fn run(&self, round: &mut Round) -> Result<Puts, Failure> {
        let mut puts = Puts::default();
        loop {
            let pages = round.poll();
            if pages.is_empty() {
                break;
            }
            let publications = self.sign(&pages, |page, now, sequence| {
                publish::index(self.key, self.network, page.clone(), PageKind::Delegations, now, sequence)
            })?;
            let sequences: Vec<u64> = publications.iter().map(|publication| publication.sequence).collect();
            for (at, report) in self.put(publications).await? {
                let page = &pages[at];
                puts.pages.insert(page.covering(), report);
                if report.is_stored() {
                    round.stored(page, Version { epoch: self.key.epoch(), sequence: sequences[at] });
                } else {
                    round.failed(&page.covering());
                }
            }
            self.state.save(round.ledger())?;
        }
        let gone = round.to_withdraw();
        let publications = self.sign(&gone, |prefix, now, sequence| {
            publish::withdraw_index(self.key, self.network, *prefix, now, sequence)
        })?;
        for (at, report) in self.put(publications).await? {
            if report.is_stored() {
                round.withdrawn(&gone[at]);
                puts.withdrawn.push(gone[at]);
            }
        }
        self.state.save(round.ledger())?;
        Ok(puts)
    }

    /// Signs with the next sequences, which are on disk before anybody sees them.
    fn sign<T>(
        &self,
        what: &[T],
        statement: impl Fn(&T, SystemTime, &mut Sequence) -> Result<Publication, PublishError>,
    ) -> Result<Vec<Publication>, Failure> {
        if what.is_empty() {
            return Ok(Vec::new());
        }
        let path = self.sequence.display();
        let mut file =
            SequenceFile::open(&self.sequence).with_context(|| path.to_string()).map_err(Failure::Lacking)?;
        let signed = what.iter().map(|one| statement(one, SystemTime::now(), &mut file.sequence));
        let signed = signed.collect::<Result<Vec<_>, _>>().map_err(anyhow::Error::from)?;
        let saved = file.save().with_context(|| format!("{path}: give a writable --state-dir"));
        saved.map_err(Failure::Lacking)?;
        Ok(signed)
    }

    /// Puts all, [`limits::INDEX_PUTS`] at once. Once nobody is there any more, the rest does not wait for its turn to fail.
    async fn put(&self, publications: Vec<Publication>) -> Result<Vec<(usize, PutReport)>, Failure> {
        let put = async |(at, publication): (usize, Publication)| {
            let is_first = at < limits::INDEX_PUTS;
            if !is_first && self.node.peer_set().peers == 0 {
                return Ok((at, PutReport::default()));
            }
            match self.node.put(publication.key.encode(), publication.value).await {
                Ok(report) => Ok((at, report)),
                Err(NodeError::Refused(reason)) => {
                    tracing::warn!(key = %publication.key, %reason, "page refused by this node itself");
                    Ok((at, PutReport { refused: 1, ..PutReport::default() }))
                }
                Err(error) => Err(Failure::from(error)),
            }
        };
        let mut running =
            futures::stream::iter(publications.into_iter().enumerate()).map(put).buffer_unordered(limits::INDEX_PUTS);
        let mut done = Vec::new();
        while let Some(report) = running.next().await {
            done.push(report?);
        }
        Ok(done)
    }
}
