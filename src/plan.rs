//! From what was read and what was asked to what will be written, or to why not. Pure.
//!
//! Owns libxl's arithmetic (tools/libs/light/libxl_mem.c) and xmem's safety rules. Never touches a
//! host.

use std::fmt;

use crate::domain::DomId;
use crate::hypervisor::{DomainInfo, UNLIMITED};
use crate::intent::Numbers;
use crate::size::{Amount, Kib, Size};

/// What libxl adds to every limit (`LIBXL_MAXMEM_CONSTANT`, tools/libs/light/libxl_internal.h).
pub const SLACK: Kib = Kib::from_mib(1);
/// dom0 is never set below this (`LIBXL_MIN_DOM0_MEM`).
pub const DOM0_FLOOR: Kib = Kib::from_mib(128);
/// A domU is not shrunk below this unless forced.
pub const FLOOR: Kib = Kib::from_mib(32);

/// What is asked of a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// `xmem set`: the target, and the limit with it.
    Set {
        /// The new size, video memory included.
        size: Size,
        /// Raise static-max as well when the target would be above it.
        raise_max: bool,
        /// Shrink a domU below [`FLOOR`].
        force: bool,
    },
    /// `xmem max`: static-max, and the limit with it.
    Max {
        /// The new maximum.
        size: Size,
    },
}

/// What a domain's memory is now, read under its lock and in one transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The hypervisor's part.
    pub info: DomainInfo,
    /// `memory/target`.
    pub target: Option<Kib>,
    /// `memory/static-max`.
    pub static_max: Option<Kib>,
    /// `memory/videoram` in KiB: 0 when absent, -1 from some builders that mean none.
    pub video: i32,
}

impl Reading {
    /// The numbers as they are.
    pub const fn numbers(&self) -> Numbers {
        Numbers { target: self.target, static_max: self.static_max, limit: self.info.limit }
    }

    /// The least limit under which a domain with this target can hold all that it should: target +
    /// video + slack. `None` when that is no number.
    pub fn need(&self, target: Kib) -> Option<Kib> {
        target.offset(self.video.into())?.plus(SLACK)
    }

    const fn is_dom0(&self) -> bool {
        self.info.identity.domid.get() == DomId::DOM0.get()
    }
}

/// What will be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What was there.
    pub old: Numbers,
    /// `memory/target` when done.
    pub target: Kib,
    /// `memory/static-max` when done.
    pub static_max: Kib,
    /// The hypervisor's limit when done, in whole pages.
    pub limit: Kib,
    /// The populate-on-demand target to set, where there is one.
    pub pod: Option<Kib>,
    /// Whether `/vm/<uuid>/memory` follows the target (after `set`, as libxl does).
    pub vm_memory: bool,
    /// What a user should know about it.
    pub notes: Vec<Note>,
}

impl Plan {
    /// The numbers as they will be.
    pub const fn new(&self) -> Numbers {
        Numbers { target: Some(self.target), static_max: Some(self.static_max), limit: self.limit }
    }

    /// Whether all is as it was asked for already.
    pub fn changes_nothing(&self) -> bool {
        self.old == self.new()
    }
}

/// Something true about a plan that a user might not expect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// The size was cut to whole pages.
    Cut {
        /// How many bytes fell off.
        bytes: u64,
    },
    /// dom0 had no `memory/target` or no `memory/static-max`; they are filled in as libxl does.
    FilledIn {
        /// `target`.
        target: bool,
        /// `static-max`.
        static_max: bool,
    },
    /// dom0 had no limit and gets one.
    Capped {
        /// The new limit.
        limit: Kib,
    },
    /// The limit stays above the asked maximum, since target and video memory need it.
    LimitAboveMax {
        /// The limit.
        limit: Kib,
        /// The maximum.
        max: Kib,
    },
    /// static-max is raised with the target.
    RaisedMax {
        /// From.
        from: Kib,
        /// To.
        to: Kib,
    },
    /// The domain is paused, and holds more than its target: it cannot give anything back.
    Paused {
        /// What it holds.
        current: Kib,
    },
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut { bytes } => {
                write!(f, "the size was rounded down by {bytes} bytes to whole 4 KiB pages")
            }
            Self::FilledIn { target, static_max } => {
                let keys = match (target, static_max) {
                    (true, true) => "memory/target and memory/static-max were",
                    (true, false) => "memory/target was",
                    (false, _) => "memory/static-max was",
                };
                write!(f, "{keys} missing in xenstore; filled in")
            }
            Self::Capped { limit } => {
                write!(f, "dom0 had no limit in the hypervisor; now it is {limit}")
            }
            Self::LimitAboveMax { limit, max } => {
                write!(f, "the limit is {limit}: target and video memory need more than {max}")
            }
            Self::RaisedMax { from, to } => write!(f, "static-max is raised from {from} to {to}"),
            Self::Paused { current } => {
                write!(f, "the domain is paused: it keeps {current} until it runs again")
            }
        }
    }
}

