//! A random part of a stream, of a fixed size.

use heapless::Vec;

use crate::wire::Wire;

/// The `N` items of the least priorities. With a hash as priority these are a random part of all, and the same one for any
/// order and any split of the stream.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Reservoir<T, const N: usize> {
    /// By priority; of equal ones the earlier first.
    items: Vec<(u64, T), N>,
    seen: u64,
}

impl<T, const N: usize> Default for Reservoir<T, N> {
    fn default() -> Self {
        Reservoir { items: Vec::new(), seen: 0 }
    }
}

impl<T: Clone, const N: usize> Reservoir<T, N> {
    /// Takes in an item.
    pub fn push(&mut self, priority: u64, item: T) {
        self.seen = self.seen.saturating_add(1);
        self.insert(priority, item);
    }

    /// Takes in the items of another.
    pub fn merge(&mut self, other: &Reservoir<T, N>) {
        self.seen = self.seen.saturating_add(other.seen);
        other.items.iter().for_each(|(priority, item)| self.insert(*priority, item.clone()));
    }

    fn insert(&mut self, priority: u64, item: T) {
        let place = self.items.partition_point(|(own, _)| *own <= priority);
        if place == N {
            return;
        }
        if self.items.is_full() {
            self.items.pop();
        }
        // There is room now, and the place is inside or at the end.
        let _ = self.items.insert(place, (priority, item));
    }

    /// How many items were taken in.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// Those that are kept, by priority.
    pub fn items(&self) -> impl ExactSizeIterator<Item = &T> + Clone {
        self.items.iter().map(|(_, item)| item)
    }
}

impl<T: Wire + Clone + Default, const N: usize> Wire for Reservoir<T, N> {
    const BYTES: usize = 2 * u64::BYTES + N * (u64::BYTES + T::BYTES);

    fn put<'a>(&self, out: &'a mut [u8]) -> &'a mut [u8] {
        let mut out = [self.seen, self.items.len() as u64].put(out);
        let nothing = (0, T::default());
        for i in 0..N {
            let (priority, item) = self.items.get(i).unwrap_or(&nothing);
            out = item.put(priority.put(out));
        }
        out
    }

    fn get(bytes: &[u8]) -> Option<(Reservoir<T, N>, &[u8])> {
        let ([seen, len], mut rest) = <[u64; 2]>::get(bytes)?;
        let mut reservoir = Reservoir { items: Vec::new(), seen };
        for i in 0..N {
            let (priority, behind) = u64::get(rest)?;
            let (item, behind) = T::get(behind)?;
            rest = behind;
            if (i as u64) < len {
                reservoir.items.push((priority, item)).ok()?;
            }
        }
        let sound = len == seen.min(N as u64) && reservoir.items.is_sorted_by_key(|(priority, _)| *priority);
        sound.then_some((reservoir, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_priorities_stay() {
        let mut reservoir = Reservoir::<u64, 3>::default();
        [9, 2, 7, 1, 8].into_iter().for_each(|p| reservoir.push(p, 10 * p));
        assert_eq!(reservoir.items().copied().collect::<Vec<u64, 3>>(), [10, 20, 70]);
        assert_eq!(reservoir.seen(), 5);
    }

    #[test]
    fn priorities_out_of_order_are_refused() {
        let mut reservoir = Reservoir::<u64, 2>::default();
        [1, 2].into_iter().for_each(|priority| reservoir.push(priority, 5));
        let mut bytes = [0; Reservoir::<u64, 2>::BYTES];
        assert!(reservoir.put(&mut bytes).is_empty() && Reservoir::<u64, 2>::get(&bytes).is_some());
        reservoir.items.reverse();
        assert!(reservoir.put(&mut bytes).is_empty() && Reservoir::<u64, 2>::get(&bytes).is_none());
    }
}
