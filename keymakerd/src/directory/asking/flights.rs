//! Single-flight: of several that want the same answer at once, one asks and all are told.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::rc::Rc;

use tokio::sync::watch;

/// The questions under way, by what they are about.
pub struct Flights<T> {
    under_way: RefCell<BTreeMap<String, watch::Receiver<Option<T>>>>,
}

impl<T: Clone + 'static> Flights<T> {
    /// None under way.
    pub fn new() -> Rc<Self> {
        Rc::new(Self {
            under_way: RefCell::new(BTreeMap::new()),
        })
    }

    /// The answer to the question `about`, asked by `ask` unless it is being asked already. The question goes on when
    /// its first asker has gone; `None`: it ended without an answer.
    pub async fn join<F>(self: &Rc<Self>, about: String, ask: impl FnOnce() -> F) -> Option<T>
    where
        F: Future<Output = T> + 'static,
    {
        let under_way = self.under_way.borrow().get(&about).cloned();
        let mut told = under_way.unwrap_or_else(|| self.begin(about, ask()));
        let told = told.wait_for(Option::is_some).await.ok()?;
        told.clone()
    }

    /// Whether this is being asked.
    pub fn is_under_way(&self, about: &str) -> bool {
        self.under_way.borrow().contains_key(about)
    }

    fn begin(self: &Rc<Self>, about: String, asking: impl Future<Output = T> + 'static) -> watch::Receiver<Option<T>> {
        let (tell, told) = watch::channel(None);
        self.under_way.borrow_mut().insert(about.clone(), told.clone());
        let landing = Landing {
            flights: Rc::clone(self),
            about,
        };
        tokio::task::spawn_local(async move {
            let answer = asking.await;
            drop(landing);
            tell.send_replace(Some(answer));
        });
        told
    }
}

/// Takes the question off the list, also when it panicked.
struct Landing<T> {
    flights: Rc<Flights<T>>,
    about: String,
}

impl<T> Drop for Landing<T> {
    fn drop(&mut self) {
        self.flights.under_way.borrow_mut().remove(&self.about);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn many_askers_cause_one_question_and_a_later_one_asks_anew() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let flights = Flights::new();
            let asked = Rc::new(Cell::new(0));
            let ask = || {
                let asked = Rc::clone(&asked);
                async move {
                    asked.set(asked.get() + 1);
                    tokio::task::yield_now().await;
                    asked.get()
                }
            };
            let answers = tokio::join!(
                flights.join("a".into(), ask),
                flights.join("a".into(), ask),
                flights.join("b".into(), ask)
            );
            assert_eq!((answers.0, answers.1, asked.get()), (Some(2), Some(2), 2));
            flights.join("a".into(), ask).await;
            assert_eq!(asked.get(), 3);
        });
    }
}
