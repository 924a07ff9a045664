// SPDX-License-Identifier: GPL-2.0-or-later
//! Where the values lie: one beside the other, by number, in pages that never move.

use super::key::Key;

/// Values of a page. One vector for all would move them all when it grows, while nobody is answered.
const PAGE: usize = 256;

/// A value and its prefix; the flag stands where a [`Key`] leaves octets unused.
#[derive(Debug, Clone)]
pub(super) struct Held<T> {
    iid: u32,
    address: [u8; 16],
    len: u8,
    is_v6: bool,
    /// Whether a more-specific of it is held too.
    pub(super) has_inside: bool,
    pub(super) value: T,
}

impl<T> Held<T> {
    pub(super) fn new(key: Key, has_inside: bool, value: T) -> Self {
        let Key { iid, is_v6, address, len } = key;
        Self { iid, address, len, is_v6, has_inside, value }
    }

    pub(super) fn key(&self) -> Key {
        Key { iid: self.iid, is_v6: self.is_v6, address: self.address, len: self.len }
    }
}

/// All values, numbered without gaps.
#[derive(Debug, Clone)]
pub(super) struct Pages<T> {
    pages: Vec<Vec<Held<T>>>,
}

impl<T> Default for Pages<T> {
    fn default() -> Self {
        Self { pages: Vec::new() }
    }
}

impl<T> Pages<T> {
    pub(super) fn get(&self, at: u32) -> &Held<T> {
        let (page, place) = place(at);
        &self.pages[page][place]
    }

    pub(super) fn get_mut(&mut self, at: u32) -> &mut Held<T> {
        let (page, place) = place(at);
        &mut self.pages[page][place]
    }

    /// The number that the next one gets; `None` if there is none left.
    pub(super) fn next(&self) -> Option<u32> {
        let before = self.pages.len().saturating_sub(1) * PAGE;
        u32::try_from(before + self.pages.last().map_or(0, Vec::len)).ok()
    }

    /// Puts one behind the others.
    pub(super) fn push(&mut self, held: Held<T>) {
        match self.pages.last_mut().filter(|page| page.len() < PAGE) {
            Some(page) => page.push(held),
            None => {
                // The first page grows as it is needed: most tables have a few values.
                let room = if self.pages.is_empty() { 1 } else { PAGE };
                let mut page = Vec::with_capacity(room);
                page.push(held);
                self.pages.push(page);
            }
        }
    }

    /// Takes one out, whose number the last one gets.
    pub(super) fn swap_remove(&mut self, at: u32) -> Option<Held<T>> {
        let last = self.pages.last_mut()?;
        let moved = last.pop()?;
        if last.is_empty() {
            self.pages.pop();
        }
        let (page, place) = place(at);
        match self.pages.get_mut(page).and_then(|page| page.get_mut(place)) {
            Some(taken) => Some(std::mem::replace(taken, moved)),
            None => Some(moved),
        }
    }

    /// All of them, in the order of their numbers.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Held<T>> {
        self.pages.iter_mut().flatten()
    }
}

fn place(at: u32) -> (usize, usize) {
    let at = at as usize;
    (at / PAGE, at % PAGE)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use wire::address::{EidPrefix, InstanceId};

    use super::*;

    #[test]
    fn numbers_have_no_gaps_and_the_last_one_takes_the_place_of_one_that_leaves() {
        let key = Key::of(&EidPrefix::host(InstanceId(0), [192, 0, 2, 1].into()));
        let mut pages = Pages::default();
        let count = 2 * u32::try_from(PAGE).unwrap() + 1;
        for number in 0..count {
            assert_eq!(pages.next(), Some(number));
            pages.push(Held::new(key, false, number));
        }
        assert_eq!(pages.swap_remove(3).map(|held| held.value), Some(3));
        assert_eq!((pages.get(3).value, pages.next()), (count - 1, Some(count - 1)));
        assert_eq!(pages.swap_remove(count - 2).map(|held| held.value), Some(count - 2));
        while let Some(held) = pages.swap_remove(0) {
            assert!(held.value < count);
        }
        assert_eq!((pages.next(), pages.pages.len()), (Some(0), 0));
    }

    #[test]
    fn the_prefix_beside_a_value_takes_24_octets() {
        assert_eq!((size_of::<Key>(), size_of::<Held<u64>>()), (24, 32));
    }
}
