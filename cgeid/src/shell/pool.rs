// SPDX-License-Identifier: GPL-2.0-or-later
//! Keys made ahead. A gateway makes an identity for every host that joins, and an RSA key takes seconds; so threads of
//! the lowest priority keep some ready.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::certificate::{self, Life};
use crate::cn::Network;
use crate::error::CertificateError;
use crate::identity::{Identity, KeyAlgorithm};
use crate::key::PrivateKey;
use crate::limits::{MAX_POOL, MAX_POOL_THREADS};

/// The lowest priority: only what nobody else wants is spent on keys that nobody waits for.
const NICE: i32 = 19;

/// Rest after a key that could not be made.
const REST: Duration = Duration::from_secs(1);

/// Why there is no pool.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// None, or more than [`MAX_POOL`].
    #[error("a key pool holds 1 to {MAX_POOL} keys, not {asked}")]
    Size {
        /// Keys asked for.
        asked: usize,
    },
    /// The system gave no thread.
    #[error("no thread for the key pool: {0}")]
    Thread(io::Error),
}

/// How a pool does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolCounts {
    /// Keys ready now.
    pub ready: usize,
    /// Keys made since the start.
    pub made: u64,
    /// Keys handed out.
    pub taken: u64,
    /// Times that there was none for one who asked.
    pub missed: u64,
    /// Keys that could not be made: the system gave no randomness.
    pub failed: u64,
}

/// Keys that are ready to become identities. When it is dropped, they are wiped; a key that is just being made is wiped
/// when it is done.
pub struct KeyPool {
    shared: Arc<Shared>,
}

struct Shared {
    algorithm: KeyAlgorithm,
    network: Network,
    size: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    keys: VecDeque<PrivateKey>,
    /// Keys being made.
    making: usize,
    stopped: bool,
    counts: PoolCounts,
}

impl KeyPool {
    /// Starts to make keys until `size` are ready, and again whenever one was taken.
    ///
    /// # Errors
    /// [`PoolError`] for a size out of range, or without threads.
    pub fn start(algorithm: KeyAlgorithm, network: Network, size: usize) -> Result<KeyPool, PoolError> {
        if size == 0 || size > MAX_POOL {
            return Err(PoolError::Size { asked: size });
        }
        let (state, changed) = (Mutex::default(), Condvar::new());
        let pool = KeyPool { shared: Arc::new(Shared { algorithm, network, size, state, changed }) };
        let processors = thread::available_parallelism().map_or(1, usize::from);
        for _ in 0..processors.min(MAX_POOL_THREADS).min(size) {
            let shared = Arc::clone(&pool.shared);
            let builder = thread::Builder::new().name("key-pool".to_owned());
            builder.spawn(move || shared.work()).map_err(PoolError::Thread)?;
        }
        Ok(pool)
    }

    /// An identity, if a key is ready. Its certificate is made now, so it does not tell how long the key lay here.
    ///
    /// # Errors
    /// [`CertificateError::Dates`] if no certificate can say `now`; the key is not lost then.
    pub fn take(&self, now: SystemTime) -> Result<Option<Identity>, CertificateError> {
        self.take_within(Duration::ZERO, now)
    }

    /// [`KeyPool::take`] that waits for a key for as long as `patience`.
    ///
    /// # Errors
    /// As there.
    pub fn take_within(&self, patience: Duration, now: SystemTime) -> Result<Option<Identity>, CertificateError> {
        let begin = Instant::now();
        let mut state = self.shared.lock();
        loop {
            if let Some(key) = state.keys.pop_front() {
                return match certificate::issue_identity(&key, self.shared.network, now, Life::Static) {
                    Ok(certificate) => {
                        state.counts.taken += 1;
                        self.shared.changed.notify_all();
                        Ok(Some(Identity::new(key, certificate)))
                    }
                    Err(error) => {
                        state.keys.push_front(key);
                        Err(error)
                    }
                };
            }
            let left = patience.saturating_sub(begin.elapsed());
            if left.is_zero() {
                state.counts.missed += 1;
                return Ok(None);
            }
            let waited = self.shared.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// How it does.
    pub fn counts(&self) -> PoolCounts {
        let state = self.shared.lock();
        PoolCounts { ready: state.keys.len(), ..state.counts }
    }
}

impl Drop for KeyPool {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.stopped = true;
        // Each key wipes itself.
        state.keys.clear();
        self.shared.changed.notify_all();
    }
}

impl fmt::Debug for KeyPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyPool({} of {} {}, secret)", self.counts().ready, self.shared.size, self.shared.algorithm)
    }
}

