// SPDX-License-Identifier: GPL-2.0-or-later
//! A processor for the good client alone, as it has elsewhere: it never waits for the turn of who answers it, nor that one for its. Where
//! there are three or more the sender of the flood has one of its own too, and the map system the others; of two it has what the client
//! leaves, and the sender of the flood runs there while it does not.

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// The calling thread of the system's calls.
const SELF: Pid = Pid::from_raw(0);

/// The client's thread has one processor until this is dropped, and a process has the others.
#[derive(Debug)]
pub(super) struct Apart {
    server: u32,
    all: CpuSet,
    /// Where the flood is sent from.
    pub(super) flood: CpuSet,
    /// Whether nobody else is there.
    pub(super) is_flood_apart: bool,
}

impl Apart {
    /// Puts the calling thread and the process `server` apart; `None` where there is one processor, or the system does not let us.
    pub(super) fn new(server: u32) -> Option<Self> {
        let all = sched_getaffinity(SELF).ok()?;
        let has = |set: &CpuSet, cpu: &usize| set.is_set(*cpu) == Ok(true);
        let mine = (0..CpuSet::count()).rfind(|cpu| has(&all, cpu))?;
        let mut others = all;
        others.unset(mine).ok()?;
        let sender = (0..CpuSet::count()).rfind(|cpu| has(&others, cpu))?;
        let mut servers = others;
        servers.unset(sender).ok()?;
        let is_flood_apart = servers != CpuSet::new();
        let (flood, servers) = if is_flood_apart { (only(sender)?, servers) } else { (others, others) };
        // From here on it is put back whatever fails.
        let apart = Self { server, all, flood, is_flood_apart };
        apart.put_server(&servers)?;
        sched_setaffinity(SELF, &only(mine)?).ok()?;
        Some(apart)
    }

    fn put_server(&self, there: &CpuSet) -> Option<()> {
        for thread in std::fs::read_dir(format!("/proc/{}/task", self.server)).ok()? {
            let number = thread.ok()?.file_name().to_str()?.parse().ok()?;
            match sched_setaffinity(Pid::from_raw(number), there) {
                // A thread may end meanwhile.
                Ok(()) | Err(nix::errno::Errno::ESRCH) => {}
                Err(_) => return None,
            }
        }
        Some(())
    }
}

fn only(cpu: usize) -> Option<CpuSet> {
    let mut set = CpuSet::new();
    set.set(cpu).ok()?;
    Some(set)
}

impl Drop for Apart {
    fn drop(&mut self) {
        let _ = sched_setaffinity(SELF, &self.all);
        let _ = self.put_server(&self.all);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_client_has_a_processor_to_itself_and_the_flood_one_of_three_until_the_end() {
        // In a thread of its own, which stands for the client; the process that stands for the server is another.
        std::thread::spawn(|| {
            let all = sched_getaffinity(SELF).unwrap();
            let mut server = std::process::Command::new("sleep").arg("60").spawn().unwrap();
            let of_server = |id: u32| sched_getaffinity(Pid::from_raw(id.try_into().unwrap())).unwrap();
            if let Some(apart) = Apart::new(server.id()) {
                let (mine, server) = (sched_getaffinity(SELF).unwrap(), of_server(server.id()));
                for cpu in 0..CpuSet::count() {
                    let has = [&mine, &server, &apart.flood].map(|set| set.is_set(cpu).unwrap());
                    let own = [[true, false, false], [false, true, !apart.is_flood_apart], [false, false, true]];
                    assert_eq!(all.is_set(cpu).unwrap(), own.contains(&has), "{cpu}: {has:?}");
                }
                let count = (0..CpuSet::count()).filter(|cpu| all.is_set(*cpu).unwrap()).count();
                assert_eq!(apart.is_flood_apart, count > 2);
                drop(apart);
            } else {
                assert_eq!((0..CpuSet::count()).filter(|cpu| all.is_set(*cpu).unwrap()).count(), 1);
            }
            assert_eq!((sched_getaffinity(SELF).unwrap(), of_server(server.id())), (all, all));
            server.kill().unwrap();
            server.wait().unwrap();
        })
        .join()
        .unwrap();
    }
}
