//! Whether this operator leads, and until when that is certain.
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Instant;

use tokio::sync::watch;

/// Until when we lead unless it is renewed; `None` while somebody else does, or nobody.
#[derive(Debug)]
pub struct Lead(watch::Sender<Option<Instant>>);

impl Default for Lead {
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl Lead {
    pub fn set(&self, until: Option<Instant>) {
        self.0.send_replace(until);
    }

    pub fn until(&self) -> Option<Instant> {
        *self.0.borrow()
    }

    pub fn holds(&self) -> bool {
        holds(self.until())
    }

    /// Until we lead.
    pub async fn begins(&self) {
        // An error would mean that the sender is gone, and it is here.
        let _ = self.0.subscribe().wait_for(|until| holds(*until)).await;
    }

    /// Carries `work` on as long as we lead. `None`: we do not lead any more, and it was dropped where it stood.
    ///
    /// Asked before every step, because a process that was frozen wakes up in the middle of its work: what it
    /// was about to write is then another leader's to write.
    pub async fn during<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut changes = self.0.subscribe();
        let mut ended = pin!(async move {
            let _ = changes.wait_for(Option::is_none).await;
        });
        let mut work = pin!(work);
        poll_fn(|cx| {
            if !self.holds() || ended.as_mut().poll(cx).is_ready() {
                return Poll::Ready(None);
            }
            work.as_mut().poll(cx).map(Some)
        })
        .await
    }
}

fn holds(until: Option<Instant>) -> bool {
    until.is_some_and(|until| Instant::now() < until)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::sync::Notify;

    use super::*;

    fn later() -> Instant {
        Instant::now() + Duration::from_hours(1)
    }

    #[tokio::test]
    async fn work_goes_on_while_we_lead_and_across_renewals() {
        let lead = Lead::default();
        lead.set(Some(later()));
        let renewed = lead.during(async {
            lead.set(Some(later()));
            tokio::task::yield_now().await;
            7
        });
        assert_eq!(renewed.await, Some(7));
    }

    #[tokio::test]
    async fn f13_work_stops_where_it_stands_when_we_no_longer_lead() {
        let (lead, bell) = (Arc::new(Lead::default()), Arc::new(Notify::new()));
        assert_eq!(lead.during(async {}).await, None, "nobody has begun to lead");
        lead.set(Some(later()));
        let (working, waiting) = (Arc::clone(&lead), Arc::clone(&bell));
        let work = tokio::spawn(async move { working.during(waiting.notified()).await });
        tokio::task::yield_now().await;
        lead.set(None);
        assert_eq!(work.await.unwrap(), None);
    }

    #[tokio::test]
    async fn f13_a_frozen_process_does_not_go_on_when_its_time_is_over() {
        let lead = Lead::default();
        lead.set(Some(later()));
        let mut wrote = false;
        let work = lead.during(async {
            // As after SIGCONT: nobody has told us, only the clock went on.
            lead.0.send_modify(|until| *until = Some(Instant::now()));
            tokio::task::yield_now().await;
            wrote = true;
        });
        assert_eq!(work.await, None);
        assert!(!wrote);
    }
}