impl Shared {
    /// The state; a thread that panicked left it whole, since nothing between two changes can panic.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes keys until the pool is dropped.
    fn work(&self) {
        // For this thread only; where it is refused the keys come all the same.
        let _ = rustix::process::setpriority_process(None, NICE);
        while self.begin() {
            let key = PrivateKey::generate(self.algorithm);
            let key = key.and_then(|key| Ok((!key.public_key()?.cn().is_reserved()).then_some(key)));
            let mut state = self.lock();
            state.making -= 1;
            match key {
                _ if state.stopped => return,
                Ok(Some(key)) => {
                    state.keys.push_back(key);
                    state.counts.made += 1;
                    self.changed.notify_all();
                }
                Ok(None) => {}
                Err(_) => {
                    state.counts.failed += 1;
                    let _ = self.changed.wait_timeout(state, REST);
                }
            }
        }
    }

    /// Waits until a key is wanted; false when the pool is gone.
    fn begin(&self) -> bool {
        let mut state = self.lock();
        while !state.stopped && state.keys.len() + state.making >= self.size {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.making += usize::from(!state.stopped);
        !state.stopped
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Weak;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn wait_for(pool: &KeyPool, ready: usize) {
        let begin = Instant::now();
        while pool.counts().ready != ready {
            assert!(begin.elapsed() < PATIENCE, "{:?}", pool.counts());
            thread::sleep(Duration::from_millis(2));
        }
    }

    #[test]
    fn it_fills_up_and_stops_there_and_fills_up_again() {
        let pool = KeyPool::start(KeyAlgorithm::Ed25519, Network::LAB, 5).unwrap();
        wait_for(&pool, 5);
        thread::sleep(Duration::from_millis(50));
        assert_eq!(pool.counts(), PoolCounts { ready: 5, made: 5, ..PoolCounts::default() });
        let now = SystemTime::now();
        let names: BTreeSet<_> = (0..5).map(|_| pool.take_within(PATIENCE, now).unwrap().unwrap().cn()).collect();
        assert_eq!(names.len(), 5);
        wait_for(&pool, 5);
        assert_eq!(pool.counts(), PoolCounts { ready: 5, made: 10, taken: 5, ..PoolCounts::default() });
    }

    #[test]
    fn without_a_key_it_says_so_at_once_or_after_the_time_given() {
        // RSA takes longer than this test looks.
        let pool = KeyPool::start(KeyAlgorithm::Rsa4096, Network::LAB, 1).unwrap();
        let begin = Instant::now();
        assert!(pool.take(SystemTime::now()).unwrap().is_none());
        assert!(pool.take_within(Duration::from_millis(5), SystemTime::now()).unwrap().is_none());
        assert!(begin.elapsed() >= Duration::from_millis(5));
        assert_eq!(pool.counts().missed, 2);
        let identity = pool.take_within(Duration::from_secs(120), SystemTime::now()).unwrap().unwrap();
        assert_eq!(identity.algorithm(), KeyAlgorithm::Rsa4096);
    }

    #[test]
    fn a_wrong_time_costs_no_key() {
        let pool = KeyPool::start(KeyAlgorithm::Ed25519, Network::LAB, 1).unwrap();
        wait_for(&pool, 1);
        let before_1970 = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(pool.take(before_1970).unwrap_err(), CertificateError::Dates);
        assert_eq!(pool.counts(), PoolCounts { ready: 1, made: 1, ..PoolCounts::default() });
    }

    #[test]
    fn its_threads_end_with_it() {
        let pool = KeyPool::start(KeyAlgorithm::Ed25519, Network::LAB, 3).unwrap();
        wait_for(&pool, 3);
        let shared: Weak<Shared> = Arc::downgrade(&pool.shared);
        drop(pool);
        let begin = Instant::now();
        while shared.strong_count() > 0 {
            assert!(begin.elapsed() < PATIENCE, "a thread goes on");
            thread::sleep(Duration::from_millis(2));
        }
    }

    #[test]
    fn its_size_is_bounded() {
        for asked in [0, MAX_POOL + 1] {
            let error = KeyPool::start(KeyAlgorithm::Ed25519, Network::LAB, asked).unwrap_err();
            assert!(matches!(error, PoolError::Size { .. }));
        }
    }
}
