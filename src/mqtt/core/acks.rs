//! Acknowledgements in the order the messages came. Source: MQTT 5, 4.6.
use std::collections::VecDeque;

/// A message that is to be acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

/// Messages of one connection that are not acknowledged yet.
#[derive(Debug, Default)]
pub struct Acks {
    /// The ticket of the first one.
    first: u64,
    waiting: VecDeque<(u16, bool)>,
}

impl Acks {
    /// A message with this packet id has come.
    pub fn take(&mut self, packet: u16) -> Ticket {
        self.waiting.push_back((packet, false));
        Ticket(self.first + self.waiting.len() as u64 - 1)
    }

    /// It may be acknowledged. A ticket of an earlier connection means nothing: the broker sends its message again.
    pub fn done(&mut self, ticket: Ticket) {
        let place = ticket.0.checked_sub(self.first).and_then(|at| usize::try_from(at).ok());
        if let Some((_, done)) = place.and_then(|at| self.waiting.get_mut(at)) {
            *done = true;
        }
    }

    /// The next packet id to acknowledge, if it is its turn.
    pub fn due(&mut self) -> Option<u16> {
        let (packet, _) = *self.waiting.front().filter(|(_, done)| *done)?;
        self.waiting.pop_front();
        self.first += 1;
        Some(packet)
    }

    /// Whether the next acknowledgement waits for its message to be done.
    pub fn is_held_up(&self) -> bool {
        self.waiting.front().is_some_and(|(_, done)| !done)
    }

    /// The connection has ended, and its packet ids with it.
    pub fn forget(&mut self) {
        self.first += self.waiting.len() as u64;
        self.waiting.clear();
    }

    /// How many are not acknowledged.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(acks: &mut Acks) -> Vec<u16> {
        std::iter::from_fn(|| acks.due()).collect()
    }

    #[test]
    fn acknowledgements_go_out_in_the_order_the_messages_came() {
        let mut acks = Acks::default();
        let tickets: Vec<Ticket> = [7, 8, 9].map(|packet| acks.take(packet)).into();
        acks.done(tickets[2]);
        acks.done(tickets[1]);
        assert_eq!(ready(&mut acks), [0_u16; 0]);
        acks.done(tickets[0]);
        assert_eq!(ready(&mut acks), [7, 8, 9]);
        assert!(acks.is_empty());
    }

    #[test]
    fn a_ticket_of_an_earlier_connection_means_nothing() {
        let mut acks = Acks::default();
        let old = acks.take(1);
        acks.forget();
        let new = acks.take(1);
        acks.done(old);
        assert_eq!((ready(&mut acks), acks.len()), (vec![], 1));
        acks.done(new);
        assert_eq!(ready(&mut acks), [1]);
    }
}
