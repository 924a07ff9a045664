// SPDX-License-Identifier: GPL-2.0-or-later
//! Map-Servers come, go and get other keys while the node runs.

use std::time::Instant;

use super::{Registrar, Server, may_have};

impl Registrar {
    /// Takes other Map-Servers. Where nothing changes for one, nothing is sent to it.
    pub(super) fn set_servers(&mut self, now: Instant, newer: Vec<Server>) {
        if self.withdrawing {
            return;
        }
        for index in 0..self.servers.len() {
            if !newer.iter().any(|server| server.to == self.servers[index].to) {
                self.retire(now, index);
            }
        }
        for mut server in newer {
            server.prefixes = self.contents.database.prefixes().to_vec();
            server.prefixes.retain(|prefix| may_have(self.cgeids, server.to, prefix));
            match self.servers.iter().position(|known| known.to == server.to) {
                Some(index) => self.change(now, index, server),
                None => self.begin(now, server),
            }
        }
        self.forget_retired();
    }

    fn begin(&mut self, now: Instant, server: Server) {
        self.servers.push(server);
        self.plan(now, self.servers.len() - 1);
    }

    /// One that is known: registered with anew if we speak to it otherwise, or had left it.
    fn change(&mut self, now: Instant, index: usize, newer: Server) {
        let known = &self.servers[index];
        let is_same = (&known.key, known.tag, known.proxy_reply, known.identity)
            == (&newer.key, newer.tag, newer.proxy_reply, newer.identity);
        let had_left = self.retired.remove(&index);
        if is_same && !had_left {
            self.servers[index].narrow_coverage = newer.narrow_coverage;
            return;
        }
        self.servers[index] = newer;
        if had_left {
            self.batches.retain(|batch| batch.server != index);
            return self.plan(now, index);
        }
        self.split(now);
        self.batches.iter_mut().filter(|batch| batch.server == index).for_each(|batch| batch.say_otherwise(now));
    }

    /// All that was registered there is withdrawn: TTL 0, in messages as before.
    fn retire(&mut self, now: Instant, index: usize) {
        if !self.retired.insert(index) {
            return;
        }
        self.moves.forget_server(index);
        for batch in self.batches.iter_mut().filter(|batch| batch.server == index && !batch.withdrawing) {
            batch.withdrawing = true;
            batch.say_otherwise(now);
        }
    }

    /// Those that nothing is to be told any more leave the table.
    pub(super) fn forget_retired(&mut self) {
        while let Some(index) = self.retired.iter().copied().find(|index| !self.is_spoken_to(*index)) {
            let behind = |server: usize| if server > index { server - 1 } else { server };
            self.servers.remove(index);
            self.retired.remove(&index);
            self.retired = self.retired.iter().map(|server| behind(*server)).collect();
            self.moves.renumber(behind);
            self.batches.iter_mut().for_each(|batch| batch.server = behind(batch.server));
        }
    }

    fn is_spoken_to(&self, index: usize) -> bool {
        self.batches.iter().any(|batch| batch.server == index)
    }
}
