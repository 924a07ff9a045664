// SPDX-License-Identifier: GPL-2.0-or-later
//! A processor for the good client alone, as it has elsewhere: it never waits for the turn of who answers it, nor that one for its. The
//! map system has the others, and what comes out of the network is received there.

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// The calling thread of the system's calls.
const SELF: Pid = Pid::from_raw(0);

/// The client's thread has one processor until this is dropped, and a process has the others.
#[derive(Debug)]
pub(super) struct Apart {
    server: u32,
    all: CpuSet,
    /// All but the client's.
    pub(super) others: CpuSet,
}

impl Apart {
    /// Puts the calling thread and the process `server` apart; `None` where there is one processor, or the system does not let us.
    pub(super) fn new(server: u32) -> Option<Self> {
        let all = sched_getaffinity(SELF).ok()?;
        let mine = (0..CpuSet::count()).rfind(|cpu| all.is_set(*cpu) == Ok(true))?;
        let mut others = all;
        others.unset(mine).ok()?;
        if others == CpuSet::new() {
            return None;
        }
        let mut alone = CpuSet::new();
        alone.set(mine).ok()?;
        // From here on it is put back whatever fails.
        let apart = Self { server, all, others };
        apart.put_server(&others)?;
        sched_setaffinity(SELF, &alone).ok()?;
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
    fn the_client_has_a_processor_that_the_others_have_not_until_the_end() {
        // In a thread of its own, which stands for the client; the process that stands for the server is another.
        std::thread::spawn(|| {
            let all = sched_getaffinity(SELF).unwrap();
            let mut server = std::process::Command::new("sleep").arg("60").spawn().unwrap();
            let of_server = |id: u32| sched_getaffinity(Pid::from_raw(id.try_into().unwrap())).unwrap();
            if let Some(apart) = Apart::new(server.id()) {
                let mine = sched_getaffinity(SELF).unwrap();
                for cpu in 0..CpuSet::count() {
                    let has = [&all, &mine, &of_server(server.id())].map(|set| set.is_set(cpu).unwrap());
                    assert!(
                        has == [false; 3] || has == [true, true, false] || has == [true, false, true],
                        "{cpu}: {has:?}"
                    );
                }
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