/// Why a change is not made: a limit, or a safety rule. Sizes are what it would have come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The target would be above static-max.
    #[error(
        "a target of {target} is above the domain's maximum of {static_max} (memory/static-max)"
    )]
    AboveMax {
        /// The target it would come to.
        target: Kib,
        /// `memory/static-max`.
        static_max: Kib,
        /// The size that may be asked for at most.
        most: Kib,
    },
    /// The maximum would be below the target.
    #[error("a maximum of {max} is below the domain's target of {target} (memory/target)")]
    BelowTarget {
        /// The maximum asked for.
        max: Kib,
        /// `memory/target`.
        target: Kib,
    },
    /// The size does not even hold the domain's video memory.
    #[error("{size} is not more than the domain's video memory of {video}, which is part of it")]
    BelowVideo {
        /// The size asked for.
        size: Kib,
        /// `memory/videoram`.
        video: Kib,
    },
    /// dom0 would get less than [`DOM0_FLOOR`].
    #[error("{target} is less than dom0 can live with: {DOM0_FLOOR}")]
    Dom0Floor {
        /// The target it would come to.
        target: Kib,
    },
    /// A domU would be shrunk below [`FLOOR`].
    #[error("{target} is less than nearly every guest can live with: {FLOOR}")]
    Floor {
        /// The target it would come to.
        target: Kib,
    },
    /// A relative size takes away all there is.
    #[error("taking {less} from {from} leaves nothing")]
    BelowZero {
        /// The step down.
        less: Kib,
        /// What it is taken from.
        from: Kib,
    },
    /// The hypervisor cannot count so far: 2^32 - 1 pages is its word for `no limit`.
    #[error("a limit beyond {} GiB cannot be told to the hypervisor", UNLIMITED.mib() / 1024)]
    BeyondXen,
    /// A domU without memory keys: not made by a toolstack that publishes them, or not yet.
    #[error("xenstore has no {key} for it, so there is nothing to keep in step")]
    NoKey {
        /// `memory/target` or `memory/static-max`.
        key: &'static str,
    },
}

impl Refusal {
    /// What can be done about it.
    pub fn hint(&self) -> String {
        match self {
            Self::AboveMax { most, .. } => format!(
                "ask for at most {most}, or raise the maximum with the target: set --raise-max"
            ),
            Self::BelowTarget { target, .. } => {
                format!("lower the target first, or ask for at least {target}")
            }
            Self::BelowVideo { .. } => "ask for more than that".to_owned(),
            Self::Dom0Floor { .. } => "dom0 is never set below that, --force or not".to_owned(),
            Self::Floor { .. } => "--force does it all the same".to_owned(),
            Self::BelowZero { .. } => "without a sign, the size is what it becomes".to_owned(),
            Self::BeyondXen => "is the unit right? a bare number is MiB".to_owned(),
            Self::NoKey { .. } => {
                "if the domain is being built, try again when it is; if not, its toolstack does not support ballooning".to_owned()
            }
        }
    }
}

