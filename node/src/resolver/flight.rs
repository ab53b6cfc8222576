//! Questions under way: each is asked once, however many wait for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use hickory_proto::rr::Name;
use tokio::sync::watch;
use warren_node_core::names::forward::Failure;
use warren_node_core::names::forward::ask::Asked;

use super::Resolver;
use super::race::{Context, Won};
use crate::clock::boot;

pub type Outcome = Result<Won, Failure>;
type Ending = watch::Receiver<Option<Outcome>>;

#[derive(Default)]
pub struct Flights {
    under_way: Mutex<HashMap<Asked, Ending>>,
}

impl Flights {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Asked, Ending>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// However it ends (the runtime may go, the task may panic), the next asker begins another one.
struct Flight {
    resolver: Arc<Resolver>,
    asked: Asked,
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.resolver.flights.lock().remove(&self.asked);
    }
}

impl Resolver {
    /// Asks, or waits with those who asked before. What comes is kept in the cache. Must be called inside a runtime.
    pub(super) fn fly(self: &Arc<Self>, group: usize, asked: &Asked, name: Name) -> Ending {
        let mut under_way = self.flights.lock();
        if let Some(ending) = under_way.get(asked) {
            return ending.clone();
        }
        let (tell, ending) = watch::channel(None);
        under_way.insert(asked.clone(), ending.clone());
        drop(under_way);
        // Made here and not in the task, which may be thrown away before it begins.
        let flight = Flight { resolver: Arc::clone(self), asked: asked.clone() };
        tokio::spawn(async move {
            let outward = flight.resolver.outward.load_full();
            let context = Context { names: flight.resolver.names(), private: false };
            let outcome = outward.ask(group, &flight.asked, &name, context).await;
            flight.resolver.land(&outward, &flight.asked, &outcome);
            drop(flight);
            let _ = tell.send(Some(outcome));
        });
        ending
    }

    /// What was asked of upstreams that are no longer set is not kept.
    fn land(&self, outward: &Arc<super::race::Outward>, asked: &Asked, outcome: &Outcome) {
        if !Arc::ptr_eq(outward, &self.outward.load_full()) {
            return;
        }
        match outcome {
            Ok(won) => {
                self.cache().insert(asked.clone(), Arc::clone(&won.stored), boot());
                self.failures().handle_answer(asked);
            }
            Err(failure) => {
                match failure.is_verdict() {
                    true => self.cache().handle_verdict(asked),
                    false => self.cache().handle_failure(asked, boot()),
                }
                self.failures().handle_failure(asked, failure, boot());
            }
        }
    }
}

/// The end of a flight. One that ended without saying how was broken off by a shutdown.
pub async fn end(mut ending: Ending) -> Outcome {
    match ending.wait_for(Option::is_some).await {
        Ok(outcome) => outcome.clone().unwrap_or(Err(Failure::Busy)),
        Err(_) => Err(Failure::Busy),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flight_that_was_broken_off_is_begun_anew_by_the_next_asker() {
        let resolver = crate::agent::NameOptions::default().resolver().expect("TLS");
        let asked =
            Asked { name: "a.example".to_owned(), kind: 1, dnssec_ok: false, checking_disabled: false };
        let name = Name::from_ascii("a.example.").expect("name");
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        let short = runtime();
        let broken_off = {
            let _inside = short.enter();
            resolver.fly(0, &asked, name.clone())
        };
        drop(short);
        let after = runtime();
        assert_eq!(after.block_on(end(broken_off)).err(), Some(Failure::Busy));
        let outcome = after.block_on(async { end(resolver.fly(0, &asked, name)).await });
        assert_eq!(outcome.err(), Some(Failure::NoUpstream), "it was asked again");
        assert!(resolver.flights.lock().is_empty());
    }
}
