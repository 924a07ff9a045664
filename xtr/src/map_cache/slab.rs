// SPDX-License-Identifier: GPL-2.0-or-later
//! Values that are known by a small number, which is used again when they are gone.

/// The values.
#[derive(Debug)]
pub(super) struct Slab<T> {
    values: Vec<T>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { values: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    /// Values in use.
    pub(super) fn len(&self) -> usize {
        self.values.len() - self.free.len()
    }

    /// Keeps a value and tells its number.
    pub(super) fn insert(&mut self, value: T) -> u32 {
        if let Some(number) = self.free.pop() {
            self[number] = value;
            return number;
        }
        let number = u32::try_from(self.values.len()).expect("the bounds of limits.rs are far below 2^32");
        self.values.push(value);
        number
    }

    /// Gives the number to the next value. Once for each [`Self::insert`].
    pub(super) fn free(&mut self, number: u32) {
        self.free.push(number);
    }

    /// All values, those whose numbers are free among them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.values.iter()
    }
}

impl<T> std::ops::Index<u32> for Slab<T> {
    type Output = T;

    fn index(&self, number: u32) -> &T {
        &self.values[number as usize]
    }
}

impl<T> std::ops::IndexMut<u32> for Slab<T> {
    fn index_mut(&mut self, number: u32) -> &mut T {
        &mut self.values[number as usize]
    }
}