/// What `wish` comes to for a domain that is as `reading` says.
///
/// # Errors
/// [`Refusal`]: nothing may be changed.
pub fn plan(reading: &Reading, wish: &Wish) -> Result<Plan, Refusal> {
    let mut notes = Vec::new();
    let (target, static_max) = present(reading, &mut notes)?;
    let (size, new) = match wish {
        Wish::Set { size, raise_max, force } => {
            let new_target = new_target(reading, target, *size)?;
            floors(reading, target, new_target, *force)?;
            let new_max = ceiling(reading, new_target, static_max, *raise_max, &mut notes)?;
            let limit = reading.need(new_target).ok_or(Refusal::BeyondXen)?;
            (size, Numbers { target: Some(new_target), static_max: Some(new_max), limit })
        }
        Wish::Max { size } => {
            let max = stepped(static_max, size.amount)?;
            if max < target {
                return Err(Refusal::BelowTarget { max, target });
            }
            let asked = max.plus(SLACK).ok_or(Refusal::BeyondXen)?;
            let need = reading.need(target).ok_or(Refusal::BeyondXen)?;
            // libxl forgets video memory here, and can leave a guest that cannot allocate any more.
            if need > asked {
                notes.push(Note::LimitAboveMax { limit: need, max });
            }
            let limit = need.max(asked);
            (size, Numbers { target: Some(target), static_max: Some(max), limit })
        }
    };
    let (target, static_max) = (new.target.unwrap_or(target), new.static_max.unwrap_or(static_max));
    let limit = Kib::from_pages(new.limit.pages());
    if limit >= UNLIMITED {
        return Err(Refusal::BeyondXen);
    }
    if size.cut != 0 {
        notes.push(Note::Cut { bytes: size.cut });
    }
    if reading.info.limit == UNLIMITED && reading.is_dom0() {
        notes.push(Note::Capped { limit });
    }
    if reading.info.paused && reading.info.current > limit {
        notes.push(Note::Paused { current: reading.info.current });
    }
    let set = matches!(wish, Wish::Set { .. });
    Ok(Plan {
        old: reading.numbers(),
        target,
        static_max,
        limit,
        // As libxl since 4.21: never for PV, never for dom0. Arm's hypervisor answers ENOSYS.
        pod: (set && reading.info.hvm && !reading.is_dom0() && cfg!(target_arch = "x86_64"))
            .then(|| target.plus(SLACK).map(|pod| Kib::from_pages(pod.pages())))
            .flatten(),
        vm_memory: set,
        notes,
    })
}

/// Target and static-max as they count. dom0's may be missing: nobody writes them before its memory
/// is set for the first time. Filled in as `libxl__fill_dom0_memory_info` does, and one by one.
fn present(reading: &Reading, notes: &mut Vec<Note>) -> Result<(Kib, Kib), Refusal> {
    match (reading.target, reading.static_max) {
        (Some(target), Some(static_max)) => Ok((target, static_max)),
        (target, static_max) if reading.is_dom0() => {
            notes.push(Note::FilledIn {
                target: target.is_none(),
                static_max: static_max.is_none(),
            });
            Ok((target.unwrap_or(reading.info.current), static_max.unwrap_or(reading.info.limit)))
        }
        (None, _) => Err(Refusal::NoKey { key: "memory/target" }),
        (_, None) => Err(Refusal::NoKey { key: "memory/static-max" }),
    }
}

/// `from`, changed as `amount` says.
fn stepped(from: Kib, amount: Amount) -> Result<Kib, Refusal> {
    match amount {
        Amount::To(size) => Ok(size),
        Amount::Up(more) => from.plus(more).ok_or(Refusal::BeyondXen),
        Amount::Down(less) => {
            from.minus(less).filter(|rest| rest.0 > 0).ok_or(Refusal::BelowZero { less, from })
        }
    }
}

/// The target that `size` comes to. An absolute size includes video memory, a step does not touch it.
fn new_target(reading: &Reading, target: Kib, size: Size) -> Result<Kib, Refusal> {
    let stepped = stepped(target, size.amount)?;
    if !matches!(size.amount, Amount::To(_)) {
        return Ok(stepped);
    }
    stepped.offset(i64::from(reading.video).saturating_neg()).filter(|target| target.0 > 0).ok_or(
        Refusal::BelowVideo { size: stepped, video: Kib(u64::from(reading.video.unsigned_abs())) },
    )
}

