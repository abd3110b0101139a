//! An interrupt at every step: before the change it ends the run, during it the change is finished first.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use xen::lock::Lock;
use xen::{DomId, Identity, Interrupt, Kib, NoInterrupt};
use xmem_core::change::{ChangeRequest, ChangeStatus};
use xmem_core::failure::{Aftermath, Cause};
use xmem_sim::Verdict::{Fail, Proceed};

use crate::scene::{START, Scene, Step, WEB, answers, at, rehearsal, request, set};

/// An interrupt that a hook can raise.
#[derive(Clone, Default)]
pub(crate) struct Raised(Arc<AtomicBool>);

impl Raised {
    pub(crate) fn raise(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Interrupt for Raised {
    fn pending(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn sleep(&self, _: Duration) -> bool {
        self.pending()
    }
}

#[test]
fn an_interrupt_at_any_step_leaves_all_or_nothing_changed() {
    let steps = rehearsal(set("512M"));
    let begins = steps.iter().position(|step| matches!(step, Step::Write(_))).unwrap();
    for (index, step) in steps.iter().enumerate() {
        let scene = Scene::new();
        let raised = Raised::default();
        let mut count = 0..;
        let host = scene.host({
            let raised = raised.clone();
            move |_| {
                if count.next() == Some(index) {
                    raised.raise();
                }
                Proceed
            }
        });
        match host.change_with(&request(set("512M")), &raised) {
            Ok(outcome) => {
                assert!(index >= begins, "{step:?}");
                assert_eq!(outcome.status, ChangeStatus::Changed);
                assert_eq!(scene.numbers(), (524_288, 2_097_152, 525_312));
            }
            Err(failure) => {
                assert!(index < begins, "{step:?}");
                assert!(matches!(failure.cause, Cause::Interrupted), "{failure}");
                assert_eq!(failure.aftermath, Aftermath::Unchanged);
                assert_eq!(scene.numbers(), START);
            }
        }
        assert_eq!(scene.files().len(), 0);
    }
}

/// The first try meets a conflict while an interrupt is pending: it is rolled back and not repeated.
#[test]
fn an_interrupt_between_two_tries_ends_the_change_rolled_back() {
    let scene = Scene::new();
    let raised = Raised::default();
    let hook = {
        let raised = raised.clone();
        move || {
            raised.raise();
            Fail(answers("EAGAIN"))
        }
    };
    let host = scene.host(at(|step| *step == Step::Commit, hook));
    let failure = host.change_with(&request(set("512M")), &raised).unwrap_err();
    assert!(matches!(failure.cause, Cause::Interrupted), "{failure}");
    let limit = Kib(START.2);
    assert_eq!(failure.aftermath, Aftermath::RolledBack { limit, before: limit });
    assert_eq!(scene.numbers(), START);
    assert_eq!(scene.files().len(), 0);
}

/// Records what was waited for, and ends the wait.
#[derive(Default)]
struct Impatient(Mutex<String>);

impl Interrupt for Impatient {
    fn pending(&self) -> bool {
        false
    }

    fn sleep(&self, _: Duration) -> bool {
        true
    }

    fn waiting_for(&self, what: &dyn fmt::Display) {
        *self.0.lock().unwrap() = what.to_string();
    }
}

#[test]
fn an_interrupt_ends_the_wait_for_the_lock() {
    let scene = Scene::new();
    let identity = Identity { domid: DomId::new(7).unwrap(), uuid: WEB.parse().unwrap() };
    let held = Lock::take(scene.dir(), identity, Duration::ZERO, &NoInterrupt).unwrap();
    let impatient = Impatient::default();
    let host = scene.calm();
    let failure = host.change_with(&request(set("512M")), &impatient).unwrap_err();
    assert!(matches!(failure.cause, Cause::Interrupted), "{failure}");
    assert_eq!(failure.cause.kind(), "interrupted");
    let what = impatient.0.into_inner().unwrap();
    assert!(
        what.contains("the domain's lock") && what.contains(&std::process::id().to_string()),
        "{what}"
    );

    let at_once = ChangeRequest { lock_timeout: Duration::ZERO, ..request(set("512M")) };
    let failure = scene.calm().change(&at_once).unwrap_err();
    assert_eq!(failure.cause.kind(), "lock-busy");
    drop(held);
    assert_eq!(scene.numbers(), START);
}
