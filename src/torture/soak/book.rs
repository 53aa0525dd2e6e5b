//! What was sent in one life and what became of it: promised or not, received how often, and whether it may come again.

use std::ops::Range;

/// What the broker said of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    /// Nothing: the connection ended before the answer. It may arrive or not.
    Nothing,
    /// Acknowledged: it arrives.
    Promised,
    /// Refused, or never sent whole: it does not arrive.
    Not,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    word: Word,
    received: bool,
    /// There is a reason why it may come again: not acknowledged before a connection ended, refused, left to time out.
    may_repeat: bool,
}

/// How a received message fits into the book.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receipt {
    First,
    /// Again, and there was a reason.
    Repeat,
    /// Again, and there was none.
    Duplicate,
    /// It cannot be here.
    Impossible,
}

/// Messages of one topic are numbered from zero.
#[derive(Debug, Default)]
pub struct Book {
    entries: Vec<Entry>,
    promised: u64,
    missing: u64,
}

impl Book {
    /// The numbers of the next so many messages, of which nothing is known yet.
    pub fn next(&mut self, count: usize) -> Range<u64> {
        let first = self.entries.len();
        self.entries.resize(first + count, Entry { word: Word::Nothing, received: false, may_repeat: false });
        first as u64..(first + count) as u64
    }

    /// They were acknowledged.
    pub fn promise(&mut self, numbers: Range<u64>) {
        for number in numbers {
            let entry = &mut self.entries[number as usize];
            debug_assert_eq!(entry.word, Word::Nothing);
            entry.word = Word::Promised;
            self.promised += 1;
            self.missing += u64::from(!entry.received);
        }
    }

    /// They were refused, or not sent whole.
    pub fn rule_out(&mut self, numbers: Range<u64>) {
        for number in numbers {
            self.entries[number as usize].word = Word::Not;
        }
    }

    /// One arrived.
    pub fn receive(&mut self, number: u64) -> Receipt {
        let Some(entry) = self.entries.get_mut(number as usize) else { return Receipt::Impossible };
        match *entry {
            Entry { word: Word::Not, .. } => Receipt::Impossible,
            Entry { received: false, word, .. } => {
                entry.received = true;
                self.missing -= u64::from(word == Word::Promised);
                Receipt::First
            }
            Entry { may_repeat: true, .. } => {
                entry.may_repeat = false;
                Receipt::Repeat
            }
            _ => Receipt::Duplicate,
        }
    }

    /// There is a reason why it may come again, once.
    pub fn may_repeat(&mut self, number: u64) {
        self.entries[number as usize].may_repeat = true;
    }

    /// Promised and not received yet.
    pub fn missing(&self) -> u64 {
        self.missing
    }

    /// The first of those.
    pub fn first_missing(&self) -> Option<u64> {
        let missing = |entry: &Entry| entry.word == Word::Promised && !entry.received;
        self.entries.iter().position(missing).map(|at| at as u64)
    }

    /// How many were sent, promised, and received at least once.
    pub fn counts(&self) -> (u64, u64, u64) {
        let received = self.entries.iter().filter(|entry| entry.received).count();
        (self.entries.len() as u64, self.promised, received as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_promised_is_missing_until_it_comes() {
        let mut book = Book::default();
        let numbers = book.next(3);
        assert_eq!(book.receive(2), Receipt::First);
        book.promise(numbers);
        assert_eq!((book.missing(), book.first_missing()), (2, Some(0)));
        assert_eq!((book.receive(0), book.receive(1)), (Receipt::First, Receipt::First));
        assert_eq!((book.missing(), book.first_missing(), book.counts()), (0, None, (3, 3, 3)));
    }

    #[test]
    fn a_repeat_needs_a_reason_each_time() {
        let mut book = Book::default();
        book.next(2);
        assert_eq!((book.receive(0), book.receive(0)), (Receipt::First, Receipt::Duplicate));
        book.may_repeat(0);
        assert_eq!((book.receive(0), book.receive(0)), (Receipt::Repeat, Receipt::Duplicate));
    }

    #[test]
    fn what_was_refused_or_never_sent_cannot_arrive() {
        let mut book = Book::default();
        let numbers = book.next(1);
        book.rule_out(numbers);
        assert_eq!((book.receive(0), book.receive(1)), (Receipt::Impossible, Receipt::Impossible));
    }
}