/// Nothing shrinks to where it cannot live.
fn floors(reading: &Reading, old: Kib, new: Kib, force: bool) -> Result<(), Refusal> {
    if reading.is_dom0() {
        if new < DOM0_FLOOR {
            return Err(Refusal::Dom0Floor { target: new });
        }
    } else if new < FLOOR && new < old && !force {
        return Err(Refusal::Floor { target: new });
    }
    Ok(())
}

/// static-max as it will be: at least the target, if it may be raised.
fn ceiling(
    reading: &Reading,
    target: Kib,
    static_max: Kib,
    raise: bool,
    notes: &mut Vec<Note>,
) -> Result<Kib, Refusal> {
    if target <= static_max {
        return Ok(static_max);
    }
    if raise {
        notes.push(Note::RaisedMax { from: static_max, to: target });
        return Ok(target);
    }
    let most = static_max.offset(reading.video.into()).unwrap_or(static_max);
    Err(Refusal::AboveMax { target, static_max, most })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::{Identity, Uuid};

    fn domain(domid: u32, hvm: bool, video: i32, target: u64, static_max: u64) -> Reading {
        let mut reading = Reading {
            info: DomainInfo {
                identity: Identity { domid: DomId::new(domid).unwrap(), uuid: Uuid([7; 16]) },
                dying: false,
                paused: false,
                hvm,
                current: Kib(target),
                limit: Kib(0),
                outstanding: Kib(0),
            },
            target: Some(Kib(target)),
            static_max: Some(Kib(static_max)),
            video,
        };
        reading.info.limit = Kib::from_pages(reading.need(Kib(target)).unwrap().pages());
        reading
    }

    fn set(size: &str) -> Wish {
        Wish::Set { size: size.parse().unwrap(), raise_max: false, force: false }
    }

    fn max(size: &str) -> Wish {
        Wish::Max { size: size.parse().unwrap() }
    }

    /// libxl's own numbers for the same requests.
    #[test]
    fn worked_examples() {
        const GIB: u64 = 1_048_576;
        for (case, hvm, video, target, pod_pages, vm_memory) in [
            ("PV", false, 0, 524_288, None, 512),
            ("PVH", true, 0, 524_288, Some(131_328), 512),
            ("PVH of libxl 4.10 to 4.16.0, dom0less", true, -1, 524_289, Some(131_328), 512),
            ("HVM stdvga", true, 16_384, 507_904, Some(127_232), 496),
            ("HVM cirrus", true, 8192, 516_096, Some(129_280), 504),
        ] {
            let plan = plan(&domain(7, hvm, video, GIB, GIB), &set("512M")).unwrap();
            assert_eq!(plan.target, Kib(target), "{case}");
            assert_eq!(plan.limit.pages(), 131_328, "{case}");
            assert_eq!(plan.pod.map(Kib::pages), pod_pages, "{case}");
            assert_eq!((plan.vm_memory, plan.target.mib()), (true, vm_memory), "{case}");
            assert_eq!(plan.static_max, Kib(GIB), "{case}");
        }
        let dom0 = plan(&domain(0, true, 0, 2 * GIB, 8 * GIB), &set("4G")).unwrap();
        assert_eq!((dom0.target, dom0.limit.pages(), dom0.pod), (Kib(4_194_304), 1_048_832, None));
        let max = plan(&domain(7, true, 0, GIB / 2, GIB / 2), &max("1G")).unwrap();
        assert_eq!((max.target, max.static_max), (Kib(GIB / 2), Kib(GIB)));
        assert_eq!((max.limit.pages(), max.pod, max.vm_memory), (262_400, None, false));
    }

    #[test]
    fn steps_leave_video_memory_alone() {
        let reading = domain(7, true, 16_384, 507_904, 1_048_576);
        let up = plan(&reading, &set("+64M")).unwrap();
        assert_eq!((up.target, up.limit), (Kib(573_440), Kib(573_440 + 16_384 + 1024)));
        let down = plan(&reading, &set("-64M")).unwrap();
        assert_eq!(down.target, Kib(442_368));
        assert_eq!(down.notes, []);
        let mut paused = reading;
        paused.info.paused = true;
        assert_eq!(
            plan(&paused, &set("-64M")).unwrap().notes,
            [Note::Paused { current: Kib(507_904) }]
        );
        let odd = plan(&domain(7, true, -1, 524_289, 1_048_576), &set("+64M")).unwrap();
        assert_eq!((odd.target, odd.limit), (Kib(589_825), Kib(589_824 + 1024)));
    }

    #[test]
    fn refusals() {
        let pv = domain(7, false, 0, 524_288, 1_048_576);
        let hvm = domain(7, true, 16_384, 507_904, 524_288);
        let dom0 = domain(0, false, 0, 524_288, 1_048_576);
        let kib = |mib: u64| Kib(mib * 1024);
        for (reading, wish, refusal) in [
            (
                pv,
                set("2G"),
                Refusal::AboveMax { target: kib(2048), static_max: kib(1024), most: kib(1024) },
            ),
            (
                pv,
                set("+513M"),
                Refusal::AboveMax { target: kib(1025), static_max: kib(1024), most: kib(1024) },
            ),
            (
                hvm,
                set("529M"),
                Refusal::AboveMax { target: kib(513), static_max: kib(512), most: kib(528) },
            ),
            (hvm, set("16M"), Refusal::BelowVideo { size: kib(16), video: kib(16) }),
            (pv, set("31M"), Refusal::Floor { target: kib(31) }),
            (pv, set("-500M"), Refusal::Floor { target: kib(12) }),
            (pv, set("-512M"), Refusal::BelowZero { less: kib(512), from: kib(512) }),
            (pv, set("-2T"), Refusal::BelowZero { less: kib(2 << 20), from: kib(512) }),
            (dom0, set("127M"), Refusal::Dom0Floor { target: kib(127) }),
            (pv, max("511M"), Refusal::BelowTarget { max: kib(511), target: kib(512) }),
            (pv, max("16T"), Refusal::BeyondXen),
            (pv, max("16383T"), Refusal::BeyondXen),
            (Reading { target: None, ..pv }, set("1G"), Refusal::NoKey { key: "memory/target" }),
            (
                Reading { static_max: None, ..pv },
                max("1G"),
                Refusal::NoKey { key: "memory/static-max" },
            ),
        ] {
            assert_eq!(plan(&reading, &wish).unwrap_err(), refusal, "{wish:?}");
        }
    }

    #[test]
    fn floors_can_be_forced_for_a_domu_and_never_for_dom0() {
        let force =
            |size: &str| Wish::Set { size: size.parse().unwrap(), raise_max: false, force: true };
        assert_eq!(
            plan(&domain(7, false, 0, 65_536, 65_536), &force("4M")).unwrap().target,
            Kib(4096)
        );
        assert!(plan(&domain(0, false, 0, 524_288, 524_288), &force("127M")).is_err());
        // Growing is never held back by the floor.
        assert!(plan(&domain(7, false, 0, 8192, 65_536), &set("16M")).is_ok());
    }

    #[test]
    fn raise_max_raises_both_and_lowers_nothing() {
        let raise =
            |size: &str| Wish::Set { size: size.parse().unwrap(), raise_max: true, force: false };
        let pv = domain(7, false, 0, 524_288, 1_048_576);
        let up = plan(&pv, &raise("2G")).unwrap();
        assert_eq!((up.target, up.static_max), (Kib(2_097_152), Kib(2_097_152)));
        assert_eq!(plan(&pv, &raise("256M")).unwrap().static_max, Kib(1_048_576));
    }

    #[test]
    fn a_maximum_never_starves_video_memory() {
        let hvm = domain(7, true, 16_384, 507_904, 524_288);
        let plan = plan(&hvm, &max("496M")).unwrap();
        assert_eq!((plan.static_max, plan.limit), (Kib(507_904), Kib(507_904 + 16_384 + 1024)));
        assert!(plan.notes.iter().any(|note| matches!(note, Note::LimitAboveMax { .. })));
    }

    #[test]
    fn dom0_is_filled_in_as_libxl_does() {
        let mut dom0 = domain(0, false, 0, 786_432, 0);
        dom0.info.limit = UNLIMITED;
        (dom0.target, dom0.static_max) = (None, None);
        let both = plan(&dom0, &set("-256M")).unwrap();
        assert_eq!((both.target, both.static_max), (Kib(524_288), Kib(17_179_869_180)));
        assert_eq!(both.limit, Kib(525_312));
        assert!(both.notes.contains(&Note::FilledIn { target: true, static_max: true }));
        assert!(both.notes.contains(&Note::Capped { limit: Kib(525_312) }));
        dom0.target = Some(Kib(786_432));
        let one = plan(&dom0, &max("1G")).unwrap();
        assert_eq!((one.target, one.static_max), (Kib(786_432), Kib(1_048_576)));
        assert!(one.notes.contains(&Note::FilledIn { target: false, static_max: true }));
    }

    #[test]
    fn the_same_again_changes_nothing() {
        for (reading, wish) in [
            (domain(7, false, 0, 524_288, 1_048_576), set("512M")),
            (domain(7, true, -1, 524_289, 1_048_576), set("512M")),
            (domain(7, true, 16_384, 507_904, 1_048_576), set("512M")),
        ] {
            assert!(plan(&reading, &wish).unwrap().changes_nothing(), "{reading:?}");
        }
        // In xenstore alone it is not the same: the limit counts.
        let mut off = domain(7, false, 0, 524_288, 1_048_576);
        off.info.limit = Kib(4);
        assert!(!plan(&off, &set("512M")).unwrap().changes_nothing());
    }

    prop_compose! {
        fn any_reading()(
            domid in 0_u32..3, hvm: bool, video in -1_i32..200_000,
            target in proptest::option::of(0_u64..1 << 36), extra in proptest::option::of(0_u64..1 << 36),
            current in 0_u64..1 << 32, limit in 0_u64..=u64::from(u32::MAX),
        ) -> Reading {
            let mut reading = domain(domid, hvm, 0, 0, 0);
            reading.video = video;
            reading.info.current = Kib::from_pages(current);
            reading.info.limit = Kib::from_pages(limit);
            reading.target = target.map(Kib);
            reading.static_max = extra.map(|extra| Kib(target.unwrap_or(0) + extra));
            reading
        }
    }

    prop_compose! {
        fn any_wish()(
            sign in 0_usize..3, pages in 1_u64..1 << 40, raise_max: bool, force: bool, max: bool,
        ) -> Wish {
            let wraps: [fn(Kib) -> Amount; 3] = [Amount::To, Amount::Up, Amount::Down];
            let amount = wraps[sign](Kib::from_pages(pages));
            let size = Size { amount, cut: 0 };
            if max { Wish::Max { size } } else { Wish::Set { size, raise_max, force } }
        }
    }

    proptest! {
        /// Whatever is read and asked, a plan leaves the domain in step.
        #[test]
        fn every_plan_is_in_step(reading in any_reading(), wish in any_wish()) {
            if let Ok(plan) = plan(&reading, &wish) {
                prop_assert!(plan.target <= plan.static_max);
                prop_assert!(plan.target.0 > 0 || reading.target == Some(Kib(0)));
                prop_assert!(plan.limit.pages() < u64::from(u32::MAX));
                prop_assert_eq!(plan.limit, Kib::from_pages(plan.limit.pages()));
                let need = reading.need(plan.target).unwrap();
                prop_assert!(plan.limit.pages() >= need.pages());
                let floored = reading.is_dom0() && matches!(wish, Wish::Set { .. });
                prop_assert!(!floored || plan.target >= DOM0_FLOOR);
                if let Some(pod) = plan.pod {
                    // XENMEM_set_pod_target above max_pages is EINVAL; a negative videoram may eat
                    // one KiB of the slack, never a page.
                    prop_assert!(pod <= plan.limit);
                }
            }
        }

        /// Asking again for what was reached asks for nothing.
        #[test]
        fn plans_are_idempotent(reading in any_reading(), pages in 1_u64..1 << 30) {
            let wish = Wish::Set {
                size: Size { amount: Amount::To(Kib::from_pages(pages)), cut: 0 },
                raise_max: true,
                force: true,
            };
            if let Ok(first) = plan(&reading, &wish) {
                let mut after = reading;
                after.target = Some(first.target);
                after.static_max = Some(first.static_max);
                after.info.limit = first.limit;
                prop_assert!(plan(&after, &wish).unwrap().changes_nothing());
            }
        }
    }
}
